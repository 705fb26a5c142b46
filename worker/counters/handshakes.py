"""Counting the handshakes of TLS clients, in the row of the server itself that they ask for."""

from __future__ import annotations

from bisect import bisect_left

from worker.tls.failures import TlsFailure
from wproxy.config.model import Server
from wproxy.counters.buckets import BOUNDS
from wproxy.counters.layout import (
    TLS_FAILED,
    TLS_FULL,
    TLS_NO_CIPHER,
    TLS_NO_PROTOCOL,
    TLS_REJECTED,
    TLS_RESUMED,
    TLS_TIME,
    TLS_TIMED_OUT,
    TLS_TIMES,
)
from wproxy.failures import TimedOut

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


def count_handshake(server: Server, seconds: float, is_resumed: bool) -> None:
    """Count a handshake that has succeeded."""
    counts = server.locations.fallback.route.counts
    if counts is not None:
        counts[TLS_RESUMED if is_resumed else TLS_FULL] += 1
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


def _word_of(error: BaseException) -> int:
    """Return the word for the reason of a failure; 0 if it has none of its own."""
    if isinstance(error, TimedOut):
        return TLS_TIMED_OUT
    if not isinstance(error, TlsFailure):
        return 0
    reason = error.reason
    if "_ALERT_" in reason and reason.endswith(_REJECTING_ALERTS):
        return TLS_REJECTED
    if reason.startswith(_NO_CIPHER):
        return TLS_NO_CIPHER
    return TLS_NO_PROTOCOL if reason.startswith(_NO_PROTOCOL) else 0
