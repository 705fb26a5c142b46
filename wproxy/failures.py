"""Failures of a request, told apart by guilt: the client's, the upstream's, or time; and failures at a worker's start.

Each is raised where it is found and caught where something can be done about it.
"""

from __future__ import annotations

import os


class ClientError(Exception):
    """The client is to blame: it gets this status and its connection is closed.

    status: the HTTP status; 494 (a header too large) is sent as 400 with a page of its own, as in nginx.
    reason: the text for the log, in nginx's words: "client sent invalid header line: ...".
    setting: the directive whose limit or timer was reached, if any.
    level: the level of the line in the error log; nginx has [error] for bodies, and [info] for nearly everything else.
    """

    def __init__(self, status: int, reason: str, setting: str = "", level: str = "") -> None:
        super().__init__(reason)
        self.level = level or ("error" if status in (413, 500) else "info")
        self.status = status
        self.reason = reason
        self.setting = setting


class BodyBrokenOff(ClientError):
    """The client left amid the body of its request: it is logged as a bad request, and there is no one to answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(400, f"{reason} while sending the request body")


class ClientGone(Exception):
    """The client closed or reset its connection: no answer can reach it (499)."""


class TimedOut(Exception):
    """A deadline passed while parked."""


class UpstreamFailure(Exception):
    """An attempt at one peer failed.

    kind: a word of `proxy_next_upstream`: "error", "timeout", "invalid_header", "http_503", ...
    reason: the text for the log, in nginx's words: "connect() failed (111: Connection refused)".
    doing: the activity, in nginx's words: "connecting to upstream".
    sent: whether part of the request had gone out.
    is_dead_idle: whether a reused connection ended before a byte of the answer, so that it may have died while idle.
    why_last: the reason why no other peer is tried, where it needs stating.
    limit: the word of the directive, after that of its module, whose limit was reached; "" for a timer, and for none.
    """

    sent = False
    why_last = ""
    is_dead_idle = False
    limit = ""

    def __init__(self, kind: str, reason: str, doing: str = "") -> None:
        super().__init__(reason)
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
    return f"{type(error).__name__}: {error}"


def is_bug(error: BaseException) -> bool:
    """Tell whether a failure is a bug of ours, which needs a traceback, and not the system's refusal."""
    return error.is_bug if isinstance(error, CannotBegin) else not isinstance(error, OSError)
