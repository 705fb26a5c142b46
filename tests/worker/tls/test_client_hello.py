"""The first message of a client: what real clients send, cut everywhere, and whatever else may come."""

from __future__ import annotations

import ssl
import struct
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.handshakes import trusting_anybody
from worker.tls.client_hello import LONGEST, ClientHello, KnownHellos, NotClientHello, is_tls, read_client_hello


def real_hello(name: str | None = "example.com", protocols: list[str] | None = None, **attributes: object) -> bytes:
    """What OpenSSL sends as a client."""
    context = trusting_anybody(**attributes)
    if protocols:
        context.set_alpn_protocols(protocols)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def vector(data: bytes, bits: int = 16) -> bytes:
    return len(data).to_bytes(bits // 8, "big") + data


def message(extensions: bytes | None = b"", ciphers: bytes = b"\x13\x01", version: bytes = b"\x03\x03") -> bytes:
    body = version + b"r" * 32 + vector(b"", 8) + vector(ciphers) + vector(b"\x00", 8)
    return b"\x01" + vector(body if extensions is None else body + vector(extensions), 24)


def records(data: bytes, size: int = 16384) -> bytes:
    return b"".join(b"\x16\x03\x01" + vector(data[begin : begin + size]) for begin in range(0, len(data), size))


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">H", kind) + vector(data)


def server_name(name: bytes) -> bytes:
    return extension(0, vector(b"\x00" + vector(name)))


def read(data: bytes) -> ClientHello:
    hello = read_client_hello(data)
    assert hello is not None
    return hello


def test_a_real_client_is_read():
    hello = read(real_hello("Example.com", ["h2", "http/1.1"]))
    assert hello.server_name == b"Example.com"
    assert hello.protocols == (b"h2", b"http/1.1")
    assert 0x1301 in hello.ciphers and 29 in hello.groups and 0x403 in hello.signature_algorithms


def test_a_client_without_a_name_and_protocols():
    hello = read(real_hello(None, maximum_version=ssl.TLSVersion.TLSv1_2))
    assert (hello.server_name, hello.protocols) == (b"", None)


def test_a_client_without_extensions():
    hello = read(records(message(None, version=b"\x03\x01")))
    assert (hello.server_name, hello.protocols, hello.groups) == (b"", None, ())


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100, 16384])
def test_a_message_in_many_records_is_one(size: int):
    first = message(server_name(b"example.com"))
    wire = records(first, size)
    assert read(wire).server_name == b"example.com"
    for length in range(len(wire)):
        assert read_client_hello(wire[:length]) is None


def test_a_message_in_too_many_records_is_not_read():
    with pytest.raises(NotClientHello):
        read_client_hello(records(real_hello("example.com", ["h2"])[5:], 1))


def test_a_long_message_that_dribbles_in_is_looked_at_rarely():
    """Twice the bytes take about twice the time, not four times: counted in looks at a record."""

    class Counting(bytes):
        looks = 0

        def __getitem__(self, key):  # type: ignore[no-untyped-def]
            Counting.looks += 1
            return super().__getitem__(key)

    def looks_at(length: int) -> int:
        wire = records(message(extension(21, bytes(length))), 2000)
        Counting.looks = 0
        for end in range(0, len(wire), 10):
            read_client_hello(Counting(wire[:end]))
        return Counting.looks

    assert looks_at(40_000) < 2.5 * looks_at(20_000)


def test_every_beginning_is_incomplete_and_what_follows_does_not_matter():
    data = real_hello()
    for length in range(len(data)):
        assert read_client_hello(data[:length]) is None
    assert read(data + b"\x17\x03\x03 and more").server_name == b"example.com"


def test_a_long_message_is_read_up_to_the_limit():
    fits = message(server_name(b"long.example") + extension(21, bytes(40_000)))
    assert read(records(fits)).server_name == b"long.example"
    with pytest.raises(NotClientHello):
        read_client_hello(records(b"\x01" + (LONGEST - 3).to_bytes(3, "big")))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x16\x02\x00\x00\x05",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff\x01",
        b"\x16\x03\x01\x00\x01\x02",
        b"\x16GET",
        b"\x80\x2e\x01",
        records(b"\x01\x00\x00\x00"),
        records(b"\x01\x00\x00\x01\x03"),
        records(message(None)[:-2] + b"\x05\x00"),
        records(message(b"\x00\x00\x00")),
        records(message(extension(0, b"")[:-2] + b"\x00\x09")),
        records(message(server_name(b"a.example") * 2)),
        records(message(server_name(b""))),
        records(message(server_name(b"a\x00b"))),
        records(message(extension(0, vector(b"\x01" + vector(b"a"))))),
        records(message(extension(0, vector(b"\x00" + vector(b"a"))[:-1] + b"ab"))),
        records(message(extension(16, b""))),
        records(message(extension(16, vector(b"")))),
        records(message(extension(16, vector(b"\x00")))),
        records(message(extension(16, vector(b"\x05h2")))),
        records(message(ciphers=b"\x13")),
    ],
)
def test_anything_else_is_no_client_hello(data: bytes):
    with pytest.raises(NotClientHello):
        read_client_hello(data)


