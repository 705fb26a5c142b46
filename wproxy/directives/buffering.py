"""Buffering between an upstream and a client that may be slower, and limits of bandwidth (proxy.md §3.3).

nginx: src/event/ngx_event_pipe.c, ngx_http_upstream.c, ngx_http_write_filter_module.c. The purpose of buffering: an upstream is
done with a response as soon as the proxy has all of it, however slow the client is. These directives limit that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from wproxy.config.registry import HTTP, LOCATION, LOCATION_IF, SERVER, directive
from wproxy.directives.http_core import header_buffers, memory
from wproxy.directives.temporary_path import TemporaryPath, temporary_path
from wproxy.directives.values import flag, time
from wproxy.template import Template, compile_template

if TYPE_CHECKING:
    from wproxy.config.model import Location

LEVELS = HTTP | SERVER | LOCATION


def rate(value: str) -> int | Template:
    """Return bytes a second or, with variables, a template of them; 0 is no limit."""
    return compile_template(value) if "$" in value else memory(value)


class BufferingDirectives:
    """Reading ahead of a client that is slower than the upstream."""

    proxy_buffering: bool = directive(
        flag,
        LEVELS,
        default="on",
        doc="Whether a response is read ahead of a slower client, so that the upstream is done with it early.",
    )
    proxy_buffers: tuple[int, int] = directive(
        header_buffers,
        LEVELS,
        arity=2,
        default=("8", "4k"),
        doc="How much may be read ahead into memory: number and size of buffers. The rest goes to a temporary file.",
    )
    proxy_busy_buffers_size: int | None = directive(
        memory, LEVELS, doc="Checked as in nginx but without effect: data for a client is never held back."
    )
    proxy_max_temp_file_size: int = directive(
        memory, LEVELS, default="1024m", doc="How much of a response may be read ahead into a temporary file; 0 is nothing."
    )
    proxy_temp_file_write_size: int | None = directive(
        memory, LEVELS, doc="How much is written to a temporary file at once; a megabyte unless set."
    )
    proxy_temp_path: TemporaryPath | None = directive(
        temporary_path,
        LEVELS,
        arity=(1, 4),
        doc="The directory for data read ahead beyond proxy_buffers; without it nameless files in /var/tmp are used.",
    )
    proxy_limit_rate: int | Template = directive(
        rate,
        LEVELS,
        default="0",
        doc="The bytes per second read of each response; 0 is no limit. Only with proxy_buffering.",
    )
    proxy_tunnel_timeout: float | None = directive(
        time, LEVELS, doc="How long an upgraded connection may be without traffic; proxy_read_timeout unless set."
    )
    limit_rate: int | Template = directive(
        rate, LEVELS | LOCATION_IF, default="0", doc="The bytes per second sent of each response; 0 is no limit."
    )
    limit_rate_after: int | Template = directive(
        rate, LEVELS | LOCATION_IF, default="0", doc="The bytes of each response that are sent before limit_rate applies."
    )


# nginx's defaults for the protocols that buffer a response as proxy does: a page each.
_BUFFERS, _PAGE = (8, 4096), 4096
_SIZES = ("buffers", "buffer_size", "busy_buffers_size", "temp_file_write_size", "max_temp_file_size")
_OTHERS = ("fastcgi", "uwsgi", "scgi")
_OTHER_SIZES = frozenset(f"{module}_{size}" for module in _OTHERS for size in _SIZES)


def wrong_buffers(location: Location) -> Iterator[tuple[str, ...]]:
    """Return a conflict among a location's sizes: nginx's words for it, then the directives to blame, the likeliest first (nginx:
    ngx_http_proxy_merge_loc_conf and its like).
    """
    yield from _wrong_buffers(location, "proxy")
    values = vars(location)
    if not _OTHER_SIZES.isdisjoint(values):
        for module in _OTHERS:
            yield from _wrong_buffers(location, module)


def _wrong_buffers(location: Location, module: str) -> Iterator[tuple[str, ...]]:
    def value(name: str, default: Any = None) -> Any:
        return getattr(location, f"{module}_{name}", default)

    count, each = value("buffers", _BUFFERS)
    largest = max(value("buffer_size", _PAGE), each)
    if count < 2:
        yield f'there must be at least 2 "{module}_buffers"', f"{module}_buffers"
        return
    busy = value("busy_buffers_size")
    if busy is None:
        busy = 2 * largest
    least = (
        f'must be equal to or greater than the maximum of the value of "{module}_buffer_size" and one of the "{module}_buffers"'
    )
    if busy < largest:
        yield f'"{module}_busy_buffers_size" {least}', f"{module}_busy_buffers_size"
    if busy > (count - 1) * each:
        text = f'"{module}_busy_buffers_size" must be less than the size of all "{module}_buffers" minus one buffer'
        yield text, f"{module}_busy_buffers_size", f"{module}_buffer_size", f"{module}_buffers"
    write_size = value("temp_file_write_size")
    if write_size is not None and write_size < largest:
        yield f'"{module}_temp_file_write_size" {least}', f"{module}_temp_file_write_size"
    most = value("max_temp_file_size", 0)
    if most and most < largest:
        text = f'"{module}_max_temp_file_size" must be equal to zero to disable temporary files usage or {least}'
        yield text, f"{module}_max_temp_file_size", f"{module}_buffers", f"{module}_buffer_size"
