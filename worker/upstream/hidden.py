"""The fields of an upstream's answer that a client does not get: proxy_hide_header and the like (proxy.md §3.2)."""

from __future__ import annotations

from typing import Final

from worker.upstream.module_settings import ModuleSettings

# Fields that mean something only to us (proxy.md §3.2).
_FOR_US: Final = frozenset(
    (b"x-accel-expires", b"x-accel-redirect", b"x-accel-limit-rate", b"x-accel-buffering", b"x-accel-charset"),
)
# Further ones, which are made anew or have been read, by module.
_HIDDEN: Final = {
    "proxy": frozenset((b"date", b"server", b"x-pad")),
    "grpc": frozenset((b"date", b"server")),
    "fastcgi": frozenset((b"status",)),
    "scgi": frozenset((b"status",)),
}
_REGENERATED: Final = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"proxy-connection"))


def hidden_fields(settings: ModuleSettings) -> frozenset[bytes]:
    """Return the names of an upstream's fields, in lower case, that a client of this location does not get."""
    passed = {name.lower().encode() for name in settings.get("pass_header", ())}
    more = {name.lower().encode() for name in settings.get("hide_header", ())}
    if settings.get("force_ranges", False):
        more.add(b"accept-ranges")  # then ranges are our decision
    return (_FOR_US | _HIDDEN.get(settings.module, frozenset()) | more) - passed | _REGENERATED
