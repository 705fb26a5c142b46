"""Locks on words of the shared memory, between real processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from wproxy.record_locks import RecordLocks


@pytest.fixture
def fileno() -> Iterator[int]:
    fileno = os.memfd_create("locks")
    os.ftruncate(fileno, 4096)
    yield fileno
    os.close(fileno)


class Other:
    """Another process, which does something and then waits to be killed."""

    def __init__(self, deed: Callable[[], bool]) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.write(writing, b"yes" if deed() else b"no")
                signal.pause()
            finally:
                os._exit(1)
        os.close(writing)
        self.answer = os.read(reading, 3) == b"yes"
        os.close(reading)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def __enter__(self) -> Other:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def test_one_process_has_the_lock(fileno):
    locks = RecordLocks(fileno)
    assert locks.try_lock(5)
    with Other(lambda: locks.try_lock(5)) as other:
        assert not other.answer
    locks.unlock(5)
    with Other(lambda: locks.try_lock(5)) as other:
        assert other.answer
        assert not locks.try_lock(5)


def test_a_process_that_is_killed_has_no_locks(fileno):
    locks = RecordLocks(fileno)
    other = Other(lambda: locks.try_lock(5))
    assert other.answer and not locks.try_lock(5)
    other.kill()
    assert locks.try_lock(5)


@pytest.mark.parametrize("word", [4, 6, 511])
def test_a_lock_is_on_one_word(fileno, word):
    locks = RecordLocks(fileno)
    assert locks.try_lock(5)
    with Other(lambda: locks.try_lock(word)) as other:
        assert other.answer


def test_to_unlock_what_another_process_has_changes_nothing(fileno):
    locks = RecordLocks(fileno)
    with Other(lambda: locks.try_lock(5)):
        locks.unlock(5)
        assert not locks.try_lock(5)


def test_when_the_kernel_gives_no_locks_everybody_may():
    reading, writing = os.pipe()  # the kernel has none for pipes' read ends: EBADF, an error like ENOLCK
    locks = RecordLocks(reading)
    assert locks.try_lock(0)
    locks.unlock(0)
    os.close(reading)
    os.close(writing)
