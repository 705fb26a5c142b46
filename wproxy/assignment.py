"""What crosses the fork: everything a worker is given, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from wproxy.config.model import Configuration, Listener
from wproxy.error_log import ErrorLog
from wproxy.identity import WPROXY, Identity
from wproxy.safe_open import Distrusted
from wproxy.shared import SharedWords


class ListeningSocket(NamedTuple):
    """A bound, listening, non-blocking socket by descriptor, and what is served on it."""

    listener: Listener
    fileno: int


class OwnMaster(NamedTuple):
    """What a process that is master and worker at once does as its own master, when a signal asks its worker.

    reload: loads the configuration, and executes the program anew if it is good. It returns the descriptor of a process in the
    copy of the old one that is left for its connections, readable when that process ends; -1 in the process that goes on.
    reopen: after the worker has opened its logs anew, opens the master's, and says so to who waits.
    """

    reload: Callable[[], int]
    reopen: Callable[[], None]


@dataclass(slots=True)
class Assignment:
    """One worker's share.

    index: its number in its generation, from 0, of so many workers; slot: its slot in the shared memory.
    lifeline: the read end of a pipe whose write end only the master holds: end of file means that the master is gone.
    memory_fileno: the descriptor of the shared memory, for record locks.
    drop_privileges: to be called when the logs are open, before anything comes from outside: after it the process is the
    configured user. Not earlier, because that user may have no way into the directories of the logs.
    identity: under which name we answer.
    bell: an eventfd of all workers, by which one of them tells the others at once that something has changed; None: nobody rings.
    unwritten: memory for lines that are not in their files yet (`wproxy.unwritten`); None for a process without a master.
    error_log: of the main level, as the master has opened it; None: it is to be opened.
    distrusted: the user that it becomes: until then it opens no name that this user may have made (`wproxy.safe_open`).
    own_master: for a process that is master and worker at once; None: there is a master for that.
    heeds_winch: whether WINCH, sent to the worker, makes it leave; from a terminal it means that a window has changed its size.
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
