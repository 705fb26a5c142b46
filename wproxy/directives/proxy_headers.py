"""The treatment of the fields of an upstream's response (nginx: ngx_http_proxy_module.c; proxy.md §3.2).

A rule of proxy_redirect, proxy_cookie_domain or proxy_cookie_path replaces what it matches; the first one that matches is used.
worker/upstream/redirects.py and cookies.py carry the rules out.
"""

from __future__ import annotations

from typing import NamedTuple

from wproxy.config.registry import GATHER, HTTP, LOCATION, SERVER, UNION, directive
from wproxy.directives.http_core import memory
from wproxy.directives.values import flag, words
from wproxy.regex import Regex, compile_regex
from wproxy.template import Template, compile_template

LEVELS = HTTP | SERVER | LOCATION

# The fields that proxy_ignore_headers may name.
IGNORABLE = (
    "x-accel-redirect",
    "x-accel-expires",
    "x-accel-limit-rate",
    "x-accel-buffering",
    "x-accel-charset",
    "expires",
    "cache-control",
    "set-cookie",
    "vary",
)


class Replacement(NamedTuple):
    """One rule: the text or regex to look for, and its replacement; `word` alone for `off` and `default`."""

    word: str = ""
    regex: Regex | None = None
    text: Template | None = None
    by: Template | None = None


def _looked_for(pattern: str, is_caseless: bool) -> tuple[Regex | None, Template | None]:
    """Read a pattern `~REGEX`, `~*REGEX`, or a text with variables."""
    if pattern.startswith("~*"):
        return compile_regex(pattern[2:], True), None
    if pattern.startswith("~"):
        return compile_regex(pattern[1:], is_caseless), None
    return None, compile_template(pattern)


def redirect(pattern: str, replacement: str | None = None) -> Replacement:
    """Read `off`, `default`, or a pattern and its replacement."""
    if replacement is None:
        if pattern not in ("off", "default"):
            raise ValueError(f'invalid parameter "{pattern}"')
        return Replacement(pattern)
    return Replacement("", *_looked_for(pattern, False), compile_template(replacement))


def cookie_path(pattern: str, replacement: str | None = None) -> Replacement:
    """Read `off`, or a pattern and its replacement."""
    if replacement is None:
        if pattern != "off":
            raise ValueError(f'invalid parameter "{pattern}"')
        return Replacement(pattern)
    return Replacement("", *_looked_for(pattern, False), compile_template(replacement))


def cookie_domain(pattern: str, replacement: str | None = None) -> Replacement:
    """Read `off`, or a pattern and its replacement, whose leading dots are ignored."""
    if replacement is None:
        return cookie_path(pattern)
    return Replacement("", *_looked_for(pattern.removeprefix("."), True), compile_template(replacement.removeprefix(".")))


class CookieFlags(NamedTuple):
    """`proxy_cookie_flags NAME FLAG...`; `word` alone for `off`."""

    word: str = ""
    regex: Regex | None = None
    name: Template | None = None
    flags: tuple[Template, ...] = ()


# The flags, in lower case: the attribute that each changes, and the value it sets; None removes the attribute.
COOKIE_FLAGS: dict[bytes, tuple[bytes, bytes | None]] = {
    b"secure": (b"secure", b""),
    b"nosecure": (b"secure", None),
    b"httponly": (b"httponly", b""),
    b"nohttponly": (b"httponly", None),
    b"samesite=strict": (b"samesite", b"Strict"),
    b"samesite=lax": (b"samesite", b"Lax"),
    b"samesite=none": (b"samesite", b"None"),
    b"nosamesite": (b"samesite", None),
}


def cookie_flags(name: str, *flags: str) -> CookieFlags:
    """Read `off`, or the name of a cookie and its flags."""
    if not flags:
        if name != "off":
            raise ValueError(f'invalid parameter "{name}"')
        return CookieFlags("off")
    templates = tuple(map(compile_template, flags))
    for flag_, template in zip(flags, templates, strict=True):
        if template.constant is not None and template.constant.lower() not in COOKIE_FLAGS:
            raise ValueError(f'invalid parameter "{flag_}"')
    return CookieFlags("", *_looked_for(name, True), templates)


