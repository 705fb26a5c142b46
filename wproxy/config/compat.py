"""`compat`: which nginx's defaults are meant, where they have changed (proxy.md §1.3).

    current   HTTP/1.1 to upstreams, no Connection of ours, 32 idle connections to each group
    1.28      HTTP/1.0, `Connection: close`, no idle connections; so it was until nginx 1.29.7

Only what is not written is concerned: a directive in the configuration counts as it stands.
"""

from __future__ import annotations

from typing import Any

from wproxy.config.registry import HTTP, UPSTREAM
from wproxy.config.scope import Scope
from wproxy.directives.upstream import IdleConnections

# By the value of `compat`, then by the context of the block that they are put into.
DEFAULTS: dict[str, dict[int, dict[str, Any]]] = {
    "current": {},
    "1.28": {
        HTTP: {"proxy_http_version": 10, "sends_close": True},
        UPSTREAM: {"keepalive": IdleConnections(0)},
    },
}


def put_defaults(compat: str, scope: Scope, context: int) -> None:
    """Give a block of that context, and those inside it, the defaults of `compat` for what it does not set itself."""
    for name, value in DEFAULTS[compat].get(context, {}).items():
        if name not in scope.values:
            scope.values[name] = scope.heritage[name] = value
