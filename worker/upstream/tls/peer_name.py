"""Whether a certificate is for a name, as nginx decides it (ngx_ssl_check_host, which asks OpenSSL's X509_check_host).

DNS names in subjectAltName count; the CN only if there is none. Addresses in it are never compared: a name is taken for a name.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

_IN_LABEL = re.compile(r"[a-z0-9-]*")
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_WILDCARD = re.compile(rf"(?!xn--)(?P<before>(?:{_LABEL})?)\*(?P<after>(?:[a-z0-9-]*[a-z0-9])?)(?P<rest>(?:\.{_LABEL}){{2,}})")


def certificate_is_for(certificate: dict[str, Any], name: str) -> bool:
    """Whether a certificate, as `getpeercert` returns it, is for this name."""
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    if not names:
        relative = (pair for part in certificate.get("subject", ()) for pair in part)
        names = [value for attribute, value in relative if attribute == "commonName"]
    return any(covers(pattern, name) for pattern in names)


def covers(pattern: str, name: str) -> bool:
    """Whether a name in a certificate covers a host name.

    A `*` stands for the first label, or for its beginning or end, if at least two labels follow. A name that begins with a dot is
    any name below it.
    """
    pattern, name = pattern.lower(), name.lower()
    if name.startswith(".") and len(name) > 1:
        return pattern.endswith(name)
    if pattern == name:
        return bool(name)
    match = _WILDCARD.fullmatch(pattern)
    if match is None or (match["before"] and match["after"]):
        return False
    before, rest = match["before"], match["after"] + match["rest"]
    if len(name) < len(before) + len(rest) or not name.startswith(before) or not name.endswith(rest):
        return False
    middle = name[len(before) : len(name) - len(rest)]
    if not before and not match["after"]:
        return bool(middle) and (middle == "*" or _IN_LABEL.fullmatch(middle) is not None)
    # A part of a label that is encoded is no part of the name that it stands for (RFC 6125, 6.4.3).
    if name.startswith("xn--", len(before)):
        return False
    return middle == "*" or _IN_LABEL.fullmatch(middle) is not None


def bare_name(name: str) -> str:
    """Return a name without the port that variables such as $proxy_host have; an IPv6 address keeps its brackets."""
    start = 0
    if name.startswith("["):
        start = max(name.find("]"), 0)
    return name if (colon := name.find(":", start)) < 0 else name[:colon]


def is_sendable(name: str) -> bool:
    """Whether the handshake may give this name: addresses are not sent (RFC 6066, 3)."""
    if not name or name.startswith("["):
        return False
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return True
    return False
