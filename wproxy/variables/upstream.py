"""Variables of the upstream: the peer, each attempt, the response (proxy.md §8)."""

from __future__ import annotations

import os
from collections.abc import Callable

from wproxy.caching import CacheNotes
from wproxy.http import Attempt, Request
from wproxy.variables.registry import LOCATION, REQUEST, VARIABLES, Reader, Variable, family, variable


@variable("proxy_host", LOCATION, reads=())
def proxy_host(request: Request) -> bytes | None:
    target = request.location.proxy_target
    return target.host_header if target and target.address else None


@variable("proxy_port", LOCATION, reads=())
def proxy_port(request: Request) -> bytes | None:
    target = request.location.proxy_target
    return b"%d" % target.port if target and target.port > 0 else None


def each_attempt(show: Callable[[Attempt], bytes]) -> Reader:
    """Return a reader of one item per attempt: `, ` between them, ` : ` where another location begins (proxy.md §8)."""

    def read(request: Request) -> bytes | None:
        attempts = request.attempts
        if len(attempts) == 1:
            return show(attempts[0])
        if not attempts:
            return None
        items = [show(attempts[0])]
        for attempt in attempts[1:]:
            items.append(b" : " if attempt.begins_group else b", ")
            items.append(show(attempt))
        return b"".join(items)

    return read


def seconds(value: float | None) -> bytes:
    """Return seconds as nginx logs them; `-` when they are not known."""
    return b"-" if value is None else b"%.3f" % value


for _name, _show in {
    "upstream_addr": lambda attempt: attempt.peer.encode(),
    "upstream_status": lambda attempt: b"%d" % attempt.status if attempt.status else b"-",
    "upstream_connect_time": lambda attempt: seconds(attempt.connect_time),
    "upstream_header_time": lambda attempt: seconds(attempt.header_time),
    "upstream_response_time": lambda attempt: seconds(attempt.response_time),
    "upstream_response_length": lambda attempt: b"%d" % attempt.response_length,
    "upstream_bytes_received": lambda attempt: b"%d" % attempt.bytes_received,
    "upstream_bytes_sent": lambda attempt: b"%d" % attempt.bytes_sent,
}.items():
    VARIABLES[_name] = Variable(each_attempt(_show), REQUEST)


@family("upstream_http_")
def upstream_field(rest: str) -> Variable:
    name = rest.replace("_", "-").encode()

    def read(request: Request) -> bytes | None:
        head = request.upstream_head
        if head is None:
            return None
        values = [value for lower, _, value in head.lines if lower == name]
        return b", ".join(values) if values else None

    return Variable(read, REQUEST)


@family("upstream_trailer_")
def upstream_trailer(rest: str) -> Variable:
    name = rest.replace("_", "-").encode()

    def read(request: Request) -> bytes | None:
        values = [value for lower, _, value in request.upstream_trailers if lower == name]
        return b", ".join(values) if values else None

    return Variable(read, REQUEST)


@family("upstream_cookie_")
def upstream_cookie(rest: str) -> Variable:
    wanted = rest.encode()

    def read(request: Request) -> bytes | None:
        head = request.upstream_head
        for lower, _, value in head.lines if head is not None else ():
            if lower == b"set-cookie" and value[: len(wanted)].lower() == wanted:
                after = value[len(wanted) :].lstrip(b" ")
                if after.startswith(b"="):
                    text: bytes = after[1:].lstrip(b" ").partition(b";")[0]
                    return text
        return None

    return Variable(read, REQUEST)


def noted(show: Callable[[CacheNotes], bytes | None]) -> Reader:
    """Return a reader of what is noted about the cache of responses; not found where a request had to do with none."""

    def read(request: Request) -> bytes | None:
        notes = request.cached
        return None if notes is None else show(notes)

    return read


for _name, _shown in {
    "upstream_cache_status": lambda notes: notes.status or None,
    "upstream_cache_last_modified": lambda notes: notes.last_modified,
    "upstream_cache_etag": lambda notes: notes.etag,
    "wproxy_cache_key": lambda notes: notes.key or None,
    "wproxy_cache_file": lambda notes: os.fsencode(notes.file) or None,
    "wproxy_cache_reason": lambda notes: notes.reason.encode() or None,
}.items():
    VARIABLES[_name] = Variable(noted(_shown), REQUEST)
