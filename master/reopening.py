"""Opening the logs anew after a rotation: first the master, then the workers, and told when the last of them has (nginx:
ngx_reopen_files).

Whoever rotates may compress or remove the old files once we say that we are done: so done is when every worker, those that
finish their last requests included, writes to the new ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from master.log import provide_logs, reopen_error_log
from master.transaction import describe
from wproxy.config.tree import ConfigurationError
from wproxy.shared import HEAD_REOPEN_FAILED, HEAD_REOPENED, HEAD_REOPENS_BEGUN, WORKER_REOPEN_FAILED

if TYPE_CHECKING:
    from master.supervise import Master


class Reopening:
    """The master's part in rotations. is_under_way: whether workers have still to follow."""

    def __init__(self, master: Master) -> None:
        """master: whose logs these are."""
        self._master = master
        self.is_under_way = False

    def begin(self) -> None:
        """USR1: our own, then the workers theirs."""
        master = self._master
        begun = master.shared.head(HEAD_REOPENS_BEGUN) + 1
        try:
            reopen_error_log(master.error_log)
            if master.current:
                provide_logs(master.current.configuration, master.current.identity)
        except ConfigurationError as error:  # goes to the old file, which is better than nowhere
            master.error_log.write("emerg", describe(error))
            master.shared.set_head(HEAD_REOPEN_FAILED, begun)
        master.shared.set_head(HEAD_REOPENS_BEGUN, begun)
        for worker in master.workers.all():
            worker.reopen_logs()
        self.is_under_way = True
        self.look()

    def look(self) -> None:
        """Tell those that were starting, and say so when all have followed."""
        if not self.is_under_way:
            return
        master = self._master
        begun = master.shared.head(HEAD_REOPENS_BEGUN)
        workers = master.workers.all()
        for worker in workers:
            if worker.owes_reopen:
                worker.reopen_logs()
        if any(worker.slot.get(WORKER_REOPEN_FAILED) >= begun for worker in workers):
            master.shared.set_head(HEAD_REOPEN_FAILED, begun)
        if all(worker.reopened >= begun for worker in workers):
            self.is_under_way = False
            master.shared.set_head(HEAD_REOPENED, begun)
