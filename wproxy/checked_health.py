"""Active health: what health checks have found out about a peer, in its shared-memory record, where all workers see it.

One worker at a time runs all checks of an upstream (worker/upstream/checks), and it alone writes these words, so no word here has
two writers. Every other worker reads them when it chooses a peer: the next request obeys a result.

    UNHEALTHY      a bit for each check that found the peer unhealthy, and the signature of the set of checks that they belong to
    PENDING        a bit for each mandatory check that the peer still has to pass, and the generation in which that was written
    CHECKS         how many checks there were, and how many failed
    LAST_CHECK     when the last one began, and how it ended
    HEALTHY_SINCE  when the peer became healthy after it was not: from then on it is warmed up (slow_start)

A peer gets requests while it has neither kind of bits.

What a reload does. An unhealthy peer stays unhealthy. When the checks have changed, bits by number mean nothing any more: a peer
that was unhealthy has to pass every check of the new set. Mandatory checks have to be passed anew in every generation; those with
`persistent` only by peers that were not healthy before. The first worker of a generation that runs the checks writes all that
down (`take_over`); until then the others derive it from what the previous generation has left (`pending_bits`), with the same
result. Workers of an older generation, which finish their last requests, ignore the pending bits of a newer one.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from wproxy.health import Health
from wproxy.shared import (
    PEER_CHECKS,
    PEER_HEALTHY_SINCE,
    PEER_LAST_CHECK,
    PEER_PENDING,
    PEER_UNHEALTHY,
    TOTAL_WORDS,
    SharedWords,
)

if TYPE_CHECKING:
    from wproxy.config.model import Check, Peer

# The most checks that one upstream may have: a bit for each.
MOST_CHECKS: Final = 32
_BITS: Final = (1 << MOST_CHECKS) - 1

HEALTHY: Final = "healthy"
UNHEALTHY: Final = "unhealthy"
CHECKING: Final = "checking"


class CheckPlan(NamedTuple):
    """The checks of an upstream as a worker of one generation knows them.

    signature: 32 bits that tell one set of checks from another. every: a bit for each check. mandatory: the bits of checks that a
    peer has to pass first; persistent: the bits of those that a healthy peer need not pass again after a reload.
    """

    signature: int
    every: int
    mandatory: int
    persistent: int
    generation: int


def plan_of(checks: Iterable[Check], generation: int) -> CheckPlan | None:
    """Return the plan of an upstream's checks, or None when it has no checks."""
    checks = tuple(checks)
    if not checks:
        return None
    texts = [
        f"{check.settings!r} {check.location.server.name} {check.location.modifier} {check.location.pattern}" for check in checks
    ]
    digest = blake2b("\0".join(texts).encode("utf-8", "surrogateescape"), digest_size=4).digest()
    return CheckPlan(
        int.from_bytes(digest, "little"),
        sum(1 << check.number for check in checks),
        sum(1 << check.number for check in checks if check.settings.mandatory),
        sum(1 << check.number for check in checks if check.settings.persistent),
        generation,
    )


def pending_bits(plan: CheckPlan, pending: int, unhealthy: int) -> int:
    """Return the checks of the plan that a peer still has to pass, from the words PENDING and UNHEALTHY of its record."""
    # Stored one higher, so that a new record, which is zero, belongs to no generation.
    said_in = pending >> MOST_CHECKS
    if not said_in:
        return plan.mandatory
    said_in -= 1
    if said_in == plan.generation:
        return pending & plan.mandatory
    if said_in > plan.generation:
        return 0
    was_healthy = not (pending & _BITS or unhealthy & _BITS)
    return plan.mandatory & ~plan.persistent if was_healthy else plan.mandatory


def checker_word(upstream: str) -> int:
    """Return the word whose lock makes a worker the one that checks this upstream (`wproxy.record_locks`).

    The word lies beyond the end of the memory: a lock needs no bytes under it, and a name is the same in every generation.
    """
    digest = blake2b(upstream.encode("utf-8", "surrogateescape"), digest_size=4).digest()
    return TOTAL_WORDS + int.from_bytes(digest, "little")


