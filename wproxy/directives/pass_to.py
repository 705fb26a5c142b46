"""The arguments of the directives for upstreams with protocols other than HTTP (nginx: ngx_http_fastcgi_module.c, ...)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wproxy.address import parse_address
from wproxy.directives.addresses import in_upstream
from wproxy.directives.proxy import ProxyTarget
from wproxy.regex import Regex, compile_regex
from wproxy.template import Template, compile_template

# The failures that each protocol knows, for `*_next_upstream`; some are useful only for `*_cache_use_stale`.
CGI_FAILURES = (
    "error", "timeout", "invalid_header", "non_idempotent", "updating", "off",
    "http_500", "http_503", "http_403", "http_404", "http_429",
)  # fmt: skip
PROXY_FAILURES = (*CGI_FAILURES, "http_502", "http_504")
GRPC_FAILURES = (
    "error", "timeout", "invalid_header", "non_idempotent", "off",
    "http_500", "http_502", "http_503", "http_504", "http_403", "http_404", "http_429",
)  # fmt: skip
MEMCACHED_FAILURES = ("error", "timeout", "invalid_response", "not_found", "off")
TUNNEL_FAILURES = ("error", "timeout", "off")

# The schemes of targets over TLS.
SECURE = frozenset(("suwsgi", "grpcs"))
NO_PORT = 0  # the port of a target without one, which must be an upstream block


class Parameter(NamedTuple):
    """A `*_param`. if_not_empty: whether it is omitted when its value is empty."""

    name: str
    value: Template
    if_not_empty: bool = False


def target(*schemes: str, has_variables: bool = True) -> Callable[[str], ProxyTarget]:
    """Return a reader of `[SCHEME://]HOST:PORT`, `unix:PATH`, the name of an upstream, or a template of one."""

    def read(written: str) -> ProxyTarget:
        scheme = next((scheme for scheme in schemes if written.lower().startswith(f"{scheme}://")), None)
        is_secure = scheme in SECURE
        if "$" in written and has_variables:
            return ProxyTarget(written, None, False, b"", b"", is_secure, compile_template(written))
        text = written[len(scheme) + 3 :] if scheme else written
        if ("/" in text or "?" in text) and not text.startswith("unix:"):
            raise ValueError(f'invalid host in upstream "{text}"')
        try:
            address = parse_address(text, NO_PORT)
        except ValueError as error:
            raise in_upstream(error) from None
        shown = b"localhost" if address.is_unix else text.encode("utf-8", "surrogateescape")
        return ProxyTarget(text, address, address.port != NO_PORT, b"", shown, is_secure)

    return read


def memcached_target(written: str) -> ProxyTarget:
    """Read `HOST:PORT`, `unix:PATH` or the name of an upstream; the key has to be set elsewhere."""
    return target(has_variables=False)(written)._replace(key=compile_template("$memcached_key"))


def tunnel_target(written: str = "$host:$request_port") -> ProxyTarget | None:
    """Return the target of a tunnel; without an argument the one that the client asks for."""
    return None if written == "$host:$request_port" else target()(written)


def parameter(name: str, value: str, option: str | None = None) -> Parameter:
    """Read `NAME VALUE [if_not_empty]`."""
    if option not in (None, "if_not_empty"):
        raise ValueError(f'invalid parameter "{option}"')
    return Parameter(name, compile_template(value), option is not None)


def field(name: str, value: str) -> tuple[str, Template]:
    """Return a name and the template of its value."""
    return name, compile_template(value)


def split_path_info(pattern: str) -> Regex:
    """Return a regex with two captures: the script, and the rest of the path."""
    regex = compile_regex(pattern, False)
    if regex.groups != 2:
        raise ValueError(f'pattern "{pattern}" must have 2 captures')
    return regex
