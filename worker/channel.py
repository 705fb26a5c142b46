"""A channel: what tasks wait on for one of several requests that share a connection.

A connection has one descriptor, and the loop lets one task wait for it. Where several requests share it, nobody waits on its
stream: what arrives is read in the event pass of the loop (`Waitable.unexpected`), handed out, and told by channel.
"""

from __future__ import annotations

from worker.loop import READ, Loop, Waitable


class Channel(Waitable):
    """Something to park on that has no descriptor. holds: whether there is something to read."""

    __slots__ = ("loop",)

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.fd = -1
        self.reader = self.writer = None
        self.armed = 0
        self.unexpected = None
        self.watches_departure = self.holds = False
        self.flush = None

    def may_read(self) -> None:
        """Tell whoever reads that there is something to read."""
        self.holds = True
        if self.armed & READ:  # as `tell` has it, without the call
            self.loop.tell(self)

    def may_write(self) -> None:
        """Let the task go on that waits to write."""
        if self.writer is not None:
            self.loop.wake(self.writer)

    def __repr__(self) -> str:
        waits = "".join(word for word, task in (("r", self.reader), ("w", self.writer)) if task)
        return f"<channel{' holds something' if self.holds else ''}{' waits ' + waits if waits else ''}>"
