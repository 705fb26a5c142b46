"""Counters as text for Prometheus and programs that read the same formats.

metrics [zones=named|servers|locations] [compat=none|oss|plus] [buckets=SECONDS,...]
"""

from __future__ import annotations

from typing import NamedTuple

from wproxy.config.registry import LOCATION, OWN, directive
from wproxy.counters.buckets import BOUNDS

# Those that are shown unless a configuration says otherwise: without three that tell little beside their neighbours.
SHOWN_BOUNDS = tuple(bound for bound in BOUNDS if bound not in (0.075, 0.75, 7.5))
ZONES = ("named", "servers", "locations")
COMPAT = ("none", "oss", "plus")


class Metrics(NamedTuple):
    """A `metrics`.

    zones: what requests are told apart by: status_zone, the server, or the location. compat: whose names are shown beside ours:
    those of nginx-prometheus-exporter for nginx, or for nginx Plus. bounds: of the buckets of histograms, in seconds.
    """

    zones: str = "servers"
    compat: str = "oss"
    bounds: tuple[float, ...] = SHOWN_BOUNDS


def metrics(*parameters: str) -> Metrics:
    """Read the parameters of `metrics`."""
    found = Metrics()
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "zones" and value in ZONES:
            found = found._replace(zones=value)
        elif name == "compat" and value in COMPAT:
            found = found._replace(compat=value)
        elif name == "buckets":
            found = found._replace(bounds=_bounds(value))
        else:
            raise ValueError(f'invalid parameter "{parameter}"')
    return found


def _bounds(text: str) -> tuple[float, ...]:
    """Return the bounds of a list. Raises ValueError: only those that are counted by can be shown."""
    try:
        bounds = tuple(sorted({float(each) for each in text.split(",")}))
    except ValueError:
        bounds = ()
    if not bounds or not set(bounds) <= set(BOUNDS):
        known = ", ".join(f"{bound:g}" for bound in BOUNDS)
        raise ValueError(f'invalid buckets "{text}": they are seconds among {known}')
    return bounds


class MetricsDirectives:
    """In a location."""

    metrics: Metrics | None = directive(
        metrics,
        LOCATION,
        arity=(0, 3),
        inherit=OWN,
        doc="Answer with counters for Prometheus, by zones=servers, locations or named (status_zone). Limit it with allow.",
    )
