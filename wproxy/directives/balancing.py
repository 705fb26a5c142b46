"""Parameters of the methods by which a group balances requests (nginx:
ngx_http_upstream_{hash,least_time,random,sticky}_module.c).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wproxy.directives.values import number, parse_time, size
from wproxy.redis_url import RedisServer, redis_server
from wproxy.template import Template, compile_template, compile_variable, literal

_NO_KEY = literal("")


class Balancing(NamedTuple):
    """A balancing method and its parameters.

    method: an entry of worker.upstream.balance.BALANCE. refuses: parameters of `server` that make no sense with it.
    measure: "header" or "last_byte" for a method that goes by times, else empty.
    """

    method: str
    key: Template = _NO_KEY
    measure: str = ""
    inflight: bool = False
    refuses: tuple[str, ...] = ()


_BY_KEY = ("backup", "slow_start")
MEASURES = ("header", "last_byte")
ROUND_ROBIN = Balancing("round_robin")


# Methods without parameters.
IP_HASH = Balancing("ip_hash", refuses=_BY_KEY)
LEAST_CONN = Balancing("least_conn")


def present() -> bool:
    """Read a directive without arguments."""
    return True


def hash_key(key: str, consistent: str | None = None) -> Balancing:
    """Read `hash KEY [consistent]`."""
    if consistent not in (None, "consistent"):
        raise ValueError(f'invalid parameter "{consistent}"')
    return Balancing("hash consistent" if consistent else "hash", compile_template(key), refuses=_BY_KEY)


def random(two: str | None = None, by: str = "least_conn") -> Balancing:
    """Read `random [two [least_conn | least_time=header | least_time=last_byte]]`."""
    if two not in (None, "two"):
        raise ValueError(f'invalid parameter "{two}"')
    measure = by.removeprefix("least_time=")
    if by != "least_conn" and (measure == by or measure not in MEASURES):
        raise ValueError(f'invalid parameter "{by}"')
    return Balancing("random two" if two else "random", measure="" if by == "least_conn" else measure, refuses=_BY_KEY)


def least_time(measure: str, inflight: str | None = None) -> Balancing:
    """Read `least_time header|last_byte [inflight]`."""
    if measure not in MEASURES:
        raise ValueError(f'invalid value "{measure}"')
    if inflight not in (None, "inflight"):
        raise ValueError(f'invalid parameter "{inflight}"')
    return Balancing("least_time", measure=measure, inflight=inflight is not None)


def queue(limit: str, timeout: str = "timeout=60s") -> tuple[int, float]:
    """Read `queue NUMBER [timeout=TIME]`: (the most that may wait, how long in seconds)."""
    seconds = parse_time(timeout.removeprefix("timeout=")) if timeout.startswith("timeout=") else None
    if seconds is None:
        raise ValueError(f'invalid parameter "{timeout}"')
    return number(1)(limit), seconds


# sticky.


class StickyPlan(NamedTuple):
    """A `sticky`.

    kind: "cookie", "route" or "learn". lookup: the sources of a session in a request; create: those in a response. expires:
    seconds, -1 for `max`, None for a session cookie. zone, size: name and bytes of the table of sessions; timeout: seconds.
    sync: whether machines share the sessions; server: where.
    """

    kind: str
    lookup: tuple[Template, ...] = ()
    name: bytes = b""
    expires: int | None = None
    domain: Template | None = None
    path: bytes = b""
    httponly: bool = False
    secure: bool = False
    samesite: Template | None = None
    create: tuple[Template, ...] = ()
    zone: str = ""
    size: int = 0
    timeout: float = 600.0
    header: bool = False
    sync: bool = False
    server: RedisServer | None = None


# 32k, as in nginx: less is a mistake.
_LEAST_ZONE = 32768


def sticky(kind: str, *arguments: str) -> StickyPlan:
    """Read `sticky cookie NAME ...`, `sticky route $VARIABLE ...` or `sticky learn create=$V lookup=$V zone=NAME:SIZE ...`."""
    readers: dict[str, Callable[..., StickyPlan]] = {"cookie": _sticky_cookie, "route": _sticky_route, "learn": _sticky_learn}
    if kind not in readers:
        raise ValueError(f'unknown parameter "{kind}"')
    return readers[kind](*arguments)


def _sticky_route(*variables: str) -> StickyPlan:
    return StickyPlan("route", tuple(map(compile_variable, variables)))


def _sticky_cookie(name: str, *parameters: str) -> StickyPlan:
    if not name:
        raise _wrong("empty cookie name")
    if not all(character.isalnum() or character in "!#%&'*+-.^_`|~" for character in name) or not name.isascii():
        raise ValueError(f'invalid cookie name "{name}"')  # it would break the header
    plan = StickyPlan("cookie", (compile_template(f"${{cookie_{name}}}"),), name.encode())
    given: set[str] = set()
    for parameter in parameters:
        key, equals, value = parameter.partition("=")
        if key in given:
            raise _wrong(f'parameter "{key}" is duplicate')
        given.add(key)
        if parameter == "httponly":
            plan = plan._replace(httponly=True)
        elif parameter == "secure":
            plan = plan._replace(secure=True)
        elif key == "expires" and equals:
            plan = plan._replace(expires=_expires(value))
        elif key in ("domain", "path") and equals and not value:
            raise _wrong(f'no value for "{key}"')
        elif key == "domain" and equals:
            plan = plan._replace(domain=compile_template(value))
        elif key == "path" and equals:
            if not _is_clean(value):
                raise ValueError(f'invalid parameter "{parameter}"')
            plan = plan._replace(path=value.encode("utf-8", "surrogateescape"))
        elif key == "samesite" and equals:
            if "$" not in value and value.lower() not in ("strict", "lax", "none"):
                raise _wrong('invalid "samesite" parameter value')
            plan = plan._replace(samesite=compile_template(value))
        else:
            raise ValueError(f'unknown parameter "{parameter}"')
    return plan


def _expires(value: str) -> int:
    if value == "max":
        return -1
    seconds = parse_time(value)
    if seconds is None or "ms" in value:
        raise _wrong('invalid "expires" parameter value')
    return int(seconds)


def _sticky_learn(*parameters: str) -> StickyPlan:
    plan = StickyPlan("learn")
    has_timeout = False
    for parameter in parameters:
        key, equals, value = parameter.partition("=")
        if key in ("create", "lookup") and equals:
            if not value.startswith("$"):
                raise _wrong(f'missing variable in the "{key}" parameter')
            template = compile_variable(value)
            if key == "create":
                plan = plan._replace(create=(*plan.create, template))
            else:
                plan = plan._replace(lookup=(*plan.lookup, template))
        elif key == "zone" and equals:
            if plan.zone:
                raise _wrong("duplicate zone")
            name, bytes_each = _zone(value)
            plan = plan._replace(zone=name, size=bytes_each)
        elif key == "timeout" and equals:
            if has_timeout:
                raise _wrong("duplicate timeout")
            has_timeout = True
            plan = plan._replace(timeout=_timeout(value))
        elif parameter == "header":
            plan = plan._replace(header=True)
        elif parameter == "sync":
            plan = plan._replace(sync=True)
        elif key == "sync":
            if plan.sync:
                raise _wrong("duplicate sync")
            plan = plan._replace(sync=True, server=redis_server(value))
        else:
            raise ValueError(f'unknown parameter "{parameter}"')
    for missing, found in (("lookup", plan.lookup), ("create", plan.create), ("zone", plan.zone)):
        if not found:
            raise _wrong(f'"{missing}" parameter is not specified')
    return plan


def _zone(value: str) -> tuple[str, int]:
    name, colon, text = value.partition(":")
    if not colon:
        raise _wrong("zone size is not specified")
    if not name:
        raise _wrong("zone name is not specified")
    try:
        length = size(text)
    except ValueError:
        raise _wrong("invalid zone size") from None
    if length < _LEAST_ZONE:
        raise _wrong("zone is too small")
    return name, length


def _timeout(value: str) -> float:
    seconds = parse_time(value)
    if not seconds:
        raise _wrong("invalid timeout")
    return max(1.0, seconds)


def _wrong(text: str) -> ValueError:
    return ValueError(f'"%s" directive {text}')


def _is_clean(value: str) -> bool:
    return not any(character < " " or character in ";\x7f" for character in value)
