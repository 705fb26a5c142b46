"""Whether a configuration shows counters: requests are counted only where somebody can see it."""

from __future__ import annotations

from wproxy.config.model import Configuration, Location

# The directives that show counters in a location.
SHOWING = ("metrics", "api", "dashboard")


def wants_counters(configuration: Configuration) -> bool:
    """Whether anything in a configuration shows counters; for others there are none, and no request pays for them."""
    return any(
        server.status_zone or any(_shows_counters(location) for location in server.each_location())
        for server in configuration.servers
    )


def _shows_counters(location: Location) -> bool:
    return location.status_zone_ != "off" or any(location.written.get(word) for word in SHOWING)
