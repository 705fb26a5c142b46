"""Reopening of the logs after a rotation: first by the master, then by the workers, with a report when the last of them has
(nginx: ngx_reopen_files).

A rotation program may compress or remove the old files as soon as we report success: so we do when every worker, including those
that finish their last requests, writes to the new ones.
"""

from __future__ import annotations

from master.directories import provide_own_directories
from master.log import provide_logs, reopen_error_log
from master.state import State
from wproxy.config.tree import ConfigurationError
from wproxy.shared import HEAD_REOPEN_FAILED, HEAD_REOPENED, HEAD_REOPENS_BEGUN, WORKER_REOPEN_FAILED


class Reopening:
    """The master's part in rotations. is_under_way: whether workers have still to follow."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.is_under_way = False

    def begin(self) -> None:
        """Reopen our own logs on USR1, then have the workers reopen theirs."""
        state = self._state
        begun = state.shared.head(HEAD_REOPENS_BEGUN) + 1
        try:
            if state.current:
                provide_own_directories(state.current.configuration, state.current.identity)
            reopen_error_log(state.error_log)
            if state.current:
                provide_logs(state.current.configuration, state.current.identity)
        except ConfigurationError as error:  # logged to the old file, which is better than nowhere
            state.error_log.write("emerg", error.lines)
            state.shared.set_head(HEAD_REOPEN_FAILED, begun)
        state.shared.set_head(HEAD_REOPENS_BEGUN, begun)
        for worker in state.workers.all():
            worker.reopen_logs()
        self.is_under_way = True
        self.look()

    def look(self) -> None:
        """Tell workers that were starting, and report when all have followed."""
        if not self.is_under_way:
            return
        state = self._state
        begun = state.shared.head(HEAD_REOPENS_BEGUN)
        workers = state.workers.all()
        for worker in workers:
            if worker.owes_reopen:
                worker.reopen_logs()
        if any(worker.slot.get(WORKER_REOPEN_FAILED) >= begun for worker in workers):
            state.shared.set_head(HEAD_REOPEN_FAILED, begun)
        if all(worker.reopened >= begun for worker in workers):
            self.is_under_way = False
            state.shared.set_head(HEAD_REOPENED, begun)
