"""Threads that wait for a disk instead of the loop: `aio threads` (nginx: src/core/ngx_thread_pool.c).

A task gives a function to a pool and is parked until a thread has called it. Threads start when there is work. They put finished
jobs into a list, and ring a bell: a byte on a pair of sockets that is in the loop only while a task waits. A task that leaves
before its function is done (the client is gone) gets no result; so such a function may only read.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any, TypeVar

from worker.loop import READ, Event, Loop, park
from worker.stream import Stream
from wproxy.directives.aio import DEFAULT_POOL, ThreadPoolSettings

Result = TypeVar("Result")
Report = Callable[[str, str], None]


class _Job:
    """A function to be called, and its result. told: set by the loop when it has been called."""

    __slots__ = ("call", "error", "result", "told")

    def __init__(self, call: Callable[[], Any], loop: Loop) -> None:
        self.call = call
        self.told = Event(loop)
        self.result: Any = None
        self.error: OSError | None = None

    def do(self) -> None:
        """Call it, in a thread."""
        try:
            self.result = self.call()
        except OSError as error:
            self.error = error


class ThreadPool:
    """The threads of one `thread_pool` in one worker."""

    def __init__(self, loop: Loop, settings: ThreadPoolSettings, report: Report) -> None:
        """report: takes level and text for the error log."""
        self.settings = settings
        self._loop = loop
        self._report = report
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._done: deque[_Job] = deque()
        self._under_way = 0
        self.threads = 0
        self._bell: socket.socket | None = None

    async def run(self, call: Callable[[], Result]) -> Result:
        """Return the result of the function; raises its OSError, and EAGAIN when too many wait already."""
        settings = self.settings
        if self._under_way - self.threads >= settings.most_waiting:
            waiting = self._under_way - self.threads
            self._report("error", f'thread pool "{settings.name}" queue overflow: {waiting} tasks waiting')
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if not self._under_way:
            self._listen()
        job = _Job(call, self._loop)
        self._under_way += 1
        if self.threads < min(self._under_way, settings.threads):
            self._start_thread()
        self._jobs.put(job)
        await job.told.wait()
        if job.error is not None:
            raise job.error
        result: Result = job.result
        return result

    def _listen(self) -> None:
        """Listen to the bell until all jobs are done."""
        heard, bell = socket.socketpair()
        heard.setblocking(False)
        bell.setblocking(False)
        self._bell = bell
        stream = Stream(self._loop, heard)
        self._loop.add(stream)
        self._loop.spawn(self._tell(stream, bell), f"thread pool {self.settings.name}")

    async def _tell(self, stream: Stream, bell: socket.socket) -> None:
        """Wake the waiting tasks, as long as there are any."""
        try:
            while self._under_way:
                await park(stream, READ, float("inf"))
                try:
                    stream.recv(4096)
                except BlockingIOError:
                    continue
                while self._done:
                    job = self._done.popleft()
                    self._under_way -= 1
                    job.told.set()
        finally:
            stream.close()
            bell.close()

    def _start_thread(self) -> None:
        self.threads += 1
        threading.Thread(target=self._work, name=f"{self.settings.name} {self.threads}", daemon=True).start()

    def _work(self) -> None:
        """Run jobs in a thread; signals are for the loop's thread."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            job = self._jobs.get()
            job.do()
            self._done.append(job)
            bell = self._bell
            assert bell is not None
            try:
                bell.send(b"d")
            except OSError:
                pass  # full: it is ringing already; closed: the worker is

    def __repr__(self) -> str:
        return f"<thread pool {self.settings.name}: {self.threads} threads, {self._under_way} under way>"


def thread_pools(settings: Iterable[ThreadPoolSettings], loop: Loop, report: Report) -> dict[str, ThreadPool]:
    """Return the pools of a worker, by name; `default` always exists."""
    named = {each.name: each for each in (ThreadPoolSettings(DEFAULT_POOL), *settings)}
    return {name: ThreadPool(loop, each, report) for name, each in named.items()}
