"""Failures of upstreams in words: nginx's messages (proxy.md §4.3), and the setting that a timer or limit comes from."""

from __future__ import annotations

from worker.logs import log_request, shown
from wproxy.failures import UpstreamFailure
from wproxy.http import Request

CONNECTING = "connecting to upstream"
SENDING = "sending request to upstream"
READING_HEAD = "reading response header from upstream"
READING = "reading upstream"

# The timer behind a timeout, by what was going on.
_TIMERS = {
    CONNECTING: "proxy_connect_timeout",
    SENDING: "proxy_send_timeout",
    READING_HEAD: "proxy_read_timeout",
    READING: "proxy_read_timeout",
}
TOO_BIG_HEADER = "upstream sent too big header"


def failure_of(kind: str, reason: str, doing: str) -> UpstreamFailure:
    """A failure after the request, or a part of it, was sent."""
    failure = UpstreamFailure(kind, reason, doing)
    failure.sent = True
    return failure


def blamed_setting(request: Request, failure: UpstreamFailure) -> str:
    """` (proxy_read_timeout 60: FILE:LINE:COLUMN)` for a timer or limit that was reached; empty otherwise."""
    if failure.kind == "timeout":
        name = _TIMERS[failure.doing]
    elif failure.reason == TOO_BIG_HEADER:
        name = "proxy_buffer_size"
    else:
        return ""
    return request.location.described(name)


def cause_of(request: Request, failure: UpstreamFailure) -> str:
    """The end cause of a request that failed like this."""
    why_last = f", and {failure.why_last}" if failure.why_last else ""
    return f"upstream: {failure.reason} while {failure.doing}{blamed_setting(request, failure)}{why_last}"


def log_failure(request: Request, failure: UpstreamFailure, peer: str) -> None:
    """nginx's line for a failed attempt, with the setting behind it; an answer that is retried has none."""
    if failure.kind.startswith("http_"):
        return
    text = f"{failure.reason} while {failure.doing}"
    log_request(request, "error", text, _url(request, peer), blamed_setting(request, failure))


def log_rest(request: Request, failure: UpstreamFailure, peer: str) -> None:
    """nginx's line for a peer that gets nothing for fail_timeout, because of this failure."""
    log_request(request, "warn", f"upstream server temporarily disabled while {failure.doing}", _url(request, peer))


def _url(request: Request, peer: str) -> str:
    colon = ":" if peer.startswith("unix:") else ""
    return f"http://{peer}{colon}{shown(request.line.origin)}"


def warn_of_surplus(request: Request, surplus: str) -> None:
    """Tell that an upstream sent more than its answer has; nobody gets that."""
    log_request(request, "warn", f"{surplus} while {READING}")
