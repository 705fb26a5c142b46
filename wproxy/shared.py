"""The layout of the memory that the master and all workers share: which process may write which word, and what it means.

The memory is an array of aligned 8-byte words (`memoryview.cast("Q")`), mapped by every process; the master provides it
(`master/memory.py`). An aligned 8-byte store through a cast view is never seen half done. Three rules keep it sound without
locks, whichever process is killed at whichever instruction:

  * a word has one writer: the head belongs to the master, a worker's slot to that worker;
  * a count of several processes has one word per worker, which readers add up;
  * a message longer than a word is written first and its number last, so that a reader who sees the number sees the text.

    heads     MASTERS times HEAD_WORDS words, each written by one master only
    messages  for each master and kind of outcome MESSAGE_WORDS words: the last one in UTF-8
    workers   MAX_WORKERS slots of WORKER_WORDS words, each written by one worker only (its identity by its master)
    peers     MAX_PEERS records of PEER_WORDS words: the version that all processes look at first, and the peer's identity
    places    MAX_LATE_PEERS of PLACE_WORDS words: the owners of the records of late peers
    rows      for each slot MAX_PEERS rows of ROW_WORDS words: the counts of that worker alone about each peer
              (`wproxy.health`, `wproxy.peer_counters`)
    edits     changes of upstreams at run time: a version, and two texts, so that one can be read while the other is
              written; only the holder of the record lock of the version writes (`wproxy.edits.area`)

During an upgrade of the program two masters share one memory. Each has a head of its own, which the other one only reads: the
new master takes the one that its predecessor does not have. Two are enough, since a master does not upgrade while its own
predecessor lives. Things that cannot be split are decided like this:

  * a slot is taken under a record lock and names its master (WORKER_MASTER); from then on only that master gives it back. Slots
    are not divided in halves, because readers go through all slots that were ever used: dense ones keep that short;
  * HEAD_SLOTS is written under that lock;
  * peers' records and HEAD_RECORDS belong to the youngest master. The older one neither gives out nor clears any until it is
    alone again (`master.peer_records`);
  * totals of processes that have ended are kept per head and added up by readers; a head that is taken again keeps its totals.

MAGIC and HEAD_MASTER_PID of both heads stay where they are in every later layout, so that the commands of one version recognise
the master of another and can at least signal it.

A worker may have been broken into, and can then write any number anywhere. Readers limit every number to its greatest possible
value (`SharedWords.slots`, `records`), and a sum that does not fit into a word wraps: no reader raises, loops or asks for memory
because of one. Facts that only the master decides (which workers it has, how often it has signalled them) it also keeps for
itself.

A peer's version has many writers, and so has HEAD_CHANGES, which changes after any of them: they only say that something has
changed (`wproxy.health`). Rows go slot by slot, so that memory for one process alone ends after the first slot, and so that the
rows of slots and peers that are not in use are never touched: the file is sparse, and 4 workers with 60 peers occupy 8 pages of
its 260 MB. Rows are not cleared when a slot gets another worker: it continues from the counts of the worker that was killed, so
that sums never shrink.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wproxy.config.tree import printable_lines
from wproxy.record_locks import RecordLocks

MAGIC = 0x7770726F78790004  # "wproxy" and the layout's version: another number is another layout
FAMILY_BITS = 16  # of the version; what is above them says that it is a memory of wproxy's at all

LARGEST_WORD = (1 << 64) - 1
# Counts are never greater than this, whatever a word says: JSON's numbers are exact up to there.
MOST_COUNTED = (1 << 53) - 1

# Words of a head. HEAD_MAGIC, HEAD_SLOTS, HEAD_RECORDS and HEAD_CHANGES exist only once, in the first
# head.
MASTERS = 2
HEAD_WORDS = 64
HEAD_MAGIC = 0
HEAD_MASTER_PID = 1
HEAD_STARTED = 2  # unix time of the start, seconds
HEAD_GENERATION = 3  # of the configuration that serves; 1 after the start
HEAD_RELOADED = 4  # unix time of the last successful load, seconds
HEAD_ATTEMPTS = 5  # reloads finished, good or bad: a command that waits for one waits for this to change
HEAD_OUTCOME = 6  # outcome of the last one: 0 failed, 1 serves
HEAD_MESSAGE_LENGTH = 7  # bytes of the message
HEAD_READY = 8  # 1 when the first generation serves
HEAD_CONNECTIONS = 9  # serial numbers of client connections already given out by workers that are gone
HEAD_REQUESTS = 10  # requests of workers that are gone, so that totals never shrink
HEAD_ACCEPTED = 11  # connections of workers that are gone
HEAD_BEGUN = 12  # reloads begun; with HEAD_ATTEMPTS, a command can tell the reload that it asked for
HEAD_REOPENED = 13  # the number of times that all processes have reopened the logs
HEAD_SLOTS = 14  # slots of workers ever in use: those from here on have nothing in their rows
HEAD_REOPENS_BEGUN = 16  # the number of times that this was begun: workers follow, and HEAD_REOPENED says that all have
HEAD_REOPEN_FAILED = 18  # the last one after which a process still wrote to an old file
HEAD_IS_ALONE = 17  # 1: master and worker are one process
HEAD_RESPAWNED = 19  # workers that ended without having been told to, and were replaced
HEAD_RELOADS_FAILED = 20  # reloads after which the old configuration went on
HEAD_RELOADS = 21  # reloads that came to serve
# Ends of workers: told to go; by themselves or by a crash; killed by somebody; hung, and ended for that.
HEAD_EXITS_ASKED = 22
HEAD_EXITS_CRASHED = 23
HEAD_EXITS_KILLED = 24
HEAD_EXITS_HUNG = 25
HEAD_REFUSED = 26  # connections that workers which are gone have refused for lack of room
HEAD_RECORDS = 15  # records that the master has ever given out: those from here on, up to FIRST_LATE_PEER, are zero

HEAD_NEW_BINARY = 48  # the master that we have started as our successor, while it runs; else 0
HEAD_PREDECESSOR = 49  # the master that has started us, while it lives; else 0
HEAD_UPGRADES = 50  # attempts at an upgrade of which the outcome is known: refused, failed or serves
HEAD_UPGRADE_OUTCOME = 51
HEAD_UPGRADE_LENGTH = 52  # bytes of its message
HEAD_STOPPING = 53  # 1 from when the master was told to quit or stop
HEAD_CHANGES: Final = 54  # of any peer's version, by whichever process made one: it only says that one has changed

MESSAGE_WORDS = 512
MESSAGES_OFFSET = MASTERS * HEAD_WORDS
# Tasks whose end a master reports: the words for their number, their outcome, and the length of the message.
RELOAD = (HEAD_ATTEMPTS, HEAD_OUTCOME, HEAD_MESSAGE_LENGTH)
UPGRADE = (HEAD_UPGRADES, HEAD_UPGRADE_OUTCOME, HEAD_UPGRADE_LENGTH)
KINDS = (RELOAD, UPGRADE)

# Words of a worker's slot.
MAX_WORKERS = 512
WORKER_WORDS = 24
WORKERS_OFFSET = MESSAGES_OFFSET + MASTERS * len(KINDS) * MESSAGE_WORDS
WORKER_PID = 0  # written by the master; 0: the slot is free
WORKER_GENERATION = 1  # written by the master
WORKER_STATE = 2
WORKER_STARTED = 3  # unix time, seconds
WORKER_ACTIVE = 4  # client connections open now
WORKER_ACCEPTED = 5  # client connections since its start
WORKER_REQUESTS = 6  # requests since its start, those under way included
WORKER_WAITING = 7  # client connections idle between requests
WORKER_REOPEN_FAILED = 10  # the last reopening of logs in which a file could not be opened
WORKER_TURNS = 8  # turns of its loop, or anything else that changes while it is alive
WORKER_READING = 9  # client connections on which part of a request's head has arrived
WORKER_ROLE = 11  # written by the master: the index of its role in ROLE_NAMES
WORKER_ORDERS = 12  # written by the master: signals that it has sent there, to tell them from others' signals
WORKER_MASTER = 13  # written by the master: the master that owns the slot; 0: none
WORKER_REOPENED = 14  # the last reopening of logs that it has followed
WORKER_TUNNELS = 16  # its tunnels, counted while it leaves
WORKER_REFUSED = 17  # client connections refused for lack of room
WORKER_WRITING = 18  # client connections whose request is answered
WORKER_EDITS = 15  # the version of the edits that it obeys

# States of a worker.
STARTING = 0
SERVING = 1
DRAINING = 2
STATE_NAMES = ("starting", "serving", "draining")

# Roles of the processes that a master forks; only those of the first role have listening sockets.
WORKER_ROLE_NAME, CACHE_MANAGER, CACHE_LOADER = ROLE_NAMES = ("worker", "cache manager", "cache loader")

# Words of a peer's record.
MAX_PEERS = 4096
# The last records are for peers that are found while workers run; `master.peer_records` gives out the others.
MAX_LATE_PEERS = 1024
FIRST_LATE_PEER = MAX_PEERS - MAX_LATE_PEERS
PEER_WORDS = 16
PEERS_OFFSET = WORKERS_OFFSET + MAX_WORKERS * WORKER_WORDS
PEER_VERSION = 0  # changes with everything in its rows that health depends on; 0: it has never failed
PEER_IDENTITY = 1  # two words, written by the master: the peer that owns the record (`master.peer_records`)
# Written by the one worker that checks the upstream's peers (`wproxy.checked_health`).
PEER_UNHEALTHY = 3  # which checks found it unhealthy
PEER_PENDING = 4  # which checks it must pass before it gets its first request
PEER_CHECKS = 5  # how many checks there were, and how many of them failed
PEER_LAST_CHECK = 6  # when the last one began, and whether it passed
PEER_HEALTHY_SINCE = 7  # when checks found it healthy after being unhealthy

# Places: which late peer owns which record (`worker.resolver.records`).
PLACES_OFFSET = PEERS_OFFSET + MAX_PEERS * PEER_WORDS
PLACE_WORDS = 2
PLACE_KEY = 0  # 0: free
PLACE_SEEN = 1

# Words of a row: one worker's row for one peer. A cache line for health and one for counters.
ROW_WORDS = 16
ROW_FAILED = 0  # failures this worker has counted, ever
ROW_FORGIVEN = 1  # the failures of all workers at the time when this worker forgave them
ROW_ACCESSED = 2  # when this worker last counted a failure, in seconds of the monotonic clock
ROW_CHECKED = 3  # when it last failed there, or chose it in spite of failures
ROW_CHANGES = 4  # how often this worker has changed the version
ROW_REQUESTS = 8  # requests sent there
ROW_ACTIVE = 9  # requests under way now
ROW_RECEIVED = 10  # bytes from there
ROW_SENT = 11  # bytes to there
ROW_HEADER_TIME = 12  # moving average of the time to a response's head, microseconds
ROW_RESPONSE_TIME = 13  # moving average of the time to its end

SLOT_ROWS_WORDS = MAX_PEERS * ROW_WORDS
ROWS_OFFSET = PLACES_OFFSET + MAX_LATE_PEERS * PLACE_WORDS

# The memory of a process alone: the rows of one slot.
PRIVATE_WORDS = ROWS_OFFSET + SLOT_ROWS_WORDS
PRIVATE_BYTES = PRIVATE_WORDS * 8

# Edits: the version, then two texts, each with its length in bytes and its CRC before it.
EDITS_OFFSET = ROWS_OFFSET + MAX_WORKERS * SLOT_ROWS_WORDS
EDITS_TEXT_WORDS = 1 << 17
EDITS_WORDS = 1 + 2 * (2 + EDITS_TEXT_WORDS)

TOTAL_WORDS = EDITS_OFFSET + EDITS_WORDS
TOTAL_BYTES = TOTAL_WORDS * 8


def row_offset(record_offset: int, slot: int) -> int:
    """Return the offset of that slot's row for the peer whose record begins there; both in words."""
    if not 0 <= slot < MAX_WORKERS:
        raise ValueError(f"no slot {slot} for a worker")
    return ROWS_OFFSET + slot * SLOT_ROWS_WORDS + (record_offset - PEERS_OFFSET) // PEER_WORDS * ROW_WORDS


