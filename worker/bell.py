"""The bell with which one worker tells all others at once that something in the shared memory has changed.

It is an eventfd that all processes of a master listen to and none reads. A ring does not say what has changed: whoever listens
looks at one word, or a few.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from worker.descriptor import Descriptor
from worker.loop import Loop
from worker.stream import Stream


class Bell:
    """The bell as one process uses it. listeners: called, in the event pass of the loop, whenever somebody has rung."""

    def __init__(self, loop: Loop, fileno: int | None) -> None:
        """fileno: None for a process that has nobody to tell."""
        self.listeners: list[Callable[[], None]] = []
        self._loop = loop
        self._fileno = fileno

    def start(self) -> int:
        """Begin to listen; return the number of streams in use."""
        if self._fileno is None:
            return 0
        stream = Stream(self._loop, Descriptor(self._fileno))
        stream.unexpected = self.hear
        self._loop.add_bell(stream)
        return 1

    def hear(self, stream: Stream) -> bool:
        """Tell the listeners."""
        for listener in self.listeners:
            listener()
        return True

    def ring(self) -> None:
        """Tell every process, this one too."""
        if self._fileno is not None:
            os.eventfd_write(self._fileno, 1)

    def __repr__(self) -> str:
        return f"<bell with {len(self.listeners)} listeners>"
