"""By load: the fewest connections, or the shortest time (ngx_http_upstream_least_conn_module.c, ..._least_time_module.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from worker.upstream.balance.rotation import smooth
from wproxy.http import Attempt, Request

if TYPE_CHECKING:
    from worker.upstream.balance.tier import Method, Tier
    from worker.upstream.live_peer import LivePeer
    from wproxy.directives.balancing import Balancing

# What a peer's load is, to be divided by its weight.
Load = Callable[["LivePeer"], int]


def lightest(live: list[LivePeer], loads: list[int]) -> LivePeer:
    """The peer with the least load for its weight; those that are level take turns."""
    best, least = live[0], loads[0]
    level: list[LivePeer] = []
    for peer, load in zip(live, loads):
        mine, other = load * best.weight, least * peer.weight
        if mine < other:
            best, least, level = peer, load, [peer]
        elif mine == other:
            level.append(peer)
    return smooth(level) if len(level) > 1 else best


def least_conn(tier: Tier, request: Request, tried: int, now: int) -> LivePeer | None:
    """The peer with the fewest connections for its weight."""
    live = tier.usable(tried, now)
    return lightest(live, [peer.connections + peer.elsewhere for peer in live]) if live else None


def least_time(balancing: Balancing) -> Method:
    """The peer with the shortest estimated time for its weight; by the first byte of the head, or by the last of the body."""
    estimate = estimator(balancing)
    inflight = balancing.inflight

    def choose(tier: Tier, request: Request, tried: int, now: int) -> LivePeer | None:
        live = tier.usable(tried, now)
        if not live:
            return None
        milliseconds = int(request.client.clock.now * 1000)
        if inflight:
            for peer in live:
                peer.times.look_at_inflight(milliseconds)
        peer = lightest(live, [estimate(peer, now) for peer in live])
        peer.times.chosen(now, peer.health.fail_timeout)
        if inflight:
            peer.times.begin(milliseconds)
        return peer

    return choose


def estimator(balancing: Balancing) -> Callable[[LivePeer, int], int]:
    """A function that tells how long a peer will take for one request more, in milliseconds."""
    by_header = balancing.measure == "header"

    def estimate(peer: LivePeer, now: int) -> int:
        times = peer.times
        usual = times.header if by_header else times.last_byte
        return bucket(times.faded(usual, now, peer.health.fail_timeout)) * (1 + peer.connections + peer.elsewhere)

    return estimate


def bucket(milliseconds: int) -> int:
    """Times that are nearly the same are the same: the next multiple of 20; beyond 5 s all are equally bad."""
    return 5000 if milliseconds > 5000 else milliseconds + 20 - milliseconds % 20


def average(before: int, value: int) -> int:
    """The moving average of milliseconds: a new value counts for a twentieth."""
    return int(0.5 + 0.05 * value + 0.95 * before)


class Times:
    """How long a peer has taken, in milliseconds: averages over successful requests, and what is under way now."""

    __slots__ = ("_age_sum", "_changed", "_checked", "count", "header", "inflight", "last_byte")

    def __init__(self) -> None:
        self.header = 0
        self.last_byte = 0
        self.inflight = 0  # the average age of what is under way
        self.count = 0  # requests under way
        self._age_sum = 0  # of them, when `_changed`
        self._changed = 0
        self._checked = 0  # when it was last chosen after a rest of fail_timeout, seconds

    def learn(self, attempt: Attempt) -> None:
        """An attempt has succeeded."""
        if attempt.header_time is not None and attempt.response_time is not None:
            self.header = average(self.header, int(attempt.header_time * 1000))
            self.last_byte = average(self.last_byte, int(attempt.response_time * 1000))

    def chosen(self, now: int, fail_timeout: float) -> None:
        """It gets a request."""
        if now - self._checked > fail_timeout:
            self._checked = now

    def faded(self, usual: int, now: int, fail_timeout: float) -> int:
        """The average that counts: halved for each fail_timeout without a request, so that a slow peer gets another chance."""
        rest = now - self._checked
        if rest > fail_timeout:
            usual >>= min(int(rest / (fail_timeout + 1)), 63)
        return max(usual, self.inflight) if self.count else usual

    def look_at_inflight(self, milliseconds: int) -> None:
        """Take the age of what is under way into its average."""
        if self.count:
            self.inflight = average(self.inflight, self._age_sum // self.count + milliseconds - self._changed)

    def begin(self, milliseconds: int) -> None:
        """One request more is under way."""
        if self.count:
            self._age_sum += (milliseconds - self._changed) * self.count
        self._changed = milliseconds
        self.count += 1

    def end(self, milliseconds: int, age: int) -> None:
        """A request of that age is no longer under way."""
        if self.count <= 1:
            self.count = self._age_sum = 0
            return
        self._age_sum = max(0, self._age_sum + (milliseconds - self._changed) * self.count - age)
        self._changed = milliseconds
        self.count -= 1

    def __repr__(self) -> str:
        return f"<times: header {self.header} ms, last byte {self.last_byte} ms, {self.count} under way>"
