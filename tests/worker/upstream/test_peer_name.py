"""Names in certificates of upstreams, beside OpenSSL's X509_check_host, which nginx asks."""

from __future__ import annotations

import _ssl
import ctypes
import ssl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from tests.authority import self_signed
from worker.upstream.tls.peer_name import bare_name, certificate_is_for, covers, is_sendable

LIBRARY = ctypes.CDLL(_ssl.__file__)
LIBRARY.d2i_X509.restype = ctypes.c_void_p
LIBRARY.d2i_X509.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_long]
LIBRARY.X509_check_host.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_void_p]
LIBRARY.X509_free.argtypes = [ctypes.c_void_p]


def openssl_says(certificate: bytes, name: str) -> bool:
    """Whether OpenSSL takes a certificate (DER) for one of this name."""
    x509 = LIBRARY.d2i_X509(None, ctypes.byref(ctypes.c_char_p(certificate)), len(certificate))
    assert x509
    try:
        encoded = name.encode()
        return LIBRARY.X509_check_host(x509, encoded, len(encoded), 0, None) == 1
    finally:
        LIBRARY.X509_free(x509)


def decoded(certificate: bytes, tmp_path) -> dict:
    """What `getpeercert` would return."""
    file = tmp_path / "certificate.pem"
    file.write_text(ssl.DER_cert_to_PEM_cert(certificate))
    return _ssl._test_decode_cert(str(file))


NAMES = ["example.com", "www.example.com", "a.b.example.com", "EXAMPLE.COM", "example.com.", "com", "", "*.example.com",
         "192.0.2.1", "xn--bcher-kva.example.com", "wx.example.com", "w.example.com", "www.example", ".example.com",
         "-.example.com", "w_w.example.com"]  # fmt: skip
PATTERNS = ["example.com", "*.example.com", "w*.example.com", "*w.example.com", "w*w.example.com", "*.com", "*", "**.example.com",
            "www.*.com", "*.*.com", "xn--*.example.com", "*.example.com.", "a.*.example.com", "*..example.com", "192.0.2.1",
            "*-.example.com", "w*.b.example.com"]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_name_in_a_certificate_covers_what_openssl_says(pattern):
    certificate = self_signed("cn.example", [pattern] if pattern != "192.0.2.1" else []).certificate.public_bytes(Encoding.DER)
    if pattern == "192.0.2.1":
        certificate = self_signed(pattern).certificate.public_bytes(Encoding.DER)
    assert {name: covers(pattern, name) for name in NAMES} == {name: openssl_says(certificate, name) for name in NAMES}


LABELS = st.lists(st.sampled_from(["a", "*", "xn--a", "ab", "a*", "*b", "a-b", "example", ""]), min_size=1, max_size=4)


@given(LABELS, LABELS)
def test_any_name_and_pattern_are_compared_as_openssl_does(pattern, name):
    written, asked = ".".join(pattern), ".".join(name)
    if not written or not asked or asked.startswith(".") or "*" in asked:
        return
    certificate = self_signed("cn.example", [written]).certificate.public_bytes(Encoding.DER)
    assert covers(written, asked) == openssl_says(certificate, asked)


@pytest.mark.parametrize(
    ("names", "asked", "is_for"),
    [
        (["app.example"], "app.example", True),
        (["app.example"], "cn.example", False),
        ([], "cn.example", True),
        (["192.0.2.7"], "192.0.2.7", False),
        (["192.0.2.7"], "cn.example", True),
    ],
)
def test_the_common_name_counts_without_a_dns_name_and_addresses_never(names, asked, is_for, tmp_path):
    certificate = self_signed("cn.example", names).certificate.public_bytes(Encoding.DER)
    assert certificate_is_for(decoded(certificate, tmp_path), asked) is is_for
    assert openssl_says(certificate, asked) is is_for


def test_no_certificate_is_for_nobody():
    assert not certificate_is_for({}, "")
    assert not certificate_is_for({}, "example.com")


@pytest.mark.parametrize(
    ("name", "bare", "sent"),
    [
        ("example.com", "example.com", True),
        ("example.com:8443", "example.com", True),
        ("[2001:db8::1]", "[2001:db8::1]", False),
        ("[2001:db8::1]:8443", "[2001:db8::1]", False),
        ("192.0.2.1:80", "192.0.2.1", False),
        ("192.0.2.1.example", "192.0.2.1.example", True),
        ("", "", False),
        (":80", "", False),
        ("[half", "[half", False),
    ],
)
def test_a_port_is_cut_and_addresses_are_not_sent(name, bare, sent):
    assert bare_name(name) == bare
    assert is_sendable(bare) is sent