def state_name(state: int) -> str:
    """Return the name of a worker's state, or the number that stands there instead."""
    return STATE_NAMES[state] if state < len(STATE_NAMES) else str(state)


class WorkerSlot:
    """One worker's words. The owner writes; every process may read."""

    __slots__ = ("_base", "_words", "index")

    def __init__(self, words: memoryview, index: int) -> None:
        self._words = words
        self._base = WORKERS_OFFSET + index * WORKER_WORDS
        self.index = index

    def get(self, word: int) -> int:
        """Read a word of the slot: WORKER_PID, ..."""
        value: int = self._words[self._base + word]
        return value

    def set(self, word: int, value: int) -> None:
        """Write a word of the slot; only its owner may."""
        self._words[self._base + word] = value & LARGEST_WORD

    def clear(self) -> None:
        """Free the slot, or make it ready for a worker; only the master may, while no worker has it.

        Every word is zero then, the pid first. Of its rows only the requests under way are cleared, because they are no longer
        true.
        """
        words = self._words
        for word in range(WORKER_WORDS):
            words[self._base + word] = 0
        rows = ROWS_OFFSET + self.index * SLOT_ROWS_WORDS
        if rows >= len(words):  # the memory of a process alone
            return
        if words[HEAD_SLOTS] <= self.index:
            words[HEAD_SLOTS] = self.index + 1
            return
        for record in known_records(words):
            words[rows + record * ROW_WORDS + ROW_ACTIVE] = 0

    def __repr__(self) -> str:
        return f"<slot {self.index}: pid {self.get(WORKER_PID)} {state_name(self.get(WORKER_STATE))}>"


