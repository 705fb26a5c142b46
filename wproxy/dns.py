"""DNS messages: queries written, answers read (RFC 1035, RFC 2782, RFC 2308, RFC 3596). Bytes in, values out.

Why not dnspython: its import and first message take 110 ms, and the whole start has 250; one answer takes 80 us, here 8. A proxy
needs four types of records and one kind of query, and that is this file.

Rule 1. An answer counts only with the identifier and the question that were sent; anything else is `NotOurs`, and the caller goes
on waiting: it may be a late answer to another query, or a forgery.

Rule 2. Records count only where they belong: addresses of the name that was asked for, or of the name that its chain of aliases
leads to. Where the chain leaves the message, `Answer.name` says where to continue.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from wproxy.address import is_ip

# Record types.
A = 1
CNAME = 5
SOA = 6
AAAA = 28
SRV = 33

# Response codes (RFC 1035, section 4.1.1).
NO_ERROR = 0
FORMAT_ERROR = 1
SERVER_FAILURE = 2
HOST_NOT_FOUND = 3
TIMED_OUT = 110  # not a DNS code: nginx's error when no answer came

# nginx: ngx_resolver_strerror.
REASONS = {
    FORMAT_ERROR: "Format error",
    SERVER_FAILURE: "Server failure",
    HOST_NOT_FOUND: "Host not found",
    4: "Unimplemented",
    5: "Operation refused",
    TIMED_OUT: "Operation timed out",
}

LONGEST_ALIAS_CHAIN = 16
_HEADER = struct.Struct("!6H")
_QUESTION_END = struct.Struct("!2H")
_RECORD = struct.Struct("!2HIH")
_SRV_HEAD = struct.Struct("!3H")
_INTERNET = 1
_RESPONSE, _OPCODE, _TRUNCATED, _RECURSION_DESIRED, _CODE = 0x8000, 0x7800, 0x0200, 0x0100, 0x000F


class BadMessage(ValueError):
    """A message that cannot be read."""


class NotOurs(ValueError):
    """A message that does not answer the query."""


class Service(NamedTuple):
    """One SRV record: host and port of a service; the lowest priority comes first, and weight shares the load within it."""

    priority: int
    weight: int
    port: int
    target: str


class Answer(NamedTuple):
    """The answer of a name server.

    code: NO_ERROR, HOST_NOT_FOUND, ... values: addresses in their usual spelling, or services. name: the name they belong to,
    which differs from the one asked for when there are aliases. ttl: seconds for which the answer holds; for an answer without
    values those of the zone's SOA, 0 when there is none. is_truncated: the query has to be repeated over TCP.
    """

    code: int
    values: tuple[str | Service, ...]
    name: str
    ttl: int
    is_truncated: bool = False


def reason_of(code: int) -> str:
    """Return the message for a code, in nginx's words."""
    return REASONS.get(code, "Unknown error")


def canonical_name(name: str) -> str:
    """Return a name in lower case, without the dot at the end."""
    return name.removesuffix(".").lower()


def encode_name(name: str) -> bytes:
    """Encode a name for a message; raises ValueError for empty or long labels, blanks and control characters."""
    encoded = bytearray()
    for label in canonical_name(name).encode("utf-8", "surrogateescape").split(b"."):
        if not 0 < len(label) < 64 or any(byte <= 32 or byte == 127 for byte in label):
            raise ValueError(f'invalid host name "{name}"')
        encoded.append(len(label))
        encoded += label
    encoded.append(0)
    if len(encoded) > 255:
        raise ValueError(f'too long host name "{name}"')
    return bytes(encoded)


def make_query(identifier: int, name: str, kind: int) -> bytes:
    """Return the query for the records of one type; raises ValueError for an impossible name."""
    return _HEADER.pack(identifier, _RECURSION_DESIRED, 1, 0, 0, 0) + encode_name(name) + _QUESTION_END.pack(kind, _INTERNET)


def read_answer(message: bytes, identifier: int, name: str, kind: int) -> Answer:
    """Read the answer to `make_query(identifier, name, kind)`; raises NotOurs, BadMessage."""
    try:
        return _read_answer(message, identifier, canonical_name(name), kind)
    except (struct.error, IndexError):
        raise BadMessage("the message ends too early") from None


def _read_answer(message: bytes, identifier: int, name: str, kind: int) -> Answer:
    if len(message) < 2 or int.from_bytes(message[:2], "big") != identifier:
        raise NotOurs("another identifier")
    _, flags, questions, answers, authorities, _ = _HEADER.unpack_from(message)
    if not flags & _RESPONSE or flags & _OPCODE:
        raise NotOurs("not an answer")
    code = flags & _CODE
    if questions == 0 and code:
        return Answer(code, (), name, 0)  # some servers refuse without repeating the question
    if questions != 1:
        raise NotOurs("another number of questions")
    asked, position = _read_name(message, _HEADER.size)
    if asked != name or _QUESTION_END.unpack_from(message, position) != (kind, _INTERNET):
        raise NotOurs("another question")
    if flags & _TRUNCATED:
        return Answer(code, (), name, 0, is_truncated=True)
    if code not in (NO_ERROR, HOST_NOT_FOUND):
        return Answer(code, (), name, 0)
    return _read_records(message, position + _QUESTION_END.size, answers, authorities, Answer(code, (), name, 0), kind)


