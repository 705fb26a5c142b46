"""Proxying (nginx: src/http/modules/ngx_http_proxy_module.c)."""

from __future__ import annotations

from typing import NamedTuple

from wproxy.address import Address, parse_address
from wproxy.config.registry import GATHER, HTTP, LIMIT_EXCEPT, LOCATION, LOCATION_IF, OWN, SERVER, UNION, directive
from wproxy.directives.addresses import in_upstream
from wproxy.directives.http_core import memory
from wproxy.directives.retries import RetryBudget, retry_budget
from wproxy.directives.values import flag, number, text, time, word, words
from wproxy.template import Template, compile_template

# The words of proxy_next_upstream; an UpstreamFailure's kind is one of them.
FAILURES = (
    "error",
    "timeout",
    "invalid_header",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
    "http_403",
    "http_404",
    "http_429",
    "non_idempotent",
    "updating",  # useful only for proxy_cache_use_stale
    "off",
)


class ProxyTarget(NamedTuple):
    """A proxy_pass, split into its parts as far as it has no variables.

    address: as written, with the default port if it has none; None when the whole is a template, which is split for
    each request. has_port: whether a port was written (an upstream block may not have one). uri_part: the part after it, or b"".
    host_header: `$proxy_host`. is_secure: https. key: what memcached is asked for.
    """

    text: str
    address: Address | None
    has_port: bool
    uri_part: bytes
    host_header: bytes
    is_secure: bool = False
    template: Template | None = None
    key: Template | None = None

    @property
    def may_be_secure(self) -> bool:
        """Whether it is an upstream over TLS, or may be one: `$scheme://…` and `$backend` may, `http://$host` is none."""
        return self.is_secure or (self.template is not None and self.text[:7].lower() != "http://")

    @property
    def host(self) -> str:
        """The host as written, without the port: what an upstream's certificate has to be for."""
        if self.address is None:
            return ""
        return f"[{self.address.host}]" if ":" in self.address.host and not self.address.is_unix else self.address.host

    @property
    def port(self) -> int:
        """The port as written, the default without one, -1 for a unix socket."""
        return self.address.port if self.address else 0


def proxy_target(url: str) -> ProxyTarget:
    """Read `http://host[:port][/uri]` or `http://unix:/path[:/uri]`, or a template of one."""
    if "$" in url:
        return ProxyTarget(url, None, False, b"", b"", url[:8].lower() == "https://", compile_template(url))
    return parse_target(url)


def parse_target(url: str) -> ProxyTarget:
    """Split a URL without variables; raises ValueError."""
    is_secure = url[:8].lower() == "https://"
    if not is_secure and url[:7].lower() != "http://":
        raise ValueError("invalid URL prefix")
    default = 443 if is_secure else 80
    rest = url[8:] if is_secure else url[7:]
    if rest.startswith("unix:"):
        path, _, uri = rest[5:].partition(":")
        try:
            address = parse_address("unix:" + path, default)
        except ValueError as error:
            raise in_upstream(error) from None
        return ProxyTarget(url, address, True, _uri_part(uri, url), b"localhost", is_secure)
    end = min((index for index in (rest.find("/"), rest.find("?")) if index >= 0), default=len(rest))
    authority, uri = rest[:end], rest[end:]
    try:
        address = parse_address(authority, default)
    except ValueError as error:
        raise in_upstream(error) from None
    has_port = authority.rpartition("]")[2].find(":") >= 0
    host = authority if has_port and address.port != default else authority.removesuffix(f":{default}")
    return ProxyTarget(url, address, has_port, _uri_part(uri, url), host.encode("utf-8", "surrogateescape"), is_secure)


def _uri_part(uri: str, url: str) -> bytes:
    if any(character <= " " or character == "\x7f" for character in uri):  # it would break the request line
        raise ValueError(f'invalid URI in "{url}"')
    return ("/" + uri if uri.startswith("?") else uri).encode("utf-8", "surrogateescape")


