"""gzip_static, brotli_static, zstd_static: a file that lies compressed beside the one that is asked for (routing.md §5.6;
nginx: ngx_http_gzip_static_module.c).

Of several that are there and accepted the smallest kind is sent: zstd, then brotli, then gzip. With `always` the client is not
asked. Whether a client may be sent something compressed is decided as for `gzip`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from worker.content.coding import accepts, may_compress
from worker.content.open_files import NOT_FOUND, access_of, failed
from worker.content.static import refuse_special, send_file
from worker.logs import log_request
from wproxy.config.model import Location
from wproxy.files import Unmappable, shown_path
from wproxy.http import Request, Response

# Directive, Content-Encoding, what is added to the name of the file; the best first.
CODINGS = (("zstd_static", b"zstd", b".zst"), ("brotli_static", b"br", b".br"), ("gzip_static", b"gzip", b".gz"))


def sending_precompressed(location: Location) -> Callable[[Request], Awaitable[Response | None]] | None:
    """The handler of a location with any of them, None for one without."""
    wanted = [
        (coding, suffix, getattr(location, name) == "always")
        for name, coding, suffix in CODINGS
        if getattr(location, name) != "off"
    ]
    if not wanted:
        return None
    access = access_of(location)

    def look_for(request: Request, path: bytes, coding: bytes) -> Response | None:
        try:
            file = access.open(request, path)
        except OSError as error:
            if error.errno not in NOT_FOUND:
                level = "error" if error.errno in (13, 40) else "crit"
                log_request(request, level, failed(access.call, shown_path(path), error))
            return None
        response = None
        try:
            if file.is_directory:
                return None
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
            return None  # whoever comes next says why
        for coding, suffix, is_always in wanted:
            if is_always or (accepts(request, coding) and may_compress(request)):
                response = look_for(request, path + suffix, coding)
                if response is not None:
                    return response
        return None

    return send_precompressed
