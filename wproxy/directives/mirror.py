"""Copies of requests (nginx: src/http/modules/ngx_http_mirror_module.c)."""

from __future__ import annotations

from wproxy.config.registry import GATHER, HTTP, LOCATION, SERVER, directive
from wproxy.directives.values import flag

_LEVELS = HTTP | SERVER | LOCATION


def target(value: str) -> bytes | None:
    """Return the URI of ours that gets copies, as it is written; None for `off`."""
    return None if value == "off" else value.encode("utf-8", "surrogateescape")


class MirrorDirectives:
    """Copies of requests."""

    mirror: tuple[bytes | None, ...] = directive(
        target, _LEVELS, inherit=GATHER, doc="The URI of ours that gets a copy of each request, in the background; off: none."
    )
    mirror_request_body: bool = directive(
        flag, _LEVELS, default="on", doc="Whether copies have the body: then it is read before the request goes on."
    )
