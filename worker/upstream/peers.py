"""An upstream at work in one worker: which of its peers gets a request, and what is counted when the request leaves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from worker.http1.response import ResponseHead
from worker.loop import Loop
from worker.resolver.records import Place
from worker.resolver.renewal import Renewal
from worker.resolver.services import Endpoint
from worker.stream import HEAD_CHUNK
from worker.upstream.balance import Tier, method_of
from worker.upstream.balance.rotation import Turn, account_bound, round_robin, smooth, write_turns
from worker.upstream.budget import RetryCount
from worker.upstream.common_counts import counts_in_common, enter, leave, look_around
from worker.upstream.counts import UpstreamCounts
from worker.upstream.idle import IdleConnections
from worker.upstream.live_peer import LivePeer
from worker.upstream.manner import Manner
from worker.upstream.pooled import Pooled
from worker.upstream.queue import LOOK_AROUND_EVERY, LOOK_EVERY, Queue
from worker.upstream.slow_start import FINENESS, warm_up
from worker.upstream.sticky import Sticky, sticky_of
from wproxy.checked_health import health_of, plan_of
from wproxy.config.model import Peer, Upstream
from wproxy.directives.upstream import UpstreamServer
from wproxy.http import Attempt, Request
from wproxy.peer_counters import PeerCounters
from wproxy.record_locks import RecordLocks
from wproxy.shared import HEAD_CHANGES, WORKER_GENERATION, SharedWords
from wproxy.under_way import UnderWay

MakeSticky = Callable[[Upstream, Sequence[LivePeer], RecordLocks | None], Sticky | None]


class Outcome(Enum):
    """The outcome of an attempt at a peer.

    ANSWERED: the client gets the peer's answer. UNBLAMED: it ended in another way that does not count against the peer. FAILED:
    it counts against the peer.
    """

    ANSWERED = "answered"
    UNBLAMED = "unblamed"
    FAILED = "failed"


# Finding a member of an Enum costs eight times as much as a constant.
ANSWERED, UNBLAMED, FAILED = Outcome

# In place of HEAD_CHANGES: no word has this value.
_NEVER: Final = -1


class Group(IdleConnections):
    """The peers of an upstream: picks one, releases it, and keeps its connection (`worker.upstream.idle`).

    queue: the requests that wait for a peer; sticky: the rules that bind sessions to peers; retries: their count, if a location
    has a budget for them; all None for most groups.
    """

    __slots__ = (
        "_counts_in_common",
        "_learns_times",
        "_locks",
        "_looked_at",
        "_make_sticky",
        "_only_counts",
        "_shared",
        "_times_inflight",
        "_turn",
        "_turns_of",
        "_unchanged_since",
        "_words",
        "asks_the_resting",
        "backups",
        "cgi_chunk",
        "check_plan",
        "counts",
        "is_simple",
        "is_single",
        "known_heads",
        "last_cgi_head",
        "least_buffer",
        "log",
        "method",
        "name",
        "primaries",
        "queue",
        "released",
        "renewal",
        "retries",
        "sole",
        "sticky",
        "tiers",
        "tries",
        "upstream",
        "warms",
    )

    def __init__(
        self,
        upstream: Upstream,
        shared: SharedWords,
        loop: Loop,
        log: Callable[[str, str], None],
        counts: UpstreamCounts | None = None,
    ) -> None:
        """counts: what is counted where counters are shown."""
        super().__init__(upstream, loop.clock)
        self.loop = loop
        self.name = upstream.name
        self.upstream = upstream
        self.log = log
        self.counts = counts
        self._shared = shared
        self._locks = shared.locks
        self._make_sticky: MakeSticky = sticky_of
        self.check_plan = plan_of(upstream.checks, shared.worker(shared.slot).get(WORKER_GENERATION))
        lines = upstream.peer_lines or (None,) * len(upstream.peers)
        self._counts_in_common = counts_in_common(upstream)
        self.peers = [
            self.live_peer(peer, number, Place(shared, peer.record), line)
            for number, (peer, line) in enumerate(zip(upstream.peers, lines))
        ]
        self.renewal = Renewal(self, shared)
        self.method = method_of(upstream.balancing)
        look_every = LOOK_AROUND_EVERY if self._counts_in_common else LOOK_EVERY
        self.queue = Queue(loop, *upstream.queue, look_every) if upstream.queue else None
        self.retries: RetryCount | None = None
        # The least proxy_buffer_size of all locations that lead here: a larger head is reread each time, to check its limit.
        self.least_buffer = sys.maxsize
        # The last heads of answers, for all connections: a head is what its bytes say.
        self.known_heads: dict[bytes, ResponseHead] = {}
        # The size of the first read of an answer over FastCGI: small from a small first answer on, until one fills it.
        self.cgi_chunk = HEAD_CHUNK
        # The last head of a CGI response that came whole, as `KnownHead` in worker.upstream.protocols.fastcgi.
        self.last_cgi_head: tuple[bytes, int, int, ResponseHead] | None = None
        # For the addresses of a target that a request names: nginx remembers nothing of these from one request to the next, so
        # that a name whose containers restart together is back as soon as they are.
        self.asks_the_resting = False
        # Called for every request that leaves a peer, if set.
        self.released: Callable[[LivePeer, Attempt | None, bool], None] | None = None
        # Written turns of round robin (`rotation.write_turns`): the last one that was taken, the peers that its weights belong
        # to, and HEAD_CHANGES when nothing was known against any of these.
        self._turn: Turn
        self._turns_of: list[LivePeer] = []
        self._unchanged_since = _NEVER
        self._looked_at = _NEVER  # HEAD_CHANGES when it was last decided whether there may be any
        self._words = shared.words
        self._times_inflight = upstream.balancing.inflight
        self._learns_times = bool(upstream.balancing.measure)
        if self.queue is not None or self._learns_times or self._counts_in_common:
            self.released = self._released
        self.form()

    def form(self) -> None:
        """Compute everything that depends on the set of peers."""
        # One address and no backup: failures do not count against it, because there is no alternative (proxy.md §4.2).
        self.is_single = len(self.peers) == 1
        self.warms = not self.is_single and any(peer.slow_start for peer in self.peers)
        step = FINENESS if self.warms else 1
        for peer in self.peers:
            if peer.step != step:
                peer.full_weight = peer.weight = peer.effective_weight = peer.full_weight // peer.step * step
                peer.step = step
        self.sticky: Sticky | None = self._make_sticky(self.upstream, self.peers, self._locks)
        self.primaries = Tier(peer for peer in self.peers if not peer.peer.backup)
        self.backups = Tier((peer for peer in self.peers if peer.peer.backup), is_backup=True)
        self.tiers = (self.primaries, self.backups)
        self.is_simple = not (self.is_single or self.warms or self.sticky or self._counts_in_common)
        self._only_counts = self.is_single and self.released is None  # all there is to do after an answer
        self.arrange()

    def share_sessions(self, make_sticky: MakeSticky) -> None:
        """Share the sessions of `sticky learn` with other machines. make_sticky: makes what binds them to peers."""
        self._make_sticky = make_sticky
        self.form()

    def count_in_common(self) -> None:
        """Count the active requests of all workers from now on: a server has got a limit at run time."""
        self._counts_in_common = True
        self.released = self._released
        for peer in self.peers:
            peer.under_way = UnderWay(peer.place.shared, peer.place.record)

    def count_retries(self, workers: int) -> None:
        """Count retries: a location that leads here has a budget for them. workers: the number of workers that share it."""
        if self.retries is None:
            self.retries = RetryCount(workers)
            self.released = self._released
            self.form()

    def lead_here(self, buffer_size: int, manner: Manner | None, is_shared: bool, workers: int) -> None:
        """Register a location that passes requests here.

        is_shared: whether its requests may share connections. workers: the number that share its retry budget; 0: none.
        """
        self.least_buffer = min(self.least_buffer, buffer_size)
        self.allow_manner(manner)
        self.takes_with_care = self.takes_with_care or is_shared
        if workers:
            self.count_retries(workers)

    def replace_peers(self, line: UpstreamServer | None, endpoints: Sequence[Endpoint]) -> tuple[list[str], list[str]]:
        """Make these the peers of a `server` line (None: of a proxy_pass); return the names of those added and removed."""
        return self.renewal.replace_peers(line, endpoints)

    def live_peer(self, peer: Peer, number: int, place: Place, line: UpstreamServer | None) -> LivePeer:
        """Return a peer at work, with its record in the shared memory."""
        # A record that no other worker sees would never learn the result of a check.
        plan = self.check_plan if place.shared is self._shared else None
        live = LivePeer(
            peer,
            number,
            place,
            health_of(peer, place.shared, place.record, plan),
            line,
            PeerCounters if self.counts is None else self.counts.peer,
        )
        if self._counts_in_common:
            live.under_way = UnderWay(place.shared, place.record)
        return live

    def has_peers(self, line: UpstreamServer | None) -> bool:
        """Whether there is a peer of that line."""
        return any(peer.line is line for peer in self.peers)

    def arrange(self) -> None:
        """Compute everything that depends on the weights of peers and on those that are down or draining."""
        self._end_turns()
        self._looked_at = _NEVER
        for tier in self.tiers:
            tier.arrange()
        able = [peer for tier in self.tiers for peer in tier.able]
        self.tries = sum(not peer.down for peer in self.peers)
        self.sole = able[0] if self.is_single and able and not able[0].max_conns and self.check_plan is None else None

    # Choosing.

    def pick(self, tried: int, request: Request) -> LivePeer | None:
        """Return a peer that is not among `tried` (bits), a backup when no primary can serve; None when there is none left.

        The peer counts one more connection until it is released.
        """
        peer = self.sole
        if peer is not None:
            if tried:
                return None
        elif not tried and self._words[HEAD_CHANGES] == self._unchanged_since:
            turn = self._turn = self._turn.following
            peer = turn.peer
        elif self.is_simple and self.method is round_robin and self._may_begin_turns(tried):
            self._turn = self._turn.following
            peer = self._turn.peer
        else:
            now = int(self.clock.now)
            while True:
                if self.is_simple:
                    # `_pick_from_tiers`, inlined for a group without sessions and slow_start.
                    peer = self.method(self.primaries, request, tried, now)
                    if peer is None and self.backups.peers:
                        peer = self.method(self.backups, request, tried, now)
                else:
                    peer = self._pick_with_care(tried, request, now)
                if peer is None:
                    return None
                if self.is_single or peer.health.choose(now):
                    break
                self._unpick(peer)
                tried |= peer.bit  # another worker has begun to probe it meanwhile
        peer.connections += 1
        return peer

    def picks_at_once(self) -> bool:
        """Whether `pick_at_once` returns a peer now."""
        return self.released is None and (self.sole is not None or self._words[HEAD_CHANGES] == self._unchanged_since)

    def pick_at_once(self) -> LivePeer | None:
        """Return the peer whose turn it is, if that is known without a look at the request; otherwise None.

        The peer counts one more connection until it is released.
        """
        if self.released is not None:
            return None
        peer = self.sole
        if peer is None:
            if self._words[HEAD_CHANGES] != self._unchanged_since:
                return None
            turn = self._turn = self._turn.following
            peer = turn.peer
        peer.connections += 1
        return peer

    def _may_begin_turns(self, tried: int) -> bool:
        """Whether turns are written down from now on: nothing is known against a peer. If not, all weights are up to date."""
        self._end_turns()
        changes = self._words[HEAD_CHANGES]  # before the peers are asked: a later failure changes it again
        if tried or changes == self._looked_at:
            return False
        peers = self.primaries.able
        if not peers or self.check_plan is not None:
            return False
        shared = peers[0].place.shared
        if shared.words is not self._words:
            self._words = shared.words
            changes = self._words[HEAD_CHANGES]
        self._looked_at = changes
        for peer in peers:
            if peer.max_conns or peer.health.fails or peer.effective_weight != peer.weight or peer.place.shared is not shared:
                return False
        turn = write_turns(peers)
        if turn is None:
            return False
        self._turn, self._turns_of, self._unchanged_since = turn, peers, changes
        return True

    def _end_turns(self) -> None:
        """Bring the weights of peers up to date: from now on each turn is worked out."""
        if self._turns_of:
            for peer, weight in zip(self._turns_of, self._turn.weights):
                peer.current_weight = weight
            self._turns_of = []
            self._unchanged_since = _NEVER

    def look_at_turns(self) -> None:
        """Decide anew whether turns may be written down; to be called now and then.

        Peers have recovered, or a worker has been killed before it could tell of a failure.
        """
        if any(peer.health.fails for peer in self._turns_of):
            self._end_turns()
        if not self._turns_of:
            self._looked_at = _NEVER

    def _pick_with_care(self, tried: int, request: Request, now: int) -> LivePeer | None:
        """Return the same for all other groups."""
        while True:
            if self._counts_in_common:
                look_around(self.peers)
            if self.is_single and not self.peers[0].draining:
                peer = self._pick_single(tried)
            else:
                peer = self._pick_from_tiers(tried, request, now)
            if peer is None or not self._counts_in_common or enter(peer):
                return peer
            self._unpick(peer)
            tried |= peer.bit  # other workers have filled it meanwhile

    def _unpick(self, peer: LivePeer) -> None:
        """Undo the choice of a peer that cannot be used after all."""
        if self._counts_in_common:
            leave(peer)
        if self._times_inflight:
            peer.times.end(int(self.clock.now * 1000), 0)

    def _pick_single(self, tried: int) -> LivePeer | None:
        """Return the only peer, if it has room and no check has found it unhealthy."""
        peer = self.peers[0]
        if tried or peer.down or (peer.max_conns and peer.connections >= peer.max_conns) or not peer.health.is_healthy:
            return None
        return peer

    def _pick_from_tiers(self, tried: int, request: Request, now: int) -> LivePeer | None:
        if self.warms:
            warm_up(self.peers, self.clock.now)
        sid = self.sticky.wanted(request) if self.sticky is not None else b""
        method = self.method
        for tier in self.tiers:
            if sid:
                bound = self._bound(tier, sid, tried, now)
                if bound is not None:
                    return bound
            peer = method(tier, request, tried, now)
            if peer is not None:
                return peer
        return None

    def _bound(self, tier: Tier, sid: bytes, tried: int, now: int) -> LivePeer | None:
        """Return the peer of a session, if it can take a request, even if it is draining."""
        for peer in tier.peers:
            if peer.sid == sid and not peer.bit & tried and not peer.down and peer.may_serve(now):
                if self.method is round_robin:
                    account_bound(tier, peer, tried, now)
                elif self._learns_times:
                    peer.times.chosen(now, peer.health.fail_timeout)
                    if self._times_inflight:
                        peer.times.begin(int(self.clock.now * 1000))
                return peer
        return None

    async def wait_for_peer(self, tried: int, request: Request) -> LivePeer | None:
        """Return a peer as soon as `pick` returns one; None at once without a queue. Raises ClientGone."""
        if self.queue is None:
            return self._pick_resting(tried) if self.asks_the_resting else None
        return await self.queue.wait(request, lambda: self.pick(tried, request))

    def why_no_peer(self, tried: int) -> str:
        """Return the end cause of a request that has just got no peer: whether they are full or unfit."""
        if self.queue is not None:
            return self.queue.why
        now = int(self.clock.now)
        waiting = [peer for peer in self.peers if not (peer.bit & tried or peer.down or peer.draining)]
        is_full = any(peer.max_conns and peer.connections >= peer.max_conns and peer.health.may_serve(now) for peer in waiting)
        return "up_full" if is_full else "up_none"

    def _pick_resting(self, tried: int) -> LivePeer | None:
        """Return the next resting peer in turn, when no other is left: it may have recovered."""
        live = [peer for peer in self.peers if not peer.bit & tried and not peer.down]
        if not live:
            return None
        self._end_turns()
        peer = smooth(live)
        peer.connections += 1
        return peer

    # Releasing.

    def release(self, peer: LivePeer, outcome: Outcome, attempt: Attempt | None = None) -> bool:
        """Release a peer that was picked; return whether it rests from now on, because of the outcome."""
        if outcome is FAILED:
            peer.connections -= 1
            if attempt is not None:
                peer.counters.count(attempt)
            if self.released is not None:
                self.released(peer, attempt, False)
            if self.is_single:
                return False
            rests = peer.health.count_failure(int(self.clock.now))
            if peer.health.max_fails:
                peer.effective_weight = max(0, peer.effective_weight - peer.weight // peer.health.max_fails)
            return rests
        peer.connections -= 1
        if attempt is not None:
            peer.counters.count(attempt)
        if self.released is not None:
            self.released(peer, attempt, outcome is ANSWERED)
        if not self.is_single and peer.health.fails and peer.health.count_success():
            peer.counters.recovered()
        return False

    def _released(self, peer: LivePeer, attempt: Attempt | None, succeeded: bool) -> None:
        """Note that a request has left a peer: there may be room for one that waits, and its times are recorded."""
        if attempt is not None and self._learns_times:
            if self._times_inflight:
                now = self.clock.now
                peer.times.end(int(now * 1000), int((now - attempt.started) * 1000))
            if succeeded:
                peer.times.learn(attempt)
        if self._counts_in_common:
            leave(peer)
        if self.retries is not None and not (attempt is not None and attempt.is_retry):
            self.retries.count_request(int(self.clock.now))
        if self.queue is not None:
            self.queue.wake()

    def take_back(self, peer: LivePeer, connection: Pooled, announced: float | None, attempt: Attempt | None = None) -> None:
        """Release a peer that has answered, and keep its connection; close it when it has served enough or has no room.

        announced: seconds after which the upstream said it would close; it is given up a second before that.
        """
        # `release`, inlined for the common groups: of one peer, or without failures. `is_worn` and `keep` are inlined below.
        if self._only_counts or (self.released is None and self._words[HEAD_CHANGES] == self._unchanged_since):
            peer.connections -= 1
            if attempt is not None:
                peer.counters.count(attempt)
        else:
            self.release(peer, ANSWERED, attempt)
        now = self.clock.now
        if (
            not connection.room
            or peer.is_gone
            or connection.requests >= self.keepalive_requests
            or now - connection.opened > self.keepalive_time
        ):
            connection.close()
            return
        timeout = self.keepalive_timeout
        if announced is not None and announced - 1.0 < timeout:
            timeout = announced - 1.0
            if timeout <= 0:
                connection.close()
                return
        if self.idle_count >= self.keepalive and not self.may_exceed():
            self._close_oldest()
        connection.released = now
        connection.expires = now + timeout
        self.idle_count += 1
        peer.idle.append(connection)

    def answered_once(self, peer: LivePeer) -> None:
        """Release a peer whose answer has been counted already, and whose connection is not kept."""
        if self._only_counts or (self.released is None and self._words[HEAD_CHANGES] == self._unchanged_since):
            peer.connections -= 1
        else:
            self.release(peer, ANSWERED)

    def publish(self) -> None:
        """Update the counts about peers in the shared memory."""
        for peer in self.peers:
            peer.counters.publish(peer.connections, len(peer.idle))
        if self.renewal.leaving:
            self.renewal.publish_leaving()
        if self.counts is not None and self.queue is not None:
            self.counts.publish(len(self.queue))

    def __repr__(self) -> str:
        return f"<group {self.name} idle={self.idle_count} {self.peers}>"
