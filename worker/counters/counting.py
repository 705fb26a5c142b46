"""The counts of one worker: lists that are counted in, and copied into the worker's slot of the shared memory now and then.

Adding to an item of a list takes 34 ns, to a word of the shared memory 56. A row is copied when it has changed: every half
second, and before this worker answers a question about counters. So what was once shown is in the shared memory, and a worker
that is killed takes nothing back.
"""

from __future__ import annotations

import mmap
import os
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from worker.client.clients import Clients, HTTP2Counts
from wproxy.certificate import read_certificates
from wproxy.config.model import Configuration
from wproxy.counters.buckets import BOUNDS
from wproxy.counters.carried import carrying_to
from wproxy.counters.exposition import Exemplar
from wproxy.counters.layout import (
    ACCEPTED,
    ACTIVE,
    CPU_TIME,
    DESCRIPTORS,
    FAILURE_LIFE,
    FAILURE_PATH,
    FAILURE_PATH_BYTES,
    FAILURE_WORDS,
    FAILURES,
    FAILURES_BASE,
    LAG_TIME,
    LAG_TIMES,
    LISTENERS,
    LOOKUP_RESULTS,
    LOOKUPS,
    NAME_QUESTIONS,
    OTHER_CAUSE,
    OTHER_RESETS,
    PEER_WORDS,
    PEERS_BASE,
    REFUSED,
    REFUSED_CONNECTIONS,
    REQUESTS,
    RESETS_RECEIVED,
    RESETS_SENT,
    RESIDENT_BYTES,
    RESOLVERS,
    RING_HEAD,
    SCALAR_WORDS,
    SERVICE_QUESTIONS,
    SLOT_WORDS,
    SLOTS_OFFSET,
    STREAMS,
    TABLES,
    TRANSITION_CAUSES,
    TRANSITION_WORDS,
    TRANSITIONS,
    TRANSITIONS_BASE,
    TUNNELS,
    Table,
)
from wproxy.counters.memory import CounterMemory, bytes_of
from wproxy.counters.plan import CountingPlan, RequestNames
from wproxy.counters.totals import STATES, CounterReader, Slots
from wproxy.directives.resolver import NameServers
from wproxy.dns import SRV, TIMED_OUT
from wproxy.end_causes import CODES as CAUSES
from wproxy.http import Clock
from wproxy.shared import SharedWords

Counts = list[int]
Settle = Callable[[Counts, list[float]], None]
PAGE = mmap.PAGESIZE
CAUSE_INDEX = {code: index for index, code in enumerate(CAUSES)}
TRANSITION_INDEX = {code: index for index, code in enumerate(TRANSITION_CAUSES)}
STATE_INDEX = {state: index for index, state in enumerate(STATES)}
# Results of lookups by the code of DNS (RFC 1035, 4.1.1).
_RESULT_OF_CODE = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, TIMED_OUT: LOOKUP_RESULTS.index("timedout")}
ROWS_AT_ONCE = 256
SAMPLE_ITEMS_AT_ONCE = 8192  # of every sample it is a multiple, a millisecond's work
# How often resident memory and open descriptors are looked at, in seconds.
LOOK_EVERY = 5.0


class Row:
    """Some words of the slot. counts: what to count in; samples: what has not been counted yet. Both are always the same list."""

    __slots__ = ("_offset", "_published", "counts", "samples", "settle")

    def __init__(self, words: memoryview, offset: int, size: int, settle: Settle | None = None) -> None:
        """Continue from what the slot has counted there. settle: counts samples."""
        self._offset = offset
        self.settle = settle
        self.samples: list[float] = []
        self._published: Counts = words[offset : offset + size].tolist()
        self.counts = self._published.copy()

    def publish(self, words: memoryview) -> None:
        """Copy the counts into the slot if they have changed."""
        counts = self.counts
        if self.samples:
            self.count_samples(len(self.samples))
        if counts != self._published:
            words[self._offset : self._offset + len(counts)] = array("Q", counts)
            self._published = counts.copy()

    def count_samples(self, most: int) -> None:
        """Count so many items of the samples."""
        assert self.settle is not None
        samples = self.samples[:most]
        del self.samples[:most]
        self.settle(self.counts, samples)

    def read_again(self, words: memoryview) -> None:
        """Take over what the slot has: the row may have been cleared for another name."""
        self.publish(words)
        self._published = words[self._offset : self._offset + len(self.counts)].tolist()
        self.counts[:] = self._published


