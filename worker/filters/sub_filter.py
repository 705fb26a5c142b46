"""sub_filter (routing.md §5.6; nginx: src/http/modules/ngx_http_sub_filter_module.c).

The leftmost text that is found is replaced, of several at one place the one that was written first; what follows it is searched
on. A text may lie across pieces of the body, so an end that might be the beginning of one is kept until more has come.
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

# A text in lower case, and what makes that which takes its place.
Pattern = tuple[bytes, Callable[[], bytes]]


def sub_filter(location: Location) -> Substitution | None:
    """The filter of a location; None where nothing is to be replaced."""
    return Substitution(location) if location.sub_filter else None


class Substitution:
    """The filter of one location. key: where the changed fields are kept on the originals."""

    __slots__ = ("_is_once", "_keeps_modified", "_key", "_lines", "_types")

    def __init__(self, location: Location) -> None:
        self._lines: tuple[Substitute, ...] = location.sub_filter
        self._types = changed_types(location.sub_filter_types)
        self._is_once = location.sub_filter_once
        self._keeps_modified = location.sub_filter_last_modified
        self._key = next_key()

    def unchanged(self, request: Request, fields: ResponseFields) -> ResponseFields | None:
        """The fields of a response that is not searched; None where it would be."""
        return None if self._is_eligible(fields) and self._patterns(request) else fields

    def __call__(self, request: Request, response: Response) -> Response:
        """Replace the texts in its body."""
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
        """The texts for this request; one that is empty is none."""
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
    """One body in which texts are replaced."""

    __slots__ = ("_held", "_is_once", "_patterns", "_values")

    more = False

    def __init__(self, patterns: list[Pattern], is_once: bool) -> None:
        """is_once: each text where it is found first, and not again."""
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
        return b""  # what is held may be half a text

    def finish(self) -> bytes:
        """See Change."""
        return self._replace(self._held, True)

    def _replace(self, data: bytes, is_last: bool) -> bytes:
        """The output for these bytes; what cannot be decided yet is held."""
        lower = data.lower()
        size = len(data)
        position = 0
        pieces: list[bytes] = []
        found = [-1] * len(self._patterns)  # where each text is next, if that is known
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
        """Where, from `position` on and not after `at`, a text begins that may go on in the next piece, and which it is."""
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
