"""The life of a process beside the workers: it has their duties towards the master, and other work (nginx:
ngx_cache_manager_process_cycle).

Its work is a coroutine. QUIT and TERM end it between two of its steps; what it does must be right after each of them anyway, for
it may be killed.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from worker.bell import Bell
from worker.descriptor import Descriptor
from worker.logs import ErrorLogs
from worker.loop import READ, Loop, Task, park, sleep
from worker.signals import heed_signals
from worker.stream import Stream
from wproxy.assignment import Assignment
from wproxy.shared import (
    HEAD_REOPENS_BEGUN,
    SERVING,
    WORKER_REOPEN_FAILED,
    WORKER_REOPENED,
    WORKER_STATE,
    WORKER_TURNS,
)

TICK = 0.5


class Beside:
    """One such process. log: writes a line of a level into the error log."""

    def __init__(self, assignment: Assignment) -> None:
        """Open what needs the rights of the master, and give them up. Raises OSError or CannotBegin."""
        self.assignment = assignment
        self.loop = Loop(self._report)
        self.loop.running = True
        self._logs = ErrorLogs(
            assignment.configuration, lambda: self.loop.clock.wall, assignment.distrusted, assignment.error_log
        )
        self.log = self._logs.main.write
        self.bell = Bell(self.loop, assignment.bell)
        self._slot = assignment.shared.worker(assignment.slot)
        self._is_sound = True
        assignment.shared.become_worker(assignment.slot, assignment.memory_fileno)
        assignment.drop_privileges()

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Work until that is done, or until told to leave. Raises SystemExit when a bug ended it."""
        loop = self.loop
        signals, keep = heed_signals(loop)
        loop.spawn(self._obey(signals), "signals")
        loop.spawn(self._watch_master(), "lifeline")
        self.bell.start()
        loop.spawn(self._tick(), "tick")
        self._slot.set(WORKER_STATE, SERVING)
        loop.spawn(self._work(work), "work")
        while loop.running:
            loop.turn()
        keep.close()
        if not self._is_sound:
            raise SystemExit(1)

    async def _work(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        finally:
            self.loop.stop()

    def _report(self, task: Task, error: BaseException) -> None:
        """Log where a bug ended a task; the master starts another process."""
        trace = "".join(traceback.format_exception(error)).rstrip().replace("\n", "\n\t")
        self.log("alert", f"a bug ended {task.name or 'a task'}: {trace}")
        self._is_sound = False
        self.loop.stop()

    async def _obey(self, stream: Stream) -> None:
        """Act on signals."""
        while True:
            await park(stream, READ, float("inf"))
            for number in stream.recv(64):
                if number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGINT):
                    self.loop.stop()
                elif number == signal.SIGUSR1:
                    self._reopen_logs()

    def _reopen_logs(self) -> None:
        """Write to the files that have the names now, and tell the master."""
        begun = self.assignment.shared.head(HEAD_REOPENS_BEGUN)
        try:
            self._logs.reopen()
        except OSError as error:
            self._slot.set(WORKER_REOPEN_FAILED, begun)
            self.log("emerg", f'open() "{error.filename}" failed ({error.errno}: {error.strerror})')
        self._slot.set(WORKER_REOPENED, begun)

    async def _watch_master(self) -> None:
        """Leave when the master is gone."""
        stream = Stream(self.loop, Descriptor(self.assignment.lifeline))
        self.loop.add(stream)
        await park(stream, READ, float("inf"))
        self.loop.stop()

    async def _tick(self) -> None:
        """Show that we are alive."""
        while True:
            self._slot.set(WORKER_TURNS, self.loop.turns)
            await sleep(TICK)

    def __repr__(self) -> str:
        return f"<process {os.getpid()} beside the workers>"
