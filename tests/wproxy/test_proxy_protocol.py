"""Headers of the PROXY protocol: whole, byte by byte, with bytes behind them, broken ones, and TLVs."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wproxy.proxy_protocol import LONGEST, SIGNATURE, BrokenProxyHeader, ProxyHeader, find_tlv, take_proxy_header


def binary(body: bytes, family: int = 0x11, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2, "big") + body


V4 = bytes([192, 0, 2, 1, 192, 0, 2, 2]) + (56324).to_bytes(2, "big") + (443).to_bytes(2, "big")
V6 = bytes.fromhex("20010db8000000000000000000000001" + "20010db8000000000000000000000002") + V4[8:]
MAPPED = bytes.fromhex("00000000000000000000ffffc0000201" * 2) + V4[8:]
CLIENT = ProxyHeader(b"192.0.2.1", 56324, b"192.0.2.2", 443)


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


ACCEPTED = [
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", CLIENT),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", ProxyHeader(b"2001:db8::1", 56324, b"2001:db8::2", 443)),
    (b"PROXY TCP4 abc : 0 65535\r\n", ProxyHeader(b"abc", 0, b":", 65535)),
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 00001 0443\r\n", ProxyHeader(b"192.0.2.1", 1, b"192.0.2.2", 443)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN 1 2 3 whatever\r\n", None),
    (b"PROXY UNKNOWNS\r\n", None),
    (binary(V4), CLIENT),
    (binary(V6, 0x21), ProxyHeader(b"2001:db8::1", 56324, b"2001:db8::2", 443)),
    (binary(MAPPED, 0x21), ProxyHeader(b"::ffff:192.0.2.1", 56324, b"::ffff:192.0.2.1", 443)),
    (binary(V4 + tlv(2, b"app.example")), CLIENT._replace(tlvs=tlv(2, b"app.example"))),
    (binary(b"", 0, 0x20), None),  # LOCAL: a health check of the proxy's own
    (binary(V4, 0x11, 0x20), None),
    (binary(V4, 0x12), None),  # datagrams
    (binary(bytes(216), 0x31), None),  # unix sockets
    (binary(b"", 0x00), None),
    (binary(V4, 0x11, 0x2F), None),
    (binary(V4 + bytes(LONGEST - 16 - 12)), CLIENT._replace(tlvs=bytes(LONGEST - 28))),
]

BROKEN = [
    (b"GET / HTTP/1.1\r\n", 'broken header: "GET / HTTP/1.1"'),
    (b"\x16\x03\x01", 'broken header: "\x16\x03\x01"'),
    (b"\r\n", None),
    (b"\r\nX", 'broken header: ""'),
    (b"PROXY\r\n", 'broken header: "PROXY"'),
    (b"PROXY \r\n", 'broken header: "PROXY "'),
    (b"PROXY UDP4 1 2 3 4\r\n", 'broken header: "PROXY UDP4 1 2 3 4"'),
    (b"PROXY TCP5 1 2 3 4\r\n", 'broken header: "PROXY TCP5 1 2 3 4"'),
    (b"PROXY TCP4 1 2 3\r\n", 'broken header: "PROXY TCP4 1 2 3"'),
    (b"PROXY TCP4 1 2 3 4 5\r\n", 'broken header: "PROXY TCP4 1 2 3 4 5"'),
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n", 'broken header: "PROXY TCP4 192.0.2.1 192.0.2.2 65536 443"'),
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 " + b"9" * 40 + b" 1\r\n", f'broken header: "PROXY TCP4 192.0.2.1 192.0.2.2 {"9" * 40} 1"'),
    (b"PROXY TCP4 host 192.0.2.2 1 2\r\n", 'broken header: "PROXY TCP4 host 192.0.2.2 1 2"'),
    (b"PROXY TCP4 1 2 -3 4\r\n", 'broken header: "PROXY TCP4 1 2 -3 4"'),
    (b"PROXY TCP4 1 2 3 4\n", 'broken header: "PROXY TCP4 1 2 3 4"'),
    (b"PROXY TCP4 " + b"1" * LONGEST, f'broken header: "PROXY TCP4 {"1" * LONGEST}"'),
    (binary(V4, 0x11, 0x31), "unknown PROXY protocol version: 3"),
    (binary(V4[:-1]), ""),
    (binary(V4, 0x21), ""),
    (SIGNATURE + b"\x21\x11\xff\xff", "header is too large"),
]


@pytest.mark.parametrize(("wire", "header"), ACCEPTED)
def test_a_header_is_read_whole_or_in_pieces_and_what_follows_is_left(wire: bytes, header: ProxyHeader | None):
    assert take_proxy_header(wire) == (header, len(wire))
    for more in (b"GET / HTTP/1.1\r\n\r\n", b"\r\n", b"\0" * 100, b"PROXY UNKNOWN\r\n"):
        assert take_proxy_header(wire + more) == (header, len(wire))
    for end in range(1, min(len(wire), 200)):
        assert take_proxy_header(wire[:end]) is None


@pytest.mark.parametrize(("wire", "text"), [row for row in BROKEN if row[1] is not None])
def test_what_is_no_header_is_refused_as_soon_as_that_is_known(wire: bytes, text: str):
    for data in (wire, wire + b"more\r\n" if wire.endswith(b"\n") else wire):
        with pytest.raises(BrokenProxyHeader) as caught:
            take_proxy_header(data)
        assert str(caught.value) == text
    for end in range(1, min(len(wire), 200)):
        try:
            assert take_proxy_header(wire[:end]) is None
        except BrokenProxyHeader:
            break


pieces = st.sampled_from([b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"192.0.2.1 ", b"::1 ", b"1 ", b"2", b"\r\n", b"\n", b"\r", b" ", b"x",
                          SIGNATURE, SIGNATURE[:5], b"\x21\x11", b"\x20\x00", b"\0\x0c", b"\0\0", V4, b"\xff"])  # fmt: skip


@settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), max_examples=500)
@given(st.one_of(st.lists(pieces, max_size=9).map(b"".join), st.binary(max_size=60)), st.binary(max_size=5))
def test_whatever_comes_has_one_outcome_however_it_is_cut(wire: bytes, more: bytes):
    def outcome(data: bytes) -> object:
        try:
            return take_proxy_header(data)
        except BrokenProxyHeader as error:
            return str(error)

    first = next((found for end in range(1, len(wire) + 1) if (found := outcome(wire[:end])) is not None), None)
    whole = outcome(wire) if wire else None
    if isinstance(whole, tuple):
        assert first == whole == outcome(wire + more)
        assert 0 < whole[1] <= len(wire)
    else:
        assert (first is None) == (whole is None)


TLVS = tlv(1, b"h2") + tlv(2, b"app.example") + tlv(0xEA, b"\x01vpce-1") + tlv(5, b"id")
SSL = tlv(
    0x20,
    b"\x07"
    + (20).to_bytes(4, "big")
    + tlv(0x21, b"TLSv1.3")
    + tlv(0x22, b"cn")
    + tlv(0x23, b"AES")
    + tlv(0x24, b"SHA256")
    + tlv(0x25, b"RSA2048"),
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"alpn", b"h2"),
        (b"authority", b"app.example"),
        (b"unique_id", b"id"),
        (b"netns", None),
        (b"0xea", b"\x01vpce-1"),
        (b"0xEB", None),
        (b"0x001", b"h2"),
        (b"ssl_version", b"TLSv1.3"),
        (b"ssl_cn", b"cn"),
        (b"ssl_cipher", b"AES"),
        (b"ssl_sig_alg", b"SHA256"),
        (b"ssl_key_alg", b"RSA2048"),
        (b"ssl_verify", b"20"),
        (b"ssl_0x22", b"cn"),
    ],
)
def test_a_tlv_is_found_by_its_name(name: bytes, value: bytes | None):
    assert find_tlv(TLVS + SSL, name) == value
    if name.startswith(b"ssl_"):
        assert find_tlv(TLVS, name) is None


@pytest.mark.parametrize(
    ("tlvs", "name", "text"),
    [
        (TLVS, b"foo", 'unknown PROXY protocol TLV "foo"'),
        (TLVS + SSL, b"ssl_foo", 'unknown PROXY protocol TLV "ssl_foo"'),
        (TLVS, b"0xzz", 'invalid PROXY protocol TLV "0xzz"'),
        (TLVS, b"", 'unknown PROXY protocol TLV ""'),
        (b"\x01\x00", b"alpn", "broken PROXY protocol TLV"),
        (b"\x01\x00\x05abc", b"alpn", "broken PROXY protocol TLV"),
        (tlv(0x20, b"\0\0"), b"ssl_cn", ""),
    ],
)
def test_a_tlv_that_cannot_be_read_has_nginxs_words(tlvs: bytes, name: bytes, text: str):
    with pytest.raises(ValueError) as caught:
        find_tlv(tlvs, name)
    assert str(caught.value) == text