class Counting:
    """The counts of one worker. scalars: its own numbers. reader: adds up those of all workers."""

    def __init__(
        self,
        plan: CountingPlan,
        configuration: Configuration,
        shared: SharedWords,
        clock: Clock,
        clients: Clients,
        own: CounterMemory,
    ) -> None:
        """own: where this worker counts: the memory that all share, unless that has no room for its slot."""
        self.plan = plan
        self.shared = shared
        self.reader = CounterReader(plan, Slots(shared, plan.memory))
        self._carrying = carrying_to(plan.memory)
        self.clock = clock
        self._clients = clients
        clients.http2 = HTTP2Counts()
        self._words = own.words
        self._begin = SLOTS_OFFSET + shared.slot * SLOT_WORDS
        self._tables: dict[Table, dict[int, Row]] = {table: {} for table in TABLES}
        self._peers: dict[int, Row] = {}
        self._scalars = Row(self._words, self._begin, SCALAR_WORDS)
        self.scalars = self._scalars.counts
        self._cpu_before = self.scalars[CPU_TIME]
        self._refused_before = self.scalars[REFUSED_CONNECTIONS]
        self._looked = 0.0
        clients.tallies = {}
        self._tallies_before: dict[str, Counts] = {}
        # The rest of the scalars, which others count: (word, the count so far) each time they are asked.
        self.sources: list[Callable[[], Iterable[tuple[int, int]]]] = []
        self._before: Counts = self.scalars.copy()
        # (server, file, unix time of its end) of each certificate that servers show.
        self.certificates = certificates_of(configuration)
        # Traces that stand for buckets, of this worker's requests: by names, which are no more than the configuration has.
        self.exemplars: dict[RequestNames, dict[int, Exemplar]] = {}

    # Rows.

    def row(self, table: Table, row: int) -> Counts:
        """Return the counts of a row of a table."""
        rows = self._tables[table]
        if row not in rows:
            rows[row] = Row(self._words, self._begin + table.base + row * table.words, table.words)
        return rows[row].counts

    def sampled_row(self, table: Table, row: int, settle: Settle) -> Row:
        """Return a row of a table that samples are left for. settle: counts them."""
        self.row(table, row)
        found = self._tables[table][row]
        found.settle = settle
        return found

    def peer(self, record: int) -> Counts:
        """Return the counts of the peer with that record; peers that only this worker knows have the row of record 0."""
        row = self._peers.get(record)
        if row is None:
            row = self._peers[record] = Row(self._words, self._begin + PEERS_BASE + record * PEER_WORDS, PEER_WORDS)
        else:
            row.read_again(self._words)
        return row.counts

    def publish_peer(self, record: int) -> None:
        """Bring the row of a peer up to date: other workers need it at once."""
        self._peers[record].publish(self._words)

    def peer_words(self, record: int) -> Counts:
        """Return what all workers have published of the peer with that record."""
        return self.reader.peer_words(record, self.reader.slots.alive())

    def now(self) -> int:
        """Return the time of the loop's clock in microseconds."""
        return int(self.clock.now * 1e6)

    def resolver(self, servers: NameServers) -> tuple[Callable[[int], None], Callable[[int], None]]:
        """Return the functions that count the questions, by kind, and the results, by code, of a resolver."""
        counts = self.row(RESOLVERS, self.plan.resolvers.get(servers.shown, 0))

        def count_question(kind: int) -> None:
            counts[SERVICE_QUESTIONS if kind == SRV else NAME_QUESTIONS] += 1

        def count_result(code: int) -> None:
            counts[LOOKUPS + _RESULT_OF_CODE.get(code, len(LOOKUP_RESULTS) - 1)] += 1

        return count_question, count_result

    # Publishing.

    def publish(self) -> None:
        """Bring the slot up to date, and what an older program has counted."""
        for _ in self.publishing():
            pass

    def publishing(self, is_asked: bool = True) -> Iterator[None]:
        """Do the same in steps, between which the loop may turn: a thousand rows take 3 ms.

        is_asked: whether a question about counters is to be answered, so that all must be up to date.
        """
        if is_asked and self._carrying is not None and self._carrying.goes_on:
            yield from self._carrying.bring(self.shared.slots, self.shared.known_records())
        words = self._words
        self._count_under_way()
        self._look_at_process()
        self._scalars.publish(words)
        for rows in (*self._tables.values(), self._peers):
            for number, row in enumerate(list(rows.values()), 1):
                while len(row.samples) > SAMPLE_ITEMS_AT_ONCE:
                    row.count_samples(SAMPLE_ITEMS_AT_ONCE)
                    yield
                row.publish(words)
                if not number % ROWS_AT_ONCE:
                    yield

    def _count_under_way(self) -> None:
        """Count the requests under way in each row: nothing has to be counted when one begins."""
        for row in self._tables[REQUESTS].values():
            row.counts[ACTIVE] = 0
        tunnels = 0
        for connection in self._clients.connections:
            for request in connection.under_way:
                counts = request.route.counts
                if counts is not None:
                    counts[ACTIVE] += 1
                tunnels += request.status == 101
        self.scalars[TUNNELS] = tunnels

    def _look_at_process(self) -> None:
        self.scalars[CPU_TIME] = self._cpu_before + int(time.process_time() * 1e6)
        self.scalars[REFUSED_CONNECTIONS] = self._refused_before + self._clients.refused
        for source in self.sources:
            for word, count in source():
                self.scalars[word] = self._before[word] + count
        self._count_listeners()
        self._count_http2()
        if self.clock.now >= self._looked + LOOK_EVERY or not self._looked:
            self._looked = self.clock.now
            self.scalars[RESIDENT_BYTES] = resident_bytes()
            self.scalars[DESCRIPTORS] = open_descriptors()

    def _count_listeners(self) -> None:
        """Take over the connections of each listener since the start of this worker."""
        for address, tally in (self._clients.tallies or {}).items():
            counts = self.row(LISTENERS, self.plan.listeners.get(address, 0))
            before = self._tallies_before.get(address, [0, 0])
            for word in (ACCEPTED, REFUSED):
                counts[word] += tally[word] - before[word]
            self._tallies_before[address] = tally.copy()

    def _count_http2(self) -> None:
        """Take over what HTTP/2 connections have counted since the last time."""
        counts, self._clients.http2 = self._clients.http2, HTTP2Counts()
        if counts is None:
            return
        self.scalars[STREAMS] += counts.streams
        for word, resets in ((RESETS_SENT, counts.resets_sent), (RESETS_RECEIVED, counts.resets_received)):
            for code, count in resets.items():
                self.scalars[word + min(code, OTHER_RESETS)] += count

    def count_lag(self, seconds: float) -> None:
        """Count how late a timer was."""
        self.scalars[LAG_TIMES + bisect_left(BOUNDS, seconds)] += 1
        self.scalars[LAG_TIME] += int(seconds * 1e6)

    def note_exemplar(self, names: RequestNames, trace_id: str, span_id: str, seconds: float) -> None:
        """Keep a trace as an example of its duration: one for a bucket and a second."""
        kept = self.exemplars.setdefault(names, {})
        bucket = bisect_left(BOUNDS, seconds)
        now = self.clock.wall
        if bucket not in kept or int(kept[bucket].at) != int(now):
            kept[bucket] = Exemplar(trace_id, span_id, seconds, now)

    # Rings.

    def note_transition(self, record: int, before: str, after: str, cause: str, failures: int) -> None:
        """Note that this worker has changed the state of a peer, and why. Both states are among STATES."""
        moment, why = int(self.clock.wall * 1e6), TRANSITION_INDEX.get(cause, OTHER_CAUSE)
        entry = (moment, record, STATE_INDEX[before], STATE_INDEX[after], why, failures, self.plan.memory.life(record), 0)
        self._append(TRANSITIONS_BASE, TRANSITIONS, TRANSITION_WORDS, array("Q", entry))

    def note_failure(
        self, cause: int, status: int, row: int, record: int, seconds: float, path: bytes, trace_id: str = ""
    ) -> None:
        """Note a request that failed. cause: the index of its code. trace_id: 32 hexadecimal digits, "" without a trace."""
        entry = array("Q", bytes(FAILURE_WORDS * 8))
        trace = int(trace_id or "0", 16)
        entry[:8] = array(
            "Q",
            (
                *(int(self.clock.wall * 1e6), cause, status, row, record, int(seconds * 1e6)),
                *(trace >> 64, trace & 0xFFFFFFFFFFFFFFFF),
            ),
        )
        entry[FAILURE_LIFE] = self.plan.memory.life(record)
        padded = path[:FAILURE_PATH_BYTES].ljust(FAILURE_PATH_BYTES, b"\0")
        entry[FAILURE_PATH : FAILURE_PATH + FAILURE_PATH_BYTES // 8] = array("Q", padded)
        self._append(FAILURES_BASE, FAILURES, FAILURE_WORDS, entry)

    def _append(self, base: int, entries: int, size: int, entry: array[int]) -> None:
        """Write an entry of a ring, then the number of entries: a reader that sees the number sees the entry."""
        words, head = self._words, self._begin + base + RING_HEAD
        written = words[head]
        first = self._begin + base + 8 + written % entries * size
        words[first : first + size] = entry
        words[head] = written + 1

    def __repr__(self) -> str:
        return f"<counting of {sum(map(len, self._tables.values()))} rows and {len(self._peers)} peers>"


def certificates_of(configuration: Configuration) -> list[tuple[str, str, int]]:
    """Return (server, file, unix time of its end) of the certificates that servers show, as far as they can be read.

    To be called while the process may still read what only root may.
    """
    found: dict[tuple[str, str], int] = {}
    for server in configuration.servers:
        for node in server.written.get("ssl_certificate", ()):
            file = node.arguments[0] if node.arguments else ""
            try:
                with open(configuration.path_beside(file), "rb") as opened:
                    chain = read_certificates(opened.read())
            except (OSError, ValueError):  # one with variables; or what a start has warned about
                continue
            if chain:
                found[server.name or "_", file] = chain[0].not_after
    return [(name, file, at) for (name, file), at in found.items()]


def private_memory(slot: int) -> CounterMemory:
    """Return counters of a process that shares them with no other: one that no master has forked."""
    return CounterMemory(mmap.mmap(-1, bytes_of(slot + 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def resident_bytes() -> int:
    """Return the size of this process in memory."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE
    except (OSError, IndexError, ValueError):
        return 0


def open_descriptors() -> int:
    """Return the number of open descriptors of this process."""
    try:
        # From Linux 6.2 on the directory has their number as its size; a listing takes 3 ms with 10,000 of them.
        return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0