def any_of(*values: str) -> tuple[Template, ...]:
    """Read values of which one has to be neither empty nor 0."""
    return tuple(map(compile_template, values))


class LocalAddress(NamedTuple):
    """`proxy_bind ADDRESS`; text None for `off`. transparent: whether it may be an address of another machine, as a client's."""

    text: Template | None
    transparent: bool = False


def local_address(address: str, mode: str | None = None) -> LocalAddress:
    """Read `ADDRESS [transparent]`, the address that connections to upstreams come from, or `off`."""
    if mode not in (None, "transparent"):
        raise ValueError(f'invalid parameter "{mode}"')
    if address == "off" and mode is None:
        return LocalAddress(None)
    template = compile_template(address)
    if template.constant is not None and parse_local_address(address) is None:
        raise ValueError(f'invalid address "{address}"')
    return LocalAddress(template, mode is not None)


def parse_local_address(text: str) -> tuple[str, int] | None:
    """Return IP address and port (0 without one) of `127.0.0.1`, `127.0.0.1:8080`, `[::1]`, `::1` or `[::1]:8080`, or None."""
    from ipaddress import ip_address  # 5 ms, needed only for binding

    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return None
        port = rest[1:]
        if rest == ":":
            return None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            return None
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return None
    try:
        ip_address(host)
    except ValueError:
        return None
    return host, int(port or 0)


class ProxyHeaderDirectives:
    """The fields of an upstream's response, and how they reach the client."""

    proxy_redirect: tuple[Replacement, ...] = directive(
        redirect,
        LEVELS,
        arity=(1, 2),
        inherit=GATHER,
        alone="off",
        doc="How Location and Refresh of the upstream are rewritten: default, off, or a prefix or ~regex and its replacement.",
    )
    proxy_cookie_domain: tuple[Replacement, ...] = directive(
        cookie_domain,
        LEVELS,
        arity=(1, 2),
        inherit=GATHER,
        alone="off",
        doc="The replacement of the domain of the upstream's cookies.",
    )
    proxy_cookie_path: tuple[Replacement, ...] = directive(
        cookie_path,
        LEVELS,
        arity=(1, 2),
        inherit=GATHER,
        alone="off",
        doc="The replacement of the beginning of the path of its cookies.",
    )
    proxy_cookie_flags: tuple[CookieFlags, ...] = directive(
        cookie_flags,
        LEVELS,
        arity=(1, 4),
        inherit=GATHER,
        alone="off",
        doc="Flags that cookies with a name get or lose.",
    )
    proxy_ignore_headers: frozenset[str] | None = directive(
        words(IGNORABLE),
        LEVELS,
        arity=(1, len(IGNORABLE)),
        inherit=UNION,
        doc="Fields of the upstream that are not obeyed: X-Accel-Redirect, Set-Cookie and the like.",
    )
    proxy_pass_trailers: bool = directive(
        flag, LEVELS, default="off", doc="Whether the fields after a chunked body of the upstream go to the client."
    )
    proxy_force_ranges: bool = directive(
        flag, LEVELS, default="off", doc="Whether parts of a response are served whatever the upstream says about ranges."
    )
    early_hints: tuple[Template, ...] | None = directive(
        any_of,
        LEVELS,
        arity=(1, 1000),
        doc="When 103 Early Hints of an upstream are passed to the client: if one of these values is not empty and not 0.",
    )
    proxy_bind: LocalAddress | None = directive(
        local_address,
        LEVELS,
        arity=(1, 2),
        doc="The address that connections to upstreams come from; transparent: it may be another machine's, as a client's.",
    )
    proxy_socket_keepalive: bool = directive(
        flag, LEVELS, default="off", doc="Whether TCP keepalive probes check that a silent upstream is still there."
    )
    proxy_socket_rcvbuf: int = directive(
        memory, LEVELS, default="0", doc="The size of the system's receive buffer of a connection to an upstream; 0: as it is."
    )
    proxy_socket_sndbuf: int = directive(
        memory, LEVELS, default="0", doc="The size of the system's send buffer of a connection to an upstream; 0: as it is."
    )
