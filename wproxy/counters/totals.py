"""Reading the counters: what all workers have counted, added up when somebody asks.

Everything here reads words of the shared memory and returns values. Rates are made by the reader, from two readings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from wproxy.counters import layout as at
from wproxy.counters.buckets import BOUNDS, BUCKETS
from wproxy.counters.layout import (
    CAUSE_WORDS,
    CODES,
    DENIALS,
    LIMIT_DECISIONS,
    LIMITS,
    LISTENERS,
    LOOKUP_RESULTS,
    REQUESTS,
    RESOLVERS,
    SLOT_WORDS,
    SLOTS_OFFSET,
    TLS_REASONS,
    TRANSITION_CAUSES,
    UPSTREAMS,
)
from wproxy.counters.memory import CounterMemory
from wproxy.counters.plan import OTHER, CountingPlan, RequestNames
from wproxy.end_causes import CODES as CAUSES
from wproxy.shared import MAX_PEERS, MOST_COUNTED, WORKER_PID, SharedWords

Counts = list[int]


@cache
def indexes_of(bounds: tuple[float, ...]) -> tuple[int, ...]:
    """Return which buckets end at these bounds, and the last one."""
    return (*(index for index, bound in enumerate(BOUNDS) if bound in bounds), BUCKETS - 1)


def up_to(buckets: Sequence[int], indexes: tuple[int, ...]) -> list[int]:
    """Return how many are in each of these buckets and all below."""
    sums = list(accumulate(buckets))
    return [sums[index] for index in indexes]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations. buckets: how many were in each of BOUNDS and, last, above; not cumulative. seconds: their sum."""

    buckets: tuple[int, ...] = (0,) * BUCKETS
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """The number of durations."""
        return sum(self.buckets)

    def up_to(self, bounds: Sequence[float]) -> list[int]:
        """Return how many were at most each of these bounds, which must be among BOUNDS, and last how many there were."""
        return up_to(self.buckets, indexes_of(tuple(bounds)))

    def quantile(self, share: float) -> float:
        """Return the seconds below which that share of them is, by interpolation within a bucket; 0 without any.

        The bucket without an end counts as its beginning, as in Prometheus.
        """
        rank, before, lower = share * self.count, 0, 0.0
        for bound, count in zip(BOUNDS, self.buckets):
            if count and before + count >= rank:
                return lower + (bound - lower) * max(rank - before, 0.0) / count
            before, lower = before + count, bound
        return BOUNDS[-1] if self.buckets[-1] else 0.0

    def __sub__(self, earlier: Histogram) -> Histogram:
        """Return what has come since an earlier reading."""
        buckets = tuple(max(now - then, 0) for now, then in zip(self.buckets, earlier.buckets))
        return Histogram(buckets, max(self.seconds - earlier.seconds, 0.0))

    def __add__(self, other: Histogram) -> Histogram:
        """Return both together."""
        return Histogram(tuple(one + two for one, two in zip(self.buckets, other.buckets)), self.seconds + other.seconds)


NO_TIMES = Histogram()


class TlsTotals(NamedTuple):
    """Handshakes with clients. full, resumed: those that succeeded.

    unverified: certificates that were refused, neither expired nor revoked.
    """

    full: int = 0
    resumed: int = 0
    failed: int = 0
    no_common_protocol: int = 0
    no_common_cipher: int = 0
    timed_out: int = 0
    rejected_certificate: int = 0
    no_certificate: int = 0
    unverified: int = 0
    expired: int = 0
    revoked: int = 0
    times: Histogram = NO_TIMES

    def counts(self) -> tuple[int, ...]:
        """Return all but the times."""
        return (
            *(self.full, self.resumed, self.failed, self.no_common_protocol, self.no_common_cipher),
            *(self.timed_out, self.rejected_certificate, self.no_certificate, self.unverified, self.expired, self.revoked),
        )

    def minus(self, before: Sequence[int]) -> TlsTotals:
        """Return what has come since; the times are left out. before: the counts then."""
        return TlsTotals._make((*(max(0, now - then) for now, then in zip(self.counts(), before)), NO_TIMES))


