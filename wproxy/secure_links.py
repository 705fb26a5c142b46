"""secure_link: links that only we can have made, for a while (nginx: ngx_http_secure_link_module.c, subrequests.md §7.3)."""

from __future__ import annotations

import binascii
import re
from hashlib import md5
from hmac import compare_digest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wproxy.http import Request

_BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_HASH_BYTES = 16
_LONGEST_HASH = 24
_MOST_SECONDS = (1 << 63) - 1
_SECRET_HEAD = re.compile(rb".[^/]*/", re.DOTALL)


def linked(request: Request) -> bytes | None:
    """Return the value of $secure_link: 1, 0 when its time is over, or what is linked to; None when it is not ours."""
    location = request.location
    if location.secure_link_secret is not None:
        return _part_linked(request.line.target, location.secure_link_secret.encode("utf-8", "surrogateescape"))
    if location.secure_link is None or location.secure_link_md5 is None:
        return None
    given, comma, _ = location.secure_link.evaluate(request).partition(b",")
    expires = expiry(request)
    if (comma and expires is None) or len(given) > _LONGEST_HASH:
        return None
    found = _decoded(given)
    made = md5(location.secure_link_md5.evaluate(request), usedforsecurity=False).digest()
    if found is None or not compare_digest(found, made):
        return None
    return b"0" if expires is not None and int(expires) < int(request.client.clock.wall) else b"1"


def expiry(request: Request) -> bytes | None:
    """Return the value of $secure_link_expires: the time at which the link ends, as it was given; None without one.

    The MD5 is mostly made of this too, so it must not depend on that.
    """
    location = request.location
    if location.secure_link is None or location.secure_link_md5 is None:
        return None
    seconds = location.secure_link.evaluate(request).partition(b",")[2]
    return seconds if seconds.isdigit() and len(seconds) < 20 and 0 < int(seconds) <= _MOST_SECONDS else None


def _decoded(text: bytes) -> bytes | None:
    """Return the 16 bytes that a text stands for; None if it does not."""
    text = text.partition(b"=")[0]
    if len(text) % 4 == 1 or text.translate(None, _BASE64URL):
        return None
    data = binascii.a2b_base64(text.translate(bytes.maketrans(b"-_", b"+/")) + b"=" * (-len(text) % 4))
    return data if len(data) == _HASH_BYTES else None


def _part_linked(target: bytes, secret: bytes) -> bytes | None:
    """Return the part of a target that is linked to; None if its hash is not that of the part and the secret."""
    head = _SECRET_HEAD.match(target)
    if head is None:
        return None
    digest, slash, link = target[head.end() :].partition(b"/")
    if not slash or len(digest) != 32:
        return None
    made = md5(link + secret, usedforsecurity=False).hexdigest().encode()
    return link if link and compare_digest(digest.lower(), made) else None
