"""The reader of certificates, beside the one of the `cryptography` package."""

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from tests.authority import NOW, authority, rsa_key, self_signed
from wproxy.certificate import covers, read_certificate, read_certificates, shown_name

ROOT = authority()
DER = ROOT.issue("example.com", ["example.com", "192.0.2.1"], url="http://ca.example/x.der").certificate.public_bytes(
    Encoding.DER
)


def test_everything_that_is_read_is_what_cryptography_reads():
    issued = ROOT.issue(
        "shop.example", ["shop.example", "*.shop.example", "192.0.2.7", "2001:db8::1"], days=20, url="http://ca/x"
    )
    found = read_certificate(issued.certificate.public_bytes(Encoding.DER))
    oracle = issued.certificate
    alternatives = oracle.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.names == tuple(alternatives.get_values_for_type(x509.DNSName))
    assert found.addresses == tuple(map(str, alternatives.get_values_for_type(x509.IPAddress)))
    assert found.not_before == oracle.not_valid_before_utc.timestamp()
    assert found.not_after == oracle.not_valid_after_utc.timestamp()
    assert (found.subject_der, found.issuer_der) == (oracle.subject.public_bytes(), oracle.issuer.public_bytes())
    assert shown_name(found.subject) == oracle.subject.rfc4514_string() == "CN=shop.example"
    assert shown_name(found.issuer) == "CN=Test Root"
    assert (found.shown_key, found.weak_hash, found.is_authority, found.issuer_url) == ("EC P-256", "", False, "http://ca/x")
    assert found.days_left(NOW.timestamp()) == 20
    assert found.days_left(NOW.timestamp() + 21 * 86400) == -1


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (rsa_key(1024), "RSA 1024"),
        (rsa_key(2048), "RSA 2048"),
        (ec.generate_private_key(ec.SECP384R1()), "EC P-384"),
        (ec.generate_private_key(ec.SECP224R1()), "EC P-224"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        (ed448.Ed448PrivateKey.generate(), "Ed448"),
        (dsa.generate_private_key(1024), "DSA 1024"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_keys_have_a_kind_and_a_size(key, shown):
    assert read_certificates(ROOT.issue("x", key=key).pem)[0].shown_key == shown


def test_a_broken_hash_is_named():
    weak = x509.load_pem_x509_certificate(SHA1)
    assert read_certificate(weak.public_bytes(Encoding.DER)).weak_hash == "SHA-1"
    assert read_certificates(ROOT.issue("x", hash=hashes.SHA384()).pem)[0].weak_hash == ""


def test_a_chain_keeps_its_order_and_other_text_is_passed_over():
    middle = ROOT.issue("Middle", is_authority=True)
    leaf = middle.issue("leaf.example")
    text = b"subject=CN = leaf\n" + leaf.pem.replace(b"\n", b"\r\n") + b"\n" + leaf.key_pem() + middle.pem + ROOT.pem
    chain = read_certificates(text)
    assert [one.common_name for one in chain] == ["leaf.example", "Middle", "Test Root"]
    assert [one.is_self_issued for one in chain] == [False, False, True]
    assert [one.is_authority for one in chain] == [False, True, True]
    assert chain[0].issuer_der == chain[1].subject_der


def test_the_common_name_counts_only_without_a_dns_name():
    (bare,) = read_certificates(self_signed("old.example").pem)
    assert bare.all_names == ("old.example",) and bare.covers("OLD.example")
    (addressed,) = read_certificates(self_signed("old.example", ["192.0.2.1"]).pem)
    assert addressed.all_names == ("old.example", "192.0.2.1")
    assert addressed.covers("old.example") and addressed.covers("192.0.2.1") and not addressed.covers("192.0.2.2")
    (named,) = read_certificates(self_signed("old.example", ["new.example"]).pem)
    assert named.covers("new.example") and not named.covers("old.example")


@pytest.mark.parametrize(
    ("pattern", "name", "is_covered"),
    [
        ("example.com", "Example.COM", True),
        ("example.com", "example.com.", True),
        ("*.example.com", "www.example.com", True),
        ("*.example.com", "*.example.com", True),
        ("*.example.com", "a.www.example.com", False),
        ("*.example.com", "example.com", False),
        ("*.example.com", ".example.com", False),
        ("*.com", "*.example.com", False),
        ("w*.example.com", "www.example.com", False),
        ("*", "localhost", False),
        ("", "", False),
    ],
)
def test_a_wildcard_is_one_whole_label(pattern, name, is_covered):
    assert covers(pattern, name) == is_covered


def test_a_subject_is_shown_with_its_special_characters_escaped():
    name = (("C", "RO"), ("O", "Test, Inc"), ("CN", " #a+b\n"))
    assert shown_name(name) == "CN=\\ #a\\+b\\0A,O=Test\\, Inc,C=RO"


@pytest.mark.parametrize("pem", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_without_certificates_has_none(pem):
    assert read_certificates(pem) == ()


@pytest.mark.parametrize("body", [b"AAA", b"AAAA", b"MIIB", b""])
def test_a_broken_certificate_is_an_error_of_one_kind(body):
    with pytest.raises(ValueError):
        read_certificates(b"-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----\n")


@given(st.integers(0, len(DER) - 1), st.binary(max_size=3))
def test_bytes_that_were_changed_are_read_or_refused(place, change):
    try:
        read_certificate(DER[:place] + change + DER[place + len(change) :])
    except ValueError:
        pass


@given(st.integers(0, len(DER) - 1))
def test_a_truncated_certificate_is_refused(length):
    with pytest.raises(ValueError):
        read_certificate(DER[:length])


def test_addresses_are_in_their_usual_form():
    assert read_certificate(DER).addresses == (str(ipaddress.ip_address("192.0.2.1")),)


SHA1 = b"""-----BEGIN CERTIFICATE-----
MIIDETCCAfmgAwIBAgIUPDQQQCIH8/YUOL9Nd8Ee+M9W8T0wDQYJKoZIhvcNAQEF
BQAwFzEVMBMGA1UEAwwMc2hhMS5leGFtcGxlMCAXDTI2MTEyOTIxMDYwNloYDzIx
MjYxMTA1MjEwNjA2WjAXMRUwEwYDVQQDDAxzaGExLmV4YW1wbGUwggEiMA0GCSqG
SIb3DQEBAQUAA4IBDwAwggEKAoIBAQCw5ECj0kB5QfhaYmgPVCt66ZLJZAy9cqhy
RL49njaf7OOSLpRuAR8eTuYdl4eS7nfNcKdwniDVVJleO47u89r2Nnqv5TRp4DBO
DTTS20iHcHwgE0FGxVNYTuLiOtqBN92HI6B4AnMTOoeSegp9t1q3Jl8rZUF5k/t/
EoGeBwQffI6B6yvwgZGEIbJ9aVChsh9EUxt+L8EGFBL4gobeXC5T3fcQKcpTug71
jP1qmSZSb9qVBR5JMN6OjLoeoWO8ML0tc2vAeA06cCgTnjGRrjnVPO/LOs2GmX2K
MkNbTyvI4TrI4Eh7EEyel2MrUOQ8g0N6kQC/aDDHhTBGsXe86oDHAgMBAAGjUzBR
MB0GA1UdDgQWBBSPHP59+s0+YeANnKd9hahkCODPdzAfBgNVHSMEGDAWgBSPHP59
+s0+YeANnKd9hahkCODPdzAPBgNVHRMBAf8EBTADAQH/MA0GCSqGSIb3DQEBBQUA
A4IBAQA6ReB9m+CdayfUX11BOPWoEzg20UuZwAZ4LPcRMOE1F1OauAqcaZgGRT9T
b9ek/qNEQ3LHBQFUDr0Bhu7llzmmQmjRTXpiO8K0yT+qvLqgznKSxXx75+I2x6JC
U6g2YhWEeXyhLU1J+NxrBnHz3cYEHtKshHJoLtYsXKCFeEnkTjaNvcBc+Lq/iESk
MahN1HEVkeXvVczg4Odc/4Xm+tzbM1fJzYtJPKOmRkx+KdlHoVffmgSDNkrrXD/L
gyMFLRONEXJJ2WvutwxkU4eyPiaOUSGhjmJs9bmy1Ha1tukiIrIzlYMb3Gl/KlnH
oAeA+wjG/2m6pxsNmmDwLDXkbaFr
-----END CERTIFICATE-----
"""
