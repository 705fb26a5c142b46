"""The first message of a TLS client, read before OpenSSL sees it: it chooses the server and its context (RFC 8446, 4.1.2).

Only what has to be known is read. A message that cannot be read is not refused here: OpenSSL gets the same bytes, under the
context of the default server, and refuses them with the alert that belongs to the mistake.

    record     type 22, version, length u16, fragment          a message may be cut into several records
    message    type 1, length u24, legacy_version u16, random 32, session_id <u8>, cipher_suites <u16>, compression <u8>,
               extensions <u16>: each type u16, data <u16>     (<u8>: after its length in so many bits)

A client's program sends the same message again and again, but for what is random in it. `KnownHellos` remembers the rest, so that
most messages are compared and not read: 28 of Python's instructions and not 570.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

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
_MATTERING = frozenset((_SERVER_NAME, _SUPPORTED_GROUPS, _SIGNATURE_ALGORITHMS, _ALPN))
# Extensions with other data each time: a ticket of TLS 1.2, one of TLS 1.3 with its proof, shares of a key, an encrypted message.
_RANDOM = frozenset((35, 41, 51, 65037))

# How many messages are remembered: of so many lengths, so many of each, and none that is longer than this.
_MOST_LENGTHS = 128
_MOST_OF_A_LENGTH = 4
_LONGEST_KNOWN = 3000
# One in so many of those that are not known is remembered: some programs never send the same.
_ONE_IN = 8

_pair = struct.Struct(">HH").unpack_from


class NotClientHello(ValueError):
    """The bytes are not the first message of a client."""


class ClientHello:
    """The offer of a client: its first message.

    server_name: as sent (SNI); b"" without. protocols: those of ALPN, in its order; None without.
    """

    __slots__ = ("_ciphers", "_groups", "_signature_algorithms", "protocols", "server_name")

    def __init__(self, ciphers: bytes, extensions: dict[int, bytes]) -> None:
        """extensions: the data of those that matter. Raises NotClientHello."""
        self._ciphers = ciphers
        self._groups = extensions.get(_SUPPORTED_GROUPS)
        self._signature_algorithms = extensions.get(_SIGNATURE_ALGORITHMS)
        name = extensions.get(_SERVER_NAME)
        self.server_name = b"" if name is None else _server_name(name)
        protocols = extensions.get(_ALPN)
        self.protocols = None if protocols is None else _protocols(protocols)

    @property
    def is_greased(self) -> bool:
        """Whether it has random values among its cipher suites, and so no two messages are alike (RFC 8701)."""
        return any(cipher & 0x0F0F == 0x0A0A and cipher >> 8 == cipher & 0xFF for cipher in self.ciphers)

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

    def __repr__(self) -> str:
        return f"<client hello for {self.server_name.decode('latin-1') or 'no name'}>"


class KnownHellos:
    """The messages that have been read lately. What they offer is the same object each time."""

    __slots__ = ("_known", "_missed")

    def __init__(self) -> None:
        self._missed = 0
        # By length: takes the parts that are the same each time out of such a message, what they have to be, and its offer.
        self._known: dict[int, list[tuple[Callable[[bytes], tuple[bytes, ...]], tuple[bytes, ...], ClientHello]]] = {}

    def read(self, data: bytes) -> ClientHello | None:
        """Read the message at the beginning of a connection; None while it is incomplete. Raises NotClientHello."""
        for lasting_parts, expected, hello in self._known.get(len(data), ()):
            if lasting_parts(data) == expected:
                return hello
        found = read_client_hello(data)
        if found is not None and not found.is_greased:
            if not self._missed % _ONE_IN:
                self._remember(data, found)
            self._missed += 1
        return found

    def _remember(self, data: bytes, hello: ClientHello) -> None:
        """Remember a message that fills its only record, and came alone."""
        message = _whole_message(data)
        if message is None or len(data) != 9 + len(message) or len(data) > _LONGEST_KNOWN:
            return
        # The head of the record and of the message, and the version; everything else is counted from the message.
        layout = "11s32x"
        at = 34
        for begin, end in _random_parts(message):
            layout += f"{begin - at}s{end - begin}x"
            at = end
        lasting_parts = struct.Struct(f"{layout}{len(message) - at}s").unpack
        known = self._known
        if len(known) >= _MOST_LENGTHS and len(data) not in known:
            known.clear()
        alike = known.setdefault(len(data), [])
        alike.insert(0, (lasting_parts, lasting_parts(data), hello))
        del alike[_MOST_OF_A_LENGTH:]


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
    whole = _whole_message(data)
    if whole is not None:
        return whole
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


def _whole_message(data: bytes) -> bytes | None:
    """Return the first message if it fills one record, as it nearly always does."""
    if len(data) > 9 and data[0] == _HANDSHAKE and data[1] == 3 and data[5] == _CLIENT_HELLO:
        length = data[6] << 16 | data[7] << 8 | data[8]
        if 4 + length == data[3] << 8 | data[4] <= _LONGEST_RECORD and 9 + length <= len(data):
            return data[9 : 9 + length]
    return None


def _random_parts(message: bytes) -> Iterator[tuple[int, int]]:
    """Yield where a message that has been read has other bytes each time: the session id, and the data of some extensions."""
    at = 35 + message[34]
    yield 35, at
    at += 2 + (message[at] << 8 | message[at + 1])
    at += 1 + message[at]
    at += 2
    while at < len(message):
        kind, size = _pair(message, at)
        at += 4 + size
        if kind in _RANDOM:
            yield at - size, at


def _client_hello(message: bytes) -> ClientHello:
    """Read a message. Raises NotClientHello, IndexError and struct.error."""
    at = 35 + message[34]  # after the session id
    ciphers_at = at + 2
    at = ciphers_at + (message[at] << 8 | message[at + 1])
    ciphers = message[ciphers_at:at]
    if len(ciphers) & 1:
        raise NotClientHello("half a cipher suite")
    at += 1 + message[at]
    end = len(message)
    extensions: dict[int, bytes] = {}
    if at < end:
        size = message[at] << 8 | message[at + 1]
        at += 2
        if at + size != end:
            raise NotClientHello("extensions of a wrong length")
        # There are 10 to 20, of which four matter. Their lengths are right if the last one ends where the message does.
        while at < end:
            kind, size = _pair(message, at)
            begin = at + 4
            at = begin + size
            if kind in _MATTERING:
                if kind in extensions:
                    raise NotClientHello("an extension that is there twice")
                extensions[kind] = message[begin:at]
        if at != end:
            raise NotClientHello("an extension of a wrong length")
    elif at > end:
        raise NotClientHello("it is cut")
    return ClientHello(ciphers, extensions)


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


def _vector(data: bytes | None) -> bytes:
    """Return the contents of a <u16> that fills an extension; b"" for anything else."""
    return data[2:] if data is not None and len(data) >= 2 and data[0] << 8 | data[1] == len(data) - 2 else b""


def _numbers(data: bytes) -> tuple[int, ...]:
    count = len(data) // 2
    return struct.unpack(f">{count}H", data[: 2 * count])
