"""Counting the handshakes of TLS clients, in the row of the server itself that they ask for."""

from __future__ import annotations

from bisect import bisect_left

from worker.tls.choice import certificate_refusal
from worker.tls.failures import TlsFailure
from wproxy.config.model import Server
from wproxy.counters.buckets import BOUNDS
from wproxy.counters.layout import (
    TLS_EXPIRED,
    TLS_FAILED,
    TLS_FULL,
    TLS_NO_CERTIFICATE,
    TLS_NO_CIPHER,
    TLS_NO_PROTOCOL,
    TLS_REJECTED,
    TLS_RESUMED,
    TLS_REVOKED,
    TLS_TIME,
    TLS_TIMED_OUT,
    TLS_TIMES,
    TLS_UNVERIFIED,
)
from wproxy.failures import TimedOut
from wproxy.http import ClientTls

# Beginnings and ends of OpenSSL's reasons why a client and we have no version, or no protocol of ALPN, in common.
_NO_PROTOCOL = (
    "UNSUPPORTED_PROTOCOL",
    "UNSUPPORTED_SSL_VERSION",
    "VERSION_TOO_",
    "WRONG_VERSION_NUMBER",
    "NO_APPLICATION_PROTOCOL",
)
_NO_CIPHER = ("NO_SHARED_CIPHER", "NO_CIPHERS_SPECIFIED", "NO_SHARED_GROUPS", "NO_SUITABLE_")
_REJECTING_ALERTS = ("BAD_CERTIFICATE", "UNKNOWN_CA", "CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED", "CERTIFICATE_UNKNOWN")


# OpenSSL's numbers of what is wrong with a certificate (x509_vfy.h) that are counted by themselves.
_EXPIRED, _REVOKED = 10, 23


def count_handshake(server: Server, seconds: float, tls: ClientTls) -> None:
    """Count a handshake that has succeeded, and a certificate of the client that its requests will be refused for."""
    counts = server.locations.fallback.route.counts
    if counts is not None:
        if server.ssl_verify_client != "off":
            refusal = certificate_refusal(server, tls)
            if refusal is not None:
                counts[TLS_NO_CERTIFICATE if refusal.status == 496 else _word_of_code(tls.verify_result[0])] += 1
        counts[TLS_RESUMED if tls.is_resumed else TLS_FULL] += 1
        counts[TLS_TIMES + bisect_left(BOUNDS, seconds)] += 1
        counts[TLS_TIME] += int(seconds * 1e6)


def count_failed_handshake(server: Server, error: BaseException) -> None:
    """Count a handshake that has failed, and why."""
    counts = server.locations.fallback.route.counts
    if counts is None:
        return
    counts[TLS_FAILED] += 1
    word = _word_of(error)
    if word:
        counts[word] += 1


def _word_of_code(code: int) -> int:
    """Return the word for what OpenSSL has found wrong with a client's certificate."""
    return {_EXPIRED: TLS_EXPIRED, _REVOKED: TLS_REVOKED}.get(code, TLS_UNVERIFIED)


def _word_of(error: BaseException) -> int:
    """Return the word for the reason of a failure; 0 if it has none of its own."""
    if isinstance(error, TimedOut):
        return TLS_TIMED_OUT
    if not isinstance(error, TlsFailure):
        return 0
    if error.verify_code:
        return _word_of_code(error.verify_code)
    reason = error.reason
    if "_ALERT_" in reason and reason.endswith(_REJECTING_ALERTS):
        return TLS_REJECTED
    if reason.startswith(_NO_CIPHER):
        return TLS_NO_CIPHER
    return TLS_NO_PROTOCOL if reason.startswith(_NO_PROTOCOL) else 0
