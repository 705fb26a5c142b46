"""The cache of one location, computed at load: proxy_cache and its sisters are read here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from worker.cache.cache import Cache
from worker.logs import log_end, shown
from worker.upstream.buffering import buffering_of
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.passing import Passing
from worker.upstream.protocols.http1 import request_target
from worker.upstream.reshaping import head_writer
from wproxy.caching import CacheNotes
from wproxy.config.model import Location
from wproxy.directives.cache import Cache as CacheSetting
from wproxy.directives.cache import CacheTimes
from wproxy.directives.pass_to import Parameter
from wproxy.directives.proxy import ProxyTarget
from wproxy.http import Request
from wproxy.template import Template, compile_template

# The fields of a request that ask for a part of a response, or for none: the upstream has to send all of it, to be stored. Those
# that ask whether a stored response has changed are made anew (nginx: ngx_http_proxy_cache_headers).
CONDITIONS = tuple(
    (name, compile_template(value))
    for name, value in (
        ("If-Modified-Since", "$upstream_cache_last_modified"),
        ("If-Unmodified-Since", ""),
        ("If-None-Match", "$upstream_cache_etag"),
        ("If-Match", ""),
        ("Range", ""),
        ("If-Range", ""),
    )
)


class UnknownZone(Exception):
    """The zone that a variable names does not exist."""


class CachePlan:
    """The settings of a location for its cache.

    zones: those of its module, by name. methods: those whose answers are stored, HEAD and GET among them. converts_head: whether
    HEAD is sent as GET. use_stale: the failures after which a response is sent that is no longer valid, in the words of
    UpstreamFailure.kind; `updating` among them. buffering: unbuffered answers are not stored. keys_method: whether HEAD and GET
    are known to have keys of their own. no_cache, bypass, purge:
    conditions of which one has to hold. ignored: the fields that are not heeded. no_zone, no_method: the notes of requests that
    the cache is not for.
    """

    __slots__ = (
        "_setting", "background_update", "buffering", "bypass", "converts_head", "ignored", "key", "keys_method", "lock",
        "lock_age", "lock_timeout", "max_range_offset", "methods", "min_uses", "no_cache", "no_method", "no_zone", "purge",
        "revalidate", "settings", "use_stale", "valid", "zones",
    )  # fmt: skip

    def __init__(self, settings: ModuleSettings, zones: dict[str, Cache]) -> None:
        kind = f"{settings.module}_cache_path"
        self.settings = settings
        self.zones = {name: zone for name, zone in zones.items() if zone.zone.kind == kind}
        self._setting: CacheSetting = settings.get("cache")
        self.key: Template | None = settings.get("cache_key")
        if self.key is None:
            self.keys_method = settings.module != "proxy"  # see `key_maker`
        else:
            self.keys_method = self.key.names("request_method") or self.key.names("request")
        self.methods = frozenset(method.upper().encode() for method in settings.get("cache_methods")) | {b"GET", b"HEAD"}
        self.converts_head: bool = settings.get("cache_convert_head", False)
        self.min_uses: int = settings.get("cache_min_uses")
        self.max_range_offset: int | None = settings.get("cache_max_range_offset")
        self.lock: bool = settings.get("cache_lock")
        self.lock_age: float = settings.get("cache_lock_age")
        self.lock_timeout: float = settings.get("cache_lock_timeout")
        self.revalidate: bool = settings.get("cache_revalidate")
        self.background_update: bool = settings.get("cache_background_update")
        words: frozenset[str] = settings.get("cache_use_stale")
        self.use_stale = frozenset() if "off" in words else words | ({"nolive"} if "error" in words else frozenset())
        self.valid: tuple[CacheTimes, ...] = settings.get("cache_valid")
        self.ignored = frozenset(name.encode() for name in settings.get("ignore_headers") or ())
        self.no_cache = _flat(settings.get("no_cache"))
        self.bypass = _flat(settings.get("cache_bypass"))
        self.buffering = buffering_of(settings)
        self.purge = _flat(settings.get("cache_purge"))
        module = settings.module
        self.no_zone = without_dealings(f"{module}_cache names no zone for this request")
        self.no_method = without_dealings(f"the method is not among those of {module}_cache_methods")

    def cache_for(self, request: Request) -> Cache | None:
        """Return the cache of a request; None if there is none for it. Raises UnknownZone."""
        zone, template = self._setting
        if template is None:
            return None if zone is None else self.zones[zone.name]
        name = template.evaluate(request).decode("utf-8", "surrogateescape")
        if name in ("", "off"):
            return None
        found = self.zones.get(name)
        if found is None:
            log_end(request, "error", f'cache "{shown(name.encode("utf-8", "surrogateescape"))}" not found', "conf_value")
            raise UnknownZone(name)
        return found

    def __repr__(self) -> str:
        return f"<cache of {self.settings}>"


def _flat(lines: Iterable[tuple[Template, ...]]) -> tuple[Template, ...]:
    return tuple(template for line in lines for template in line)


def without_dealings(reason: str) -> CacheNotes:
    """Return the notes of all requests that have nothing to do with the cache of their location for this reason."""
    notes = CacheNotes(b"")
    notes.reason = reason
    return notes


def is_met(conditions: tuple[Template, ...], request: Request) -> Template | None:
    """Return the first of these values that is neither empty nor 0; None if there is none."""
    return next((template for template in conditions if template.evaluate(request) not in (b"", b"0")), None)


def key_maker(plan: CachePlan, passing: Passing) -> Callable[[Request], bytes]:
    """Return the function for the text of keys of requests that are passed on like this. Raises ClientError."""
    template = plan.key
    if template is not None:
        return template.evaluate
    location = passing.location
    target: ProxyTarget = passing.settings.get("target")
    is_written = plan.settings.get("target").template is None
    start = (passing.protocol.scheme if not target.is_secure else passing.protocol.secure_scheme).encode()
    start += _place(target, is_written)
    if passing.settings.module == "proxy":
        return lambda request: start + request_target(request, location, target)
    # nginx would keep all responses under one empty key.
    return lambda request: b"%b|%b%b" % (request.method, start, request.line.origin)


def _place(target: ProxyTarget, is_written: bool) -> bytes:
    """Return the place of a target in a key. is_written: whether it stands in the configuration as it is."""
    address = target.address
    assert address is not None
    if not address.is_unix:
        return target.host_header
    # nginx takes the byte after the path, which is the end of its string where no URI follows: its files are to be found.
    end = "\0" if is_written and target.text.endswith(str(address)) else ":"
    return f"{address}{end}".encode("utf-8", "surrogateescape")


def storing_passing(passing: Passing, plan: CachePlan) -> Passing:
    """Return the same for requests whose answers may be stored: they carry no conditions of the client's."""
    location = Location(dict(vars(passing.location)), passing.location.written)
    settings = ModuleSettings(location, passing.settings.module)
    settings.secure_plan = passing.settings.secure_plan
    if settings.module == "proxy":
        given = {name.lower() for name, _ in location.proxy_set_header}
        added = [(name.encode(), value) for name, value in CONDITIONS if name.lower().encode() not in given]
        location.proxy_set_header = (*location.proxy_set_header, *added)
    else:
        parameters: tuple[Parameter, ...] = settings.get("param")
        named = {parameter.name for parameter in parameters}
        more = [(f"HTTP_{name.upper().replace('-', '_')}", value) for name, value in CONDITIONS]
        parameters += tuple(Parameter(name, value, True) for name, value in more if name not in named)
        setattr(location, f"{settings.module}_param", parameters)
    head_plan = passing.protocol.plan(location)
    head_plan.is_stable = head_plan.is_stable and passing.head_plan.is_stable
    noticed = {int(word[5:]) for word in plan.use_stale if word[:5] == "http_"} | ({304} if plan.revalidate else set())
    return replace(
        passing,
        head_plan=head_plan,
        head=head_writer(settings, head_plan),
        noticed_statuses=passing.noticed_statuses | noticed,
    )
