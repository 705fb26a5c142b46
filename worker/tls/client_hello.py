"""The first message of a TLS client, read before OpenSSL sees it: it chooses the server and its context (RFC 8446, 4.1.2).

Only what has to be known is read. A message that cannot be read is not refused here: OpenSSL gets the same bytes, under the
context of the default server, and refuses them with the alert that belongs to the mistake.

    record     type 22, version, length u16, fragment          a message may be cut into several records
    message    type 1, length u24, legacy_version u16, random 32, session_id <u8>, cipher_suites <u16>, compression <u8>,
               extensions <u16>: each type u16, data <u16>     (<u8>: after its length in so many bits)
"""

from __future__ import annotations

import struct

# The longest message; those of today have less than 2 KB, with a key share that quantum computers do not break.
LONGEST = 65536
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_LONGEST_RECORD = 16384 + 256
# More than that is nobody's who wants to be served: each time bytes come, all records are looked at again.
_MOST_RECORDS = 256

_SERVER_NAME = 0
_SUPPORTED_GROUPS = 10
_SIGNATURE_ALGORITHMS = 13
_ALPN = 16
_EARLY_DATA = 42
_SUPPORTED_VERSIONS = 43

_pair = struct.Struct(">HH").unpack_from


class NotClientHello(ValueError):
    """The bytes are not the first message of a client."""


