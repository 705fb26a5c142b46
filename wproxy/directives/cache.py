"""The arguments of the directives of a response cache (nginx: ngx_http_file_cache.c and ngx_http_upstream.c)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from wproxy.directives.open_file_cache import seconds
from wproxy.directives.values import flag, parse_time, size
from wproxy.directives.zones import LEAST, Zone, zone_size
from wproxy.template import Template, compile_template

METHODS = ("get", "head", "post")
IGNORED = (
    "x-accel-redirect", "x-accel-expires", "x-accel-limit-rate", "x-accel-buffering", "x-accel-charset",
    "expires", "cache-control", "set-cookie", "vary",
)  # fmt: skip
_LEVELS = re.compile(r"[12](?::[12]){0,2}")


class CachePath(NamedTuple):
    """A `*_cache_path`. parameters: its other parameters by name: bytes, seconds, numbers, booleans."""

    path: str
    zone: Zone
    levels: tuple[int, ...] = ()
    parameters: tuple[tuple[str, float], ...] = ()


class CacheTimes(NamedTuple):
    """A `*_cache_valid`: how long responses of these statuses are valid; without statuses the usual three."""

    statuses: frozenset[int]
    is_any: bool
    seconds: float


class Cache(NamedTuple):
    """A `*_cache`: the zone, or a template of its name; neither for `off`."""

    zone: Zone | None = None
    template: Template | None = None


def _milliseconds(value: str) -> float:
    found = parse_time(value, "wdhms")
    if found is None:
        raise ValueError
    return found


def _number(value: str) -> float:
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise ValueError
    return int(value)


_PARAMETERS: dict[str, Callable[[str], float]] = {
    "inactive": seconds,
    "max_size": size,
    "min_free": size,
    **dict.fromkeys(("loader_files", "manager_files"), _number),
    **dict.fromkeys(("loader_sleep", "loader_threshold", "manager_sleep", "manager_threshold"), _milliseconds),
    "use_temp_path": flag,
}


def kind(module: str) -> str:
    """Return the purpose of the zones of a module."""
    return f"{module}_cache_path"


def cache_path(module: str) -> Callable[..., CachePath]:
    """Return a reader of `PATH keys_zone=NAME:SIZE [PARAMETER=VALUE ...]`."""

    def read(path: str, *words: str) -> CachePath:
        zone: Zone | None = None
        levels: tuple[int, ...] = ()
        parameters: dict[str, float] = {}
        for word in words:
            name, _, value = word.partition("=")
            if name == "levels":
                if not _LEVELS.fullmatch(value):
                    raise ValueError(f'invalid "levels" "{word}"')
                levels = tuple(map(int, value.split(":")))
            elif name == "keys_zone":
                zone = _keys_zone(module, value, word) or zone
            elif name in _PARAMETERS and "=" in word:
                try:
                    parameters[name] = _PARAMETERS[name](value)
                except ValueError:
                    more = ', it must be "on" or "off"' if name == "use_temp_path" else ""
                    raise ValueError(f'invalid {name} value "{word}"{more}') from None
            else:
                raise ValueError(f'invalid parameter "{word}"')
        if zone is None:
            raise ValueError(f'"{module}_cache_path" must have "keys_zone" parameter')
        return CachePath(path.rstrip("/") or "/", zone, levels, tuple(parameters.items()))

    return read


def _keys_zone(module: str, value: str, word: str) -> Zone | None:
    name, colon, bytes_ = value.partition(":")
    if colon and not name:
        return None
    if not zone_size(bytes_):
        raise ValueError(f'invalid keys zone size "{word}"')
    if zone_size(bytes_) < LEAST:
        raise ValueError(f'keys zone "{word}" is too small')
    return Zone(kind(module), name, zone_size(bytes_))


def cache(module: str) -> Callable[[str], Cache]:
    """Return a reader of `off`, or of the name of a zone, which may have variables."""

    def read(name: str) -> Cache:
        if name == "off":
            return Cache()
        if "$" in name:
            return Cache(template=compile_template(name))
        if not name:
            raise ValueError(f'"{module}_cache" zone "" is unknown')
        return Cache(Zone(kind(module), name))

    return read


def cache_times(*words: str) -> CacheTimes:
    """Read `[STATUS ... | any] TIME`."""
    *statuses, last = words
    try:
        duration = seconds(last)
    except ValueError:
        raise ValueError(f'invalid time value "{last}"') from None
    found = set()
    for word in statuses:
        if word == "any":
            continue
        if not (word.isascii() and word.isdigit() and 100 <= int(word) <= 599):
            raise ValueError(f'invalid status "{word}"')
        found.add(int(word))
    return CacheTimes(frozenset(found), "any" in statuses, duration)
