"""The core of `http` (nginx: src/http/ngx_http_core_module.c)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wproxy.config.registry import HTTP, LIMIT_EXCEPT, LOCATION, OWN, OWN_GATHER, SERVER, UNION, UPSTREAM, directive
from wproxy.directives.core import nothing
from wproxy.directives.values import flag, number, size, text, time, words

if TYPE_CHECKING:
    from wproxy.config.tree import Node


def is_there(*nothing: str) -> bool:
    """A directive without arguments: it is there."""
    return True


def memory(value: str) -> int:
    """Bytes to be held in memory, with k or m: only what is counted as it passes may be gigabytes (routing.md §1.3)."""
    if value[-1:] in ("g", "G"):
        raise ValueError('"%s" directive invalid value')
    return size(value)


def header_buffers(count: str, each: str) -> tuple[int, int]:
    """(number, bytes each), neither of them 0."""
    try:
        found = number(1)(count), memory(each)
    except ValueError:
        found = 0, 0
    if not all(found):
        raise ValueError('"%s" directive invalid value')
    return found


def tokens(value: str) -> bool:
    """`on`, `off` or `build`: that adds the name given to a build, and ours have none."""
    if value.lower() not in ("on", "off", "build"):
        raise ValueError(f'invalid value "{value}"')
    return value.lower() != "off"


def all_or_any(value: str) -> str:
    """`all` or `any`."""
    if value.lower() not in ("all", "any"):
        raise ValueError(f'invalid value "{value}"')
    return value.lower()


def keepalive(timeout: str, announced: str | None = None) -> tuple[float, float | None]:
    """(seconds an idle connection is kept, seconds announced in a Keep-Alive field or None)."""
    return time(timeout), None if announced is None else time(announced)


def keep_announcement(own: tuple[float, float | None], outer: tuple[float, float | None]) -> tuple[float, float | None]:
    """What is announced, where a block says nothing of it, is what the outer one says (nginx merges the two apart)."""
    return own if own[1] is not None else (own[0], outer[1])


@dataclass(slots=True)
class LimitExcept:
    """One `limit_except`: the methods that its block is not for. node: the block, for `resolve`."""

    methods: frozenset[bytes]
    node: Node | None = None


def limit_except(*methods: str) -> LimitExcept:
    """`limit_except METHOD... { ... }`; GET allows HEAD too."""
    for method in methods:
        if method.upper() not in METHODS:
            raise ValueError(f'invalid method "{method}"')
    named = {method.upper().encode() for method in methods}
    return LimitExcept(frozenset(named | {b"HEAD"} if b"GET" in named else named))


# Those that nginx knows by name.
METHODS = (
    "GET", "HEAD", "POST", "PUT", "DELETE", "MKCOL", "COPY", "MOVE", "OPTIONS", "PROPFIND", "PROPPATCH", "LOCK", "UNLOCK",
    "PATCH", "TRACE", "CONNECT",
)  # fmt: skip


class BlockDirectives:
    """The blocks: they open contexts and carry no value."""

    server: None = directive(nothing, HTTP, arity=0, inherit=OWN_GATHER, block=SERVER, doc="A virtual server.")
    location: None = directive(
        nothing,
        SERVER | LOCATION,
        arity=(1, 2),
        inherit=OWN_GATHER,
        block=LOCATION,
        named=True,
        doc="What to do with the URIs of a prefix, or with one (`= /x`).",
    )
    upstream: None = directive(
        nothing, HTTP, arity=1, inherit=OWN_GATHER, block=UPSTREAM, named=True, doc="A named group of servers."
    )


class LocationDirectives:
    """Inside a `location`, and nowhere else."""

    limit_except: LimitExcept | None = directive(
        limit_except,
        LOCATION,
        arity=(1, 1000),
        inherit=OWN,
        block=LIMIT_EXCEPT,
        named=True,
        doc="Settings for all methods but these.",
    )
    internal: bool | None = directive(
        is_there, LOCATION, arity=0, doc="Only for requests that were led here: error_page, try_files, rewrite."
    )


class CommonDirectives:
    """What http, server and location share, and what is read of a server before its location is known."""

    client_max_body_size: int = directive(
        size, HTTP | SERVER | LOCATION, default="1m", doc="The largest request body; 0 is no limit. Beyond it: 413."
    )
    client_body_buffer_size: int = directive(
        memory,
        HTTP | SERVER | LOCATION,
        default="16k",
        doc="A request body up to this size is read whole before the upstream is asked.",
    )
    client_body_timeout: float = directive(
        time, HTTP | SERVER | LOCATION, default="60s", doc="How long the client may pause while sending a body."
    )
    send_timeout: float = directive(
        time, HTTP | SERVER | LOCATION, default="60s", doc="How long the client may pause while taking the response."
    )
    keepalive_timeout: tuple[float, float | None] = directive(
        keepalive,
        HTTP | SERVER | LOCATION,
        arity=(1, 2),
        default="75s",
        completes=keep_announcement,
        doc="How long an idle client connection is kept; 0 closes after every response.",
    )
    keepalive_disable: frozenset[str] = directive(
        words(("none", "msie6", "safari")),
        HTTP | SERVER | LOCATION,
        arity=(1, 2),
        default="msie6",
        inherit=UNION,
        doc="Browsers whose connections are closed: msie6 after a POST, safari (on a Mac) after any request.",
    )
    keepalive_requests: int = directive(
        number(), HTTP | SERVER | LOCATION, default="1000", doc="How many requests one client connection may make."
    )
    keepalive_time: float = directive(
        time,
        HTTP | SERVER | LOCATION,
        default="1h",
        doc="How old a client connection may get before it is closed after a response.",
    )
    keepalive_min_timeout: float = directive(
        time,
        HTTP | SERVER | LOCATION,
        default="0",
        doc="How long an idle connection is kept even where it should make room, or the worker is told to leave.",
    )
    reset_timedout_connection: bool = directive(
        flag,
        HTTP | SERVER | LOCATION,
        default="off",
        doc="Whether a connection that timed out, or is closed by 444, is reset: nothing unsent stays in memory.",
    )
    lingering_time: float = directive(
        time,
        HTTP | SERVER | LOCATION,
        default="30s",
        doc="How long to read and ignore what a client still sends after the answer.",
    )
    lingering_timeout: float = directive(
        time, HTTP | SERVER | LOCATION, default="5s", doc="How long to wait for more of what is ignored."
    )
    chunked_transfer_encoding: bool = directive(
        flag,
        HTTP | SERVER | LOCATION,
        default="on",
        doc="Whether a body of unknown length goes out in chunks; if not, its end is the end of the connection.",
    )
    server_tokens: bool = directive(
        tokens, HTTP | SERVER | LOCATION, default="on", doc="Whether Server and error pages tell the version: on, off, build."
    )
    default_type: str = directive(
        text, HTTP | SERVER | LOCATION, default="text/plain", doc="The Content-Type of what has no other."
    )
    absolute_redirect: bool = directive(
        flag, HTTP | SERVER | LOCATION, default="on", doc="Whether a Location of ours names scheme and host."
    )
    server_name_in_redirect: bool = directive(
        flag, HTTP | SERVER | LOCATION, default="off", doc="Whether that host is the first server_name instead of the client's."
    )
    port_in_redirect: bool = directive(
        flag, HTTP | SERVER | LOCATION, default="on", doc="Whether a Location of ours names the port where it is not the usual."
    )
    satisfy: str = directive(
        all_or_any,
        HTTP | SERVER | LOCATION,
        default="all",
        doc="Whether all access rules must let a request in, or any.",
    )


class ServerDirectives:
    """What belongs to a server, some of it also to http."""

    client_header_timeout: float = directive(
        time, HTTP | SERVER, default="60s", doc="How long a client may take to send a request head."
    )
    client_header_buffer_size: int = directive(
        memory,
        HTTP | SERVER,
        default="1k",
        doc="Where a request head begins; larger ones take more at once, so this tunes nothing.",
    )
    large_client_header_buffers: tuple[int, int] = directive(
        header_buffers,
        HTTP | SERVER,
        arity=2,
        default=("4", "8k"),
        doc="Number and size: a request line or field fits one, a head all of them.",
    )
    max_headers: int = directive(number(1), HTTP | SERVER, default="1000", doc="The most header lines a request may have.")
    ignore_invalid_headers: bool = directive(
        flag,
        HTTP | SERVER,
        default="on",
        doc="Whether a header line with an unusual name is dropped; else it passes, unless HTTP forbids it (400).",
    )
    underscores_in_headers: bool = directive(
        flag, HTTP | SERVER, default="off", doc="Whether header names may have underscores; such lines are dropped otherwise."
    )
    merge_slashes: bool = directive(flag, HTTP | SERVER, default="on", doc="Whether // in a path counts as /.")
