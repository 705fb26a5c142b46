"""Lines of access logs that a worker has not written yet, in memory that its master sees, too: who is killed loses none.

One region for each file of the configuration's `access_log_files`, in their order: a word that says how many bytes there are,
then the bytes, whole lines. The worker puts the bytes first and the word last; when they are written it puts 0. The master
looks only when the worker has ended. What is in there is a worker's, who may have been broken into: it is text for a log, and in
which file it belongs the master knows by itself.
"""

from __future__ import annotations

CAPACITY = 65536  # bytes of lines in a region
_REGION = CAPACITY + 8


def size_of_regions(count: int) -> int:
    """The bytes of so many regions."""
    return count * _REGION


def region(memory: memoryview, index: int) -> tuple[memoryview, memoryview]:
    """The word (format "Q", one item) and the bytes of a region."""
    start = index * _REGION
    return memory[start : start + 8].cast("Q"), memory[start + 8 : start + _REGION]


def take_lines(memory: memoryview, index: int) -> bytes:
    """What is left in a region, whole lines only; the region is empty afterwards."""
    word, data = region(memory, index)
    count = min(word[0], CAPACITY)
    word[0] = 0
    lines = bytes(data[:count])
    return lines[: lines.rfind(b"\n") + 1]
