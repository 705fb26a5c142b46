"""What the compressing filters have in common: which responses, and what becomes of their fields (routing.md §5.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from worker.filters.bodies import Change, change_body
from worker.filters.fields import copied, forget_length, has_type, line_of, next_key, say_vary, weaken_etag, without
from wproxy.config.model import Location
from wproxy.http import Request, Response, ResponseFields

# Errors that are met often and have pages of some size; others are rare, and a partial body cannot be compressed.
STATUSES = frozenset((200, 403, 404))


class Versions(NamedTuple):
    """What the fields of a response become: where it is compressed, and where it might have been."""

    compressed: ResponseFields
    plain: ResponseFields


class Compression:
    """The filter of one location and one coding. key: where the changed fields are kept on the originals."""

    __slots__ = ("_accepts", "_coding", "_key", "_least", "_start", "_types", "_varies")

    def __init__(
        self,
        location: Location,
        coding: bytes,
        types: frozenset[bytes] | None,
        least: int,
        accepts: Callable[[Request, ResponseFields], bool],
        start: Callable[[Request, int], Change],
    ) -> None:
        """types: None for all. least: the smallest Content-Length. accepts: whether the client gets it.

        start: makes the compressor of one body; it is told the length, -1 when that is not known.
        """
        self._coding = coding
        self._types = types
        self._least = least
        self._accepts = accepts
        self._start = start
        self._varies = location.gzip_vary
        self._key = next_key()

    def unchanged(self, request: Request, fields: ResponseFields) -> ResponseFields | None:
        """The fields of a response that is not compressed; None where it would be."""
        versions = self._versions(fields)
        if versions is None:
            return fields
        return None if self._accepts(request, fields) else versions.plain

    def __call__(self, request: Request, response: Response) -> Response:
        """Compress it, if it should be; say what it varies by."""
        fields = response.fields
        versions = self._versions(fields)
        if versions is None:
            return response
        if not self._accepts(request, fields):
            response.fields = versions.plain
            return response
        response.fields = versions.compressed
        if not response.bodiless:
            change_body(response, self._start(request, fields.content_length))
        return response

    def _versions(self, fields: ResponseFields) -> Versions | None:
        """What the fields become; None where nothing is compressed, whoever asks."""
        key = self._key
        if key in fields.wire:
            versions: Versions | None = fields.wire[key]
        else:
            versions = fields.wire[key] = self._make_versions(fields) if self._is_eligible(fields) else None
        return versions

    def _is_eligible(self, fields: ResponseFields) -> bool:
        return (
            fields.status in STATUSES
            and not 0 <= fields.content_length < self._least
            and has_type(fields, self._types)
            and not line_of(fields, b"content-encoding")
        )

    def _make_versions(self, fields: ResponseFields) -> Versions:
        plain = fields
        if self._varies:
            plain = copied(fields)
            say_vary(plain)
        compressed = copied(plain)
        weaken_etag(compressed)
        forget_length(compressed)
        without(compressed, b"accept-ranges")
        compressed.lines += ((b"Content-Encoding", self._coding),)
        return Versions(compressed, plain)
