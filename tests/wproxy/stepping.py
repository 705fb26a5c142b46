"""Workers that are stopped before every single load and store of the shared memory, in an order that the test chooses.

Each worker is a thread, but only one runs at any time: it goes on until it is about to touch a word, or a lock, and hands
over. So every interleaving that processes could have can be played, and played again; and a worker can be killed there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from wproxy.shared import TOTAL_WORDS


class Killed(BaseException):
    """Raised inside a worker where it is killed. Nothing it does from then on counts."""


class Worker:
    """One worker: what it does is a function, called in a thread of its own."""

    def __init__(self, stage: Stage, work: Callable[[Worker], None], dies_at: int | None) -> None:
        """dies_at: before so many touches; None: never."""
        self.stage = stage
        self.touches = 0
        self.dies_at = dies_at
        self.is_dead = False
        self.is_done = False
        self.error: BaseException | None = None
        self._go = threading.Semaphore(0)
        self._paused = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)

    def _run(self, work: Callable[[Worker], None]) -> None:
        self._go.acquire()
        try:
            work(self)
        except Killed:
            pass
        except BaseException as error:
            self.error = error
        self.is_done = True
        self._paused.release()

    def start(self) -> None:
        self._thread.start()

    def go_on(self) -> None:
        """Run it to its next touch, or its end."""
        self._go.release()
        assert self._paused.acquire(timeout=10), "a worker hangs"

    def touch(self) -> None:
        """It is about to touch something: everybody else may go first."""
        if self.is_dead:
            raise Killed
        self._paused.release()
        self._go.acquire()
        if self.touches == self.dies_at:
            self.is_dead = True
            self.stage.locked = {word: holder for word, holder in self.stage.locked.items() if holder is not self}
            raise Killed
        self.touches += 1
        self.stage.steps += 1


class Stage:
    """The memory, the locks, and who runs. `now`: the clock; `steps`: how many touches there were in all."""

    def __init__(self) -> None:
        self.words: dict[int, int] = {}
        self.locked: dict[int, Worker | Interrupted] = {}
        self.now = 1000
        self.steps = 0

    def play(self, works: Iterable[tuple[Callable[[Any], None], int | None]], order: Iterable[tuple[int, int, int]]) -> None:
        """Run workers (work, dies_at) to their end.

        order: of (worker, touches, seconds): let that one make so many touches, then let so much time pass; from the
        beginning again when it is exhausted. One worker alone, who is not killed, needs no thread while no time passes.
        """
        works, turns = list(works), list(order)
        if len(works) == 1 and works[0][1] is None and not any(seconds for _, _, seconds in turns):
            works[0][0](Interrupted(self, -1, lambda: None))  # by nobody
            return
        workers = [Worker(self, work, dies_at) for work, dies_at in works]
        for worker in workers:
            worker.start()
        turn = 0
        while living := [worker for worker in workers if not worker.is_done]:
            which, touches, seconds = turns[turn % len(turns)]
            turn += 1
            worker = living[which % len(living)]
            for _ in range(touches):
                if not worker.is_done:
                    worker.go_on()
            self.now += seconds
        for worker in workers:
            if worker.error is not None:
                raise worker.error


class Interrupted:
    """A worker that is interrupted once, before so many touches, by something that others do from its beginning to its end.

    It needs no thread, and is a hundred times as fast.
    """

    def __init__(self, stage: Stage, at: int, interruption: Callable[[], None]) -> None:
        self.stage = stage
        self.touches = 0
        self._at = at
        self._interruption = interruption

    def touch(self) -> None:
        if self.touches == self._at:
            self.touches += 1
            self._interruption()
            return
        self.touches += 1
        self.stage.steps += 1


class SteppingWords:
    """The memory as one worker sees it, with the interface of a memoryview of words."""

    def __init__(self, worker: Worker | Interrupted) -> None:
        self.worker: Worker | Interrupted | None = worker  # None: nobody else runs any more
        self._words = worker.stage.words

    def __len__(self) -> int:
        return TOTAL_WORDS

    def __getitem__(self, key: int | slice) -> int | SteppingColumn:
        if isinstance(key, slice):
            return SteppingColumn(self, range(TOTAL_WORDS)[key])
        if self.worker is not None:
            self.worker.touch()
        return self._words.get(key, 0)

    def __setitem__(self, key: int, value: int) -> None:
        if self.worker is not None:
            self.worker.touch()
        assert 0 <= value < 1 << 64
        self._words[key] = value


class SteppingColumn:
    """A slice of it: each word is loaded on its own, as late as a list is asked for."""

    def __init__(self, words: SteppingWords, indexes: range) -> None:
        self._words = words
        self._indexes = indexes

    def tolist(self) -> list[int]:
        return [self._words[index] for index in self._indexes]


class SteppingLocks:
    """Record locks as one worker has them; a killed worker has none."""

    def __init__(self, worker: Worker | Interrupted) -> None:
        self._worker = worker

    def try_lock(self, word: int) -> bool:
        self._worker.touch()
        return self._worker.stage.locked.setdefault(word, self._worker) is self._worker

    def unlock(self, word: int) -> None:
        self._worker.touch()
        assert self._worker.stage.locked.pop(word) is self._worker
