"""The cache of responses: proxy_cache and its sisters (nginx: ngx_http_file_cache.c and ngx_http_upstream.c; proxy.md §7).

fastcgi_cache, uwsgi_cache and scgi_cache have the same rows, by `wproxy.directives.like_proxy`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from wproxy.config.registry import GATHER, HTTP, LOCATION, OWN_GATHER, SERVER, UNION, directive
from wproxy.directives.http_core import memory
from wproxy.directives.open_file_cache import seconds
from wproxy.directives.pass_to import PROXY_FAILURES
from wproxy.directives.proxy_headers import any_of
from wproxy.directives.values import flag, number, parse_time, size, time, words
from wproxy.directives.zones import Zone
from wproxy.template import Template, compile_template

METHODS = ("get", "head", "post")
# nginx's allocator has no room for a zone in less than three pages.
LEAST_KEYS = 3 * 4096
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
    if not (value.isascii() and value.isdigit() and len(value) < 19):  # it fits 64 bits
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


def cache_path(name: str) -> Callable[..., CachePath]:
    """Return a reader of `PATH keys_zone=NAME:SIZE [PARAMETER=VALUE ...]`. name: that of the directive."""

    def read(path: str, *written: str) -> CachePath:
        zone: Zone | None = None
        levels: tuple[int, ...] = ()
        parameters: dict[str, float] = {}
        for word in written:
            parameter, equals, value = word.partition("=")
            if not equals:
                raise ValueError(f'invalid parameter "{word}"')
            if parameter == "levels":
                if value and not _LEVELS.fullmatch(value):
                    raise ValueError(f'invalid "levels" "{word}"')
                levels = tuple(map(int, filter(None, value.split(":"))))
            elif parameter == "keys_zone":
                zone = _keys_zone(name, value, word) or zone
            elif parameter in _PARAMETERS:
                try:
                    parameters[parameter] = _PARAMETERS[parameter](value)
                except ValueError:
                    more = ', it must be "on" or "off"' if parameter == "use_temp_path" else ""
                    raise ValueError(f'invalid {parameter} value "{word}"{more}') from None
            else:
                raise ValueError(f'invalid parameter "{word}"')
        if zone is None:
            raise ValueError(f'"{name}" must have "keys_zone" parameter')
        return CachePath(path.rstrip("/") or "/", zone, levels, tuple(parameters.items()))

    return read


def _keys_zone(kind: str, value: str, word: str) -> Zone | None:
    name, colon, bytes_ = value.partition(":")
    if colon and not name:
        return None
    try:
        found = memory(bytes_)
    except ValueError:
        raise ValueError(f'invalid keys zone size "{word}"') from None
    if found < LEAST_KEYS:
        raise ValueError(f'keys zone "{word}" is too small')
    return Zone(kind, name, found)


def cache(name: str) -> Callable[[str], Cache]:
    """Return a reader of `off`, or of the name of a zone, which may have variables. name: that of the directive."""

    def read(zone: str) -> Cache:
        if zone == "off":
            return Cache()
        if "$" in zone:
            return Cache(template=compile_template(zone))
        if not zone:
            raise ValueError(f'"{name}" zone "" is unknown')
        return Cache(Zone(f"{name}_path", zone))

    return read


def cache_times(*written: str) -> CacheTimes:
    """Read `[STATUS ... | any] TIME`."""
    *statuses, last = written
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


LEVELS = HTTP | SERVER | LOCATION


class CacheDirectives:
    """Responses of upstreams that are kept on disk and sent again."""

    proxy_cache_path: tuple[CachePath, ...] = directive(
        cache_path("proxy_cache_path"),
        HTTP,
        arity=(2, 1000),
        inherit=OWN_GATHER,
        doc="A directory of stored responses, with `keys_zone=NAME:SIZE` and, if wanted, `levels=`, `max_size=`, `min_free=`, "
        "`inactive=`, `use_temp_path=` and the pace of its manager and loader.",
    )
    proxy_cache: Cache | None = directive(
        cache("proxy_cache"), LEVELS, default="off", doc="The zone of the responses that are kept and sent again, or off."
    )
    proxy_cache_key: Template | None = directive(
        compile_template,
        LEVELS,
        doc="The key of a stored response; without it, the URL of the request to the upstream.",
    )
    proxy_cache_valid: tuple[CacheTimes, ...] = directive(
        cache_times,
        LEVELS,
        arity=(1, 1000),
        inherit=GATHER,
        doc="How long responses are valid that do not say so themselves: statuses or any, and a time; without statuses 200, 301 "
        "and 302.",
    )
    proxy_cache_bypass: tuple[tuple[Template, ...], ...] = directive(
        any_of,
        LEVELS,
        arity=(1, 1000),
        inherit=GATHER,
        doc="When a stored response is not sent: if one of these values is not empty and not 0.",
    )
    proxy_no_cache: tuple[tuple[Template, ...], ...] = directive(
        any_of,
        LEVELS,
        arity=(1, 1000),
        inherit=GATHER,
        doc="When a response is not stored: if one of these values is not empty and not 0.",
    )
    proxy_cache_purge: tuple[tuple[Template, ...], ...] = directive(
        any_of,
        LEVELS,
        arity=(1, 1000),
        inherit=GATHER,
        doc="When a request removes the stored response of its key, or of all keys that begin with it before a `*`: if one of "
        "these values is not empty and not 0.",
    )
    proxy_cache_methods: frozenset[str] = directive(
        words(METHODS),
        LEVELS,
        arity=(1, 1000),
        default=("GET", "HEAD"),
        inherit=UNION,
        doc="The methods whose responses are stored; GET and HEAD always are.",
    )
    proxy_cache_min_uses: int = directive(
        number(), LEVELS, default="1", doc="After how many requests for a key its response is stored."
    )
    proxy_cache_max_range_offset: int | None = directive(
        size, LEVELS, doc="From which offset on a range is asked of the upstream, and not stored; without it, none is."
    )
    proxy_cache_convert_head: bool = directive(
        flag, LEVELS, default="on", doc="Whether HEAD is sent to the upstream as GET, so that the response can be stored."
    )
    proxy_cache_revalidate: bool = directive(
        flag, LEVELS, default="off", doc="Whether the upstream is asked if a response that is no longer valid has changed."
    )
    proxy_cache_use_stale: frozenset[str] = directive(
        words(PROXY_FAILURES),
        LEVELS,
        arity=(1, 1000),
        default="off",
        inherit=UNION,
        doc="When a response is sent that is no longer valid: after which failures of the upstream, and while it is updating.",
    )
    proxy_cache_background_update: bool = directive(
        flag, LEVELS, default="off", doc="Whether a response is updated after the client got the old one, if it may get that."
    )
    proxy_cache_lock: bool = directive(
        flag, LEVELS, default="off", doc="Whether only one of several requests for a key that is not stored goes to the upstream."
    )
    proxy_cache_lock_age: float = directive(
        time, LEVELS, default="5s", doc="After what time the next one of the waiting requests goes to the upstream too."
    )
    proxy_cache_lock_timeout: float = directive(
        time, LEVELS, default="5s", doc="How long a request waits for another one; then its response is not stored."
    )
