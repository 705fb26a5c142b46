"""Texts before and after responses (nginx: src/http/modules/ngx_http_addition_filter_module.c)."""

from __future__ import annotations

from wproxy.config.registry import GATHER, HTTP, LOCATION, SERVER, directive
from wproxy.config.repeated import repeated_types
from wproxy.directives.media_types import media_types

_LEVELS = HTTP | SERVER | LOCATION


def uri(value: str) -> bytes | None:
    """Return a URI of ours, as it is written; None for an empty one."""
    return value.encode("utf-8", "surrogateescape") or None


class AdditionDirectives:
    """Texts before and after responses."""

    add_before_body: bytes | None = directive(
        uri, _LEVELS, doc="The URI of ours whose response is put before the bodies of others; an empty one for nothing."
    )
    add_after_body: bytes | None = directive(
        uri, _LEVELS, doc="The URI of ours whose response is put after the bodies of others; an empty one for nothing."
    )
    addition_types: tuple[frozenset[bytes], ...] = directive(
        media_types,
        _LEVELS,
        arity=(1, 1000),
        inherit=GATHER,
        warns=repeated_types,
        doc="Types of responses that texts are added to, besides text/html; `*`: all.",
    )
