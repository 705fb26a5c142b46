"""Failures of a request, told apart by guilt: the client's, the upstream's, or time; and failures at a worker's start.

Each is raised where it is found and caught where something can be done about it.
"""

from __future__ import annotations

import os

_CODES_OF_SETTINGS = {
    "large_client_header_buffers": "cl_head_too_big",
    "max_headers": "cl_head_too_big",
    "client_max_body_size": "cl_body_too_big",
    "client_header_timeout": "cl_head_timeout",
    "client_body_timeout": "cl_body_timeout",
}
_CODES_OF_STATUSES = {495: "cl_tls_cert", 496: "cl_tls_cert", 497: "cl_tls_plain", 500: "conf_value"}


class ClientError(Exception):
    """The client is to blame: it gets this status and its connection is closed.

    status: the HTTP status; 494 (a header too large) is sent as 400 with a page of its own, as in nginx.
    reason: the text for the log, in nginx's words: "client sent invalid header line: ...".
    setting: the directive whose limit or timer was reached, if any.
    level: the level of the line in the error log; nginx has [error] for bodies, and [info] for nearly everything else.
    code: the word of `wproxy.end_causes`; if not given, it follows from the setting, else from the status.
    """

    def __init__(self, status: int, reason: str, setting: str = "", level: str = "", code: str = "") -> None:
        super().__init__(reason)
        self.code = code or _CODES_OF_SETTINGS.get(setting) or _CODES_OF_STATUSES.get(status, "cl_bad_request")
        self.level = level or ("error" if status in (413, 500) else "info")
        self.status = status
        self.reason = reason
        self.setting = setting


class BodyBrokenOff(ClientError):
    """The client left amid the body of its request: it is logged as a bad request, and there is no one to answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(400, f"{reason} while sending the request body", code="cl_bad_body")


class ClientGone(Exception):
    """The client closed or reset its connection: no answer can reach it (499)."""


class Drained(ClientGone):
    """The worker leaves, and worker_shutdown_timeout is over: the message says where that is set."""

    code = "drained"


class TimedOut(Exception):
    """A deadline passed while parked."""


class UpstreamFailure(Exception):
    """An attempt at one peer failed.

    kind: a word of `proxy_next_upstream`: "error", "timeout", "invalid_header", "http_503", ...
    reason: the text for the log, in nginx's words: "connect() failed (111: Connection refused)".
    doing: the activity, in nginx's words: "connecting to upstream".
    sent: whether part of the request had gone out.
    is_dead_idle: whether a reused connection ended before a byte of the answer, so that it may have died while idle.
    is_refusal: whether the peer has refused the request, on a connection that stands. is_put_off: whether it only had no place
    for it yet, and had not said so before.
    why_last: the reason why no other peer is tried, where it needs stating.
    limit: the word of the directive, after that of its module, whose limit was reached; "" for a timer, and for none.
    code: the word of `wproxy.end_causes`; "" where it follows from kind and doing. level: that of its line in the error log.
    """

    sent = False
    level = "error"
    why_last = ""
    is_dead_idle = is_refusal = is_put_off = False
    limit = ""

    def __init__(self, kind: str, reason: str, doing: str = "", code: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.kind = kind
        self.reason = reason
        self.doing = doing


class CannotBegin(Exception):
    """A worker cannot begin; the message says in one line what failed, for which directive, and where. is_bug: it is our bug."""

    def __init__(self, reason: str, is_bug: bool) -> None:
        super().__init__(reason)
        self.is_bug = is_bug


def reason_of(error: BaseException) -> str:
    """Describe an exception in one line."""
    if isinstance(error, OSError) and error.errno is not None:
        call = "" if error.filename is None else f'open() "{os.fsdecode(error.filename)}" failed '
        return f"{call}({error.errno}: {error.strerror})"
    if isinstance(error, CannotBegin):
        return str(error)
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, ImportError):
        # Workers import what their configuration needs: from files that a new version may have replaced.
        return f'{text}; if the files of the program have been replaced, "wproxy upgrade" starts the new one'
    return text


def is_bug(error: BaseException) -> bool:
    """Tell whether a failure is a bug of ours, which needs a traceback, and not the system's refusal."""
    return error.is_bug if isinstance(error, CannotBegin) else not isinstance(error, OSError)
