"""The core of `http` (nginx: src/http/ngx_http_core_module.c)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wproxy.config.registry import HTTP, LIMIT_EXCEPT, LOCATION, LOCATION_IF, OWN, OWN_GATHER, SERVER, UNION, UPSTREAM, directive
from wproxy.directives.core import nothing
from wproxy.directives.values import flag, number, size, text, time, uri_or_off, words

if TYPE_CHECKING:
    from wproxy.config.tree import Node


def is_there(*nothing: str) -> bool:
    """Read a directive without arguments: its presence is its value."""
    return True


def memory(value: str) -> int:
    """Return bytes to hold in memory, with k or m: only sizes of data that passes through may be gigabytes (routing.md §1.3)."""
    if value[-1:] in ("g", "G"):
        raise ValueError('"%s" directive invalid value')
    return size(value)


def header_buffers(count: str, each: str) -> tuple[int, int]:
    """Return (number, bytes each), neither of them 0."""
    try:
        found = number(1)(count), memory(each)
    except ValueError:
        found = 0, 0
    if not all(found):
        raise ValueError('"%s" directive invalid value')
    return found


def tokens(value: str) -> bool:
    """Read `on`, `off` or `build`, which adds the name given to a build; ours have none."""
    if value.lower() not in ("on", "off", "build"):
        raise ValueError(f'invalid value "{value}"')
    return value.lower() != "off"


def all_or_any(value: str) -> str:
    """Read `all` or `any`."""
    if value.lower() not in ("all", "any"):
        raise ValueError(f'invalid value "{value}"')
    return value.lower()


def keepalive(timeout: str, announced: str | None = None) -> tuple[float, float | None]:
    """Return (seconds an idle connection is kept, seconds announced in a Keep-Alive field or None)."""
    return time(timeout), None if announced is None else time(announced)


def keep_announcement(own: tuple[float, float | None], outer: tuple[float, float | None]) -> tuple[float, float | None]:
    """Return the keepalive of a block with the outer announcement if it has none itself (nginx merges the two apart)."""
    return own if own[1] is not None else (own[0], outer[1])


@dataclass(slots=True)
class LimitExcept:
    """One `limit_except`: the methods that its block does not apply to. node: the block, for `resolve`."""

    methods: frozenset[bytes]
    node: Node | None = None


def limit_except(*methods: str) -> LimitExcept:
    """Read `limit_except METHOD... { ... }`; GET allows HEAD too."""
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
    """Blocks: they open contexts and have no value."""

    server: None = directive(nothing, HTTP, arity=0, inherit=OWN_GATHER, block=SERVER, doc="A virtual server.")
    location: None = directive(
        nothing,
        SERVER | LOCATION,
        arity=(1, 2),
        inherit=OWN_GATHER,
        block=LOCATION,
        named=True,
        doc="The settings for the URIs with a prefix, or for one URI (`= /x`).",
    )
    upstream: None = directive(
        nothing, HTTP, arity=1, inherit=OWN_GATHER, block=UPSTREAM, named=True, doc="A named group of servers."
    )


class LocationDirectives:
    """Directives that are allowed only in a `location`."""

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
        is_there, LOCATION, arity=0, doc="Restrict the location to internal redirects: error_page, try_files, rewrite."
    )


class CommonDirectives:
    """Directives of http, server and location, also those that are read from a server before the location is known."""

    client_max_body_size: int = directive(
        size, HTTP | SERVER | LOCATION, default="1m", doc="The largest request body; 0 is no limit. A larger one gets 413."
    )
    client_body_buffer_size: int = directive(
        memory,
        HTTP | SERVER | LOCATION,
        default="16k",
        doc="The size up to which a request body is read whole before the upstream gets the request.",
    )
    client_body_timeout: float = directive(
        time, HTTP | SERVER | LOCATION, default="60s", doc="How long the client may pause while sending a body."
    )
    send_timeout: float = directive(
        time, HTTP | SERVER | LOCATION, default="60s", doc="How long the client may pause while receiving the response."
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
        number(), HTTP | SERVER | LOCATION, default="1000", doc="The most requests on one client connection."
    )
    keepalive_time: float = directive(
        time,
        HTTP | SERVER | LOCATION,
        default="1h",
        doc="The age after which a client connection is closed after a response.",
    )
    keepalive_min_timeout: float = directive(
        time,
        HTTP | SERVER | LOCATION,
        default="0",
        doc="How long an idle connection is kept even if it should make room, or the worker is told to leave.",
    )
    reset_timedout_connection: bool = directive(
        flag,
        HTTP | SERVER | LOCATION,
        default="off",
        doc="Whether a connection that timed out, or is closed by 444, is reset, so that no unsent data stays in memory.",
    )
    log_subrequest: bool = directive(
        flag,
        HTTP | SERVER | LOCATION,
        default="off",
        doc="Whether subrequests that end in this location have lines in its access log.",
    )
    post_action: bytes | None = directive(
        uri_or_off,
        HTTP | SERVER | LOCATION | LOCATION_IF,
        doc="The URI of ours, or the named location, that gets a request after each request; its answer is dropped.",
    )
    lingering_time: float = directive(
        time,
        HTTP | SERVER | LOCATION,
        default="30s",
        doc="How long to read and ignore data that a client still sends after the response.",
    )
    lingering_timeout: float = directive(
        time, HTTP | SERVER | LOCATION, default="5s", doc="How long to wait for more data to ignore."
    )
    chunked_transfer_encoding: bool = directive(
        flag,
        HTTP | SERVER | LOCATION,
        default="on",
        doc="Whether a body of unknown length is sent in chunks; if not, closing the connection ends it.",
    )
    server_tokens: bool = directive(
        tokens, HTTP | SERVER | LOCATION, default="on", doc="Whether Server and error pages show the version: on, off, build."
    )
    default_type: str = directive(
        text, HTTP | SERVER | LOCATION, default="text/plain", doc="The Content-Type of responses without another."
    )
    absolute_redirect: bool = directive(
        flag, HTTP | SERVER | LOCATION, default="on", doc="Whether our Location fields contain scheme and host."
    )
    server_name_in_redirect: bool = directive(
        flag, HTTP | SERVER | LOCATION, default="off", doc="Whether that host is the first server_name instead of the client's."
    )
    port_in_redirect: bool = directive(
        flag,
        HTTP | SERVER | LOCATION,
        default="on",
        doc="Whether our Location fields contain the port when it is not the default.",
    )
    satisfy: str = directive(
        all_or_any,
        HTTP | SERVER | LOCATION,
        default="all",
        doc="Whether all kinds of access rules must let a request in, or any one.",
    )


class ServerDirectives:
    """Directives of a server, some of them also of http."""

    client_header_timeout: float = directive(
        time, HTTP | SERVER, default="60s", doc="How long a client may take to send a request head."
    )
    client_header_buffer_size: int = directive(
        memory,
        HTTP | SERVER,
        default="1k",
        doc="The first buffer of a request head; larger heads get more at once, so this tunes nothing.",
    )
    large_client_header_buffers: tuple[int, int] = directive(
        header_buffers,
        HTTP | SERVER,
        arity=2,
        default=("4", "8k"),
        doc="Number and size of buffers: a request line or field must fit into one, a head into all.",
    )
    max_headers: int = directive(number(1), HTTP | SERVER, default="1000", doc="The most header lines in a request.")
    ignore_invalid_headers: bool = directive(
        flag,
        HTTP | SERVER,
        default="on",
        doc="Whether a header line with an unusual name is dropped; otherwise it passes, unless HTTP forbids it (400).",
    )
    underscores_in_headers: bool = directive(
        flag, HTTP | SERVER, default="off", doc="Whether header names may contain underscores; otherwise such lines are dropped."
    )
    merge_slashes: bool = directive(flag, HTTP | SERVER, default="on", doc="Whether // in a path counts as /.")
