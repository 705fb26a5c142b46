"""Progress for a person who waits: one line on a terminal that tells what a command waits for; nothing in a script."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from wproxy.shared import DRAINING, WORKER_ACTIVE, WORKER_MASTER, WORKER_STATE, WORKER_TUNNELS, WORKER_WAITING, SharedWords

# Seconds until the line appears, and between two versions of it.
PATIENCE = 0.5
EVERY = 0.25

_CLEAR = "\r\x1b[K"


class Progress:
    """The line; it is removed at the end of the `with` block."""

    def __init__(
        self, describe: Callable[[], str], stream: TextIO | None = None, read_clock: Callable[[], float] = time.monotonic
    ) -> None:
        """describe: returns what is waited for, as it stands now."""
        self._describe = describe
        self._stream = sys.stderr if stream is None else stream
        self._read_clock = read_clock
        self._is_shown = self._stream.isatty()
        self._began = read_clock()
        self._due = self._began + PATIENCE
        self._is_written = False

    def tell(self) -> None:
        """Write the line, if it is time for it."""
        now = self._read_clock()
        if not self._is_shown or now < self._due:
            return
        self._due = now + EVERY
        self._is_written = True
        self._stream.write(f"{_CLEAR}wproxy: {self._describe()}, {now - self._began:.0f} s")
        self._stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_written:
            self._stream.write(_CLEAR)
            self._stream.flush()


def open_work(shared: SharedWords, master: int) -> str:
    """Return what the leaving workers of a master still do: "3 requests and 1 tunnel in 2 workers"; "" if it is nothing."""
    requests = tunnels = workers = 0
    for slot in shared.workers():
        if slot.get(WORKER_MASTER) != master or slot.get(WORKER_STATE) != DRAINING:
            continue
        held = slot.get(WORKER_TUNNELS)
        busy = max(0, slot.get(WORKER_ACTIVE) - slot.get(WORKER_WAITING) - held)
        requests += busy
        tunnels += held
        workers += bool(busy or held)
    parts = [counted(number, noun) for number, noun in ((requests, "request"), (tunnels, "tunnel")) if number]
    return f"{' and '.join(parts)} in {counted(workers, 'worker')}" if parts else ""


def has_leaving(shared: SharedWords, master: int) -> bool:
    """Whether workers of a master are on their way out."""
    return any(slot.get(WORKER_MASTER) == master and slot.get(WORKER_STATE) == DRAINING for slot in shared.workers())


def counted(number: int, noun: str) -> str:
    """Return `1 request`, `2 requests`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
