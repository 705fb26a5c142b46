"""Stopping of the master: gracefully, or at once (nginx: ngx_master_process_cycle, ngx_master_process_exit)."""

from __future__ import annotations

import math
import os
import signal
import time

from master.pidfile import remove_pid_file
from master.state import State
from master.succession import Succession
from master.transaction import Transaction
from master.upgrade import Upgrade
from wproxy.shared import HEAD_STOPPING

# Seconds from one TERM to the next; KILL follows the last one, 3.15 seconds after the first (nginx: ngx_master_process_cycle).
STOP_PACE = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
STOP_TIMEOUT = sum(STOP_PACE)


class Ending:
    """The master's end. next_term: monotonic seconds of the next TERM to the workers."""

    def __init__(self, state: State, succession: Succession, transaction: Transaction, upgrade: Upgrade) -> None:
        self._state = state
        self._succession = succession
        self._transaction = transaction
        self._upgrade = upgrade
        self.next_term = math.inf
        self._terms = iter(STOP_PACE)

    def quit(self) -> None:
        """Stop gracefully: accept no new clients, and serve all that are connected."""
        state = self._state
        self.stop_reloading("quit")
        for generation in {worker.generation for worker in state.workers.all()}:
            self._succession.retire(generation)

    def stop(self) -> None:
        """Stop at once; kill workers that are still there after STOP_TIMEOUT."""
        self.stop_reloading("stop")
        self._terms = iter(STOP_PACE)
        self.terminate(time.monotonic(), STOP_TIMEOUT)

    def terminate(self, now: float, patience: float = math.inf) -> None:
        """Send TERM to all workers; they are killed after so many seconds."""
        state = self._state
        for worker in state.workers.all():
            worker.retire(signal.SIGTERM, now + patience)
        self.next_term = now + next(self._terms, math.inf)

    def stop_reloading(self, way: str) -> None:
        """Only stop from now on: give up the configuration that was being loaded, and the sockets."""
        state = self._state
        if state.pending:
            self._transaction.settle(state.pending)  # it may have begun to serve since we last looked
        pending, state.stopping = state.pending, way
        state.reload_wanted = False
        self._upgrade.wanted = False
        state.respawns = []
        state.shared.set_head(HEAD_STOPPING, 1)
        if state.successor:
            state.notifier.hand_over(state.successor.pid)
        elif not state.predecessor:
            state.notifier.stopping("finishing requests" if way == "quit" else "stopping")
        if pending:
            self._transaction.abandon(pending, "the master was told to stop before the new workers served")
        state.sockets.close()

    def leave(self) -> int:
        """Leave after the last worker: remove our files; return the exit code."""
        state = self._state
        own_pid_file = self._upgrade.leave_pid_file()
        if own_pid_file and state.current:
            remove_pid_file(own_pid_file, os.getpid(), state.current.distrusted)
        if state.failure:
            state.report.failed(state.failure)
            for line in state.failure.splitlines() if state.has_log_apart else ():
                state.error_log.write("emerg", line)
        state.error_log.write("notice", "exit")
        state.error_log.close()
        os.close(state.lifeline_read)
        os.close(state.lifeline_write)
        os.close(state.bell)
        state.memory.close()
        return 1 if state.failure else 0
