"""Log lines about an upstream's failure, with the setting that a timer or limit comes from (proxy.md §4.3)."""

from __future__ import annotations

from worker.logs import log_request
from worker.upstream.failing import CONNECTING, HANDSHAKING, READING, READING_HEAD, SENDING, code_of
from worker.upstream.passing import Passing
from wproxy.failures import UpstreamFailure
from wproxy.http import Request

# The timer behind a timeout, keyed by the activity; it is preceded by the word of the module (proxy_, fastcgi_).
_TIMERS = {
    CONNECTING: "connect_timeout",
    HANDSHAKING: "connect_timeout",
    SENDING: "send_timeout",
    READING_HEAD: "read_timeout",
    READING: "read_timeout",
}


def blamed_setting(passing: Passing, failure: UpstreamFailure) -> str:
    """Return ` (proxy_read_timeout 60: FILE:LINE:COLUMN)` for a timer or limit that was reached; empty otherwise."""
    if failure.kind == "timeout":
        word = _TIMERS[failure.doing]
    else:
        word = "buffer_size" if failure.code == "up_head_too_big" else failure.limit
    return passing.settings.described(word)


def cause_of(passing: Passing, failure: UpstreamFailure) -> str:
    """Return the end cause of a request that failed like this."""
    why_last = f", and {failure.why_last}" if failure.why_last else ""
    return f"upstream: {failure.reason} while {failure.doing}{blamed_setting(passing, failure)}{why_last}"


def log_failure(passing: Passing, request: Request, failure: UpstreamFailure) -> None:
    """Log nginx's line for a failed attempt, with the setting behind it; an answer that is retried has none."""
    if failure.kind.startswith("http_"):
        return
    text = f"{failure.reason} while {failure.doing}"
    log_request(request, failure.level, text, blamed_setting(passing, failure), code_of(failure))


def log_rest(request: Request, failure: UpstreamFailure) -> None:
    """Log nginx's line for a peer that gets no requests for fail_timeout, because of this failure."""
    log_request(request, "warn", f"upstream server temporarily disabled while {failure.doing}")