NO_TLS = TlsTotals()


class RequestTotals(NamedTuple):
    """Requests that have ended, and those under way (active). discarded: without a response. received, sent: bytes.

    codes: by status; "1xx" to "5xx" for those that are not counted by themselves, "none" for none. causes: by end cause.
    """

    received: int
    sent: int
    discarded: int
    active: int
    times: Histogram
    codes: dict[str, int]
    causes: dict[str, int]
    tls: TlsTotals

    @property
    def requests(self) -> int:
        """The number that has ended."""
        return sum(self.codes.values())

    def classes(self) -> list[int]:
        """Return how many there were of 1xx, 2xx, 3xx, 4xx and 5xx."""
        found = [0, 0, 0, 0, 0]
        for code, count in self.codes.items():
            if code != "none":
                found[int(code[0]) - 1] += count
        return found


class UpstreamTotals(NamedTuple):
    """An upstream. denied: retries that were not made, by reason. retries: by the cause of the failure before."""

    connect_times: Histogram
    response_times: Histogram
    queued: int
    queue_full: int
    queue_timed_out: int
    denied: dict[str, int]
    retries: dict[str, int]
    no_live: int


class PeerMeasures(NamedTuple):
    """A peer, beside what `wproxy.peer_counters` has. responses: by class, 1xx first; codes: by status, as of requests.

    causes: of failed attempts.

    new, reused: connections that attempts used. unavailable: how often it began to rest. unhealthy: how often checks found it so.
    selected: when it was last chosen, 0 for never. downtime: seconds for which it got no requests, as far as that is over.
    down_since: when that began; 0: it is over. Both are times of the loop's clock. tls: handshakes with it, by the API's words.
    """

    header_times: Histogram
    response_times: Histogram
    responses: tuple[int, ...]
    codes: dict[str, int]
    failed: int
    new: int
    reused: int
    idle: int
    unavailable: int
    unhealthy: int
    selected: float
    downtime: float
    down_since: float
    tls: dict[str, int]
    causes: dict[str, int]


class LimitTotals(NamedTuple):
    """Decisions of a limit_req or limit_conn zone."""

    passed: int
    delayed: int
    rejected: int
    delayed_dry_run: int
    rejected_dry_run: int


class ResolverTotals(NamedTuple):
    """Lookups of one resolver. names, services: questions for addresses, and for SRV records. results: LOOKUP_RESULTS."""

    names: int
    services: int
    results: dict[str, int]


class WorkerTotals(NamedTuple):
    """One slot of a worker. is_alive: whether a worker has it, so that the gauges are true.

    lag: how late timers were. spans: sent, failed and dropped ones. lost_lines: of access logs and error logs.
    resets_sent, resets_received: by code of HTTP/2, the last one for unknown ones. sync_silences: how often a server at which
    machines count together stopped answering in time.
    """

    slot: int
    is_alive: bool
    lag: Histogram
    streams: int
    resets_sent: tuple[int, ...]
    resets_received: tuple[int, ...]
    cpu_seconds: float
    resident_bytes: int
    descriptors: int
    tunnels: int
    refused_connections: int
    spans: tuple[int, int, int]
    lost_lines: tuple[int, int]
    sync_silences: int


class Transition(NamedTuple):
    """A change of a peer's state. at: unix seconds. worker: the slot of the worker that saw it. failures: counted by then."""

    at: float
    record: int
    before: str
    after: str
    cause: str
    failures: int
    worker: int


class Failure(NamedTuple):
    """A request that failed. at: unix seconds. names: its server and location. record: of the last peer, 0 without one."""

    at: float
    cause: str
    status: int
    row: int
    record: int
    seconds: float
    trace_id: str
    path: str
    worker: int


