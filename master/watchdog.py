"""Workers that hang: one whose loop has stood still for `worker_watchdog` is made to report where, and is replaced.

A worker publishes the turns of its loop in its slot of the shared memory, twice a second even if it has nothing to do
(`worker.run`). We look now and then, and add up how long the number has been the same *while we were looking*: time that we
were away ourselves (stopped with the whole group, or a virtual machine that was asleep) counts as one look at most, and a worker
that was stopped, or is held in a debugger, does not hang.

A hung worker gets SIGABRT. The handler of `faulthandler` is C and needs nothing of the interpreter, so it works in a tight loop
and in an extension that never returns: it writes the stack into the file of the worker's last words (`master.last_words`), and
lets the signal do its work. We read the file when we bury the worker. The file also gets the stack of a worker that crashes
(SIGSEGV, SIGBUS, SIGFPE, SIGILL).
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from master.signals import send_signal
from wproxy.shared import WORKER_TURNS

if TYPE_CHECKING:
    from master.workers import Worker

LOOKS = 8  # looks within the time for which a worker may stand still
LONGEST_PAUSE = 5.0  # seconds between two looks
KILL_AFTER = 2.0  # seconds from ABRT to KILL


class Watchdog:
    """The times of the next look and of the last one, in monotonic seconds."""

    def __init__(self) -> None:
        self.next_look = 0.0
        self._last_look = -math.inf

    def look(self, workers: Iterable[Worker], now: float) -> Iterator[Worker]:
        """Yield workers that were found to hang now; each is told to report where, and killed if it does not end by that."""
        if now < self.next_look:
            return
        watched = [worker for worker in workers if limit_of(worker) and not worker.is_hung]
        pause = min((limit_of(worker) for worker in watched), default=math.inf) / LOOKS
        pause = min(pause, LONGEST_PAUSE)
        elapsed = min(now - self._last_look, 2 * pause)
        self._last_look, self.next_look = now, now + pause
        for worker in watched:
            turns = worker.slot.get(WORKER_TURNS)
            if turns != worker.turns_seen or is_held(worker.pid):
                worker.turns_seen, worker.still_for = turns, 0.0
                continue
            worker.still_for += elapsed
            if worker.still_for >= limit_of(worker):
                worker.is_hung = True
                worker.kill_at = min(worker.kill_at, now + KILL_AFTER)
                send_signal(worker.pid, signal.SIGABRT)
                yield worker

    def __repr__(self) -> str:
        return f"<watchdog looks at {self.next_look:.3f}>"


def limit_of(worker: Worker) -> float:
    """Return the seconds for which its loop may stand still; 0: for ever."""
    return worker.generation.configuration.worker_watchdog


def is_held(pid: int) -> bool:
    """Whether a process is stopped by a signal (T) or by a debugger (t)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] in b"Tt"
    except OSError:
        return False
