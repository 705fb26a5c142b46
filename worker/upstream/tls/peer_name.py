"""Whether a certificate is for a name, as nginx decides it (ngx_ssl_check_host, which asks OpenSSL's X509_check_host).

DNS names in subjectAltName count; the CN only if there is none. Addresses in it are never compared: a name is taken for a name.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

_LABEL = re.compile(r"[a-z0-9-]*", re.IGNORECASE)


def certificate_is_for(certificate: dict[str, Any], name: str) -> bool:
    """Whether a certificate, as `getpeercert` returns it, is for this name."""
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    if not names:
        relative = (pair for part in certificate.get("subject", ()) for pair in part)
        names = [value for attribute, value in relative if attribute == "commonName"]
    return any(covers(pattern, name) for pattern in names)


def covers(pattern: str, name: str) -> bool:
    """Whether a name in a certificate covers a host name; `*` stands for a part of the first label."""
    pattern, name = pattern.lower(), name.lower()
    if pattern == name:
        return bool(name)
    before, star, after = pattern.partition("*")
    if not star or "*" in after or not name.startswith(before) or not name.endswith(after):
        return False
    # The rest has two labels at least, and neither it nor the beginning has another label's dot before it.
    label, dot, rest = after.partition(".")
    if not dot or "." not in rest or "." in before or "" in rest.split("."):
        return False
    middle = name[len(before) : len(name) - len(after)]
    if len(before) + len(after) > len(name) or not _LABEL.fullmatch(middle):
        return False
    if before or label:
        # A part of a label: not of one that is encoded (RFC 6125, 6.4.3).
        return not (pattern.startswith("xn--") or name.startswith("xn--"))
    return bool(middle)


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