def test_numbers_of_a_wrong_length_are_left_out():
    hello = read(records(message(extension(10, b"\x00\x07\x00\x1d") + extension(13, vector(b"\x04\x03\x04")))))
    assert hello.groups == () and hello.signature_algorithms == (0x403,)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise_anything_else(data: bytes):
    for wire in (
        data,
        b"\x16\x03\x01" + data,
        records(data or b"x"),
        records(b"\x01" + vector(data, 24)),
        records(message(data)),
    ):
        try:
            read_client_hello(wire)
        except NotClientHello:
            pass


@given(st.integers(0, 1000), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_of_a_real_one_raises_nothing_else(place: int, byte: int):
    data = bytearray(REAL)
    data[place % len(data)] = byte
    try:
        hello = read_client_hello(bytes(data))
    except NotClientHello:
        return
    if hello is not None:
        assert isinstance(hello.ciphers + hello.groups + hello.signature_algorithms, tuple)


REAL = real_hello("example.com", ["h2", "http/1.1"])


def offer(hello: ClientHello | None) -> tuple[object, ...] | None:
    return hello and (hello.server_name, hello.protocols, hello.ciphers, hello.groups, hello.signature_algorithms)


def test_a_client_that_comes_again_makes_the_same_offer_though_its_random_bytes_differ():
    known = KnownHellos()
    first, second = (real_hello("example.com", ["h2"]) for _ in range(2))
    assert first != second
    assert known.read(first) is known.read(second)
    assert offer(known.read(second)) == offer(read_client_hello(second))


def test_an_encrypted_message_within_it_is_among_what_differs():
    known = KnownHellos()
    first, second = (records(message(server_name(b"a.test") + extension(0xFE0D, byte * 200))) for byte in (b"1", b"2"))
    assert known.read(first) is known.read(second)


def test_of_clients_that_never_send_the_same_few_are_remembered():
    known = KnownHellos()
    wires = [records(message(server_name(b"a.test") + extension(0x5A5A, bytes([number]) * 200))) for number in range(9)]
    first = [known.read(wire) for wire in wires]
    assert [known.read(wire) is before for wire, before in zip(wires, first)] == [True, *[False] * 7, True]


def test_what_is_remembered_changes_nothing_about_any_other_message():
    """Each byte of a message that is known, changed: what comes of it is what comes of it without a memory."""
    known = KnownHellos()
    known.read(REAL)
    for place in range(len(REAL)):
        for change in (1, 0x80):
            wire = bytearray(REAL)
            wire[place] ^= change
            data = bytes(wire)
            try:
                expected = offer(read_client_hello(data))
            except NotClientHello:
                with pytest.raises(NotClientHello):
                    known.read(data)
            else:
                assert offer(known.read(data)) == expected


def test_a_name_of_the_same_length_is_another_offer():
    known = KnownHellos()
    names = [b"one.test", b"two.test", b"six.test", b"ten.test", b"off.test", b"one.test"]
    assert [known.read(real_hello(name.decode())).server_name for name in names] == names  # type: ignore[union-attr]


def test_known_messages_are_bounded_and_those_of_greased_clients_are_not_kept():
    known = KnownHellos()
    for length in range(1, 1500):
        known.read(records(message(server_name(b"a" * (length % 200 + 1)) + extension(21, bytes(length)))))
        assert len(known._known) <= 128
    assert all(len(alike) <= 4 for alike in known._known.values())
    known = KnownHellos()
    assert read(records(message(server_name(b"a.test"), ciphers=b"\x3a\x3a\x13\x01"))).is_greased
    known.read(records(message(server_name(b"a.test"), ciphers=b"\x3a\x3a\x13\x01")))
    known.read(records(message(server_name(b"a.test"))) + b"and more")
    assert not known._known


def test_the_first_byte_tells_tls_from_clear_text():
    assert is_tls(0x16) and is_tls(0x80) and not is_tls(ord("G")) and not is_tls(ord("\r"))


def test_the_openssl_command_says_the_same(tmp_path):
    """`openssl s_client -msg` shows what it sends."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "s.example", "-alpn", "h2,http/1.1"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            sock, _ = listening.accept()
            with sock:
                data = b""
                while (hello := read_client_hello(data)) is None:
                    data += sock.recv(100)
            process.communicate(timeout=10)
    assert hello.server_name == b"s.example" and hello.protocols == (b"h2", b"http/1.1")
