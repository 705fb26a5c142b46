"""The core of `http` (nginx: src/http/ngx_http_core_module.c)."""

from __future__ import annotations

from typing import NamedTuple

from wproxy.address import Address, parse_listen_address
from wproxy.config.registry import HTTP, LOCATION, OWN_GATHER, SERVER, UPSTREAM, directive
from wproxy.directives.core import nothing
from wproxy.directives.values import flag, number, size, text, time

DEFAULT_BACKLOG = 511


class Listen(NamedTuple):
    """One `listen` line."""

    address: Address
    default_server: bool = False
    backlog: int = DEFAULT_BACKLOG


def listen(address: str, *parameters: str) -> Listen:
    """`listen ADDRESS [default_server] [backlog=N] [reuseport]`; every listener of ours has a socket for each worker."""
    default, backlog = False, DEFAULT_BACKLOG
    for parameter in parameters:
        key, equals, value = parameter.partition("=")
        if parameter in ("default_server", "default"):
            default = True
        elif key == "backlog" and equals and value.isascii() and value.isdigit() and len(value) < 10 and int(value) > 0:
            backlog = int(value)
        elif parameter not in ("reuseport", "bind"):
            raise ValueError(f'invalid parameter "{parameter}"')
    try:
        parsed = parse_listen_address(address)
    except ValueError as error:
        raise ValueError(f'{error} of the "listen" directive') from None
    if not parsed.is_numeric and parsed.host != "localhost":
        raise ValueError(f'host not found in "{address}" of the "listen" directive: write an IP address')
    if parsed.host == "localhost":
        parsed = Address("127.0.0.1", parsed.port)
    return Listen(parsed, default, backlog)


def header_buffers(count: str, each: str) -> tuple[int, int]:
    """(number, bytes each)."""
    return number(1)(count), size(each)


def keepalive(timeout: str, announced: str | None = None) -> tuple[float, float | None]:
    """(seconds an idle connection is kept, seconds announced in a Keep-Alive field or None)."""
    return time(timeout), None if announced is None else time(announced)


def names(*values: str) -> tuple[str, ...]:
    """The names of one `server_name` line."""
    if any("$" in value for value in values):
        raise ValueError('a variable in "%s" directive is not supported yet')
    return values


class BlockDirectives:
    """The blocks: they open contexts and carry no value."""

    server: None = directive(nothing, HTTP, arity=0, inherit=OWN_GATHER, block=SERVER, doc="A virtual server.")
    location: None = directive(
        nothing,
        SERVER,
        arity=(1, 2),
        inherit=OWN_GATHER,
        block=LOCATION,
        named=True,
        doc="What to do with the URIs of a prefix, or with one (`= /x`).",
    )
    upstream: None = directive(
        nothing, HTTP, arity=1, inherit=OWN_GATHER, block=UPSTREAM, named=True, doc="A named group of servers."
    )


class CommonDirectives:
    """What http, server and location share, and what is read of a server before its location is known."""

    client_max_body_size: int = directive(
        size, HTTP | SERVER | LOCATION, default="1m", doc="The largest request body; 0 is no limit. Beyond it: 413."
    )
    client_body_buffer_size: int = directive(
        size,
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
        doc="How long an idle client connection is kept; 0 closes after every response.",
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
    lingering_time: float = directive(
        time,
        HTTP | SERVER | LOCATION,
        default="30s",
        doc="How long to read and ignore what a client still sends after the answer.",
    )
    lingering_timeout: float = directive(
        time, HTTP | SERVER | LOCATION, default="5s", doc="How long to wait for more of what is ignored."
    )
    server_tokens: bool = directive(
        flag, HTTP | SERVER | LOCATION, default="on", doc="Whether Server and error pages tell the version."
    )
    default_type: str = directive(
        text, HTTP | SERVER | LOCATION, default="text/plain", doc="The Content-Type of what has no other."
    )
    absolute_redirect: bool = directive(
        flag, HTTP | SERVER | LOCATION, default="on", doc="Whether a Location of ours names scheme and host."
    )


class ServerDirectives:
    """What belongs to a server, some of it also to http."""

    listen: tuple[Listen, ...] = directive(
        listen,
        SERVER,
        arity=(1, 8),
        inherit=OWN_GATHER,
        doc="Address and port to listen on: `8080`, `127.0.0.1:80`, `[::]:80`, `unix:/path`.",
    )
    server_name: tuple[tuple[str, ...], ...] = directive(
        names, SERVER, arity=(1, 1000), inherit=OWN_GATHER, doc="The names of this server: exact, `*.example.com`, `www.*`."
    )
    client_header_timeout: float = directive(
        time, HTTP | SERVER, default="60s", doc="How long a client may take to send a request head."
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
        flag, HTTP | SERVER, default="on", doc="Whether a header line with an invalid name is dropped (else: 400)."
    )
    underscores_in_headers: bool = directive(
        flag, HTTP | SERVER, default="off", doc="Whether header names may have underscores; such lines are dropped otherwise."
    )
    merge_slashes: bool = directive(flag, HTTP | SERVER, default="on", doc="Whether // in a path counts as /.")
