"""Variables of the request's header block."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from functools import lru_cache

from wproxy.http import Request
from wproxy.variables.registry import BLOCK, Variable, family, variable


@variable("host", reads=(b"host",), by_address=True)
def host(request: Request) -> bytes:
    return request.host


@variable("server_name", reads=(), by_address=True)
def server_name(request: Request) -> bytes:
    return request.server.encoded_name


@variable("content_type")
def content_type(request: Request) -> bytes | None:
    return request.fields.get(b"content-type")


@variable("proxy_add_x_forwarded_for", reads=(b"x-forwarded-for",), by_address=True)
def proxy_add_x_forwarded_for(request: Request) -> bytes:
    """The client's X-Forwarded-For, all lines, with its address appended."""
    before = request.fields.get(b"x-forwarded-for")
    return request.client.remote_addr if before is None else before + b", " + request.client.remote_addr


@variable("remote_user")
def remote_user(request: Request) -> bytes | None:
    """The user of Basic credentials, verified or not, as in nginx; None without credentials."""
    authorization = request.fields.get(b"authorization")
    if authorization is None:
        return None
    kind, _, credentials = authorization.partition(b" ")
    if kind.lower() != b"basic":
        return None
    try:
        user, colon, _ = binascii.a2b_base64(credentials.strip(b" ")).partition(b":")
    except binascii.Error:
        return None
    return user if user and colon else None


@variable("wproxy_connection_upgrade")
def wproxy_connection_upgrade(request: Request) -> bytes:
    """`upgrade` when the client asks for one, else nothing: the usual map for websockets, ready-made."""
    return b"upgrade" if request.fields.upgrade else b""


@family("http_")
def http_field(rest: str) -> Variable:
    name = rest.replace("_", "-").encode()
    if "_" not in rest:
        return Variable(lambda request: request.fields.get(name), BLOCK, (name,), by_address=True)

    def read(request: Request) -> bytes | None:
        value = request.fields.get(name)
        return value if value is not None else _spelled_with_underscores(request, name)

    return Variable(read, BLOCK)


def _spelled_with_underscores(request: Request, wanted: bytes) -> bytes | None:
    """Return the field `X_A` for `$http_x_a`, if underscores_in_headers allows it; the one with dashes comes first."""
    values = [value for lower, _, value in request.fields.lines if b"_" in lower and lower.replace(b"_", b"-") == wanted]
    return b", ".join(values) if values else None


@family("cookie_")
def cookie(rest: str) -> Variable:
    wanted = rest.encode()

    def read(request: Request) -> bytes | None:
        text = request.fields.get(b"cookie")
        return find_cookie(text, wanted) if text else None

    return Variable(read, BLOCK)


def find_cookie(text: bytes, name: bytes) -> bytes | None:
    """Return the value of the first `name=value` in a Cookie field, as nginx finds it; None without one.

    name: in lower case; compared without case. A value goes up to the next `;`, and yet a `,` begins another cookie too. The
    byte in place of the `=` is skipped, even if it is a `;` (nginx: ngx_http_parse_multi_header_lines).
    """
    found = _finder(name)(text)
    return None if found is None else found[1]


@lru_cache(256)
def _finder(name: bytes) -> Callable[[bytes], re.Match[bytes] | None]:
    """Return a finder of a cookie. It is one expression, since a Cookie may have thousands of `;`, and each must be cheap.

    It goes from one beginning of a cookie to the next: over this name and the byte that should be a `=`, or over nothing; then up
    to a separator.
    """
    here = re.escape(name) + rb" *+"
    # Python before 3.11.5 repeats no group possessively without mistakes (gh-106052): each choice excludes the other instead.
    skipped = rb"(?:%b[^=]|(?!%b[^=]))[^;,]*+[;,] *+" % (here, here)
    return re.compile(rb"(?:(?!%b=)%b)*%b= *+([^;]*+)" % (here, skipped, here), re.IGNORECASE | re.DOTALL).match
