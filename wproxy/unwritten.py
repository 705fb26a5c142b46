"""Lines of access logs that a worker has not written yet, in memory that its master sees too, so that a killed worker loses none.

There is one region for each file of the configuration's `access_log_files`, in their order: a word with the number of bytes, then
the bytes, whole lines. The worker stores the bytes first and the word last; when they are written it stores 0; one that is killed
between these two has its lines written once more. The master looks only when the worker has ended. The content comes from a
worker that may have been broken into: it is nothing but text for a log, and the master itself knows which file it belongs in.
"""

from __future__ import annotations

CAPACITY = 65536  # bytes of lines in a region
_REGION = CAPACITY + 8


def size_of_regions(count: int) -> int:
    """Return the size of so many regions in bytes."""
    return count * _REGION


def region(memory: memoryview, index: int) -> tuple[memoryview, memoryview]:
    """Return the word (format "Q", one item) and the bytes of a region."""
    start = index * _REGION
    return memory[start : start + 8].cast("Q"), memory[start + 8 : start + _REGION]


def take_lines(memory: memoryview, index: int) -> bytes:
    """Take the whole lines left in a region, and empty it."""
    word, data = region(memory, index)
    count = min(word[0], CAPACITY)
    word[0] = 0
    lines = bytes(data[:count])
    return lines[: lines.rfind(b"\n") + 1]
