"""The index of a cache in the memory of all workers: which keys there are, and what is known about the file of each.

It is a table like those of limits (`wproxy.zone_memory`, which has its layout, its locks and the reasons for both), keyed by the
MD5 that names the file. The record of an entry:

    STATE       whether there is a file, the requests so far, a failure that is remembered, where the body begins
    USED        when it was last asked for: unix time in milliseconds
    SIZE        the bytes that its file takes on the disk
    VERSION     a random number: another one whenever the entry or its file becomes another
    OWNER       the request that fetches or updates the response: its worker, and a number
    LOCKED      until when others wait for that request: unix time in milliseconds
    VALID       until when a remembered failure is valid: unix time in milliseconds
    AWAITED     not 0: some worker has requests that wait for the owner

There is no list by last use that a killed worker could leave half linked: the manager sorts the times when it has to delete. Nor
is there a count of readers that it could leave too high: a file that is being read may be deleted, for the reader has it open,
and a writer finds its entry by the key again. An owner counts only while its worker lives.

Every change of a record is a single store, or a few in an order that leaves it right after each. The lock of the stripe is held
for changes, and while a file gets its name or loses it: name and record belong together. If the holder dies between the two,
PENDING is set, and whoever meets it looks at the file. A free entry has no key.

Behind the locks there are the bytes of all files, as a sum for each region: so many buckets of one stripe. A sum changes with the
lock that its entries change with, so that whoever has that lock may count them anew, and no file is counted twice or not at all.

After the table there is a byte for each bucket: 1 if it has ever had an entry. Beside the
table: `CacheCounters`, rows with one writer each.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from random import randrange
from struct import Struct

from wproxy.shared import LARGEST_WORD, MAX_WORKERS
from wproxy.zone_memory import KEY_WORDS, PAGE, WAYS, Mutex, ZoneMemory

RECORD_WORDS = 8
STATE, USED, SIZE, VERSION, OWNER, LOCKED, VALID, AWAITED = range(RECORD_WORDS)

# Words of the head.
LOADED_WORD = 7  # 1: every file in the directory has its entry
WANTED_WORD = 10  # 1: the manager has been told that there is too much
SIZES_WORD = 384  # the sums of the regions
REGIONS = 4  # of each stripe

# Parts of STATE.
PRESENT = 1  # there is an entry
EXISTS = 2  # there is a file
PENDING = 4  # there may be a file
FLAGS = 0xFF
_USES_SHIFT, _USES = 8, 0x3FF
_STATUS_SHIFT, _STATUS = 24, 0x3FF
_BODY_SHIFT, _BODY = 40, 0xFFFF
MOST_USES = _USES

_TWO_WORDS = Struct("QQ")
_MARKED = b"\1"
_RECORDS = KEY_WORDS * WAYS  # where the records of a bucket begin

Row = tuple[int, list[int]]


def state_of(flags: int, uses: int, status: int = 0, body_start: int = 0) -> int:
    """Return a STATE."""
    return flags | min(uses, _USES) << _USES_SHIFT | status << _STATUS_SHIFT | body_start << _BODY_SHIFT


def uses_of(state: int) -> int:
    """Return the requests so far; at most MOST_USES."""
    return state >> _USES_SHIFT & _USES


def status_of(state: int) -> int:
    """Return the status of a remembered failure; 0: there is none."""
    return state >> _STATUS_SHIFT & _STATUS


def body_start_of(state: int) -> int:
    """Return where the body begins in the file; 0 when that is not known."""
    return state >> _BODY_SHIFT & _BODY


class CacheMemory(ZoneMemory):
    """The index of one zone."""

    __slots__ = ("_end", "_marks", "regions")

    def __init__(self, memory: mmap.mmap) -> None:
        """memory: at least eight pages; zero when they are new."""
        super().__init__(memory, RECORD_WORDS, beside=1)
        buckets = self.stripes * self.buckets
        self._marks = PAGE + buckets * self.bucket_words * 8
        self._end = self._marks + buckets
        self.regions = self.stripes * REGIONS

    def place_of(self, digest: bytes) -> tuple[Mutex, int, int, int, int]:
        """Return the place of a digest, as `place` does, with its own words in place of a hash's."""
        mutex, _, _, one, other = self.place(digest)
        first, second = _TWO_WORDS.unpack(digest)
        return mutex, first or 1, second, one, other  # 0 is a free entry

    def record(self, at: int) -> int:
        """Return where the record of the entry at this place begins."""
        bucket, way = self.bucket_of(at)
        return bucket + _RECORDS + way * RECORD_WORDS

    def bucket_of(self, at: int) -> tuple[int, int]:
        """Return the bucket of the entry at this place, and its number in it."""
        begin = PAGE // 8
        way = (at - begin) % self.bucket_words
        return at - way, way

    def digest_at(self, at: int) -> bytes:
        """Return the digest of the entry at this place; all zeros when it is free."""
        return _TWO_WORDS.pack(self.words[at], self.words[at + WAYS]) if self.words[at] else bytes(16)

    def mark(self, bucket: int) -> None:
        """Note that a bucket is going to be used: those that never were are not looked at, so that their pages cost nothing."""
        self._bytes[self._marks + (bucket - PAGE // 8) // self.bucket_words] = 1

    def records(self) -> Iterator[tuple[int, list[int]]]:
        """Yield the place and the record of each entry."""
        for region in range(self.regions):
            yield from records_of(self.rows(region))

    def rows(self, region: int) -> list[Row]:
        """Return the buckets of a region that have been used, each with its place."""
        words, size, begin = self.words, self.bucket_words, PAGE // 8 - self._marks * self.bucket_words
        stripe, part = divmod(region, REGIONS)
        first = self._marks + stripe * self.buckets
        at, end = first + -(-part * self.buckets // REGIONS), first + -(-(part + 1) * self.buckets // REGIONS)
        find = self._bytes.find
        rows = []
        while (at := find(_MARKED, at, end)) >= 0:
            bucket = begin + at * size
            rows.append((bucket, words[bucket : bucket + size].tolist()))
            at += 1
        return rows

    def region_of(self, at: int) -> int:
        """Return the region of the entry at this place."""
        stripe, bucket = divmod((at - PAGE // 8) // self.bucket_words, self.buckets)
        return stripe * REGIONS + bucket * REGIONS // self.buckets

    def lock_of_region(self, region: int) -> Mutex:
        """Return the lock of all entries of a region."""
        return self.locks[region // REGIONS]

    def add_size(self, at: int, size: int) -> None:
        """Add to the bytes of the files in the region of an entry, with its lock. size: negative for what was deleted."""
        word = SIZES_WORD + self.region_of(at)
        self.words[word] = (self.words[word] + size) & LARGEST_WORD

    def size(self) -> int:
        """Return the bytes of all files."""
        total = sum(self.words[SIZES_WORD : SIZES_WORD + self.regions].tolist()) & LARGEST_WORD
        return total - (1 << 64) if total >> 63 else total

    def random_bucket(self) -> int:
        """Return where some bucket begins that has been used; a bucket without entries if none has."""
        at = randrange(self._marks, self._end)
        found = self._bytes.find(_MARKED, at, self._end)
        if found < 0:
            found = max(self._bytes.find(_MARKED, self._marks, at), self._marks)
        return PAGE // 8 + (found - self._marks) * self.bucket_words

    def lock_of(self, at: int) -> Mutex:
        """Return the lock of the entry at this place."""
        return self.locks[(at - PAGE // 8) // (self.buckets * self.bucket_words)]

    @property
    def is_cold(self) -> bool:
        """Whether there may be files without an entry."""
        return not self.words[LOADED_WORD]

    def __repr__(self) -> str:
        return f"<index of a cache: {self.entries} entries{', cold' if self.is_cold else ''}>"


def records_of(rows: list[Row]) -> Iterator[tuple[int, list[int]]]:
    """Yield the place and the record of each entry of these buckets."""
    for bucket, row in rows:
        for way in range(WAYS):
            if row[way]:
                record = _RECORDS + way * RECORD_WORDS
                yield bucket + way, row[record : record + RECORD_WORDS]


def size_of(rows: list[Row]) -> int:
    """Return the bytes of the files of these buckets; a free entry has none."""
    return sum(sum(row[_RECORDS + SIZE :: RECORD_WORDS]) for _, row in rows)


# The words of a row, and those in use: the columns of `wproxy.cache.counters`.
COUNTER_WORDS = 24
_COLUMNS = 20
# After the rows of slots there is one with the sums at the time when an operator has had the counts begin anew.
COUNTERS_SIZE = (MAX_WORKERS + 1) * COUNTER_WORDS * 8
_RESET_ROW = MAX_WORKERS * COUNTER_WORDS


class CacheCounters:
    """The counts of one zone: a row for each slot of a worker, which that worker alone writes. words: all of them."""

    __slots__ = ("words",)

    def __init__(self, memory: mmap.mmap) -> None:
        """memory: of COUNTERS_SIZE bytes."""
        self.words = memoryview(memory).cast("B").cast("Q")

    def total(self, column: int) -> int:
        """Add up a column; the sum wraps like a word."""
        return sum(self.words[column:_RESET_ROW:COUNTER_WORDS].tolist()) & LARGEST_WORD

    def totals(self) -> list[int]:
        """Return the sums of the columns, since they began anew."""
        before = self.words[_RESET_ROW : _RESET_ROW + _COLUMNS].tolist()
        return [self.total(column) - begun & LARGEST_WORD for column, begun in enumerate(before)]

    def reset(self) -> None:
        """Have these sums begin anew; nobody but its worker writes to a row."""
        for column in range(_COLUMNS):
            self.words[_RESET_ROW + column] = self.total(column)


def new_version() -> int:
    """Return a random number for VERSION; never 0."""
    return int.from_bytes(os.urandom(7), "little") | 1
