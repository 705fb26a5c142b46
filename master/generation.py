"""A generation: one configuration and the workers that serve it, from its load until its last request."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from master.sockets import share
from master.user import Identity, distrusted
from wproxy.assignment import Assignment, ListeningSocket
from wproxy.config.model import Configuration, Listener
from wproxy.error_log import ErrorLog
from wproxy.safe_open import Distrusted
from wproxy.shared import WORKER_ROLE_NAME

STRAGGLER_TIMEOUT = 5.0  # seconds that worker_shutdown_timeout may be overdrawn

# What a worker does with its assignment: `worker.run`, or a function of a test.
Work = Callable[[Assignment], None]


@dataclass(frozen=True, slots=True)
class Role:
    """A kind of process that a generation has one of, beside its workers.

    name: one of ROLE_NAMES of `wproxy.shared`. work: the life of the process, which owes what a worker owes; it gets no
    listening sockets. is_wanted: whether a configuration asks for it.
    """

    name: str
    work: Work
    is_wanted: Callable[[Configuration], bool]


@dataclass(slots=True, eq=False)
class Generation:
    """What the workers of one load have in common.

    sockets: those there were when it began. It keeps to them even while another generation is being tried.
    pid_path: its pid file; "" when it wants none.
    born: monotonic seconds.
    short_lives: by index of a worker, how often in a row it died within a second of its start.
    helpers: the processes beside the workers; their indices follow those of the workers.
    """

    number: int
    configuration: Configuration
    identity: Identity | None
    sockets: tuple[tuple[Listener, tuple[socket.socket, ...]], ...]
    workers: int
    log: ErrorLog
    pid_path: str
    born: float = field(default_factory=time.monotonic)
    short_lives: dict[int, int] = field(default_factory=dict)
    helpers: tuple[Role, ...] = ()

    @property
    def distrusted(self) -> Distrusted | None:
        """The user of its workers, where root must not go by names that it may have made."""
        return distrusted(self.identity)

    @property
    def processes(self) -> int:
        """The number of its processes: workers and helpers."""
        return self.workers + len(self.helpers)

    def helper(self, index: int) -> Role | None:
        """Return the role of the process of this index; None for a worker."""
        return self.helpers[index - self.workers] if index >= self.workers and self.helpers else None

    def role(self, index: int) -> str:
        """Return the name of the role of the process of this index."""
        helper = self.helper(index)
        return helper.name if helper else WORKER_ROLE_NAME

    def share(self, index: int) -> tuple[ListeningSocket, ...]:
        """Return what its worker of this index listens on; nothing for a helper."""
        return () if self.helper(index) else share(self.sockets, index, self.workers)

    def patience(self) -> float:
        """Monotonic seconds until which its workers, told to finish now, may take; without end unless configured.

        worker_shutdown_timeout they keep themselves: this is for one that does not.
        """
        limit = self.configuration.worker_shutdown_timeout
        return math.inf if limit is None else time.monotonic() + limit + STRAGGLER_TIMEOUT

    def describe(self) -> str:
        """Return a line for the service manager."""
        return f"generation {self.number} serves with {self.workers} workers"

    def __repr__(self) -> str:
        return f"<generation {self.number}: {self.workers} workers>"


def worker_count(configuration: Configuration) -> int:
    """How many workers: as many as we may use cores where the configuration leaves it open.

    nginx counts the machine's cores, blind to affinity: two workers on one core, under `taskset -c 0`.
    """
    wanted = configuration.worker_processes
    return len(os.sched_getaffinity(0)) if wanted is None else wanted
