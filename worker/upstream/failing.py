"""Failures of upstreams in words: nginx's messages (proxy.md §4.3)."""

from __future__ import annotations

from worker.logs import log_request
from wproxy.failures import UpstreamFailure
from wproxy.http import Request

CONNECTING = "connecting to upstream"
HANDSHAKING = "SSL handshaking to upstream"
SENDING = "sending request to upstream"
READING_HEAD = "reading response header from upstream"
READING = "reading upstream"

CLOSED_EARLY = "upstream prematurely closed connection"
TOO_BIG_HEADER = "upstream sent too big header"


# The end cause of a failure that was made without one, by its kind and the activity.
_CODES = {
    ("timeout", CONNECTING): "up_connect_timeout",
    ("timeout", HANDSHAKING): "up_connect_timeout",
    ("timeout", SENDING): "up_send_timeout",
    ("timeout", READING_HEAD): "up_head_timeout",
    ("timeout", READING): "up_body_timeout",
    ("error", HANDSHAKING): "up_tls",
    ("error", SENDING): "up_send_failed",
    ("error", READING_HEAD): "up_closed",
    ("error", READING): "up_cut",
    ("invalid_header", READING_HEAD): "up_bad_head",
    ("invalid_header", READING): "up_bad_body",
}


def code_of(failure: UpstreamFailure) -> str:
    """Return the word of `wproxy.end_causes` for a failure."""
    if failure.kind.startswith("http_"):
        return "up_said"
    if failure.code and not (failure.code == "up_reset" and failure.doing == READING):
        return failure.code
    return _CODES.get((failure.kind, failure.doing), "up_closed")


def call_failed(call: str, error: OSError) -> str:
    """Return nginx's words for a system call that failed, or OpenSSL's for one of its own."""
    text: str | None = getattr(error, "text", None)  # a TlsFailure's
    return text or f"{call} failed ({error.errno}: {error.strerror})"


def failure_of(kind: str, reason: str, doing: str, code: str = "") -> UpstreamFailure:
    """Return a failure after the request, or a part of it, was sent."""
    failure = UpstreamFailure(kind, reason, doing, code)
    failure.sent = True
    return failure


def warn_of_surplus(request: Request, surplus: str) -> None:
    """Log that an upstream sent more bytes than its answer has; they are dropped."""
    log_request(request, "warn", f"{surplus} while {READING}")
