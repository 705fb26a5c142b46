"""gunzip (routing.md §5.6; nginx: src/http/modules/ngx_http_gunzip_filter_module.c)."""

from __future__ import annotations

import zlib
from typing import NoReturn

from worker.filters.accepting import GzipOk
from worker.filters.bodies import change_body
from worker.filters.fields import copied, forget_length, line_of, next_key, say_vary, weaken_etag, without
from worker.logs import log_request
from wproxy.config.model import Location
from wproxy.failures import UpstreamFailure
from wproxy.http import Request, Response, ResponseFields

_GZIP = 31  # the largest window, with gzip's head and tail
# The largest output of one call, however much is hidden in a few bytes.
PIECE = 65536


def gunzip_filter(location: Location) -> Decompression | None:
    """Return the filter of a location; None if gunzip is off."""
    return Decompression(location) if location.gunzip else None


class Decompression:
    """The filter of one location. key: the place of the changed fields on the originals."""

    __slots__ = ("_accepts", "_key", "_varies")

    def __init__(self, location: Location) -> None:
        self._accepts = GzipOk(location)
        self._varies = location.gzip_vary
        self._key = next_key()

    def unchanged(self, request: Request, fields: ResponseFields) -> ResponseFields | None:
        """Return the fields of a response that is not inflated; None if it would be."""
        if not is_gzip(fields):
            return fields
        return self._versions(fields)[1] if self._accepts(request, fields) else None

    def __call__(self, request: Request, response: Response) -> Response:
        """Inflate a gzip response for a client that does not accept gzip."""
        fields = response.fields
        if not is_gzip(fields):
            return response
        versions = self._versions(fields)
        if self._accepts(request, fields):
            response.fields = versions[1]
            return response
        response.fields = versions[0]
        if not response.bodiless:
            # A body that turns out not to be gzip cuts the connection, as in nginx: the head is out by then.
            change_body(response, Inflation(request), at_once=False)
        return response

    def _versions(self, fields: ResponseFields) -> tuple[ResponseFields, ResponseFields]:
        """Return the fields of the inflated response, and of one that may stay as it is."""
        versions: tuple[ResponseFields, ResponseFields] | None = fields.wire.get(self._key)
        if versions is None:
            versions = fields.wire[self._key] = self._make_versions(fields)
        return versions

    def _make_versions(self, fields: ResponseFields) -> tuple[ResponseFields, ResponseFields]:
        kept = fields
        if self._varies:
            kept = copied(fields)
            say_vary(kept)
        inflated = copied(kept)
        without(inflated, b"content-encoding", b"accept-ranges")
        weaken_etag(inflated)
        forget_length(inflated)
        return inflated, kept


def is_gzip(fields: ResponseFields) -> bool:
    """Whether gzip is the only coding."""
    coding = line_of(fields, b"content-encoding")
    return coding is not None and coding.lower() == b"gzip"


class Inflation:
    """Inflates one body; it may be several gzip members in a row."""

    __slots__ = ("_inflater", "_left", "_request", "more")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._inflater = zlib.decompressobj(_GZIP)
        self._left = b""
        self.more = False

    def feed(self, data: bytes | memoryview) -> bytes:
        """See Change."""
        if not data:
            data, self._left = self._left, b""
        elif self._inflater.eof:
            self._inflater = zlib.decompressobj(_GZIP)
        try:
            output = self._inflater.decompress(data, PIECE)
        except zlib.error as error:
            self._fail(f"inflate() failed: {error}")
        if self._inflater.eof:
            self._left = self._inflater.unused_data
            if self._left:
                self._inflater = zlib.decompressobj(_GZIP)
            self.more = bool(self._left)
        else:
            self._left = self._inflater.unconsumed_tail
            self.more = bool(self._left) or len(output) >= PIECE
        return output

    def flush(self) -> bytes:
        """See Change."""
        return b""

    def finish(self) -> bytes:
        """See Change."""
        if not self._inflater.eof:
            self._fail("inflate() has not seen the end of a member on response end")
        return b""

    def _fail(self, text: str) -> NoReturn:
        log_request(self._request, "error", f"{text} while sending response to client", code="up_bad_body")
        self._request.ends("up_bad_body", text)
        raise UpstreamFailure("error", text, "sending response to client", "up_bad_body")
