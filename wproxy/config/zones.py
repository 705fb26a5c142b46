"""The shared memory zones of one configuration: every zone in use is made somewhere, and each has one purpose.

nginx: ngx_shared_memory_add in src/core/ngx_cycle.c, and its callers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from wproxy.config.tree import Node, Position
from wproxy.directives.cache import CachePath
from wproxy.directives.limits import ConnectionLimit, CountedZone, RequestLimit
from wproxy.directives.zones import Zone
from wproxy.zone_memory import LimitZone, limit_zone

if TYPE_CHECKING:
    from wproxy.cache.zone import CacheZone

_CACHES = ("proxy", "fastcgi", "uwsgi", "scgi")
# The directives that make zones or use them.
WITH_ZONES = (
    "limit_req_zone",
    "limit_conn_zone",
    "limit_req",
    "limit_conn",
    "ssl_session_cache",
    "ssl_ocsp_cache",
    *(f"{module}_cache_path" for module in _CACHES),
    *(f"{module}_cache" for module in _CACHES),
)


class Zones:
    """The zones found so far, line by line; call `finish` when everything has been read."""

    def __init__(self, problem: Callable[[str, Position | None], None]) -> None:
        self._problem = problem
        self._made: dict[str, tuple[Zone, Any]] = {}
        self._used: list[tuple[Zone, Node]] = []
        self._paths: dict[str, Position] = {}

    def note(self, lines: tuple[Node, ...], value: Any) -> None:
        """Record the lines of one directive in one block."""
        limited: set[str] = set()
        for line, each in zip(lines, _each(value)):
            zone = each if isinstance(each, Zone) else getattr(each, "zone", None)
            if isinstance(each, CachePath):
                self._check_path(each.path, line.position)
            if zone is None:
                continue
            if isinstance(each, RequestLimit | ConnectionLimit):
                if zone.name in limited:
                    self._problem(f'"{line.name}" directive is duplicate', line.position)
                limited.add(zone.name)
            if zone.size is None:
                self._used.append((zone, line))
            else:
                self._make(zone, each, line.position)

    def _make(self, zone: Zone, value: Any, position: Position) -> None:
        known, first = self._made.setdefault(zone.name, (zone, value))
        if first is value:
            return
        text = ""
        if known.kind != zone.kind:
            text = f'the shared memory zone "{zone.name}" is already declared for a different use'
        elif isinstance(first, CountedZone):
            text = f'{zone.kind} "{zone.name}" is already bound to key "{first.key.text}"'
        elif isinstance(value, CachePath):
            text = f'duplicate zone "{zone.name}"'
        elif known.size != zone.size:
            text = f'the size {zone.size} of shared memory zone "{zone.name}" conflicts with already declared size {known.size}'
        if text:
            self._problem(text, position)

    def _check_path(self, path: str, position: Position) -> None:
        first = self._paths.setdefault(path, position)
        if first is not position:
            self._problem(f'the same path name "{path}" used in {first} and', position)

    def limits(self) -> tuple[LimitZone, ...]:
        """Return the zones of limits, with their memory: to be called when there are no problems."""
        return tuple(
            limit_zone(zone.kind, zone.name, zone.size or 0, value.key, value.rate, value.sync)
            for zone, value in self._made.values()
            if isinstance(value, CountedZone)
        )

    @property
    def has_caches(self) -> bool:
        """Whether there is a zone of a cache."""
        return any(isinstance(value, CachePath) for _, value in self._made.values())

    def caches(self, prefix: str) -> tuple[CacheZone, ...]:
        """Return the zones of caches, likewise."""
        paths = [value for _, value in self._made.values() if isinstance(value, CachePath)]
        if not paths:
            return ()
        from wproxy.cache.zone import cache_zone

        return tuple(cache_zone(value, os.path.join(prefix, value.path)) for value in paths)

    def finish(self) -> None:
        """Report uses of zones that are not made anywhere, or have another purpose."""
        for zone, line in self._used:
            made = self._made.get(zone.name)
            if made is not None and made[0].kind == zone.kind:
                continue
            if made is not None:
                text = f'the shared memory zone "{zone.name}" is already declared for a different use'
            elif zone.kind.endswith("_cache_path"):
                text = f'"{line.name}" zone "{zone.name}" is unknown'
            else:
                text = f'zero size shared memory zone "{zone.name}"'
            self._problem(text, line.position)


def _each(value: Any) -> Iterator[Any]:
    """Yield the values of a gathering directive, or the single one of another; values are named tuples themselves."""
    yield from value if type(value) is tuple else (value,)
