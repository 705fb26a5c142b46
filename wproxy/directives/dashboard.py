"""The dashboard: a page that shows what the server is doing.

dashboard [write=on|off]
"""

from __future__ import annotations

from wproxy.config.registry import LOCATION, OWN, directive
from wproxy.directives.api import api


class DashboardDirectives:
    """In a location."""

    dashboard: str | None = directive(
        api,
        LOCATION,
        arity=(0, 1),
        inherit=OWN,
        doc="Show what the server is doing, as a page that is live; with write=on it changes upstreams. Limit it with allow.",
    )