class CheckRecord:
    """The findings of checks about one peer, for a worker of one generation."""

    __slots__ = ("_base", "_words", "plan")

    def __init__(self, words: memoryview, base: int, plan: CheckPlan) -> None:
        """base: offset of the peer's record, in words."""
        self._words = words
        self._base = base
        self.plan = plan

    # Used by all workers.

    @property
    def unhealthy(self) -> int:
        """The bits of the checks that found it unhealthy; all bits when another set of checks did."""
        held = self._words[self._base + PEER_UNHEALTHY]
        if held >> MOST_CHECKS == self.plan.signature:
            bits: int = held & self.plan.every
            return bits
        return self.plan.every if held & _BITS else 0

    @property
    def pending(self) -> int:
        """The bits of the checks that it has to pass before its first request."""
        words, base = self._words, self._base
        return pending_bits(self.plan, words[base + PEER_PENDING], words[base + PEER_UNHEALTHY])

    @property
    def state(self) -> str:
        """HEALTHY, UNHEALTHY or CHECKING."""
        if self.unhealthy:
            return UNHEALTHY
        return CHECKING if self.pending else HEALTHY

    @property
    def checks(self) -> int:
        """The number of checks so far."""
        count: int = self._words[self._base + PEER_CHECKS] >> 32
        return count

    @property
    def failed(self) -> int:
        """The number of failed checks so far."""
        count: int = self._words[self._base + PEER_CHECKS] & 0xFFFFFFFF
        return count

    @property
    def last_check(self) -> float:
        """When the last check began, in seconds of the monotonic clock; 0.0 before the first."""
        milliseconds: int = self._words[self._base + PEER_LAST_CHECK] >> 1
        return milliseconds / 1000

    @property
    def last_passed(self) -> bool:
        """Whether the last check that has ended passed."""
        return bool(self._words[self._base + PEER_LAST_CHECK] & 1)

    @property
    def healthy_since(self) -> float:
        """When it became healthy after being unhealthy, in seconds of the monotonic clock; 0.0 for never."""
        milliseconds: int = self._words[self._base + PEER_HEALTHY_SINCE]
        return milliseconds / 1000

    # Used by the worker that checks.

    def take_over(self) -> bool:
        """Write down the state for this generation and its set of checks; False when another set was in force."""
        words, base, plan = self._words, self._base, self.plan
        is_same = words[base + PEER_UNHEALTHY] >> MOST_CHECKS == plan.signature
        unhealthy, pending = self.unhealthy, self.pending
        if words[base + PEER_PENDING] >> MOST_CHECKS <= plan.generation + 1:
            words[base + PEER_PENDING] = (plan.generation + 1) << MOST_CHECKS | pending
        words[base + PEER_UNHEALTHY] = plan.signature << MOST_CHECKS | unhealthy
        return is_same

    def begin(self, now: float) -> None:
        """Note that a check begins. now: seconds of the monotonic clock."""
        words, base = self._words, self._base
        words[base + PEER_LAST_CHECK] = int(now * 1000) << 1 | words[base + PEER_LAST_CHECK] & 1

    def count(self, passed: bool) -> None:
        """Count a check that has ended."""
        words, base = self._words, self._base
        checks, failed = self.checks + 1 & 0xFFFFFFFF, self.failed + (not passed) & 0xFFFFFFFF
        words[base + PEER_CHECKS] = checks << 32 | failed
        words[base + PEER_LAST_CHECK] = words[base + PEER_LAST_CHECK] & ~1 | passed

    def set_healthy(self, number: int, now: float) -> None:
        """Note that the check of that number finds the peer healthy from now on."""
        before = self.state
        words, base = self._words, self._base
        unhealthy, pending = self.unhealthy & ~(1 << number), self.pending & ~(1 << number)
        if before != HEALTHY and not unhealthy and not pending:
            words[base + PEER_HEALTHY_SINCE] = int(now * 1000)
        self._write(unhealthy, pending)

    def set_unhealthy(self, number: int) -> None:
        """Note that the check of that number finds the peer unhealthy from now on."""
        # This is no longer its first check: to become healthy it has to pass as often in a row as any other peer.
        self._write(self.unhealthy | 1 << number, self.pending & ~(1 << number))

    def _write(self, unhealthy: int, pending: int) -> None:
        words, base, plan = self._words, self._base, self.plan
        # The first store never makes an unhealthy peer healthy: a bit moves from the one word to the other.
        words[base + PEER_UNHEALTHY] = plan.signature << MOST_CHECKS | unhealthy
        if words[base + PEER_PENDING] >> MOST_CHECKS == plan.generation + 1:
            words[base + PEER_PENDING] = (plan.generation + 1) << MOST_CHECKS | pending

    def __repr__(self) -> str:
        return f"<checks of a peer: {self.state}, {self.failed} of {self.checks} failed>"


