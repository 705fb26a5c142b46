"""The layout of the counters: one region of memory that outlives reloads and upgrades (`wproxy.lasting`).

    keys      for each table and row: the digest of its name (two words), the first and the last generation that asked for it
    description  of this layout, for programs with another one (`wproxy.counters.carried`)
    parts     in the shape of a slot: what the API subtracts since a DELETE, one for location zones and one for all else; and what
              was carried over from an older program whose layout was another one, without its scalars
    carried scalars    those, for each slot of a worker
    slots     for each slot of a worker, one after the other:
        scalars     the worker's own numbers
        tables      TABLES: for each row of a table so many words
        peers       for each record of a peer PEER_WORDS words
        rings       transitions of peers, and failed requests: the last ones that this worker has seen

Every word of a slot has one writer, the worker that has the slot, so nothing is lost however a process ends; readers add up. A
slot is not cleared for its next worker, who counts on from there: totals never fall. The file is sparse: rows and slots that are
not in use take no memory, and slots are mapped when they are first in use: all of them would take 1.1 GB of address space, 9 MB
each. Slots from COUNTED_SLOTS on have no room here, and their workers count for themselves alone: that many workers at once are
rare.

Times are counted in buckets that are not cumulative, the last one for everything longer. Durations are microseconds.
"""

from __future__ import annotations

from typing import NamedTuple

from wproxy.counters.buckets import BUCKETS
from wproxy.end_causes import CODES as CAUSES
from wproxy.shared import MAX_PEERS

# The layout's version, part of the region's name: another one is another region.
VERSION = 5

# The slots of workers that there is room for.
COUNTED_SLOTS = 128