# The states of peers in transitions.
STATES = ("up", "unavail", "unhealthy", "checking", "draining", "down", "gone")


class Slots:
    """Which slots of workers there are, as far as they have counters in a memory."""

    def __init__(self, shared: SharedWords, memory: CounterMemory) -> None:
        self._shared = shared
        self._memory = memory

    def count(self) -> int:
        """Return how many were ever in use; the memory reaches to the last of them from now on."""
        return self._memory.reach(max(self._shared.slots, self._shared.slot + 1))

    def alive(self) -> list[int]:
        """Return those that have a worker."""
        own = self._shared.slot
        return [slot for slot in range(self.count()) if slot == own or self._shared.worker(slot).get(WORKER_PID)]


class CounterReader:
    """Reads the counters of one configuration. baseline: the number of what is subtracted; None: nothing is."""

    def __init__(self, plan: CountingPlan, slots: Slots, baseline: int | None = None) -> None:
        self.plan = plan
        self._baseline = baseline
        self.slots = slots

    @property
    def _words(self) -> memoryview:
        """The words of the memory: others when it has been made to reach further."""
        return self.plan.memory.words

    # Requests.

    def requests(self) -> Iterator[tuple[RequestNames, RequestTotals]]:
        """Yield what each location has served, by its names; those without room come together as `_other`."""
        overflowed = False
        for names, row in self.plan.requests.items():
            if row:
                yield names, self.row(row)
            else:
                overflowed = True
        if overflowed:
            yield RequestNames(OTHER, OTHER), self.row(0)

    def row(self, row: int) -> RequestTotals:
        """Return what was counted in a row of requests."""
        return request_totals(self._sum(REQUESTS.base + row * REQUESTS.words, REQUESTS.words), self._active(row))

    def _active(self, row: int) -> int:
        return self._gauge(REQUESTS.base + row * REQUESTS.words + at.ACTIVE)

    # Upstreams and peers.

    def upstream(self, name: str) -> UpstreamTotals:
        """Return what was counted of an upstream."""
        base = UPSTREAMS.base + self.plan.upstreams.get(name, 0) * UPSTREAMS.words
        words = self._sum(base, UPSTREAMS.words)
        return UpstreamTotals(
            histogram_in(words, at.CONNECT_TIME),
            histogram_in(words, at.RESPONSE_TIME),
            self._gauge(base + at.QUEUED),
            words[at.QUEUE_FULL],
            words[at.QUEUE_TIMED_OUT],
            dict(zip(DENIALS, words[at.DENIED :])),
            causes_in(words, at.RETRIES),
            words[at.NO_LIVE],
        )

    def peer_words(self, record: int, alive: Sequence[int]) -> Counts:
        """Return the sums of the words about the peer with that record in the shared memory. alive: see `Slots.alive`."""
        base = at.PEERS_BASE + record * at.PEER_WORDS
        words = self._sum(base, at.PEER_WORDS)
        idle = SLOTS_OFFSET + base + at.IDLE
        moments = slice(SLOTS_OFFSET + base + at.SELECTED, SLOTS_OFFSET + base + at.PEER_CAUSES)
        last = [0] * (at.PEER_CAUSES - at.SELECTED)
        for slot in range(-1 if self._words[at.HEAD_CARRIES] else 0, self.slots.count()):
            skip = slot * SLOT_WORDS
            last = list(map(max, last, self._words[moments.start + skip : moments.stop + skip].tolist()))
        words[at.SELECTED : at.PEER_CAUSES] = _limited(last)
        words[at.IDLE] = sum([min(self._words[slot * SLOT_WORDS + idle], MOST_COUNTED) for slot in alive])
        return words

    def peer(self, record: int) -> PeerMeasures:
        """Return what was counted of the peer with that record in the shared memory."""
        words = self.peer_words(record, self.slots.alive())
        return PeerMeasures(
            histogram_in(words, at.HEADER_TIME),
            histogram_in(words, at.PEER_RESPONSE_TIME),
            tuple(words[at.RESPONSES : at.RESPONSES + 5]),
            codes_in(words, at.PEER_CODES),
            words[at.FAILED],
            words[at.CONNECTIONS_NEW],
            words[at.CONNECTIONS_REUSED],
            words[at.IDLE],
            words[at.UNAVAILABLE],
            words[at.UNHEALTHY],
            words[at.SELECTED] / 1e6,
            words[at.DOWNTIME] / 1e6,
            down_since(words),
            handshakes_in(words),
            causes_in(words, at.PEER_CAUSES),
        )

    # The rest.

    def limits(self) -> Iterator[tuple[str, LimitTotals]]:
        """Yield the decisions of each zone of limits."""
        for name, row in self.plan.limits.items():
            words = self._sum(LIMITS.base + row * LIMITS.words, LIMITS.words)
            yield name, LimitTotals(*words[: len(LIMIT_DECISIONS)])

    def listeners(self) -> Iterator[tuple[str, int, int]]:
        """Yield the connections that each listener has accepted and refused."""
        for address, row in self.plan.listeners.items():
            words = self._sum(LISTENERS.base + row * LISTENERS.words, LISTENERS.words)
            yield address, words[at.ACCEPTED], words[at.REFUSED]

    def resolvers(self) -> Iterator[tuple[str, ResolverTotals]]:
        """Yield the lookups of each resolver."""
        for name, row in self.plan.resolvers.items():
            words = self._sum(RESOLVERS.base + row * RESOLVERS.words, RESOLVERS.words)
            results = dict(zip(LOOKUP_RESULTS, words[at.LOOKUPS :]))
            yield name, ResolverTotals(words[at.NAME_QUESTIONS], words[at.SERVICE_QUESTIONS], results)

    def workers(self) -> Iterator[WorkerTotals]:
        """Yield the slots that were ever in use: counts go on when a slot gets another worker."""
        alive = self.slots.alive()
        for slot in range(self.slots.count()):
            begin = SLOTS_OFFSET + slot * SLOT_WORDS
            words = _limited(self._words[begin : begin + at.SCALAR_WORDS].tolist())
            if self._words[at.HEAD_CARRIES] and slot < at.COUNTED_SLOTS:
                begin = at.CARRIED_SCALARS_OFFSET + slot * at.SCALAR_WORDS
                words = [one + two for one, two in zip(words, self._words[begin : begin + at.SCALAR_WORDS].tolist())]
            is_alive = slot in alive
            resident, descriptors, tunnels = words[at.RESIDENT_BYTES : at.TUNNELS + 1] if is_alive else (0, 0, 0)
            yield WorkerTotals(
                slot,
                is_alive,
                histogram_in(words, at.LAG_TIME),
                words[at.STREAMS],
                tuple(words[at.RESETS_SENT : at.RESETS_SENT + 15]),
                tuple(words[at.RESETS_RECEIVED : at.RESETS_RECEIVED + 15]),
                words[at.CPU_TIME] / 1e6,
                resident,
                descriptors,
                tunnels,
                words[at.REFUSED_CONNECTIONS],
                (words[at.SPANS_SENT], words[at.SPANS_FAILED], words[at.SPANS_DROPPED]),
                (words[at.LOST_ACCESS_LINES], words[at.LOST_ERROR_LINES]),
                words[at.SYNC_SILENCES],
            )

    def transitions(self) -> list[Transition]:
        """Return the last changes of peers' states that all workers have seen, oldest first."""
        found = []
        for slot, words in self._rings(at.TRANSITIONS_BASE, at.TRANSITIONS, at.TRANSITION_WORDS):
            moment, record, before, after, cause, failures = words[:6]
            if words[at.TRANSITION_LIFE] != self._life(record):
                continue  # another peer had that record
            found.append(Transition(moment / 1e6, record, _state(before), _state(after), cause_name(cause), failures, slot))
        return sorted(found, key=lambda change: change.at)

    def failures(self) -> list[Failure]:
        """Return the last failed requests that all workers have seen, oldest first."""
        found = []
        for slot, words in self._rings(at.FAILURES_BASE, at.FAILURES, at.FAILURE_WORDS):
            moment, cause, status, row, record, duration, high, low = words[:8]
            record = record if words[at.FAILURE_LIFE] == self._life(record) else 0
            path = b"".join(word.to_bytes(8, "little") for word in words[at.FAILURE_PATH : at.FAILURE_PATH + 12])
            trace = f"{high:016x}{low:016x}" if high or low else ""
            shown = path.rstrip(b"\0").decode("utf-8", "replace")
            found.append(Failure(moment / 1e6, cause_name(cause), status, row, record, duration / 1e6, trace, shown, slot))
        return sorted(found, key=lambda failure: failure.at)

    def _life(self, record: int) -> int:
        """Return how many peers have had a record before; -1 for one that there is not, whatever a worker has written."""
        return self.plan.memory.life(record) if record < MAX_PEERS else -1

    def _rings(self, base: int, entries: int, size: int) -> Iterator[tuple[int, Counts]]:
        """Yield the entries of a ring in each slot, but for the one that may be overwritten now."""
        for slot in range(self.slots.count()):
            begin = SLOTS_OFFSET + slot * SLOT_WORDS + base
            written = self._words[begin + at.RING_HEAD]
            for number in range(max(0, written - entries + 1), written):
                first = begin + 8 + number % entries * size
                yield slot, self._words[first : first + size].tolist()

    # Adding up.

    def _sum(self, offset: int, size: int) -> Counts:
        """Return the sums of some words over all slots that were ever in use."""
        count = self.slots.count()
        words, begin = self._words, SLOTS_OFFSET + offset
        found: Counts = words[begin : begin + size].tolist()
        if words[at.HEAD_CARRIES]:
            carried = words[begin - SLOT_WORDS : begin - SLOT_WORDS + size].tolist()  # the part before the first slot
            found = [one + two for one, two in zip(found, carried)]
        for _ in range(count - 1):
            begin += SLOT_WORDS
            found = [one + two for one, two in zip(found, words[begin : begin + size].tolist())]
        if self._baseline is not None:
            found = [max(0, one - two) for one, two in zip(found, self.plan.memory.baseline(self._baseline, offset, size))]
        return _limited(found)

    def since_reset(self, baseline: int = at.OF_ALL) -> CounterReader:
        """Return a reader of what was counted since the last DELETE of the API."""
        return CounterReader(self.plan, self.slots, baseline)

    def reset(self, offset: int, size: int, baseline: int = at.OF_ALL) -> None:
        """Have some words begin anew for readers that subtract that baseline."""
        self.plan.memory.set_baseline(baseline, offset, self._sum(offset, size))

    def _gauge(self, offset: int) -> int:
        """Return the sum of a word over the slots that have a worker."""
        return sum(min(self._words[SLOTS_OFFSET + slot * SLOT_WORDS + offset], MOST_COUNTED) for slot in self.slots.alive())


