"""Server side includes (nginx: src/http/modules/ngx_http_ssi_filter_module.c)."""

from __future__ import annotations

from wproxy.config.registry import GATHER, HTTP, LOCATION, LOCATION_IF, SERVER, directive
from wproxy.config.repeated import repeated_types
from wproxy.directives.http_core import memory
from wproxy.directives.media_types import media_types
from wproxy.directives.values import flag
from wproxy.variables.namespace import Namespace, active_namespace

_LEVELS = HTTP | SERVER | LOCATION


def ssi(value: str) -> Namespace | None:
    """Read `on` or `off`; return the variables that pages may name, None for off."""
    return active_namespace() if flag(value) else None


class SsiDirectives:
    """Server side includes."""

    ssi: Namespace | None = directive(
        ssi, _LEVELS | LOCATION_IF, default="off", doc="Whether the commands in pages, such as <!--#include -->, are carried out."
    )
    ssi_types: tuple[frozenset[bytes], ...] = directive(
        media_types,
        _LEVELS,
        arity=(1, 1000),
        inherit=GATHER,
        warns=repeated_types,
        doc="Types of pages with commands, besides text/html; `*`: all.",
    )
    ssi_last_modified: bool = directive(flag, _LEVELS, default="off", doc="Whether such pages keep Last-Modified.")
    ssi_silent_errors: bool = directive(flag, _LEVELS, default="off", doc="Whether failed commands leave no text in the page.")
    ssi_value_length: int = directive(memory, _LEVELS, default="255", doc="The longest value of a parameter of a command.")