class CheckedHealth(Health):
    """The health of a checked peer: the checks have to find it healthy, and passive health counts as for any other peer."""

    __slots__ = ("_is_mandatory", "_unhealthy", "record")

    def __init__(self, peer: Peer, shared: SharedWords, record: int, plan: CheckPlan) -> None:
        """record: the number of the peer's record."""
        base = shared.peer_offset(record)
        super().__init__(shared.words, base, peer.max_fails, peer.fail_timeout, shared.slot, shared.locks)
        self.record = CheckRecord(shared.words, base, plan)
        self._unhealthy = base + PEER_UNHEALTHY
        self._is_mandatory = bool(plan.mandatory)

    @property
    def is_healthy(self) -> bool:
        """Whether the checks let it have requests."""
        return not (self._words[self._unhealthy] & _BITS or (self._is_mandatory and self.record.pending))

    @property
    def healthy_since(self) -> float:
        """When checks found it healthy after they had found it unhealthy; 0.0 for never."""
        return self.record.healthy_since

    def may_serve(self, now: int) -> bool:
        """Whether the checks let it have requests and it does not rest."""
        return self.is_healthy and super().may_serve(now)

    def __repr__(self) -> str:
        return f"<health: {self.record.state}, {self.fails} of {self.max_fails} fails>"


def health_of(peer: Peer, shared: SharedWords, record: int, plan: CheckPlan | None) -> Health:
    """Return the health of a peer as the worker that `shared` belongs to sees it. plan: the plan of its upstream's checks."""
    if plan is not None:
        return CheckedHealth(peer, shared, record, plan)
    base = shared.peer_offset(record)
    return Health(shared.words, base, peer.max_fails, peer.fail_timeout, shared.slot, shared.locks)


class Streak:
    """The number of times in a row that a check has ended the same way; it decides when the peer changes its state."""

    __slots__ = ("fails", "passes")

    def __init__(self) -> None:
        self.fails = 0
        self.passes = 0

    def count(self, passed: bool) -> None:
        """Count a check that has ended."""
        self.passes = self.passes + 1 if passed else 0
        self.fails = 0 if passed else self.fails + 1


def judge(record: CheckRecord, check: Check, streak: Streak, passed: bool, now: float) -> str:
    """Count a check that has ended and change the peer's state if that is due: HEALTHY, UNHEALTHY or "" for no change.

    The first check of a peer that is new and has to pass decides at once; later `fails` and `passes` in a row do.
    """
    streak.count(passed)
    record.count(passed)
    bit = 1 << check.number
    if passed:
        if record.pending & bit or (record.unhealthy & bit and streak.passes >= check.settings.passes):
            record.set_healthy(check.number, now)
            return HEALTHY
    elif not record.unhealthy & bit and (record.pending & bit or streak.fails >= check.settings.fails):
        record.set_unhealthy(check.number)
        return UNHEALTHY
    return ""