# The bytes of a field name: visible ASCII without the separators.
_NAME_BYTES = bytes(byte for byte in range(33, 127) if byte not in b'":(),/;<=>?@[\\]{}')


def header(name: str, value: str) -> tuple[bytes, Template]:
    """Return (name as spelled, template of the value)."""
    encoded = name.encode("utf-8", "surrogateescape")
    if not name or encoded.translate(None, _NAME_BYTES):
        raise ValueError(f'invalid header name "{name}"')
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError(f'the value of "{name}" has a line break')
    return encoded, compile_template(value)


def http_version(value: str) -> int:
    """Return 10, 11 or 20."""
    versions = {"1.0": 10, "1.1": 11, "2": 20}
    return versions[word(tuple(versions))(value)]


LEVELS = HTTP | SERVER | LOCATION


class ProxyDirectives:
    """Where requests go, what is sent along, and how long anything may take.

    sends_close: whether `Connection: close` is sent upstream unless a proxy_set_header changes it (wproxy.config.compat).
    """

    sends_close = False

    proxy_pass: ProxyTarget | None = directive(
        proxy_target,
        LOCATION | LOCATION_IF | LIMIT_EXCEPT,
        inherit=OWN,
        doc="Where requests go: http://NAME-OR-ADDRESS[/URI]; a URI replaces the location's prefix.",
    )
    proxy_http_version: int = directive(http_version, LEVELS, default="1.1", doc="The HTTP version used with upstreams.")
    proxy_max_streams: int = directive(
        number(1),
        LEVELS,
        default="1",
        doc="The most requests at once on one connection to an upstream, with `proxy_http_version 2`.",
    )
    proxy_set_header: tuple[tuple[bytes, Template], ...] = directive(
        header,
        LEVELS,
        arity=2,
        inherit=GATHER,
        named=True,
        doc="A request field to set for the upstream; an empty value removes it.",
    )
    proxy_hide_header: tuple[str, ...] = directive(
        text, LEVELS, inherit=GATHER, doc="A response field of the upstream that the client does not get."
    )
    proxy_pass_header: tuple[str, ...] = directive(
        text, LEVELS, inherit=GATHER, doc="A response field to pass although it is hidden by default."
    )
    proxy_pass_request_headers: bool = directive(
        flag, LEVELS, default="on", doc="Whether the client's request fields are sent upstream."
    )
    proxy_connect_timeout: float = directive(time, LEVELS, default="60s", doc="How long connecting to a peer may take.")
    proxy_send_timeout: float = directive(
        time, LEVELS, default="60s", doc="How long a peer may pause while receiving the request."
    )
    proxy_read_timeout: float = directive(
        time, LEVELS, default="60s", doc="How long to wait for the response head, and then between two reads."
    )
    proxy_buffer_size: int = directive(memory, LEVELS, default="4k", doc="The largest response head.")
    proxy_ignore_client_abort: bool = directive(
        flag, LEVELS, default="off", doc="Whether to continue with the upstream after the client has left."
    )
    proxy_intercept_errors: bool = directive(
        flag, LEVELS, default="off", doc="Whether error_page also applies to errors that an upstream sends."
    )
    proxy_next_upstream: frozenset[str] = directive(
        words(FAILURES),
        LEVELS,
        arity=(1, len(FAILURES)),
        default=("error", "timeout"),
        inherit=UNION,
        doc="Which failures are retried on another peer.",
    )
    proxy_next_upstream_tries: int = directive(number(), LEVELS, default="0", doc="The most tries of a request; 0 is no limit.")
    proxy_next_upstream_timeout: float = directive(
        time, LEVELS, default="0", doc="How long after its first try a request may be tried again; 0 is no limit."
    )
    proxy_next_upstream_budget: RetryBudget | None = directive(
        retry_budget,
        LEVELS,
        arity=(1, 2),
        default="off",
        doc="The most retries for an upstream: a share of its requests (20%), plus min= a number per second (10).",
    )
