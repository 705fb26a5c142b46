"""Counting the handshakes of TLS clients, in the row of the server itself that they ask for."""

from __future__ import annotations

from bisect import bisect_left

from worker.tls.choice import certificate_refusal
from worker.tls.failures import reason_of, reason_of_code
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
from wproxy.http import ClientTls

# By the reasons of `worker.tls.failures`.
_WORDS = {
    "no_common_protocol": TLS_NO_PROTOCOL,
    "no_common_cipher": TLS_NO_CIPHER,
    "handshake_timeout": TLS_TIMED_OUT,
    "peer_rejected_cert": TLS_REJECTED,
    "expired_cert": TLS_EXPIRED,
    "revoked_cert": TLS_REVOKED,
    "other": TLS_UNVERIFIED,
}


def count_handshake(server: Server, seconds: float, tls: ClientTls) -> None:
    """Count a handshake that has succeeded, and a certificate of the client that its requests will be refused for."""
    counts = server.locations.fallback.route.counts
    if counts is not None:
        if server.ssl_verify_client != "off":
            refusal = certificate_refusal(server, tls)
            if refusal is not None:
                is_missing = refusal.status == 496
                reason = reason_of_code(tls.verify_result[0])
                counts[TLS_NO_CERTIFICATE if is_missing else _WORDS.get(reason, TLS_UNVERIFIED)] += 1
        counts[TLS_RESUMED if tls.is_resumed else TLS_FULL] += 1
        counts[TLS_TIMES + bisect_left(BOUNDS, seconds)] += 1
        counts[TLS_TIME] += int(seconds * 1e6)


def count_failed_handshake(server: Server, error: BaseException) -> None:
    """Count a handshake that has failed, and why."""
    counts = server.locations.fallback.route.counts
    if counts is None:
        return
    counts[TLS_FAILED] += 1
    word = _WORDS.get(reason_of(error))
    if word is not None:
        counts[word] += 1
