"""`compat`: the nginx version whose defaults apply, where defaults have changed (proxy.md §1.3).

    current   HTTP/1.1 to upstreams, no Connection of ours, 32 idle connections to each group
    1.28      HTTP/1.0, `Connection: close`, no idle connections, as in nginx before 1.29.7

It concerns only directives that are not written: one that is in the configuration counts as it stands.
"""

from __future__ import annotations

from typing import Any

from wproxy.config.registry import HTTP, UPSTREAM
from wproxy.config.scope import Scope
from wproxy.directives.upstream import IdleConnections

# Keyed by the value of `compat`, then by the context of the block that gets them.
DEFAULTS: dict[str, dict[int, dict[str, Any]]] = {
    "current": {},
    "1.28": {
        HTTP: {"proxy_http_version": 10, "sends_close": True},
        UPSTREAM: {"keepalive": IdleConnections(0)},
    },
}


def put_defaults(compat: str, scope: Scope, context: int) -> None:
    """Give a block of that context, and those inside it, the defaults of `compat` that it does not set itself."""
    for name, value in DEFAULTS[compat].get(context, {}).items():
        if name not in scope.values:
            scope.values[name] = scope.heritage[name] = value
