"""The fields of an upstream's answer that a client does not get: proxy_hide_header, proxy_pass_header (proxy.md §3.2)."""

from __future__ import annotations

from worker.upstream.module_settings import ModuleSettings

# Fields that are made anew or mean something only to us (proxy.md §3.2).
_HIDDEN = (
    b"date",
    b"server",
    b"x-pad",
    b"x-accel-expires",
    b"x-accel-redirect",
    b"x-accel-limit-rate",
    b"x-accel-buffering",
    b"x-accel-charset",
)
_REGENERATED = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"proxy-connection"))


def hidden_fields(settings: ModuleSettings) -> frozenset[bytes]:
    """Return the names of an upstream's fields, in lower case, that a client of this location does not get."""
    passed = {name.lower().encode() for name in settings.get("pass_header", ())}
    more = {name.lower().encode() for name in settings.get("hide_header", ())}
    if settings.get("force_ranges", False):
        more.add(b"accept-ranges")  # then ranges are our decision
    return (frozenset(_HIDDEN) | more) - passed | _REGENERATED
