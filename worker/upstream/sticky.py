"""sticky: requests of one session go to one peer (nginx: ngx_http_upstream_sticky_module.c).

Sessions know a peer by its SID: its `route`, or the MD5 of its address. A request carries the SID itself (cookie, route), or
names a session whose SID has been learnt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from worker.filters.fields import copied
from wproxy.directives.balancing import StickyPlan
from wproxy.http import Request, Response, http_date
from wproxy.record_locks import RecordLocks
from wproxy.sessions import SessionTable
from wproxy.template import Template

if TYPE_CHECKING:
    from worker.upstream.live_peer import LivePeer
    from wproxy.config.model import Upstream

# The longest lifetime, that of a cookie with `expires=max`, as nginx writes it.
_FOREVER = b"; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000"
_SAMESITE = (b"strict", b"lax", b"none")


def sticky_of(upstream: Upstream, peers: Sequence[LivePeer], locks: RecordLocks | None) -> Sticky | None:
    """Return the implementation of a group's `sticky`; None without one. locks: those that keep workers from writing at once."""
    plan = upstream.sticky
    if plan is None:
        return None
    return {"cookie": StickyCookie, "route": Sticky, "learn": StickyLearn}[plan.kind](plan, upstream, peers, locks)


class Sticky:
    """`sticky route`: the request names its peer, and the client gets nothing."""

    def __init__(self, plan: StickyPlan, upstream: Upstream, peers: Sequence[LivePeer], locks: RecordLocks | None) -> None:
        self.plan = plan

    def wanted(self, request: Request) -> bytes:
        """Return the SID of the peer that the request belongs to; empty if it names none."""
        return first_value(self.plan.lookup, request)

    def mark(self, request: Request, response: Response, peer: LivePeer, is_answer: bool) -> None:
        """Note an answer after a request went to this peer. is_answer: it is the peer's, and not ours in its place."""


class StickyCookie(Sticky):
    """`sticky cookie`: the SID is in a cookie of ours, and every response sets it."""

    def mark(self, request: Request, response: Response, peer: LivePeer, is_answer: bool) -> None:
        """Set the cookie."""
        fields = copied(response.fields)
        fields.lines = ((b"Set-Cookie", self.cookie(request, peer)), *fields.lines)
        response.fields = fields

    def cookie(self, request: Request, peer: LivePeer) -> bytes:
        """Return the value of Set-Cookie, its attributes in nginx's order."""
        plan = self.plan
        pieces = [plan.name, b"=", peer.sid]
        if plan.expires is not None:
            if plan.expires < 0:
                pieces.append(_FOREVER)
            else:
                at = cookie_time(int(request.client.clock.wall) + plan.expires)
                pieces.append(b"; expires=%b; max-age=%d" % (at, plan.expires))
        domain = plan.domain.evaluate(request) if plan.domain else b""
        if domain and is_clean(domain):
            pieces += b"; domain=", domain
        if plan.httponly:
            pieces.append(b"; httponly")
        if plan.secure:
            pieces.append(b"; secure")
        samesite = plan.samesite.evaluate(request) if plan.samesite else b""
        if samesite:
            pieces += b"; samesite=", samesite if samesite.lower() in _SAMESITE else b"strict"
        if plan.path:
            pieces += b"; path=", plan.path
        return b"".join(pieces)


class StickyLearn(Sticky):
    """`sticky learn`: the upstream makes the sessions, and a table shared by all workers remembers their peers."""

    def __init__(self, plan: StickyPlan, upstream: Upstream, peers: Sequence[LivePeer], locks: RecordLocks | None) -> None:
        super().__init__(plan, upstream, peers, locks)
        assert upstream.session_memory is not None
        self.table = SessionTable(upstream.session_memory, int(plan.timeout), locks, f"{upstream.name}\0{plan.zone}")
        self.sids = {sid_number(peer.sid): peer.sid for peer in peers}

    def wanted(self, request: Request) -> bytes:
        """Return the SID that was learnt for the session of the request."""
        session = first_value(self.plan.lookup, request)
        if not session:
            return b""
        return self.sids.get(self.table.find(session, int(request.client.clock.now)), b"")

    def mark(self, request: Request, response: Response, peer: LivePeer, is_answer: bool) -> None:
        """Learn the session: if the answer has only begun, and `header` is not set, when it ends (nginx: at the release)."""
        if not is_answer:
            return
        if response.source is None or self.plan.header:
            self.learn(request, peer)
        else:
            request.attempts[-1].at_end = lambda: self.learn(request, peer)

    def learn(self, request: Request, peer: LivePeer) -> None:
        """Learn a session that the answer has created; a session that the request names was used, and stays alive."""
        session, creates = first_value(self.plan.create, request), True
        if not session:
            session, creates = first_value(self.plan.lookup, request), False
        if session:
            self.table.store(session, sid_number(peer.sid), int(request.client.clock.now), creates)


def first_value(templates: tuple[Template, ...], request: Request) -> bytes:
    """Return the first value that is not empty."""
    for template in templates:
        value = template.evaluate(request)
        if value:
            return value
    return b""


def sid_number(sid: bytes) -> int:
    """Return a SID in 32 bits, never 0."""
    return int.from_bytes(hashlib.md5(sid, usedforsecurity=False).digest()[:4], "little") | 1


def is_clean(value: bytes) -> bool:
    """Whether a value is safe in a cookie's attribute: without anything that ends the attribute or the line."""
    return not any(byte < 32 or byte in b";\x7f" for byte in value)


def cookie_time(second: int) -> bytes:
    """Return `Thu, 31-Dec-37 23:55:55 GMT`: with two digits of the year for old browsers (nginx: ngx_http_cookie_time)."""
    day, date, month, year, time, zone = http_date(second).split(" ")
    return f"{day} {date}-{month}-{year if int(year) > 2037 else year[2:]} {time} {zone}".encode()
