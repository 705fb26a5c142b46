"""The form of a connection's heads: they mostly differ in the request line and a few values.

What stays is compared as a whole, and only the values in the gaps are read: for 12 lines of which 2 differ this takes a sixth
of the instructions of `vary_request_fields`, which splits both blocks and compares them line by line. From that the form is
learnt; a head that has another one is read by it, with the same result.

A fit is safe: line ends, names and all other lines are bytes of a block that was accepted, and a value has no CR, LF or other
control. So the head ends where that block does, and its lines are those of that block except for the values.
"""

from __future__ import annotations

from typing import Final

from worker.http1.fields import VALUE_TABLE
from worker.http1.request_line import parse_plain_line
from worker.http1.request_values import HeadLimits, RequestFields, RequestForm, RequestLine

# With more gaps than this, one look at each line is no more than one at each gap.
MOST_GAPS: Final = 6


class HeadShape(RequestForm):
    """The bytes of a header block that stay: from the request line to the first gap, between gaps, and after the last.

    rest: the bytes from the first gap to the last, of the head read last.
    """

    __slots__ = ("begin", "between", "end", "rest")

    def __init__(self, raw_lines: list[bytes], fields: RequestFields, indexes: list[int]) -> None:
        """raw_lines: those of the block that `fields` are of, none dropped or repeated. indexes: of the lines with a gap."""
        super().__init__(fields, indexes)
        parts: list[bytes] = []
        start = 0
        for index in indexes:
            _, name, value = fields.lines[index]
            before_value = raw_lines[index][: raw_lines[index].index(value, len(name) + 1)]
            parts.append(b"\r\n".join([*([b""] if start else []), *raw_lines[start:index], before_value]))
            start = index + 1
        self.begin, *self.between = parts
        self.end = b"\r\n".join([b"", *raw_lines[start:], b"", b""])
        block = b"\r\n".join([*raw_lines, b"", b""])
        self.rest = block[len(self.begin) : len(block) - len(self.end)]

    def read(self, head: bytes, limits: HeadLimits, known: RequestFields) -> tuple[RequestLine, RequestFields, int] | None:
        """Read a head that is alone and has this form; return None for any other.

        known: the fields of the one read last, which are returned again if all values are the same.
        """
        # Of the ways to cut and compare, these take the fewest instructions: `removeprefix` 570, a slice that is compared 1,500.
        # They return the very bytes where there is nothing to remove.
        raw, _, block = head.partition(b"\r\n")
        left = block.removeprefix(self.begin)
        rest = left.removesuffix(self.end)
        if left is block or rest is left or len(head) > limits.least:
            return None
        line = limits.known_lines.get(raw)
        if line is None:
            line = parse_plain_line(raw)
            if line is None:
                return None
            limits.known_lines.remember(line)
        if rest == self.rest:
            fields = known
        else:
            varied: list[bytes] = []
            value = rest
            for part in self.between:
                value, found, left = value.partition(part)
                if not found or value.translate(VALUE_TABLE) != value:
                    return None
                varied.append(value.strip(b" \t"))
                value = left
            if value.translate(VALUE_TABLE) != value:
                return None
            varied.append(value.strip(b" \t"))
            fields = self.base.with_varied(self, varied)
            self.rest = rest
        if fields.only_version and fields.only_version != line.version:
            return None
        return line, fields, len(head)

    def __repr__(self) -> str:
        return f"<head shape with gaps for {self.names}>"


def learn_shape(raw_lines: list[bytes], fields: RequestFields, differing: list[int], known: HeadShape | None) -> HeadShape | None:
    """Return the form of this block and of the one before, which differs in these lines; None for one that is not worth it.

    known: the form before, whose gaps stay: what has differed once will differ again.
    """
    indexes = differing if known is None else sorted({*differing, *known.indexes})
    if not 0 < len(indexes) <= MOST_GAPS or any(fields.lines[index][0] == b"content-length" for index in indexes):
        return None  # a length means more than its bytes, and is trimmed less
    return HeadShape(raw_lines, fields, indexes)
