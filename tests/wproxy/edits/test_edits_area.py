"""The texts in shared memory: whole or not at all, whatever happens to a writer."""

from __future__ import annotations

import pytest

from wproxy.edits.area import LARGEST, EditsArea
from wproxy.shared import EDITS_OFFSET, PRIVATE_BYTES, TOTAL_BYTES, SharedWords


@pytest.fixture(scope="module")
def memory() -> memoryview:
    import mmap

    return memoryview(mmap.mmap(-1, TOTAL_BYTES)).cast("Q")


@pytest.fixture
def area(memory: memoryview) -> EditsArea:
    memory[EDITS_OFFSET] = 0
    return EditsArea(SharedWords(memory))


def test_there_is_nothing_before_the_first_text(area):
    assert area.version == 0
    assert area.read() == (0, b"")


@pytest.mark.parametrize("text", [b"x", b"12345678", b"123456789", bytes(range(256)) * 64])
def test_a_text_is_read_as_it_was_written_again_and_again(area, text):
    for number in range(1, 6):
        whole = text + b"%d" % number
        assert area.publish(whole) == number
        assert area.read() == (number, whole)


def test_the_largest_text_fits_and_no_larger_one(area):
    area.publish(b"x" * LARGEST)
    assert area.read() == (1, b"x" * LARGEST)
    with pytest.raises(ValueError, match="no room"):
        area.publish(b"x" * (LARGEST + 1))
    assert area.version == 1


class Killed(Exception):
    pass


class Dying:
    """Words that kill whoever stores into them for so many times."""

    def __init__(self, words: memoryview, stores: int) -> None:
        self.words, self.stores = words, stores

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, key):
        return self.words[key]

    def __setitem__(self, key, value) -> None:
        if not self.stores:
            raise Killed
        self.stores -= 1
        self.words[key] = value


@pytest.mark.parametrize("stores", range(4))
def test_a_writer_that_is_killed_between_two_stores_has_changed_nothing(area, memory, stores):
    area.publish(b"first")
    area.publish(b"second, a good deal longer")
    dying = EditsArea(SharedWords(memory))
    dying._words = Dying(memory, stores)  # type: ignore[assignment]
    with pytest.raises(Killed):
        dying.publish(b"third")
    assert area.read() == (2, b"second, a good deal longer")
    assert area.publish(b"fourth") == 3
    assert area.read() == (3, b"fourth")


def test_a_process_alone_has_no_edits_and_makes_none():
    alone = EditsArea(SharedWords(memoryview(bytearray(PRIVATE_BYTES)).cast("Q")))
    assert alone.read() == (0, b"")
    with pytest.raises(ValueError, match="no room"):
        alone.publish(b"x")
