"""Whether a request that changes something was sent by a page of another site, through the browser of an authorised user.

A page anywhere can make a browser send a form to 127.0.0.1, and with a body of text/plain that form can be JSON. A browser
announces anything beyond a form, or asks first. So the browser must say where the page comes from, and that must be the server it
talks to: the Origin (RFC 6454) is the Host. A page may also point its own name to 127.0.0.1 ("DNS rebinding"); then both are that
name, and so the name must be a configured one or an address. Programs send no Origin.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

# Content types of forms that may be JSON (HTML Living Standard, 4.10.21): old browsers send no Origin with them.
_TYPES_OF_FORMS = (b"text/plain", b"multipart/form-data")
_OWN_SITES = (None, b"same-origin", b"none")  # values of Sec-Fetch-Site; none: the user typed the URL

Get = Callable[[bytes], bytes | None]


def foreign_origin(field: Get, is_configured: Callable[[bytes], bool]) -> str:
    """Return why a request may come from a foreign page; "" when it does not.

    field: returns a field of the request by its lower-case name. is_configured: whether a name belongs to the server.
    """
    if field(b"sec-fetch-site") not in _OWN_SITES:
        return "it was sent by a page of another site"
    origin = field(b"origin")
    if origin is None:
        is_form = (field(b"content-type") or b"").lower().startswith(_TYPES_OF_FORMS)
        return "any page can send a body of this type: send it as application/json" if is_form else ""
    authority = origin.lower().partition(b"://")[2]
    if not authority or authority != (field(b"host") or b"").lower():
        return "it was sent by a page of another origin than its Host"
    name = _name_of(authority)
    if _is_address(name) or name == b"localhost" or name.endswith(b".localhost") or is_configured(name):
        return ""
    return "its Origin is a name that any page could have: add a server_name for it"


def _name_of(authority: bytes) -> bytes:
    """Return the host of HOST:PORT, or of [ADDRESS]:PORT."""
    if authority.startswith(b"["):
        return authority[1:].partition(b"]")[0]
    return authority.partition(b":")[0]


def _is_address(name: bytes) -> bool:
    try:
        ipaddress.ip_address(name.decode("latin-1"))
    except ValueError:
        return False
    return True
