"""Handshakes with clients that show certificates: which of them their requests will be refused for, and why."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from worker.counters.handshakes import count_failed_handshake, count_handshake
from worker.tls.failures import TlsFailure
from wproxy.counters.layout import REQUEST_WORDS
from wproxy.counters.totals import TlsTotals, request_totals


def counted(verify: str, certificate: bytes, code: int, failure: BaseException | None = None) -> TlsTotals:
    counts = [0] * REQUEST_WORDS
    route = SimpleNamespace(counts=counts)
    server = SimpleNamespace(ssl_verify_client=verify, locations=SimpleNamespace(fallback=SimpleNamespace(route=route)))
    if failure is None:
        count_handshake(server, 0.01, SimpleNamespace(certificate=certificate, verify_result=(code, "x"), is_resumed=False))
    else:
        count_failed_handshake(server, failure)
    return request_totals(counts, 0).tls


@pytest.mark.parametrize(
    ("verify", "certificate", "code", "failures"),
    [
        ("off", b"", 0, {}),
        ("off", b"x", 10, {}),
        ("on", b"x", 0, {}),
        ("on", b"", 0, {"no_certificate": 1}),
        ("on", b"x", 10, {"expired": 1}),
        ("on", b"x", 23, {"revoked": 1}),
        ("on", b"x", 20, {"unverified": 1}),
        ("optional", b"", 0, {}),
        ("optional", b"x", 18, {"unverified": 1}),
        ("optional_no_ca", b"x", 18, {}),
        ("optional_no_ca", b"x", 10, {"expired": 1}),
    ],
)
def test_certificates_that_are_refused_are_counted_by_reason(verify, certificate, code, failures):
    totals = counted(verify, certificate, code)
    names = ("no_certificate", "unverified", "expired", "revoked")
    assert totals.full == 1
    assert {name: getattr(totals, name) for name in names if getattr(totals, name)} == failures


def test_a_handshake_that_fails_for_the_certificate_is_counted_by_reason_too():
    totals = counted("on", b"x", 0, TlsFailure("failed", "CERTIFICATE_VERIFY_FAILED", verify_code=10))
    assert (totals.failed, totals.expired) == (1, 1)
