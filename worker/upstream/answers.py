"""The fields of an upstream's answer for the client, by rules of the location that are computed at load (proxy.md §3.2).

Most answers are the same for every request, so their fields are made once and kept with the head. Fields of the upstream that are
for us (X-Accel-*), or are rewritten with values of the request, are an exception: they are looked at each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from worker.filters.charset import with_accel_charset
from worker.http1.response import ResponseHead
from worker.logs import log_request
from worker.pages import absolute
from worker.upstream.cookies import cookie_rewriter
from worker.upstream.failing import READING_HEAD
from worker.upstream.hidden import hidden_fields
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.redirects import redirect_rules, rewritten, rewritten_refresh
from wproxy.http import Request, ResponseFields
from wproxy.template import checked

# The number of locations that may keep their fields with one head.
MOST_LOCATIONS: Final = 64

# The fields that go with an answer that sends a request elsewhere (nginx: the column `redirect` of ngx_http_upstream_headers_in).
_KEPT_ELSEWHERE: Final = frozenset((b"set-cookie", b"content-disposition", b"cache-control", b"expires", b"accept-ranges"))
# The fields that an upstream cannot make us remove by naming them in Connection.
_KEPT_WHEN_NAMED: Final = frozenset(
    (b"content-type", b"set-cookie", b"location", b"www-authenticate", b"upgrade", b"server", b"date")
)


class SentElsewhere(Exception):
    """X-Accel-Redirect: another of our locations answers. target: as the upstream wrote it. kept: the fields that go with it."""

    def __init__(self, target: bytes, kept: ResponseFields) -> None:
        super().__init__(target.decode("latin-1"))
        self.target = target
        self.kept = kept


class AnswerPlan:
    """The rules of a location.

    hidden: names of fields, in lower case, that the client does not get. server: the value of Server where it gets none of the
    upstream.
    watched: names of fields, in lower case, that require a look at the answer for each request. heeded: the actions of those that
    are for us. rewriters: functions that rewrite values.
    """

    __slots__ = ("heeded", "hidden", "is_sent_elsewhere", "location", "rewriters", "server", "watched")

    def __init__(self, settings: ModuleSettings, server_token: bytes) -> None:
        self.location = location = settings.location
        self.hidden = hidden_fields(settings)
        self.server = server_token
        ignored = {name.encode() for name in settings.get("ignore_headers") or ()}
        self.heeded = {name: heed for name, heed in HEEDED.items() if name not in ignored}
        self.is_sent_elsewhere = b"x-accel-redirect" not in ignored
        self.rewriters: dict[bytes, Callable[[Request, bytes], bytes | None]] = {}
        rules = redirect_rules(location) if settings.module == "proxy" else ()
        if rules:
            self.rewriters[b"location"] = lambda request, value: rewritten(rules, request, value)
            self.rewriters[b"refresh"] = lambda request, value: rewritten_refresh(rules, request, value)
        cookies = cookie_rewriter(location) if settings.module == "proxy" else None
        if cookies is not None:
            self.rewriters[b"set-cookie"] = cookies
        self.watched = frozenset((*self.heeded, *self.rewriters, *((b"x-accel-redirect",) if self.is_sent_elsewhere else ())))


def client_fields(head: ResponseHead, plan: AnswerPlan, request: Request) -> ResponseFields:
    """Return the fields of an upstream's head for the client; keep them with the head if they are the same for every request.

    Raises SentElsewhere, and ClientError(500) when a variable would break the head.
    """
    if head.ignored:  # not kept with the head: as in nginx, it is logged for each answer
        for text in head.ignored:
            log_request(request, "warn", f"{text} while {READING_HEAD}")
        return looked_at_fields(head, plan, request)
    if not plan.watched.isdisjoint(head.values):
        return looked_at_fields(head, plan, request)
    # Any number of locations may proxy to a group.
    if len(head.cache) >= MOST_LOCATIONS:
        head.cache.clear()
    fields = head.cache[plan] = plain_fields(head, plan)
    return fields


def plain_fields(head: ResponseHead, plan: AnswerPlan) -> ResponseFields:
    """Return the fields of a head without rewriting."""
    hidden = plan.hidden
    connection = head.values.get(b"connection")
    if connection:
        named = frozenset(option.strip(b" \t").lower() for option in connection.split(b","))
        hidden = hidden | (named - _KEPT_WHEN_NAMED)
    content_type = None
    lines = []
    for lower, name, value in head.lines:
        if lower == b"content-type" and lower not in hidden:
            content_type = value or None
        elif lower not in hidden:
            lines.append((name, value))
    return ResponseFields(
        head.status,
        tuple(lines),
        content_type=content_type,
        content_length=head.content_length,
        server=plan.server if b"server" in hidden or b"server" not in head.values else b"",
        reason=head.reason,
    )


def looked_at_fields(head: ResponseHead, plan: AnswerPlan, request: Request) -> ResponseFields:
    """Return the fields of a head in which a field is for us, or is to be rewritten."""
    for name, heed in plan.heeded.items():
        value = head.values.get(name)
        if value is not None:
            heed(request, value)
    fields = plain_fields(head, plan)
    lines: list[tuple[bytes, bytes]] = []
    for name, value in fields.lines:
        lower = name.lower()
        rewrite = plan.rewriters.get(lower)
        found = rewrite(request, value) if rewrite is not None else None
        if found is None:
            lines.append((name, value))
        elif lower == b"location" and found.startswith(b"/") and plan.location.absolute_redirect:
            fields.location = absolute(request, found)
        else:
            lines.append((name, found))
    fields.lines = tuple(lines)
    if plan.is_sent_elsewhere:
        target = head.values.get(b"x-accel-redirect")
        if target is not None:
            kept = tuple((name, value) for name, value in lines if name.lower() in _KEPT_ELSEWHERE)
            raise SentElsewhere(target, ResponseFields(head.status, kept, content_type=fields.content_type))
    return fields if request.accel_charset is None else with_accel_charset(request, fields)


# Fields for us (nginx: ngx_http_upstream_process_charset, _process_limit_rate). X-Accel-Buffering is read where a body follows.


def heed_charset(request: Request, value: bytes) -> None:
    """Apply X-Accel-Charset: the character set of the text for the client."""
    request.accel_charset = checked(value) or None


def heed_limit_rate(request: Request, value: bytes) -> None:
    """Apply X-Accel-Limit-Rate: bytes a second to the client, also for the file of an X-Accel-Redirect; 0 for no limit."""
    if value.isdigit():
        request.limit_rate = int(value)


HEEDED: dict[bytes, Callable[[Request, bytes], None]] = {
    b"x-accel-charset": heed_charset,
    b"x-accel-limit-rate": heed_limit_rate,
}
