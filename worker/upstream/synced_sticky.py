"""`sticky learn … sync=redis://…`: sessions that machines share.

A session is looked up at the server before a peer is chosen, and what has been found is noted in the table of this machine, which
the choice is made from. So a session that another machine has learnt, or has moved to another peer, is known here; and while the
server is silent this machine goes by what it knew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from worker.redis.keys import key_at_server
from worker.redis.link import Link
from worker.upstream.sticky import StickyLearn, first_value, sid_number
from wproxy.http import Request, Response
from wproxy.record_locks import RecordLocks

if TYPE_CHECKING:
    from worker.upstream.live_peer import LivePeer
    from worker.upstream.passing import Passing
    from wproxy.config.model import Upstream

    Exchange = Callable[[Passing, Request], Awaitable[Response]]


class SyncedStickyLearn(StickyLearn):
    """The sessions of a group."""

    def __init__(self, link: Link, upstream: Upstream, peers: Sequence[LivePeer], locks: RecordLocks | None) -> None:
        plan = upstream.sticky
        assert plan is not None
        super().__init__(plan, upstream, peers, locks)
        self.link = link
        self._zone = f"{upstream.name}:{plan.zone}"
        self._life = int(plan.timeout * 1000)

    async def ask(self, request: Request) -> None:
        """Find out what the server knows of the session of a request."""
        session = first_value(self.plan.lookup, request) if self.link.is_up else b""
        if not session:
            return
        found = await self.link.get(self._key(session))
        if found is not None and found.isdigit() and (number := int(found)) in self.sids:
            self.table.store(session, number, int(request.client.clock.now), creates=True)

    def learn(self, request: Request, peer: LivePeer) -> None:
        """Learn a session here and there. One that is known here and that the server has lost, it learns again."""
        super().learn(request, peer)
        session = first_value(self.plan.create, request) or first_value(self.plan.lookup, request)
        number = sid_number(peer.sid)
        if session and self.link.is_up and self.table.find(session, int(request.client.clock.now)) == number:
            self.link.tell(b"SET", self._key(session), number, b"PX", self._life)

    def _key(self, session: bytes) -> bytes:
        return key_at_server(b"sticky", self._zone, session)


def asking_first(
    exchange: Callable[[Passing, Request], Awaitable[Response]],
) -> Callable[[Passing, Request], Awaitable[Response]]:
    """Return an exchange before which the session of the request is looked up at the server."""

    async def ask_and_exchange(passing: Passing, request: Request) -> Response:
        sticky = passing.group.sticky
        if isinstance(sticky, SyncedStickyLearn):
            await sticky.ask(request)
        return await exchange(passing, request)

    return ask_and_exchange
