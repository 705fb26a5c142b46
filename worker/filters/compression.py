"""The common part of the compressing filters: which responses they change, and the fields after it (routing.md §5.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from worker.filters.bodies import Change, change_body
from worker.filters.fields import copied, forget_length, has_type, line_of, next_key, say_vary, weaken_etag, without
from wproxy.config.model import Location
from wproxy.http import Request, Response, ResponseFields

# 200, and errors that are common and have pages of some size; others are rare, and a partial body cannot be compressed.
STATUSES = frozenset((200, 403, 404))


class Versions(NamedTuple):
    """The fields of a response after the filter: if it is compressed, and if it might have been."""

    compressed: ResponseFields
    plain: ResponseFields


class Compression:
    """The filter of one location and one coding. key: the place of the changed fields on the originals."""

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

        start: makes the compressor of one body from the request and the length, -1 for an unknown one.
        """
        self._coding = coding
        self._types = types
        self._least = least
        self._accepts = accepts
        self._start = start
        self._varies = location.gzip_vary
        self._key = next_key()

    def unchanged(self, request: Request, fields: ResponseFields) -> ResponseFields | None:
        """Return the fields of a response that is not compressed; None if it would be."""
        versions = self._versions(fields)
        if versions is None:
            return fields
        return None if self._accepts(request, fields) else versions.plain

    def __call__(self, request: Request, response: Response) -> Response:
        """Compress the response if it should be; add Vary."""
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
        """Return both versions of the fields; None if nothing is compressed for any client."""
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
