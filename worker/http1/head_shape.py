"""The form of a connection's heads: they mostly differ in the request line and a few values.

What stays is compared as a whole, and only the values in the gaps are read: for 12 lines of which 2 differ this takes a third
of the instructions of `vary_request_fields`, which splits both blocks and compares them line by line. From that the form is
learnt; a head that has another one is read by it, with the same result.

A fit is safe: line ends, names and all other lines are bytes of a block that was accepted, and a value has no CR, LF or other
control. So the head ends where that block does, and its lines are those of that block except for the values.
"""

from __future__ import annotations

from typing import Final

from worker.http1.fields import VALUE_TABLE, trimmed_around
from worker.http1.request_values import RequestFields

# With more gaps than this, one look at each line is no more than one at each gap.
MOST_GAPS: Final = 6


class HeadShape:
    """The bytes of a header block that stay: from the end of the request line to the first gap, between gaps, and after the last.

    gaps: for each, the index of its line, its lower-case name, its name as spelled, and the bytes to trim around its value.
    indexes: those of these lines, always the same list. rest: the bytes from the first gap to the last, of the head read last.
    """

    __slots__ = ("begin", "between", "end", "gaps", "indexes", "rest")

    def __init__(self, raw_lines: list[bytes], fields: RequestFields, indexes: list[int]) -> None:
        """raw_lines: those of the block that `fields` are of, none dropped or repeated."""
        self.indexes = indexes
        self.gaps: list[tuple[int, bytes, bytes, bytes]] = []
        parts: list[bytes] = []
        start = 0
        for index in indexes:
            lower, name, value = fields.lines[index]
            self.gaps.append((index, lower, name, trimmed_around(lower)))
            before_value = raw_lines[index][: raw_lines[index].index(value, len(name) + 1)]
            parts.append(b"\r\n".join([b"", *raw_lines[start:index], before_value]))
            start = index + 1
        self.begin, *self.between = parts
        self.end = b"\r\n".join([b"", *raw_lines[start:], b"", b""])
        block = b"\r\n".join([b"", *raw_lines, b"", b""])
        self.rest = block[len(self.begin) : len(block) - len(self.end)]

    def read(self, head: bytes, line_end: int, known: RequestFields) -> RequestFields | None:
        """Return the fields of a whole head, if it has this form; `known` itself if its values are those read last, too.

        line_end: where the request line ends. known: the fields read last.
        """
        # Slices are compared: `startswith` and `find` read their arguments slowly in CPython 3.11.
        start = line_end + len(self.begin)
        stop = len(head) - len(self.end)
        if stop < start or head[line_end:start] != self.begin or head[stop:] != self.end:
            return None
        left = rest = head[start:stop]
        if rest == self.rest:
            return known
        raw_values: list[bytes] = []
        for part in self.between:
            value, found, left = left.partition(part)
            if not found:
                return None
            raw_values.append(value)
        raw_values.append(left)
        lines = list(known.lines)
        values = known.values.copy()
        for (index, lower, name, trimmed), value in zip(self.gaps, raw_values):
            if value.translate(VALUE_TABLE) != value:
                return None
            value = value.strip(trimmed)
            lines[index] = lower, name, value
            values[lower] = value
        self.rest = rest
        return known.with_other_values(tuple(lines), values, known.content_length, self.indexes)

    def __repr__(self) -> str:
        return f"<head shape with gaps for {[lower for _, lower, _, _ in self.gaps]}>"


def learn_shape(raw_lines: list[bytes], fields: RequestFields, differing: list[int], known: HeadShape | None) -> HeadShape | None:
    """Return the form of this block and of the one before, which differs in these lines; None for one that is not worth it.

    known: the form before, whose gaps stay: what has differed once will differ again.
    """
    indexes = differing if known is None else sorted({*differing, *known.indexes})
    if not 0 < len(indexes) <= MOST_GAPS or any(fields.lines[index][0] == b"content-length" for index in indexes):
        return None  # a length means more than its bytes
    return HeadShape(raw_lines, fields, indexes)