def request_totals(words: Counts, active: int) -> RequestTotals:
    """Return the words of a row of requests with their names."""
    tls = TlsTotals._make(
        (*words[at.TLS_FULL : at.TLS_TIME], words[at.TLS_EXPIRED], words[at.TLS_REVOKED], histogram_in(words, at.TLS_TIME))
    )
    return RequestTotals(
        words[at.RECEIVED],
        words[at.SENT],
        words[at.DISCARDED],
        active,
        Histogram(tuple(words[at.TIMES : at.TIMES + BUCKETS]), words[at.TIME] / 1e6),
        codes_in(words, at.REQUEST_CODES),
        causes_in(words, at.REQUEST_CAUSES),
        tls,
    )


def codes_in(words: Counts, begin: int) -> dict[str, int]:
    """Return the counts by status that begin at that word: see `RequestTotals`."""
    some = words[begin : begin + at.CODE_WORDS]
    if not any(some):
        return {}
    codes = {str(code): count for code, count in zip(CODES, some) if count}
    codes |= {f"{number}xx": count for number, count in enumerate(some[at.OTHER_CODES : at.NO_CODE], 1) if count}
    return codes | ({"none": some[at.NO_CODE]} if some[at.NO_CODE] else {})


def changes_in(words: Counts) -> Iterator[tuple[str, str, int]]:
    """Yield the changes of a peer's state, by its row: the state afterwards, the cause, and how often."""
    for cause, count in zip((*at.REST_CAUSES, "other"), words[at.RESTS : at.CHANGES]):
        if count:
            yield "unavail", cause, count
    for (after, cause), count in zip(at.STATE_CHANGES, words[at.CHANGES :]):
        if count:
            yield after, cause, count


