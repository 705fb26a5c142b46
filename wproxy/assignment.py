"""The values that cross the fork: everything a worker is given, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from wproxy.config.model import Configuration, Listener
from wproxy.error_log import ErrorLog
from wproxy.identity import WPROXY, Identity
from wproxy.safe_open import Distrusted
from wproxy.shared import SharedWords
from wproxy.upstream_tls import UpstreamTls

if TYPE_CHECKING:
    from wproxy.counters.plan import CountingPlan
    from wproxy.tls.contexts import TlsContexts
    from wproxy.tls.upstreams import UpstreamContext


class ListeningSocket(NamedTuple):
    """A bound, listening, non-blocking socket by its descriptor, and the servers behind it."""

    listener: Listener
    fileno: int


class OwnMaster(NamedTuple):
    """The master's side of a process that is master and worker at once, called when a signal asks its worker.

    reload: loads the configuration and, if it is good, executes the program anew. It returns the descriptor of a process in the
    forked copy of the old program that finishes the old connections; it becomes readable when that process ends. -1 in the
    process that goes on.

    reopen: opens the master's logs after the worker has opened its own anew, and reports that to the command that waits.
    """

    reload: Callable[[], int]
    reopen: Callable[[], None]


@dataclass(slots=True)
class Assignment:
    """One worker's share.

    index: the worker's number in its generation, counted from 0; slot: its slot in the shared memory.
    lifeline: the read end of a pipe whose write end only the master holds: end of file means that the master is gone.
    memory_fileno: the descriptor of the shared memory, for record locks.
    drop_privileges: the function that turns the process into the configured user; to be called when the logs are open and before
    anything comes from outside. Not earlier, because that user may have no access to the directories of the logs.
    identity: the name under which we answer.
    bell: an eventfd shared by all workers, with which one tells the others at once that something changed; None: there is none.
    unwritten: memory for lines that are not in their files yet (`wproxy.unwritten`); None for a process without a master.
    error_log: the main error log as the master opened it; None: the worker has to open it.
    distrusted: the user that the worker becomes: until then it opens no name that this user may have made (`wproxy.safe_open`).
    own_master: the master's side of a process that is master and worker at once; None: there is a separate master.
    client_contexts: for connections to upstreams, made by root.
    heeds_winch: whether WINCH makes the worker leave; from a terminal it means that a window has changed its size.
    rehearses: whether nothing that happens counts: `wproxy explain` asks what would happen.
    tls: the contexts of the servers, with keys that the worker's user may not read; None when no client uses TLS.
    counting: the rows of its counters; None where the master gave out none.
    """

    configuration: Configuration
    index: int
    slot: int
    generation: int
    listening: tuple[ListeningSocket, ...]
    shared: SharedWords
    memory_fileno: int
    lifeline: int
    workers: int = 1
    drop_privileges: Callable[[], None] = lambda: None
    identity: Identity = WPROXY
    bell: int | None = None
    unwritten: memoryview | None = None
    own_master: OwnMaster | None = None
    distrusted: Distrusted | None = None
    error_log: ErrorLog | None = None
    heeds_winch: bool = False
    rehearses: bool = False
    client_contexts: Mapping[UpstreamTls, UpstreamContext] = field(default_factory=dict)
    tls: TlsContexts | None = None
    counting: CountingPlan | None = None
