"""How the master stops: gracefully, or at once (nginx: ngx_master_process_cycle, ngx_master_process_exit)."""

from __future__ import annotations

import math
import os
import signal
import time
from typing import TYPE_CHECKING

from master.pidfile import remove_pid_file
from wproxy.shared import HEAD_STOPPING

if TYPE_CHECKING:
    from master.supervise import Master

# Seconds from one TERM to the next; after the last follows KILL, 3.15 seconds after the first (nginx: ngx_master_process_cycle).
STOP_PACE = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
STOP_TIMEOUT = sum(STOP_PACE)


class Ending:
    """The master's end. next_term: monotonic seconds when workers are told the next time."""

    def __init__(self, master: Master) -> None:
        """master: whose deeds these are."""
        self._master = master
        self.next_term = math.inf
        self._terms = iter(STOP_PACE)

    def quit(self) -> None:
        """Stop gracefully: nobody is let in any more, and everybody inside is served."""
        master = self._master
        self.stop_reloading("quit")
        for generation in {worker.generation for worker in master.workers.all()}:
            master.succession.retire(generation)

    def stop(self) -> None:
        """Stop at once; who has not gone in STOP_TIMEOUT is killed."""
        self.stop_reloading("stop")
        self._terms = iter(STOP_PACE)
        self.terminate(time.monotonic(), STOP_TIMEOUT)

    def terminate(self, now: float, patience: float = math.inf) -> None:
        """TERM to all, who will be killed after so many seconds."""
        master = self._master
        for worker in master.workers.all():
            worker.retire(signal.SIGTERM, now + patience)
        self.next_term = now + next(self._terms, math.inf)

    def stop_reloading(self, way: str) -> None:
        """From now on only stop: give up what was being loaded, and the sockets."""
        master = self._master
        if master.pending:
            master.transaction.settle(master.pending)  # it may have come to serve since we last looked
        pending, master.stopping = master.pending, way
        master.reload_wanted = False
        master.upgrade.wanted = False
        master.succession.respawns = []
        master.shared.set_head(HEAD_STOPPING, 1)
        if master.upgrade.successor:
            master.notifier.hand_over(master.upgrade.successor.pid)
        elif not master.upgrade.predecessor:
            master.notifier.stopping("finishing requests" if way == "quit" else "stopping")
        if pending:
            master.transaction.abandon(pending, "the master was told to stop before the new workers served")
        master.sockets.close()

    def leave(self) -> int:
        """Nobody is left: remove what we put into the file system; returns the exit code."""
        master = self._master
        own_pid_file = master.upgrade.leave_pid_file()
        if own_pid_file and master.current:
            remove_pid_file(own_pid_file, os.getpid(), master.current.distrusted)
        if master.transaction.failure:
            master.report.failed(master.transaction.failure)
            for line in master.transaction.failure.splitlines() if master.has_log_apart else ():
                master.error_log.write("emerg", line)
        master.error_log.write("notice", "exit")
        master.error_log.close()
        os.close(master.lifeline_read)
        os.close(master.lifeline_write)
        os.close(master.bell)
        master.memory.close()
        return 1 if master.transaction.failure else 0