def known_records(words: memoryview) -> list[int]:
    """Return the records of peers that a master or a worker has ever given out."""
    keys = words[PLACES_OFFSET + PLACE_KEY : PLACES_OFFSET + MAX_LATE_PEERS * PLACE_WORDS : PLACE_WORDS].tolist()
    records = min(words[HEAD_RECORDS], FIRST_LATE_PEER)
    return [*range(records), *(FIRST_LATE_PEER + place for place, key in enumerate(keys) if key)]


class SharedWords:
    """The memory, with names.

    words: a view of PRIVATE_WORDS to TOTAL_WORDS unsigned 8-byte words. slot: the slot of this worker; 0 for a process that has
    the memory alone. locks: None for such a process. master: the number of our master's head, which `head` reads. clear_more:
    called with a record that is cleared and the number of slots, where there is more about peers elsewhere (`wproxy.counters`).
    """

    __slots__ = ("clear_more", "locks", "master", "slot", "words")

    def __init__(self, words: memoryview) -> None:
        if len(words) < PRIVATE_WORDS or words.itemsize != 8:
            raise ValueError("the shared memory has another layout")
        self.words = words
        self.slot = 0
        self.master = 0
        self.locks: RecordLocks | None = None
        self.clear_more: Callable[[int, int], None] | None = None

    def become_worker(self, slot: int, fileno: int) -> None:
        """Make this process write into the rows of that slot, and lock records through that descriptor of the memory."""
        self.slot = slot
        self.locks = RecordLocks(fileno) if fileno >= 0 else None

    def head(self, word: int) -> int:
        """Read a word of the head: HEAD_GENERATION, ..."""
        value: int = self.words[self.master * HEAD_WORDS + word]
        return value

    def set_head(self, word: int, value: int) -> None:
        """Write a word of the head; only its master may."""
        self.words[self.master * HEAD_WORDS + word] = value & LARGEST_WORD

    @property
    def slots(self) -> int:
        """The slots of workers ever in use."""
        return min(self.words[HEAD_SLOTS], MAX_WORKERS)

    @property
    def records(self) -> int:
        """The records that a master has ever given out."""
        return min(self.words[HEAD_RECORDS], FIRST_LATE_PEER)

    def known_records(self) -> list[int]:
        """Return the records of peers that a master or a worker has ever given out."""
        return known_records(self.words)

    def total(self, word: int) -> int:
        """Add up a word of all heads: HEAD_ACCEPTED, ..."""
        return sum(self.words[master * HEAD_WORDS + word] for master in range(MASTERS))

    def masters(self) -> list[int]:
        """Return the pid in each head, in the order of the heads; 0: it was never used."""
        return [self.words[master * HEAD_WORDS + HEAD_MASTER_PID] for master in range(MASTERS)]

    def worker(self, index: int) -> WorkerSlot:
        """Return the slot of that index, in use or not."""
        return WorkerSlot(self.words, index)

    def workers(self) -> list[WorkerSlot]:
        """Return the slots in use, in the order of their index."""
        used = (self.worker(index) for index in range(MAX_WORKERS))
        return [slot for slot in used if slot.get(WORKER_PID)]

    def peer_offset(self, index: int) -> int:
        """Return the offset of that peer's record, in words."""
        if not 0 <= index < MAX_PEERS:
            raise ValueError(f"no record {index} for a peer")
        return PEERS_OFFSET + index * PEER_WORDS

    def row_offset(self, slot: int, index: int) -> int:
        """Return the offset of that slot's row for that peer, in words."""
        return row_offset(self.peer_offset(index), slot)

    def clear_record(self, index: int) -> None:
        """Zero a record that no worker uses any more, and its rows in all slots."""
        words = self.words
        parts = [(self.peer_offset(index), PEER_WORDS)]
        slots = max(self.slots, self.slot + 1)
        parts += [(self.row_offset(slot, index), ROW_WORDS) for slot in range(slots)]
        for offset, count in parts:
            for word in range(offset, offset + count):
                words[word] = 0
        if self.clear_more is not None:
            self.clear_more(index, slots)

    def write_outcome(self, serves: bool, message: str, kind: tuple[int, int, int] = RELOAD) -> None:
        """Publish the end of a load or an upgrade: the text first, the number that readers wait for last."""
        count, outcome, length = kind
        data = message.encode("utf-8", "replace")[: MESSAGE_WORDS * 8]
        padded = data + bytes(-len(data) % 8)
        words = memoryview(padded).cast("Q")
        offset = self._message_offset(kind)
        self.words[offset : offset + len(words)] = words
        self.set_head(length, len(data))
        self.set_head(outcome, int(serves))
        if kind is RELOAD:
            word = HEAD_RELOADS if serves else HEAD_RELOADS_FAILED
            self.set_head(word, self.head(word) + 1)
        self.set_head(count, self.head(count) + 1)

    def message(self, kind: tuple[int, int, int] = RELOAD) -> str:
        """Return the message of the last load or the last upgrade; control characters that a terminal might obey are replaced."""
        length = min(self.head(kind[2]), MESSAGE_WORDS * 8)
        offset = self._message_offset(kind)
        whole = self.words[offset : offset + MESSAGE_WORDS].tobytes()
        return printable_lines(whole[:length].decode("utf-8", "replace"))

    def _message_offset(self, kind: tuple[int, int, int]) -> int:
        return MESSAGES_OFFSET + (self.master * len(KINDS) + KINDS.index(kind)) * MESSAGE_WORDS