def combined(totals: Sequence[RequestTotals]) -> RequestTotals:
    """Return several rows together: those of one server, or of one zone."""
    codes: dict[str, int] = {}
    causes: dict[str, int] = {}
    for each in totals:
        for found, counts in ((codes, each.codes), (causes, each.causes)):
            for key, count in counts.items():
                found[key] = found.get(key, 0) + count
    handshakes = [sum(column) for column in zip(*(each.tls.counts() for each in totals))] or NO_TLS.counts()
    return RequestTotals(
        sum(each.received for each in totals),
        sum(each.sent for each in totals),
        sum(each.discarded for each in totals),
        sum(each.active for each in totals),
        sum((each.times for each in totals), NO_TIMES),
        dict(sorted(codes.items())),
        causes,
        TlsTotals._make((*handshakes, sum((each.tls.times for each in totals), NO_TIMES))),
    )


def handshakes_in(words: Counts) -> dict[str, int]:
    """Return the handshakes with a peer, by its row."""
    full, resumed, failed = words[at.PEER_TLS_FULL : at.PEER_TLS_REASONS]
    reasons = dict(zip(TLS_REASONS, words[at.PEER_TLS_REASONS :]))
    return {"handshakes": full + resumed, "handshakes_failed": failed, "session_reuses": resumed, **reasons}


