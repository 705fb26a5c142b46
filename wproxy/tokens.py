"""JSON Web Tokens as text: where a request carries one, its parts, and its claims as values of variables (RFC 7519, RFC 7515).

Nothing here says that a token may be believed: `worker/access/token_keys.py` does.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from wproxy.directives.jwt import AuthJwt
from wproxy.http import Request

# A longer one is none: keys of RSA with 16384 bits make 2.7 KB of signature.
LONGEST = 16384
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class Token(NamedTuple):
    """A signed token. signed: the bytes that the signature is about."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


def text_of_token(plan: AuthJwt, request: Request) -> bytes:
    """Return what a request carries where its location looks for a token; empty without."""
    if plan.token is not None:
        return plan.token.evaluate(request)
    value = request.fields.get(b"authorization")
    if value is None or value[:7].lower() != b"bearer ":
        return b""
    return value[7:].strip(b" ")


@lru_cache(maxsize=256)  # several variables of one request, and requests of one client
def parse_token(text: bytes) -> Token | None:
    """Return the parts of a token; None for what is none."""
    parts = text.split(b".")
    if len(parts) != 3 or len(text) > LONGEST:
        return None
    header, claims, signature = map(_decoded, parts)
    if header is None or claims is None or signature is None:
        return None
    try:
        head, body = json.loads(header), json.loads(claims)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    if not (isinstance(head, dict) and isinstance(body, dict)):
        return None
    return Token(head, body, parts[0] + b"." + parts[1], signature)


def _decoded(part: bytes) -> bytes | None:
    """Return what a part without padding says; None when it is not written in base64url."""
    if len(part) % 4 == 1 or not _BASE64.issuperset(part):
        return None
    return binascii.a2b_base64(part.translate(_FROM_URL) + b"=" * (-len(part) % 4))


_FROM_URL = bytes.maketrans(b"-_", b"+/")


def token_of(request: Request) -> Token | None:
    """Return the token of a request, believed or not yet; None where its location looks for none, or it has none.

    None, too, when it was let in without being believed: by its address, say, with `satisfy any`.
    """
    plan = request.location.auth_jwt
    if plan is None or (request.main or request).believes_token is False:
        return None
    return parse_token(text_of_token(plan, request))


def value_at(values: Mapping[str, Any], path: tuple[str, ...]) -> bytes | None:
    """Return what stands under these names, one below the other, as text; None when nothing does."""
    found: Any = values
    for name in path:
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return as_text(found)


def value_named(values: Mapping[str, Any], name: str) -> bytes | None:
    """Return what stands under a name of a variable, which is in lower case."""
    if name in values:
        return as_text(values[name])
    alike = [each for each in values if each.lower() == name]
    return as_text(values[alike[0]]) if len(alike) == 1 else None


def as_text(value: Any) -> bytes | None:
    """Return a value of JSON for a variable: a list by its elements, an object as JSON, null as nothing."""
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, list):
        return b",".join(as_text(each) or b"" for each in value)
    return json.dumps(value, separators=(",", ":")).encode()
