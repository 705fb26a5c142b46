"""sub_filter (routing.md §5.6; nginx: src/http/modules/ngx_http_sub_filter_module.c).

The leftmost match is replaced, of several at one place the one that was written first; the search continues behind it. A match
may span pieces of the body, so an end that might be the beginning of one is held until more has come.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from worker.filters.bodies import change_body
from worker.filters.fields import copied, forget_length, has_type, next_key, weaken_etag, without
from wproxy.config.model import Location
from wproxy.directives.media_types import changed_types
from wproxy.directives.sub_filter import Substitute
from wproxy.http import Request, Response, ResponseFields

# A needle in lower case, and the function that makes its replacement.
Pattern = tuple[bytes, Callable[[], bytes]]


def sub_filter(location: Location) -> Substitution | None:
    """Return the filter of a location; None if nothing is to be replaced."""
    return Substitution(location) if location.sub_filter else None


class Substitution:
    """The filter of one location. key: the place of the changed fields on the originals."""

    __slots__ = ("_is_once", "_keeps_modified", "_key", "_lines", "_types")

    def __init__(self, location: Location) -> None:
        self._lines: tuple[Substitute, ...] = location.sub_filter
        self._types = changed_types(location.sub_filter_types)
        self._is_once = location.sub_filter_once
        self._keeps_modified = location.sub_filter_last_modified
        self._key = next_key()

    def unchanged(self, request: Request, fields: ResponseFields) -> ResponseFields | None:
        """Return the fields of a response that is not searched; None if it would be."""
        return None if self._is_eligible(fields) and self._patterns(request) else fields

    def __call__(self, request: Request, response: Response) -> Response:
        """Replace the needles in the body."""
        fields = response.fields
        if not self._is_eligible(fields) or response.tunnel is not None:
            return response
        patterns = self._patterns(request)
        if not patterns:
            return response
        changed = fields.wire.get(self._key)
        if changed is None:
            changed = fields.wire[self._key] = self._changed(fields)
        response.fields = changed
        if not response.bodiless:
            change_body(response, Replacement(patterns, self._is_once))
        return response

    def _is_eligible(self, fields: ResponseFields) -> bool:
        return fields.content_length != 0 and has_type(fields, self._types)

    def _patterns(self, request: Request) -> list[Pattern]:
        """Return the needles for this request, without empty ones."""
        found = [(line.pattern.evaluate(request).lower(), partial(line.replacement.evaluate, request)) for line in self._lines]
        return [pattern for pattern in found if pattern[0]]

    def _changed(self, fields: ResponseFields) -> ResponseFields:
        changed = copied(fields)
        forget_length(changed)
        if self._keeps_modified:
            weaken_etag(changed)
        else:
            changed.last_modified = -1
            without(changed, b"last-modified", b"etag")
        return changed


class Replacement:
    """Replaces needles in one body."""

    __slots__ = ("_held", "_is_once", "_patterns", "_values")

    more = False

    def __init__(self, patterns: list[Pattern], is_once: bool) -> None:
        """is_once: replace only the first match of each needle."""
        self._patterns = list(patterns)
        self._is_once = is_once
        self._values: dict[bytes, bytes] = {}
        self._held = b""

    def feed(self, data: bytes | memoryview) -> bytes:
        """See Change."""
        if not self._patterns:
            return bytes(data)
        return self._replace(self._held + data, False)

    def flush(self) -> bytes:
        """See Change."""
        return b""  # half a needle may be held

    def finish(self) -> bytes:
        """See Change."""
        return self._replace(self._held, True)

    def _replace(self, data: bytes, is_last: bool) -> bytes:
        """Return the output for these bytes; hold the part that cannot be decided yet."""
        lower = data.lower()
        size = len(data)
        position = 0
        pieces: list[bytes] = []
        found = [-1] * len(self._patterns)  # the next match of each needle, if it is known
        while self._patterns:
            at, which = size, -1
            for index, (text, _) in enumerate(self._patterns):
                if found[index] < position:
                    place = lower.find(text, position)
                    found[index] = size if place < 0 else place
                if found[index] < at:
                    at, which = found[index], index
            begun = (size, -1) if is_last else self._begun(lower, position, at)
            if begun < (at, which):
                size = begun[0]
                break
            if which < 0:
                break
            text, replacement = self._patterns[which]
            value = self._values.get(text)
            if value is None:
                value = replacement()
                if self._is_once:
                    del self._patterns[which], found[which]
                else:
                    self._values[text] = value
            pieces += (data[position:at], value)
            position = at + len(text)
        pieces.append(data[position:size])
        self._held = data[size:]
        return b"".join(pieces)

    def _begun(self, lower: bytes, position: int, at: int) -> tuple[int, int]:
        """Return place and index of a needle that begins from `position` to `at` and may go on in the next piece."""
        size = len(lower)
        best = (size, -1)
        for index, (text, _) in enumerate(self._patterns):
            for length in range(min(len(text) - 1, size - position), size - at - 1, -1):
                if length and lower.endswith(text[:length]):
                    best = min(best, (size - length, index))
                    break
        return best

    def __repr__(self) -> str:
        return f"<replacement of {len(self._patterns)} texts, {len(self._held)} bytes held>"
