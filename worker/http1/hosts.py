"""The valid hosts of requests: in the value of Host, in a target in absolute-form, and in a head that cannot be read."""

from __future__ import annotations

import re
from typing import Final

from wproxy.address import is_ip
from wproxy.failures import ClientError

# The valid hosts of requests. Stricter than nginx: sub-delims and %XX in a Host only ever served attacks.
_HOST: Final = re.compile(rb"([A-Za-z0-9\-._~]++|\[[0-9A-Fa-f:.]++\])(?::([0-9]{0,5}+))?+").fullmatch
# The Host in a head that cannot be read completely.
HOST_LINE = re.compile(rb"\n[Hh][Oo][Ss][Tt]: *([A-Za-z0-9\-._~]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]*+)? *\r?\n").search
# nginx accepts even fewer characters in an absolute-form target.
_AUTHORITY: Final = re.compile(rb"([A-Za-z0-9\-.]++|\[[0-9A-Fa-f:.]++\])(?::([0-9]{0,5}+))?+").fullmatch

# Values of Host already read: a worker serves few names, and a regex each time would be a tenth of the cost of a head.
_HOSTS: dict[bytes, tuple[bytes, int | None]] = {}
_HOSTS_LIMIT: Final = 1024


def read_host(value: bytes) -> tuple[bytes, int | None]:
    """Return host and port in a value of Host; raises ClientError."""
    known = _HOSTS.get(value)
    if known is not None:
        return known
    try:
        read = _split_host(_HOST(value))
    except ValueError:
        raise ClientError(400, "client sent invalid host header") from None
    if len(value) <= 256:
        if len(_HOSTS) >= _HOSTS_LIMIT:
            _HOSTS.clear()
        _HOSTS[value] = read
    return read


def read_authority(value: bytes) -> tuple[bytes, int | None]:
    """Return host and port in the authority of a request target; raises ClientError."""
    try:
        return _split_host(_AUTHORITY(value))
    except ValueError:
        raise ClientError(400, "client sent invalid host in request line") from None


def _split_host(match: re.Match[bytes] | None) -> tuple[bytes, int | None]:
    """Return lower-case host without trailing dot, and port, of a match of _HOST or _AUTHORITY; raises ValueError."""
    if match is None:
        raise ValueError("not a host")
    name, digits = match.groups()
    port = int(digits) if digits else None
    if port is not None and port > 65535:
        raise ValueError("not a port")
    host: bytes = name.lower()
    if host[:1] == b"[":
        if not is_ip(host[1:-1].decode("ascii")) or b":" not in host:
            raise ValueError("not an address")
        return host, port
    if host[-1:] == b".":
        host = host[:-1]
    if not host or b".." in host or host[-1:] == b".":
        raise ValueError("an empty label")
    return host, port
