"""A generation: one configuration and the workers that serve it, from its load until its last request."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from master.sockets import share
from master.user import Identity, distrusted
from wproxy.assignment import Assignment, ListeningSocket
from wproxy.config.model import Configuration, Listener
from wproxy.error_log import ErrorLog
from wproxy.safe_open import Distrusted
from wproxy.shared import WORKER_ROLE_NAME
from wproxy.upstream_tls import UpstreamTls

if TYPE_CHECKING:
    from wproxy.counters.plan import CountingPlan
    from wproxy.tls.contexts import TlsContexts
    from wproxy.tls.upstreams import UpstreamContext

STRAGGLER_TIMEOUT = 5.0  # seconds by which worker_shutdown_timeout may be exceeded

# A worker's work with its assignment: `worker.run`, or a function of a test.
Work = Callable[[Assignment], None]


@dataclass(frozen=True, slots=True)
class Role:
    """A kind of process that a generation has one of, in addition to its workers.

    name: one of ROLE_NAMES of `wproxy.shared`. work: the life of the process, which has a worker's duties; it gets no listening
    sockets. is_wanted: whether a configuration asks for it. ends: whether it has done its work when it exits with code 0.
    """

    name: str
    work: Work
    is_wanted: Callable[[Configuration], bool]
    ends: bool = False


@dataclass(slots=True, eq=False)
class Generation:
    """The state that the workers of one load share.

    sockets: those that existed when it began. It keeps them even while another generation is being tried.
    pid_path: its pid file; "" when it wants none.
    born: monotonic seconds.
    short_lives: by index of a worker, how often in a row it died within a second of its start.
    helpers: the processes beside the workers; their indices follow those of the workers.
    client_contexts: for encrypted connections to upstreams.
    tls: the contexts of its servers; None when no client uses TLS. counting: the rows of its counters, None if it shows none.
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
    client_contexts: Mapping[UpstreamTls, UpstreamContext] = field(default_factory=dict)
    tls: TlsContexts | None = None
    counting: CountingPlan | None = None

    @property
    def distrusted(self) -> Distrusted | None:
        """The user of its workers, for cases where root must not trust names that this user may have made."""
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
        """Return the sockets for its worker of this index; none for a helper."""
        return () if self.helper(index) else share(self.sockets, index, self.workers)

    def patience(self) -> float:
        """Return the monotonic seconds until which its workers may take if told to finish now; without end unless configured.

        Workers keep worker_shutdown_timeout themselves: this is for one that does not.
        """
        limit = self.configuration.worker_shutdown_timeout
        return math.inf if limit is None else time.monotonic() + limit + STRAGGLER_TIMEOUT

    def describe(self) -> str:
        """Return a line for the service manager."""
        return f"generation {self.number} serves with {self.workers} workers"

    def __repr__(self) -> str:
        return f"<generation {self.number}: {self.workers} workers>"


def worker_count(configuration: Configuration) -> int:
    """Return the number of workers; if the configuration leaves it open, the number of cores that we may use.

    nginx counts the machine's cores, ignoring affinity: two workers on one core, under `taskset -c 0`.
    """
    wanted = configuration.worker_processes
    return len(os.sched_getaffinity(0)) if wanted is None else wanted