def _read_records(message: bytes, position: int, answers: int, authorities: int, empty: Answer, kind: int) -> Answer:
    """Read the sections after the question."""
    aliases: dict[str, tuple[str, int]] = {}
    found: dict[str, list[tuple[str | Service, int]]] = {}
    negative_ttl: int | None = None
    for number in range(answers + authorities):
        owner, position = _read_name(message, position)
        record_kind, record_class, ttl, length = _RECORD.unpack_from(message, position)
        position += _RECORD.size
        end = position + length
        if end > len(message):
            raise BadMessage("a record ends after the message")
        if ttl >= 1 << 31:
            ttl = 0  # RFC 2181, section 8
        if record_class == _INTERNET:
            if number >= answers:
                if record_kind == SOA:
                    negative_ttl = min(ttl, _read_minimum(message, position, end))
            elif record_kind == CNAME:
                aliases[owner] = (_read_name_within(message, position, end), ttl)
            elif record_kind == kind:
                found.setdefault(owner, []).append((_read_value(message, kind, position, end), ttl))
        position = end
    name, least = empty.name, 1 << 31
    for _ in range(LONGEST_ALIAS_CHAIN):
        if name in found or name not in aliases:
            break
        name, ttl = aliases[name]
        least = min(least, ttl)
    else:
        raise BadMessage("too many aliases")
    records = found.get(name)
    if records is None:
        if negative_ttl is None:
            # Without a SOA record nothing limits how long the name stays absent; an alias that leads out of the message has its
            # own ttl.
            negative_ttl = least if name != empty.name and empty.code == NO_ERROR else 0
        return Answer(empty.code, (), name, min(least, negative_ttl))
    values = tuple(dict.fromkeys(value for value, _ in records))
    return Answer(NO_ERROR, values, name, min(least, *(ttl for _, ttl in records)))


def _read_value(message: bytes, kind: int, start: int, end: int) -> str | Service:
    """Read the data of an A, AAAA or SRV record."""
    if kind == SRV:
        priority, weight, port = _SRV_HEAD.unpack_from(message, start)
        return Service(priority, weight, port, _read_name_within(message, start + _SRV_HEAD.size, end))
    data = message[start:end]
    if len(data) != (4 if kind == A else 16):
        raise BadMessage("an address of the wrong length")
    return ip_text(data)


def ip_text(data: bytes) -> str:
    """Return an address of 4 or 16 bytes in its usual spelling (RFC 5952)."""
    if len(data) == 4:
        return ".".join(map(str, data))
    from ipaddress import IPv6Address

    return str(IPv6Address(data))


def _read_minimum(message: bytes, start: int, end: int) -> int:
    """Read the last number of a SOA record: how long a negative answer holds (RFC 2308, section 4)."""
    if end - start < 22:
        raise BadMessage("the SOA record is too short")
    return int.from_bytes(message[end - 4 : end], "big")


def _read_name_within(message: bytes, start: int, end: int) -> str:
    """Read a name that is the rest of a record."""
    name, after = _read_name(message, start)
    if after != end:
        raise BadMessage("a name does not end with its record")
    return name


def _read_name(message: bytes, position: int) -> tuple[str, int]:
    """Read a name; return it with its end. Pointers must lead backwards, so that they cannot loop (RFC 1035, section 4.1.4)."""
    labels: list[bytes] = []
    size, after, bound = 0, 0, position
    while True:
        length = message[position]
        position += 1
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | message[position]
            after = after or position + 1
            if target >= bound:
                raise BadMessage("a pointer that does not lead backwards")
            position = bound = target
            continue
        if length > 63:
            raise BadMessage("an unknown kind of label")
        if not length:
            break
        label = message[position : position + length]
        position += length
        size += length + 1
        if len(label) < length or size > 254:
            raise BadMessage("too long a name")
        if b"." in label:
            raise BadMessage("a dot inside a label")
        labels.append(label)
    return b".".join(labels).decode("utf-8", "surrogateescape").lower(), after or position


# The files of the system's resolver.


class SystemNames(NamedTuple):
    """/etc/resolv.conf: the name servers, the search domains, and how many dots make a name complete."""

    servers: tuple[str, ...]
    search: tuple[str, ...]
    ndots: int


def read_resolv_conf(text: str) -> SystemNames:
    """Read /etc/resolv.conf (resolv.conf(5)); without a `nameserver` line the one of this host is meant."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if not words:
            continue
        if words[0] == "nameserver" and len(words) > 1 and is_ip(words[1]):
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(canonical_name(word) for word in words[1:] if word != ".")
        elif words[0] == "options":
            for word in words[1:]:
                if word.startswith("ndots:") and word[6:].isascii() and word[6:].isdigit():
                    ndots = min(int(word[6:]), 15)
    return SystemNames(tuple(servers[:3]) or ("127.0.0.1",), search, ndots)


def candidates(name: str, system: SystemNames) -> list[str]:
    """Return the complete names that a name may stand for, in the order in which to try them (resolv.conf(5))."""
    if name.endswith("."):
        return [canonical_name(name)]
    name = canonical_name(name)
    inside = [f"{name}.{domain}" for domain in system.search]
    return [name, *inside] if name.count(".") >= system.ndots else [*inside, name]


def read_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Read /etc/hosts: addresses by lower-case name, in the order of the file (hosts(5))."""
    found: dict[str, dict[str, None]] = {}
    for line in text.splitlines():
        address, *names = line.split("#")[0].split() or [""]
        if is_ip(address):
            for name in names:
                found.setdefault(canonical_name(name), {})[address] = None
    return {name: tuple(addresses) for name, addresses in found.items()}
