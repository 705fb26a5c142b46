"""The names and addresses that a local authority may certify: those that nobody has on the internet (RFC 6761, 6762, 9476)."""

from __future__ import annotations

import ipaddress
import socket

# With everything below them.
DOMAINS = ("localhost", "local", "test", "internal", "home.arpa")
NETWORKS = tuple(
    map(
        ipaddress.ip_network,
        ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"),
    )
)


def may_certify(name: str) -> bool:
    """Whether a name or an address is among them."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        bare = name.lower().rstrip(".")
        return any(bare == domain or bare.endswith(f".{domain}") for domain in DOMAINS)
    return any(address.version == network.version and address in network for network in NETWORKS)


def names_of_this_machine() -> tuple[str, ...]:
    """Return the names and private addresses under which this machine is reached."""
    import psutil

    label = socket.gethostname().partition(".")[0].lower()
    names = ["localhost", "127.0.0.1", "::1"]
    if label and label != "localhost":
        names.append(f"{label}.local")
    for addresses in psutil.net_if_addrs().values():
        # Link-local addresses of IPv6 need the name of an interface, which no URL has.
        names += [
            one.address
            for one in addresses
            if one.family in (socket.AF_INET, socket.AF_INET6) and "%" not in one.address and may_certify(one.address)
        ]
    return tuple(dict.fromkeys(names))
