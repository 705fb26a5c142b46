"""What a responder is asked, where it is, and which of its answers are believed; its answers are made by `cryptography`."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from tests.authority import Issued, authority
from tests.handshakes import shake, trusting_anybody
from wproxy.address import Address
from wproxy.tls.ocsp import (
    GOOD,
    REVOKED,
    UNKNOWN,
    BadAnswer,
    Inquiry,
    NoResponder,
    Ocsp,
    Responder,
    Verdict,
    find_ocsp,
    read_responder,
)

URL = "http://ocsp.test/status"
ROOT = authority()
SITE = ROOT.issue("site.test", ["site.test"], ocsp=URL)


@pytest.fixture
def library() -> Ocsp:
    found = find_ocsp()
    assert found is not None
    return found


def context_with(directory: Path, site: Issued, *trusted: Issued) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, site.write(directory, "site")))
    for one in trusted:
        context.load_verify_locations(cadata=one.pem.decode())
    return context


def inquiry_about(library: Ocsp, context: ssl.SSLContext, url: str = "") -> Inquiry:
    (certificate,) = library.certificates(context)
    return library.inquire(context, certificate, "site.pem", url)


def answer(site: Issued, issuer: Issued, signer: Issued | None = None, **changes: Any) -> bytes:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    settings: dict[str, Any] = {
        "algorithm": hashes.SHA1(),
        "cert_status": ocsp.OCSPCertStatus.GOOD,
        "this_update": now,
        "next_update": now + datetime.timedelta(hours=1),
        "revocation_time": None,
        "revocation_reason": None,
    }
    builder = ocsp.OCSPResponseBuilder().add_response(cert=site.certificate, issuer=issuer.certificate, **(settings | changes))
    by = signer or issuer
    if signer is not None:
        builder = builder.certificates([signer.certificate])
    signed = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, by.certificate).sign(by.key, hashes.SHA256())
    return signed.public_bytes(Encoding.DER)


def test_the_question_is_about_the_certificate_and_its_issuer(library, tmp_path):
    context = context_with(tmp_path, SITE, ROOT)
    inquiry = inquiry_about(library, context)
    asked = ocsp.load_der_ocsp_request(inquiry.request)
    assert asked.serial_number == SITE.certificate.serial_number
    assert inquiry.responder == Responder(Address("ocsp.test", 80), "ocsp.test", "/status")
    assert library.der(inquiry.certificate) == SITE.certificate.public_bytes(Encoding.DER)


def test_the_issuer_may_be_in_the_chain(library, tmp_path):
    middle = ROOT.issue("Middle", is_authority=True)
    site = middle.issue("site.test", ["site.test"], ocsp=URL)
    context = context_with(tmp_path, site)
    inquiry = inquiry_about(library, context)
    assert library.der(inquiry.issuer) == middle.certificate.public_bytes(Encoding.DER)
    assert library.judge(context, inquiry, answer(site, middle), verifies=True) > 0


def test_each_of_several_certificates_has_a_question_of_its_own(library, tmp_path):
    from cryptography.hazmat.primitives.asymmetric import rsa

    other = ROOT.issue("site.test", ["site.test"], ocsp=URL, key=rsa.generate_private_key(65537, 2048))
    context = context_with(tmp_path, SITE, ROOT)
    context.load_cert_chain(*map(str, other.write(tmp_path, "other")))
    serials = {
        ocsp.load_der_ocsp_request(library.inquire(context, each, "", "").request).serial_number
        for each in library.certificates(context)
    }
    assert serials == {SITE.certificate.serial_number, other.certificate.serial_number}


def test_without_an_issuer_or_a_responder_nobody_is_asked(library, tmp_path):
    with pytest.raises(NoResponder, match=r'^issuer certificate not found for certificate "site\.pem"$'):
        inquiry_about(library, context_with(tmp_path, SITE))
    silent = ROOT.issue("site.test", ["site.test"])
    context = context_with(tmp_path, silent, ROOT)
    with pytest.raises(NoResponder, match=r'^no OCSP responder URL in the certificate "site\.pem"$'):
        inquiry_about(library, context)
    assert inquiry_about(library, context, "http://[::1]:81").responder == Responder(Address("::1", 81), "[::1]:81", "/")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://x/", 'invalid URL prefix in OCSP responder "https://x/"'),
        ("ftp://x/", "invalid URL prefix"),
        ("http:///x", "no host"),
        ("http://x:99999/", "invalid port"),
        ("http://x/a b", "invalid path"),
    ],
)
def test_other_urls_are_refused(url, reason):
    with pytest.raises(NoResponder, match=reason):
        read_responder(url, "site.pem")


LATER = datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def test_a_good_answer_says_how_long_it_is_valid(library, tmp_path):
    context = context_with(tmp_path, SITE, ROOT)
    inquiry = inquiry_about(library, context)
    until = LATER + datetime.timedelta(days=1)  # the tests may have been collected long ago
    for verifies in (False, True):
        assert library.judge(context, inquiry, answer(SITE, ROOT, next_update=until), verifies) == until.timestamp()
    assert library.judge(context, inquiry, answer(SITE, ROOT, next_update=None), True) == float("inf")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {
                "cert_status": ocsp.OCSPCertStatus.REVOKED,
                "revocation_time": LATER,
                "revocation_reason": x509.ReasonFlags.key_compromise,
            },
            'certificate status "revoked" in the OCSP response',
        ),
        ({"cert_status": ocsp.OCSPCertStatus.UNKNOWN}, 'certificate status "unknown" in the OCSP response'),
        (
            {"this_update": LATER - datetime.timedelta(days=2), "next_update": LATER - datetime.timedelta(days=1)},
            r"OCSP_check_validity\(\) failed",
        ),
    ],
)
def test_an_answer_that_says_nothing_good_is_not_sent(library, tmp_path, changes, reason):
    context = context_with(tmp_path, SITE, ROOT)
    with pytest.raises(BadAnswer, match=f"^{reason}$"):
        library.judge(context, inquiry_about(library, context), answer(SITE, ROOT, **changes), verifies=True)


def test_an_answer_about_another_certificate_is_not_sent(library, tmp_path):
    context = context_with(tmp_path, SITE, ROOT)
    other = ROOT.issue("other.test", ["other.test"])
    with pytest.raises(BadAnswer, match=r"^certificate status not found in the OCSP response$"):
        library.judge(context, inquiry_about(library, context), answer(other, ROOT), verifies=True)


def test_a_signature_of_somebody_else_counts_only_where_none_is_verified(library, tmp_path):
    context = context_with(tmp_path, SITE, ROOT)
    inquiry = inquiry_about(library, context)
    forged = answer(SITE, ROOT, signer=authority())
    with pytest.raises(
        BadAnswer, match=r"^OCSP_basic_verify\(\) failed \(SSL: error:[0-9A-F]{8}:OCSP routines:.*certificate verify error\)$"
    ):
        library.judge(context, inquiry, forged, verifies=True)
    assert library.judge(context, inquiry, forged, verifies=False) > 0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "d2i_OCSP_RESPONSE"),
        (b"nonsense", "d2i_OCSP_RESPONSE"),
        (answer(SITE, ROOT) + b"x", "d2i_OCSP_RESPONSE"),
        (answer(SITE, ROOT)[:-1], "d2i_OCSP_RESPONSE"),
        (b"\x30\x03\x0a\x01\x06", r"OCSP response not successful \(6: unauthorized\)"),
    ],
)
def test_nonsense_is_refused(library, tmp_path, bad, reason):
    context = context_with(tmp_path, SITE, ROOT)
    with pytest.raises(BadAnswer, match=reason):
        library.judge(context, inquiry_about(library, context), bad, verifies=False)


# About clients: the certificates are those that a connection has verified.


def shaken(directory: Path, shown: Issued | None, trusted: Issued) -> tuple[ssl.SSLContext, ssl.SSLObject]:
    """A server, and its end of a connection to a client that shows a certificate and those between it and the root."""
    server, client = context_with(directory, SITE, trusted), trusting_anybody()
    server.verify_mode = ssl.CERT_OPTIONAL
    if shown is not None:
        client.load_cert_chain(*map(str, shown.write(directory, "client")))
    return server, shake(server, client)[0]


BETWEEN = ROOT.issue("Between", is_authority=True, ocsp=URL)
CLIENT = BETWEEN.issue("client", ocsp=URL)


def test_the_verdict_about_a_client_is_the_responders(library, tmp_path):
    context, connection = shaken(tmp_path, CLIENT, ROOT)
    chain = library.verified_chain(connection)
    assert [library.der(one) for one in chain] == [one.certificate.public_bytes(Encoding.DER) for one in (CLIENT, BETWEEN, ROOT)]
    until = LATER + datetime.timedelta(days=1)  # the tests may have been collected long ago
    for subject, issuer, at in ((CLIENT, BETWEEN, 0), (BETWEEN, ROOT, 1)):
        inquiry = library.inquire_about_client(chain[at], chain[at + 1], None)
        assert inquiry.responder == Responder(Address("ocsp.test", 80), "ocsp.test", "/status")
        assert inquiry.request == library.inquire_about_client(chain[at], chain[at + 1], None).request
        for status, word in ((GOOD, "GOOD"), (REVOKED, "REVOKED"), (UNKNOWN, "UNKNOWN")):
            said = answer(
                subject,
                issuer,
                cert_status=getattr(ocsp.OCSPCertStatus, word),
                next_update=until,
                revocation_time=LATER if status == REVOKED else None,
            )
            assert library.judge_client(context, inquiry, said, chain) == Verdict(status, until.timestamp())


def test_who_has_signed_the_verdict_about_a_client_has_to_be_trusted(library, tmp_path):
    context, connection = shaken(tmp_path, CLIENT, ROOT)
    chain = library.verified_chain(connection)
    other = Responder(Address("127.0.0.1", 80), "127.0.0.1", "/")
    inquiry = library.inquire_about_client(chain[0], chain[1], other)
    assert inquiry.responder == other
    with pytest.raises(BadAnswer, match=r"^OCSP_basic_verify\(\) failed"):
        library.judge_client(context, inquiry, answer(CLIENT, BETWEEN, signer=authority()), chain)


def test_there_is_no_chain_without_a_certificate(library, tmp_path):
    assert library.verified_chain(shaken(tmp_path, None, ROOT)[1]) == []
