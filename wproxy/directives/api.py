"""Control at run time (the shapes are those of nginx's commercial ngx_http_api_module)."""

from __future__ import annotations

from wproxy.config.registry import LOCATION, OWN, directive
from wproxy.directives.values import flag


def api(write: str | None = None) -> str:
    """Read `api [write=on|off]`: "read" or "write"."""
    if write is None:
        return "read"
    if not write.startswith("write="):
        raise ValueError(f'invalid parameter "{write}"')
    return "write" if flag(write[6:]) else "read"


class ApiDirectives:
    """In a location."""

    api: str | None = directive(
        api,
        LOCATION,
        arity=(0, 1),
        inherit=OWN,
        doc="Show upstreams as JSON here and, with write=on, change them: limit it with allow and deny.",
    )
