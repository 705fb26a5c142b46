"""The state of a master: everything that its parts share.

The parts are in files of their own (`master.supervise` lists them). Each gets this state and the parts below it that it needs, so
they never reach into each other: `succession` is at the bottom, then `transaction` and `upgrade`, then `ending`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from master.command_line import Command, own_command
from master.daemon import StartReport
from master.generation import Generation, Role
from master.inheritance import Inheritance
from master.log import open_error_log
from master.memory import Memory, OtherLayout, adopt_memory, create_memory, resume_memory
from master.new_binary import NewBinary
from master.notify import Notifier
from master.peer_records import PeerRecords
from master.sockets import ListeningSockets
from master.start_log import StartLog
from master.workers import Workers
from wproxy.config.model import Configuration
from wproxy.error_log import ErrorLog
from wproxy.shared import SharedWords

Load = Callable[[], Configuration]


@dataclass(slots=True, eq=False)
class State:
    """The state of a master.

    load: the reader of the configuration. roles: the processes beside workers that a configuration may ask for.
    parent: the process that was our parent when we started.
    is_alone: no worker is ever started (`master.alone`).
    current: the generation that serves; pending: the one being tried.
    stopping: "", or the way we stop, "quit" or "stop". failure: the reason why the start failed.
    error_log: stderr until the configuration's own is open.
    has_log_apart: whether errors go to a place where a start does not report them anyway.
    successor: the new binary that we have started; predecessor: the master that has started us, 0 when there is none left.
    is_not_accepting: the workers were sent away by WINCH.
    memory_loss: the reason why we did not continue with the memory of our predecessor.
    respawns: the workers to be started, and when: monotonic seconds, generation, index.
    lifeline_*: the pipe whose end tells a worker that its master is gone. bell: an eventfd that wakes workers.
    workers: set by `master.supervise`, since new workers need the other parts.
    """

    load: Load
    roles: tuple[Role, ...]
    sockets: ListeningSockets
    report: StartReport
    start_log: StartLog
    inheritance: Inheritance
    parent: int
    is_alone: bool
    memory: Memory
    memory_loss: str
    lifeline_read: int
    lifeline_write: int
    bell: int
    workers: Workers = field(init=False)
    shared: SharedWords = field(init=False)
    records: PeerRecords = field(init=False)
    command: Command = field(default_factory=own_command)
    notifier: Notifier = field(default_factory=lambda: Notifier(os.environ.get("NOTIFY_SOCKET", "")))
    error_log: ErrorLog = field(default_factory=lambda: open_error_log([("stderr", "error")]))
    current: Generation | None = None
    pending: Generation | None = None
    stopping: str = ""
    failure: str = ""
    has_log_apart: bool = False
    reload_wanted: bool = False
    successor: NewBinary | None = None
    predecessor: int = 0
    is_not_accepting: bool = False
    respawns: list[tuple[float, Generation, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shared = self.memory.shared
        self.records = PeerRecords(self.shared)
        self.predecessor = self.inheritance.parent if self.inheritance.is_upgrade else 0

    @property
    def may_stop_accepting(self) -> bool:
        """Whether WINCH is obeyed: a terminal sends it to a process in the foreground when its window changes its size."""
        return not self.report.is_foreground or self.inheritance.counts_as_daemon


def make_state(
    load: Load,
    roles: tuple[Role, ...],
    sockets: ListeningSockets,
    report: StartReport,
    log: StartLog,
    inheritance: Inheritance,
    parent: int,
    is_alone: bool,
) -> State:
    """Return the state of a master that has loaded nothing yet. Raises OSError: no memory, no descriptors."""
    memory, loss = find_memory(inheritance)
    lifeline_read, lifeline_write = os.pipe()
    bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    return State(
        load, roles, sockets, report, log, inheritance, parent, is_alone, memory, loss, lifeline_read, lifeline_write, bell
    )


def find_memory(inheritance: Inheritance) -> tuple[Memory, str]:
    """Return our predecessor's memory, or a new one and the reason why the old one cannot be used. Raises OSError."""
    loss = ""
    if inheritance.memory >= 0:
        try:
            if inheritance.is_reload:
                return resume_memory(inheritance.memory), ""
            return adopt_memory(inheritance.memory, inheritance.parent), ""
        except (OtherLayout, OSError, ValueError) as error:
            loss = f"{error}: the health of peers and all counters start anew"
    return create_memory(), loss
