"""The layout of the memory that the master and all workers share: who may write which word, and what it means.

The memory is an array of aligned 8-byte words (`memoryview.cast("Q")`), mapped by every process; where it comes from is the
master's business (`master/memory.py`). An aligned 8-byte store through a cast view is never seen half done. Three rules keep
it sound without locks, whatever is killed at whatever instruction:

  * a word has one writer: the head belongs to the master, a worker's slot to that worker;
  * what several processes count is one word per worker, added up by whoever reads;
  * a message longer than a word is written first and its number last, so that a reader who sees the number sees the text.

    head      HEAD_WORDS words, written by the master only
    message   MESSAGE_WORDS words: the outcome of the last reload in UTF-8, length in MESSAGE_LENGTH
    workers   MAX_WORKERS slots of WORKER_WORDS words, each written by one worker only (its identity by the master)
    peers     MAX_PEERS records of PEER_WORDS words: passive health (`wproxy.health`)
"""

from __future__ import annotations

MAGIC = 0x7770726F78790001  # "wproxy" and the layout's version: another number is another layout

# Words of the head.
HEAD_WORDS = 64
HEAD_MAGIC = 0
HEAD_MASTER_PID = 1
HEAD_STARTED = 2  # unix time of the start, seconds
HEAD_GENERATION = 3  # of the configuration that serves; 1 after the start
HEAD_RELOADED = 4  # unix time of the last successful load, seconds
HEAD_ATTEMPTS = 5  # reloads finished, good or bad: whoever waits for one waits for this to move
HEAD_OUTCOME = 6  # of the last one: 0 failed, 1 serves
HEAD_MESSAGE_LENGTH = 7  # bytes of the message
HEAD_READY = 8  # 1 when the first generation serves
HEAD_CONNECTIONS = 9  # serial numbers of client connections already given out by workers that are gone
HEAD_REQUESTS = 10  # requests of workers that are gone, so that totals never shrink
HEAD_ACCEPTED = 11  # connections of workers that are gone
HEAD_BEGUN = 12  # reloads begun; together with HEAD_ATTEMPTS, whoever asks for one can tell its own
HEAD_REOPENED = 13  # how often the logs were opened anew

MESSAGE_WORDS = 512
MESSAGE_OFFSET = HEAD_WORDS

# Words of a worker's slot.
MAX_WORKERS = 512
WORKER_WORDS = 16
WORKERS_OFFSET = MESSAGE_OFFSET + MESSAGE_WORDS
WORKER_PID = 0  # written by the master; 0: the slot is free
WORKER_GENERATION = 1  # written by the master
WORKER_STATE = 2
WORKER_STARTED = 3  # unix time, seconds
WORKER_ACTIVE = 4  # client connections open now
WORKER_ACCEPTED = 5  # client connections since its start
WORKER_REQUESTS = 6  # requests answered since its start
WORKER_WAITING = 7  # client connections idle between requests
WORKER_TURNS = 8  # turns of its loop, or anything else that moves while it is alive

# States of a worker.
STARTING = 0
SERVING = 1
DRAINING = 2
STATE_NAMES = ("starting", "serving", "draining")

MAX_PEERS = 4096
PEER_WORDS = 8
PEERS_OFFSET = WORKERS_OFFSET + MAX_WORKERS * WORKER_WORDS

# The last records are for peers that are found while workers run; their places: worker/resolver/records.py.
MAX_LATE_PEERS = 1024
FIRST_LATE_PEER = MAX_PEERS - MAX_LATE_PEERS
PLACES_OFFSET = PEERS_OFFSET + MAX_PEERS * PEER_WORDS

TOTAL_WORDS = PLACES_OFFSET + MAX_LATE_PEERS * 2
TOTAL_BYTES = TOTAL_WORDS * 8


class WorkerSlot:
    """One worker's words. The owner writes; everybody reads."""

    __slots__ = ("_base", "_words", "index")

    def __init__(self, words: memoryview, index: int) -> None:
        self._words = words
        self._base = WORKERS_OFFSET + index * WORKER_WORDS
        self.index = index

    def get(self, word: int) -> int:
        """A word of the slot: WORKER_PID, ..."""
        value: int = self._words[self._base + word]
        return value

    def set(self, word: int, value: int) -> None:
        """Write a word of the slot; only its owner does."""
        self._words[self._base + word] = value

    def clear(self) -> None:
        """Free the slot: every word zero, the pid first."""
        for word in range(WORKER_WORDS):
            self._words[self._base + word] = 0

    def __repr__(self) -> str:
        return f"<slot {self.index}: pid {self.get(WORKER_PID)} {STATE_NAMES[self.get(WORKER_STATE)]}>"


class SharedWords:
    """The whole memory, with names. `words` is a view of TOTAL_WORDS unsigned 8-byte words."""

    __slots__ = ("words",)

    def __init__(self, words: memoryview) -> None:
        if len(words) < TOTAL_WORDS or words.itemsize != 8:
            raise ValueError("the shared memory has another layout")
        self.words = words

    def head(self, word: int) -> int:
        """A word of the head: HEAD_GENERATION, ..."""
        value: int = self.words[word]
        return value

    def set_head(self, word: int, value: int) -> None:
        """Write a word of the head; only the master does."""
        self.words[word] = value

    def worker(self, index: int) -> WorkerSlot:
        """The slot of that index, in use or not."""
        return WorkerSlot(self.words, index)

    def workers(self) -> list[WorkerSlot]:
        """The slots in use, in the order of their index."""
        used = (self.worker(index) for index in range(MAX_WORKERS))
        return [slot for slot in used if slot.get(WORKER_PID)]

    def peer_offset(self, index: int) -> int:
        """Where the record of that peer begins, in words."""
        if not 0 <= index < MAX_PEERS:
            raise ValueError(f"no record {index} for a peer")
        return PEERS_OFFSET + index * PEER_WORDS

    def write_outcome(self, serves: bool, message: str) -> None:
        """Publish the end of a load: the text first, the number that readers wait for last."""
        data = message.encode("utf-8", "replace")[: MESSAGE_WORDS * 8]
        padded = data + bytes(-len(data) % 8)
        words = memoryview(padded).cast("Q")
        self.words[MESSAGE_OFFSET : MESSAGE_OFFSET + len(words)] = words
        self.words[HEAD_MESSAGE_LENGTH] = len(data)
        self.words[HEAD_OUTCOME] = int(serves)
        self.words[HEAD_ATTEMPTS] += 1

    def message(self) -> str:
        """The message of the last load."""
        length = min(self.head(HEAD_MESSAGE_LENGTH), MESSAGE_WORDS * 8)
        whole = self.words[MESSAGE_OFFSET : MESSAGE_OFFSET + MESSAGE_WORDS].tobytes()
        return whole[:length].decode("utf-8", "replace")