# Statuses that are counted by themselves. All others are counted by their class; 0 is a request that ended without a status.
_SUCCESSES = (101, 200, 201, 202, 204, 206, 207, 301, 302, 303, 304, 307, 308)
_FAULTS = (*range(400, 407), *range(408, 417), 421, 422, 423, 426, 428, 429, 431, 444, 499)
CODES = (*_SUCCESSES, *_FAULTS, 500, 501, 502, 503, 504, 507)
OTHER_CODES = len(CODES)  # of classes 1 to 5, after the codes
NO_CODE = OTHER_CODES + 5
CODE_WORDS = 56
assert NO_CODE < CODE_WORDS
# The word of a status among them.
INDEX_OF_CODE = {code: OTHER_CODES + code // 100 - 1 for code in range(100, 600)} | {code: at for at, code in enumerate(CODES)}

# Words of a row of requests: those of one server and location.
RECEIVED = 0  # bytes of requests
SENT = 1  # bytes of responses
TIME = 2  # of all requests together
DISCARDED = 3  # requests that ended without a response
ACTIVE = 4  # requests under way: a gauge, as of the last publication
TIMES = 5  # BUCKETS words: $request_time, without tunnels
REQUEST_CODES = TIMES + BUCKETS
REQUEST_CAUSES = REQUEST_CODES + CODE_WORDS  # by the code of their end cause
CAUSE_WORDS = 56  # the codes of CAUSES, in their order; the last word is for others
OTHER_CAUSE = CAUSE_WORDS - 1
assert len(CAUSES) < CAUSE_WORDS
# Handshakes of clients with the server, only in the row of the server itself.
TLS_FULL = REQUEST_CAUSES + CAUSE_WORDS
TLS_RESUMED = TLS_FULL + 1
TLS_FAILED = TLS_FULL + 2
TLS_NO_PROTOCOL = TLS_FULL + 3
TLS_NO_CIPHER = TLS_FULL + 4
TLS_TIMED_OUT = TLS_FULL + 5
TLS_REJECTED = TLS_FULL + 6  # the client did not accept our certificate
TLS_NO_CERTIFICATE = TLS_FULL + 7
TLS_UNVERIFIED = TLS_FULL + 8
TLS_TIME = TLS_FULL + 9
TLS_TIMES = TLS_FULL + 10
TLS_EXPIRED = TLS_TIMES + BUCKETS  # certificates of clients that were out of date, or revoked: neither is in TLS_UNVERIFIED
TLS_REVOKED = TLS_EXPIRED + 1
REQUEST_WORDS = 176
assert TLS_REVOKED < REQUEST_WORDS

# Words of an upstream's row.
CONNECT_TIME = 0
CONNECT_TIMES = 1
RESPONSE_TIME = CONNECT_TIMES + BUCKETS
RESPONSE_TIMES = RESPONSE_TIME + 1
QUEUED = RESPONSE_TIMES + BUCKETS  # requests that wait for a peer: a gauge
QUEUE_FULL = QUEUED + 1
QUEUE_TIMED_OUT = QUEUED + 2
DENIED = QUEUED + 3  # retries that were not made: DENIALS
DENIALS = ("tries", "timeout", "budget", "non_idempotent", "body")
RETRIES = DENIED + 8  # by the code of the failure before
NO_LIVE = RETRIES + CAUSE_WORDS  # requests for which there was no peer
UPSTREAM_WORDS = 112
assert NO_LIVE < UPSTREAM_WORDS

# Words of a peer's row.
HEADER_TIME = 0
HEADER_TIMES = 1
PEER_RESPONSE_TIME = HEADER_TIMES + BUCKETS
PEER_RESPONSE_TIMES = PEER_RESPONSE_TIME + 1
RESPONSES = PEER_RESPONSE_TIMES + BUCKETS  # by class, 1xx first
FAILED = RESPONSES + 5  # attempts without a response
CONNECTIONS_NEW = FAILED + 1
CONNECTIONS_REUSED = FAILED + 2
IDLE = FAILED + 3  # connections kept open: a gauge
UNAVAILABLE = FAILED + 4  # how often this worker found that it rests from now on
# Moments, in microseconds of the clock that all processes share, which no change of the date moves.
SELECTED = FAILED + 5  # when an attempt of this worker last began
DOWN_SINCE = FAILED + 6  # when this worker last found that it gets no requests, and that it does again
UP_SINCE = FAILED + 7
CAME = FAILED + 8  # when this worker last found that its name has this address, and that it no longer has
WENT = FAILED + 9
PEER_CAUSES = FAILED + 10  # attempts that failed, by the code of the cause
DOWNTIME = PEER_CAUSES + CAUSE_WORDS  # microseconds between the two, counted when this worker finds that it is over
UNHEALTHY = DOWNTIME + 1  # how often health checks of this worker found it unhealthy
# Only in a baseline: what `wproxy.peer_counters` and health checks had counted.
BASE_REQUESTS, BASE_FAILURES, BASE_RECEIVED, BASE_SENT, BASE_CHECKS, BASE_CHECKS_FAILED = range(UNHEALTHY + 1, UNHEALTHY + 7)
# Handshakes with the peer: new sessions, resumed ones, and failures; then some of their reasons.
PEER_TLS_FULL, PEER_TLS_RESUMED, PEER_TLS_FAILED, PEER_TLS_REASONS = range(BASE_CHECKS_FAILED + 1, BASE_CHECKS_FAILED + 5)
TLS_REASONS = (
    *("no_common_protocol", "no_common_cipher", "handshake_timeout", "peer_rejected_cert"),
    *("expired_cert", "revoked_cert", "hostname_mismatch", "other"),
)
PEER_CODES = PEER_TLS_REASONS + len(TLS_REASONS)  # responses by status, as in a row of requests
# How often it began to rest, by the cause of the last failure (the last word is for others); then the other changes of its state.
REST_CAUSES = CAUSES[CAUSES.index("up_refused") : CAUSES.index("up_said") + 1]
RESTS = PEER_CODES + CODE_WORDS
CHANGES = RESTS + len(REST_CAUSES) + 1
# (the state afterwards, the cause) of those: checks, the end of a rest, the API, and the resolver.
STATE_CHANGES = (
    *(("unhealthy", "check_failed"), ("up", "check_passed"), ("up", "rested"), ("up", "by_hand"), ("draining", "by_hand")),
    *(("down", "by_hand"), ("gone", "by_hand"), ("up", "resolved"), ("gone", "gone")),
)
PEER_WORDS = 216
assert CHANGES + len(STATE_CHANGES) <= PEER_WORDS

# Words of a zone of limits: one for each decision.
PASSED, DELAYED, REJECTED, DELAYED_DRY_RUN, REJECTED_DRY_RUN = range(5)
LIMIT_DECISIONS = ("passed", "delayed", "rejected", "delayed_dry_run", "rejected_dry_run")
LIMIT_WORDS = 8

# Words of a listener.
ACCEPTED = 0
REFUSED = 1  # for lack of room
LISTENER_WORDS = 4

# Words of a resolver: questions, then lookups by how they ended.
NAME_QUESTIONS = 0
SERVICE_QUESTIONS = 1
LOOKUPS = 2
LOOKUP_RESULTS = ("noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "timedout", "unknown")
RESOLVER_WORDS = 12

# Scalars of a worker.
LAG_TIME = 0
LAG_TIMES = 1  # how late timers were
STREAMS = LAG_TIMES + BUCKETS  # of HTTP/2
RESETS_SENT = STREAMS + 1  # by code, and the last one for others
OTHER_RESETS = 14
RESETS_RECEIVED = RESETS_SENT + 15
CPU_TIME = RESETS_RECEIVED + 15
RESIDENT_BYTES = CPU_TIME + 1  # gauges from here
DESCRIPTORS = CPU_TIME + 2
TUNNELS = CPU_TIME + 3
REFUSED_CONNECTIONS = CPU_TIME + 4  # clients that were refused for lack of room
SPANS_SENT = CPU_TIME + 5  # spans of traces that the collector took, that it did not, and for which there was no room
SPANS_FAILED = CPU_TIME + 6
SPANS_DROPPED = CPU_TIME + 7
LOST_ACCESS_LINES = CPU_TIME + 8  # lines that could not be written
LOST_ERROR_LINES = CPU_TIME + 9
# Only in a baseline: connections, requests and respawns; then the counts of all handshakes, as `TlsTotals.counts` has them.
BASE_ACCEPTED, BASE_DROPPED, BASE_BEGUN, BASE_RESPAWNED, BASE_HANDSHAKES = range(CPU_TIME + 10, CPU_TIME + 15)
HANDSHAKE_COUNTS = 11
SYNC_SILENCES = (
    BASE_HANDSHAKES + HANDSHAKE_COUNTS
)  # how often a server at which machines count together stopped answering in time
SCALAR_WORDS = 80
assert SYNC_SILENCES < SCALAR_WORDS


class Table(NamedTuple):
    """A table of rows with names. rows: how many there are; the first one is for names without room.

    words: of a row. keys: where the keys of its rows begin in the memory. base: where its rows begin in a slot.
    """

    kind: str
    rows: int
    words: int
    keys: int
    base: int


KEY_WORDS = 4
KEY_FIRST = 2  # the generation that asked for the row first, since it had that key
KEY_LAST = 3  # and last: those between may have it, too


def _tables(*kinds: tuple[str, int, int]) -> tuple[Table, ...]:
    tables = []
    keys, base = 8, SCALAR_WORDS
    for kind, rows, words in kinds:
        tables.append(Table(kind, rows, words, keys, base))
        keys += rows * KEY_WORDS
        base += rows * words
    return tuple(tables)


TABLES = REQUESTS, UPSTREAMS, LIMITS, LISTENERS, RESOLVERS = _tables(
    ("requests", 1024, REQUEST_WORDS),
    ("upstream", 256, UPSTREAM_WORDS),
    ("limit", 256, LIMIT_WORDS),
    ("listener", 128, LISTENER_WORDS),
    ("resolver", 64, RESOLVER_WORDS),
)

_last = TABLES[-1]
# The head: whether there is a description (MAGIC), and its bytes; the number of the layout before, the bytes of its memory, and
# whether its counts are carried over.
MAGIC = int.from_bytes(b"wpcounts", "little")
HEAD_MAGIC, HEAD_DESCRIPTION, HEAD_OLDER, HEAD_OLDER_BYTES, HEAD_CARRIES = range(5)
NOT_CARRIED, IS_CARRIED, WAS_CARRIED = range(3)
DESCRIPTION_OFFSET = 8192
CARRIED_SCALARS_OFFSET = 16384
DESCRIPTION_BYTES = (CARRIED_SCALARS_OFFSET - DESCRIPTION_OFFSET) * 8
BASELINES_OFFSET = CARRIED_SCALARS_OFFSET + COUNTED_SLOTS * SCALAR_WORDS
assert _last.keys + _last.rows * KEY_WORDS <= DESCRIPTION_OFFSET
OF_ALL, OF_LOCATION_ZONES, CARRIED = PARTS = range(3)
PEERS_BASE = _last.base + _last.rows * _last.words

# Rings: the entry, then the next one; RING_HEAD is the number of entries ever written, and is written last.
RING_HEAD = 0
TRANSITIONS_BASE = PEERS_BASE + MAX_PEERS * PEER_WORDS
TRANSITIONS = 256
# A transition: unix time in microseconds, the record of the peer, the states before and after, the code of the cause, failures
# counted, the life of the record (see `CounterMemory.life`).
TRANSITION_WORDS = 8
TRANSITION_LIFE = 6
# The causes of transitions: those of failures, and what else changes the state of a peer.
TRANSITION_CAUSES = (
    *CAUSES,
    *[""] * (CAUSE_WORDS - len(CAUSES)),
    *("check_failed", "check_passed", "by_hand", "resolved", "gone", "rested"),
)
FAILURES_BASE = TRANSITIONS_BASE + 8 + TRANSITIONS * TRANSITION_WORDS
FAILURES = 128
# A failed request: unix time in microseconds, the code of the cause, status, row, record of the peer, duration; then the id of
# its trace (two words), the life of the record, and its path in 96 bytes.
FAILURE_WORDS = 32
FAILURE_LIFE = 8
FAILURE_PATH = 16
FAILURE_PATH_BYTES = 96

SLOT_WORDS = FAILURES_BASE + 8 + FAILURES * FAILURE_WORDS
SLOTS_OFFSET = BASELINES_OFFSET + len(PARTS) * SLOT_WORDS
TOTAL_BYTES = (SLOTS_OFFSET + COUNTED_SLOTS * SLOT_WORDS) * 8