class ClientHello:
    """The offer of a client: its first message.

    server_name: as sent (SNI); b"" without. protocols: those of ALPN, in its order; None without. version: the highest version of
    an old client, which new ones keep at that of TLS 1.2. has_early_data: whether it sends a request before the handshake ends.
    """

    __slots__ = (
        "_ciphers",
        "_groups",
        "_signature_algorithms",
        "_versions",
        "has_early_data",
        "protocols",
        "server_name",
        "version",
    )

    def __init__(self, version: int, ciphers: bytes, extensions: dict[int, bytes]) -> None:
        self.version = version
        self._ciphers = ciphers
        self._groups = extensions.get(_SUPPORTED_GROUPS, b"")
        self._signature_algorithms = extensions.get(_SIGNATURE_ALGORITHMS, b"")
        self._versions = extensions.get(_SUPPORTED_VERSIONS, b"")[1:]
        self.has_early_data = _EARLY_DATA in extensions
        self.server_name = _server_name(extensions[_SERVER_NAME]) if _SERVER_NAME in extensions else b""
        self.protocols = _protocols(extensions[_ALPN]) if _ALPN in extensions else None

    @property
    def ciphers(self) -> tuple[int, ...]:
        """The numbers of its cipher suites."""
        return _numbers(self._ciphers)

    @property
    def groups(self) -> tuple[int, ...]:
        """The numbers of its groups, which were all curves once."""
        return _numbers(_vector(self._groups))

    @property
    def signature_algorithms(self) -> tuple[int, ...]:
        """The numbers of its signature algorithms."""
        return _numbers(_vector(self._signature_algorithms))

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions that it speaks."""
        return _numbers(self._versions) or (self.version,)

    def __repr__(self) -> str:
        return f"<client hello for {self.server_name.decode('latin-1') or 'no name'}>"


def is_tls(first: int) -> bool:
    """Whether a connection that begins with this byte begins with a handshake; with the high bit it is that of SSL 2."""
    return first == _HANDSHAKE or first >= 0x80


def read_client_hello(data: bytes) -> ClientHello | None:
    """Read the message at the beginning of a connection; None while it is incomplete. Raises NotClientHello."""
    message = _message(data)
    if message is None:
        return None
    try:
        return _client_hello(message)
    except (IndexError, struct.error):
        raise NotClientHello("it is cut") from None


def _message(data: bytes) -> bytes | None:
    """Join the fragments of the first message; None while there are more to come.

    Nothing is joined before there can be enough, so that a message which dribbles in costs little.
    """
    if len(data) > 9 and data[0] == _HANDSHAKE and data[1] == 3 and data[5] == _CLIENT_HELLO:
        # Nearly always it fills one record.
        length = data[6] << 16 | data[7] << 8 | data[8]
        if 4 + length == data[3] << 8 | data[4] <= _LONGEST_RECORD and 9 + length <= len(data):
            return data[9 : 9 + length]
    fragments: list[bytes] = []
    begin = size = 0
    length = 0  # of the message, once its own head is there
    while len(fragments) < _MOST_RECORDS:
        if len(data) < begin + 5:
            # What is there so far must not be anything else.
            if data[begin : begin + 1] not in (b"", b"\x16") or data[begin + 1 : begin + 2] not in (b"", b"\x03"):
                raise NotClientHello("no handshake record")
            return None
        if data[begin] != _HANDSHAKE or data[begin + 1] != 3:
            raise NotClientHello("no handshake record")
        in_record = data[begin + 3] << 8 | data[begin + 4]
        if not 0 < in_record <= _LONGEST_RECORD:
            raise NotClientHello("a record of a wrong length")
        fragments.append(data[begin + 5 : begin + 5 + in_record])
        size += len(fragments[-1])
        if not length:
            head = b"".join(fragments)[:4]
            if head and head[0] != _CLIENT_HELLO:
                raise NotClientHello("another message")
            if len(head) == 4:
                length = 4 + int.from_bytes(head[1:], "big")
                if length > LONGEST:
                    raise NotClientHello("too long")
                if len(data) < 5 + length:
                    return None
        if size >= length > 0:
            return b"".join(fragments)[4:length]
        begin += 5 + in_record
    raise NotClientHello("in too many records")


def _client_hello(message: bytes) -> ClientHello:
    """Read a message. Raises NotClientHello, IndexError and struct.error."""
    version = message[0] << 8 | message[1]
    at = 35 + message[34]  # after the session id
    (size,) = struct.unpack_from(">H", message, at)
    ciphers = message[at + 2 : at + 2 + size]
    at += 2 + size
    at += 1 + message[at]
    extensions: dict[int, bytes] = {}
    if at < len(message):
        (size,) = struct.unpack_from(">H", message, at)
        at += 2
        end = at + size
        if end != len(message):
            raise NotClientHello("extensions of a wrong length")
        while at < end:
            kind, size = _pair(message, at)
            at += 4
            if at + size > end or kind in extensions:
                raise NotClientHello("an extension of a wrong length, or twice")
            extensions[kind] = message[at : at + size]
            at += size
    elif at > len(message):
        raise NotClientHello("it is cut")
    if len(ciphers) % 2:
        raise NotClientHello("half a cipher suite")
    return ClientHello(version, ciphers, extensions)


def _server_name(data: bytes) -> bytes:
    """Read the only name in a list: <u16> of type 0, <u16>. Raises NotClientHello."""
    if len(data) < 5 or data[2] != 0:
        raise NotClientHello("a server name of another kind")
    size = data[3] << 8 | data[4]
    name = data[5:]
    if len(name) != size or data[0] << 8 | data[1] != 3 + size or not size or b"\x00" in name:
        raise NotClientHello("a server name of a wrong length")
    return name


def _protocols(data: bytes) -> tuple[bytes, ...]:
    """Read a list of protocols: <u16> of <u8>. Raises NotClientHello."""
    found = []
    at, end = 2, len(data)
    if end < 2 or data[0] << 8 | data[1] != end - 2:
        raise NotClientHello("protocols of a wrong length")
    while at < end:
        size = data[at]
        at += 1
        if not size or at + size > end:
            raise NotClientHello("a protocol of a wrong length")
        found.append(data[at : at + size])
        at += size
    if not found:
        raise NotClientHello("no protocol")
    return tuple(found)


def _vector(data: bytes) -> bytes:
    """Return the contents of a <u16> that fills an extension; b"" for anything else."""
    return data[2:] if len(data) >= 2 and data[0] << 8 | data[1] == len(data) - 2 else b""


def _numbers(data: bytes) -> tuple[int, ...]:
    count = len(data) // 2
    return struct.unpack(f">{count}H", data[: 2 * count])