def down_since(words: Counts) -> float:
    """Return since when a peer gets no requests, by its row: a time of the loop's clock; 0 if it does."""
    return words[at.DOWN_SINCE] / 1e6 if words[at.DOWN_SINCE] > words[at.UP_SINCE] else 0.0


def cause_name(index: int) -> str:
    """Return the code of an end cause, or of what changes a peer's state, by its index."""
    return (TRANSITION_CAUSES[index] if index < len(TRANSITION_CAUSES) else "") or "other"


def _state(index: int) -> str:
    return STATES[index] if index < len(STATES) else "up"


def causes_in(words: Counts, begin: int) -> dict[str, int]:
    """Return the counts by cause that begin at that word; without those that are zero."""
    some = words[begin : begin + CAUSE_WORDS]
    if not any(some):
        return {}
    found = {code: count for code, count in zip(CAUSES, some) if count}
    if words[begin + at.OTHER_CAUSE]:
        found["other"] = words[begin + at.OTHER_CAUSE]
    return found


def histogram_in(words: Counts, begin: int) -> Histogram:
    """Return the histogram whose sum is at `begin`, its buckets after it."""
    return Histogram(tuple(words[begin + 1 : begin + 1 + BUCKETS]), words[begin] / 1e6)


def _limited(words: Counts) -> Counts:
    """Return counts that JSON's numbers can express, whatever a worker has written."""
    return words if max(words) <= MOST_COUNTED else [min(word, MOST_COUNTED) for word in words]
