"""gzip_static, brotli_static, zstd_static: a compressed file next to the requested one (routing.md §5.6; nginx:
ngx_http_gzip_static_module.c).

Of several that exist and are accepted, the one that is usually smallest is sent: br, then zstd, then gzip. With `always` the
client is not asked. With `gzip_vary` a file with a compressed variant gets a Vary, whichever of them is sent. The clients that
may get one are those of the compressing filters (filters/accepting.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from worker.content.open_files import FORBIDDEN, NOT_FOUND, OpenFile, failed
from worker.content.opening import access_of
from worker.content.static import answer_with_file, refuse_special, send_file
from worker.filters.accepting import GzipOk, Takes
from worker.filters.fields import copied, next_key, say_vary
from worker.logs import log_request
from wproxy.config.model import Location
from wproxy.files import Unmappable, shown_path
from wproxy.http import Request, Response, ResponseFields

_UNKNOWN = ResponseFields(200)  # nothing is known of a response while its file is looked for (gzip_proxied reads it)
_VARYING = next_key()  # the key of the fields with Vary in `ResponseFields.wire`


class Variant(NamedTuple):
    """One coding in one location. suffix: that of the file name. accepts: whether a client gets it."""

    coding: bytes
    suffix: bytes
    is_always: bool
    accepts: Callable[[Request, ResponseFields], bool]


def variants_of(location: Location) -> tuple[Variant, ...]:
    """Return the variants that a location looks for, the best first."""
    modes = (
        (location.brotli_static, Variant(b"br", b".br", location.brotli_static == "always", Takes(b"br"))),
        (location.zstd_static, Variant(b"zstd", b".zst", location.zstd_static == "always", Takes(b"zstd"))),
        (location.gzip_static, Variant(b"gzip", b".gz", location.gzip_static == "always", GzipOk(location))),
    )
    return tuple(variant for mode, variant in modes if mode != "off")


def sending_precompressed(location: Location) -> Callable[[Request], Awaitable[Response | None]] | None:
    """Return the handler of a location with any variants, None for one without."""
    variants = variants_of(location)
    if not variants:
        return None
    access = access_of(location)
    says_vary = location.gzip_vary

    def open_variant(request: Request, path: bytes) -> OpenFile | None:
        try:
            file = access.open(request, path)
        except OSError as error:
            if error.errno not in NOT_FOUND:
                level = "error" if error.errno in FORBIDDEN else "crit"
                log_request(request, level, failed(access.call, shown_path(path), error))
            return None
        if file.is_directory:
            file.close()
            return None
        return file

    def send_variant(request: Request, path: bytes, file: OpenFile, coding: bytes) -> Response:
        response = None
        try:
            response = send_file(request, file, coding) if file.is_file else refuse_special(request, path)
            return response
        finally:
            if response is None or response.source is None:
                file.close()

    async def send_precompressed(request: Request) -> Response | None:
        if request.method not in (b"GET", b"HEAD") or request.path.endswith(b"/"):
            return None
        try:
            path = location.files.path(request)
        except Unmappable:
            return None  # the next handler gives the reason
        varies = False
        for coding, suffix, is_always, accepts in variants:
            may_have = is_always or accepts(request, _UNKNOWN)
            if not may_have and not says_vary:
                continue
            file = open_variant(request, path + suffix)
            if file is None:
                continue
            varies = varies or not is_always
            if may_have:
                response = send_variant(request, path + suffix, file, coding)
                return varying(response) if says_vary and varies else response
            file.close()
        return varying(answer_with_file(request, access)) if says_vary and varies else None

    return send_precompressed


def varying(response: Response) -> Response:
    """Return the response with a Vary, whatever its status."""
    fields = response.fields
    kept: ResponseFields | None = fields.wire.get(_VARYING)
    if kept is None:
        kept = fields.wire[_VARYING] = copied(fields)
        say_vary(kept)
    response.fields = kept
    return response
