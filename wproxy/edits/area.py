"""The place of edits in the shared memory: a text that is replaced as a whole, with a version that announces it.

There is room for two texts. That of version v is in place v & 1; the next one is written into the other place, and the version
last. So a reader finds a whole text, and a writer that is killed at any instruction has changed nothing. A reader that is
overtaken twice sees that the version has moved, and reads again; the CRC protects it where a processor shows stores in another
order.

Only one process may write at a time: the one that holds the record lock of the version (`wproxy.record_locks`). Workers look at
the version, one word.
"""

from __future__ import annotations

from zlib import crc32

from wproxy.shared import EDITS_OFFSET, EDITS_TEXT_WORDS, LARGEST_WORD, SharedWords

LARGEST = EDITS_TEXT_WORDS * 8  # bytes of a text
# The word whose record lock a writer must hold.
LOCK = EDITS_OFFSET
_READS = 100


class EditsArea:
    """The texts. The memory of a process alone has no room for them: nothing has been edited, and nothing can be."""

    __slots__ = ("_words", "exists")

    def __init__(self, shared: SharedWords) -> None:
        self._words = shared.words
        self.exists = len(shared.words) > EDITS_OFFSET

    @property
    def version(self) -> int:
        """The number of the last text; 0 before the first."""
        version: int = self._words[EDITS_OFFSET] if self.exists else 0
        return version

    def read(self) -> tuple[int, bytes]:
        """Return a version and its text. Raises ValueError when neither text is whole."""
        for _ in range(_READS):
            version = self.version
            if not version:
                return 0, b""
            place = _place(version)
            length, crc = min(self._words[place], LARGEST), self._words[place + 1]
            text = self._words[place + 2 : place + 2 + -(-length // 8)].tobytes()[:length]
            if self.version == version and crc32(text) == crc:
                return version, text
        raise ValueError("the edits in the shared memory are damaged")

    def publish(self, text: bytes) -> int:
        """Publish a text; return its version. Only the holder of the lock may. Raises ValueError when the text is too long."""
        if not self.exists or len(text) > LARGEST:
            raise ValueError("there is no room for more changes")
        version = self.version + 1
        place = _place(version)
        padded = memoryview(text + bytes(-len(text) % 8)).cast("Q")
        self._words[place + 2 : place + 2 + len(padded)] = padded
        self._words[place] = len(text)
        self._words[place + 1] = crc32(text)
        self._words[EDITS_OFFSET] = version & LARGEST_WORD
        return version

    def __repr__(self) -> str:
        return f"<edits, version {self.version}>"


def _place(version: int) -> int:
    return EDITS_OFFSET + 1 + (version & 1) * (2 + EDITS_TEXT_WORDS)
