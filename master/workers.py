"""Workers: how one is forked, and the table of those that live (nginx: ngx_spawn_process, ngx_worker_process_init).

A worker gets orders by signals and reports through its slot in the shared memory. The master's part of that slot is the identity
(pid, generation, start); the worker's is its state and its counters. Contract with the worker: when it sets SERVING, it has its
signal handlers in place and its logs open.
"""

from __future__ import annotations

import gc
import math
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from master import last_words
from master.daemon import flush_standard_streams
from master.generation import Generation, Work
from master.last_words import NOTHING_SAID, LastWords
from master.limits import settle_in, take_limits
from master.memory import Memory
from master.modules import hold_modules, keep_within_reach
from master.signals import restore_signals, send_signal
from master.slots import free_slots, give_back, take_slot
from master.titles import name_process
from master.unwritten import Unwritten
from master.user import CannotBecome, become
from wproxy.assignment import Assignment, ListeningSocket
from wproxy.error_log import ErrorLog
from wproxy.failures import is_bug, reason_of
from wproxy.identity import WPROXY, Identity
from wproxy.record_locks import RecordLocks
from wproxy.shared import (
    HEAD_EXITS_ASKED,
    HEAD_EXITS_CRASHED,
    HEAD_EXITS_HUNG,
    HEAD_EXITS_KILLED,
    HEAD_REOPENS_BEGUN,
    HEAD_SLOTS,
    ROLE_NAMES,
    SERVING,
    STARTING,
    WORKER_GENERATION,
    WORKER_ORDERS,
    WORKER_PID,
    WORKER_REOPENED,
    WORKER_ROLE,
    WORKER_STARTED,
    WORKER_STATE,
    WorkerSlot,
)

FATAL_CODE = 2  # the exit code of a worker that expects its successors to fail likewise


@dataclass(slots=True, eq=False)
class Worker:
    """A worker that was forked and not yet reaped.

    index: its number in its generation; started: monotonic seconds.
    is_cut: whether we ended it before it served, which is no one's fault.
    is_retiring: whether it was told to go and is not replaced; kill_at: monotonic seconds when it is killed if still there.
    orders: the number of signals that it was sent.
    owes_reopen: whether logs were rotated while it was starting; it is told as soon as it listens to signals.
    turns_seen, still_for, is_hung: the watchdog's knowledge of it. last_words_file: the file for its last words
    (`master.last_words`); last_words: their content at its end. unwritten: lines of access logs that it has not written; to be
    closed.
    """

    pid: int
    index: int
    generation: Generation
    slot: WorkerSlot
    started: float
    unwritten: Unwritten
    is_cut: bool = False
    is_retiring: bool = False
    kill_at: float = math.inf
    owes_reopen: bool = False
    turns_seen: int = -1
    still_for: float = 0.0
    is_hung: bool = False
    orders: int = 0
    last_words_file: int = -1
    last_words: LastWords = NOTHING_SAID

    @property
    def title(self) -> str:
        """Its name in the log."""
        return f"{self.generation.role(self.index)} process {self.pid}"

    @property
    def is_starting(self) -> bool:
        return self.slot.get(WORKER_STATE) == STARTING

    @property
    def reopened(self) -> int:
        """The last reopening of logs that it has followed."""
        return self.slot.get(WORKER_REOPENED)

    @property
    def is_serving(self) -> bool:
        return self.slot.get(WORKER_STATE) == SERVING

    def retire(self, number: int, kill_at: float) -> None:
        """Tell it to go with this signal, and when patience ends; it is not replaced when it dies."""
        self.is_retiring = True
        self.is_cut = self.is_cut or self.is_starting
        self.kill_at = min(self.kill_at, kill_at)
        self.order(number)

    def order(self, number: int) -> None:
        """Signal it, so that it can tell the signal from others'."""
        self.orders += 1
        self.slot.set(WORKER_ORDERS, self.orders)
        send_signal(self.pid, number)

    def reopen_logs(self) -> None:
        """Send USR1 now, or once it serves: until then it has no handler for it."""
        self.owes_reopen = self.is_starting
        if not self.owes_reopen:
            self.order(signal.SIGUSR1)


class Workers:
    """All living workers of all generations."""

    def __init__(
        self,
        memory: Memory,
        work: Work,
        lifeline: int,
        leave_master: Callable[[Generation, Iterable[int]], None],
        identity: Identity = WPROXY,
        heeds_winch: bool = False,
        bell: int | None = None,
        has_other_master: Callable[[], bool] = lambda: True,
    ) -> None:
        """lifeline: the read end for workers; leave_master: a function that is run in the child with the sockets that it may
        keep.

        identity: the name in a worker's title; heeds_winch, bell: see `wproxy.assignment`. has_other_master: see `master.slots`.
        """
        self._has_other_master = has_other_master
        self._heeds_winch = heeds_winch
        self._bell = bell
        self._identity = identity
        self._memory = memory
        self._work = work
        self._lifeline = lifeline
        self._leave_master = leave_master
        self._living: dict[int, Worker] = {}
        self._locks = RecordLocks(memory.fileno)

    def __len__(self) -> int:
        return len(self._living)

    def all(self) -> list[Worker]:
        """Return all living workers."""
        return list(self._living.values())

    def of(self, generation: Generation | None) -> list[Worker]:
        """Return the living workers of one generation."""
        return [worker for worker in self._living.values() if worker.generation is generation]

    def free_slots(self) -> int:
        """Return how many more workers there is room for."""
        return free_slots(self._memory.shared, self._held)

    def start(self, generation: Generation, index: int) -> Worker:
        """Fork one; raises OSError when the system refuses another process."""
        with ExitStack() as undo:  # nothing is left over when the start of a worker fails
            words_file = last_words.make_file()
            undo.callback(os.close, words_file)
            slot = self.take_slot()
            undo.callback(slot.clear)
            unwritten = Unwritten(generation.configuration.access_log_files)
            undo.callback(unwritten.close)
            pid = self._fork(generation, index, slot, unwritten, words_file)
            undo.pop_all()
        slot.set(WORKER_PID, pid)
        worker = Worker(pid, index, generation, slot, time.monotonic(), unwritten, last_words_file=words_file)
        self._living[pid] = worker
        return worker

    def _fork(self, generation: Generation, index: int, slot: WorkerSlot, unwritten: Unwritten, words_file: int) -> int:
        """Fork a worker with everything that belongs to it; return its pid. Raises OSError."""
        assignment = self.assign(generation, index, slot, generation.share(index), unwritten.memory)
        assignment.drop_privileges = lambda: settle()
        assignment.error_log = generation.log

        def live() -> None:
            # The master does the same, if it lives that long; a slot that has a worker must not be taken for free.
            slot.set(WORKER_PID, os.getpid())
            last_words.leave_stack_in(words_file)
            for other in self._living.values():
                os.close(other.last_words_file)
                other.unwritten.close()
            self._leave_master(generation, [own.fileno for own in assignment.listening])
            take_limits(generation.configuration, generation.log)
            helper = generation.helper(index)
            (helper.work if helper else self._work)(assignment)

        def settle() -> None:
            held = hold_modules() if generation.identity else {}
            try:
                become(generation.identity, generation.configuration.is_transparent)
            except CannotBecome as error:  # nor will a successor be able to
                last_words.leave_reason(words_file, str(error))
                generation.log.write("emerg", str(error))
                raise SystemExit(FATAL_CODE) from None
            lost = keep_within_reach(held)
            if lost:
                text = f"the user of the workers may not read the Python modules in {min(lost, key=len)}"
                generation.log.write("alert", f"{text}: what they have not loaded by now will be missing")
            settle_in(generation.configuration, index, generation.log)

        title = f"{generation.role(index)} process"
        return fork_worker(live, generation.log, self._identity.name, title, words_file)

    def assign(
        self,
        generation: Generation,
        index: int,
        slot: WorkerSlot,
        listening: tuple[ListeningSocket, ...],
        unwritten: memoryview | None = None,
    ) -> Assignment:
        """Return the assignment of a worker of this generation; it keeps the rights that we have."""
        slot.set(WORKER_GENERATION, generation.number)
        slot.set(WORKER_ROLE, ROLE_NAMES.index(generation.role(index)))
        slot.set(WORKER_STARTED, int(time.time()))
        slot.set(WORKER_REOPENED, self._memory.shared.head(HEAD_REOPENS_BEGUN))  # it opens the logs at its start
        return Assignment(
            configuration=generation.configuration,
            index=index,
            slot=slot.index,
            generation=generation.number,
            listening=listening,
            shared=self._memory.shared,
            memory_fileno=self._memory.fileno,
            lifeline=self._lifeline,
            workers=max(1, generation.workers),
            identity=self._identity,
            bell=self._bell,
            unwritten=unwritten,
            distrusted=generation.distrusted,
            heeds_winch=self._heeds_winch,
            client_contexts=generation.client_contexts,
            tls=generation.tls,
            counting=generation.counting,
        )

    def take_slot(self) -> WorkerSlot:
        """Take a free slot; raises OSError when there is none."""
        try:
            return take_slot(self._memory.shared, self._locks, self._held, self._has_other_master())
        except OSError:
            # Masters hold the lock for microseconds. A worker that has it was broken into; it must not keep others from starting.
            intruder = self._living.get(self._locks.holder(HEAD_SLOTS))
            if intruder is None:
                raise
            text = f"{intruder.title} {intruder.pid} has locked what only masters lock, and is killed"
            intruder.generation.log.write("alert", text)
            os.kill(intruder.pid, signal.SIGKILL)
            return take_slot(self._memory.shared, self._locks, self._held, self._has_other_master())

    @property
    def _held(self) -> set[int]:
        """Return the slots of living workers, as far as we know."""
        return {worker.slot.index for worker in self._living.values()}

    def reap(self, bury_other: Callable[[int, int], None] = lambda pid, status: None) -> list[tuple[Worker, int]]:
        """Return the workers that have ended since, with their wait status; their counts move to the head, their slots are freed.

        bury_other: gets pid and status of children that are not workers: a new binary, or, as process 1 of a container,
        strangers.
        """
        ended = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            worker = self._living.pop(pid, None)
            if worker is None:
                bury_other(pid, status)
            else:
                give_back(self._memory.shared, worker.slot)
                worker.last_words = last_words.take(worker.last_words_file)
                ended.append((worker, status))
        return ended

    def kill_overdue(self, now: float) -> list[Worker]:
        """Kill workers whose time is up; return them."""
        overdue = [worker for worker in self._living.values() if worker.kill_at <= now]
        for worker in overdue:
            worker.kill_at = math.inf
            send_signal(worker.pid, signal.SIGKILL)
        return overdue

    def __repr__(self) -> str:
        return f"<workers {', '.join(map(str, self._living)) or 'none'}>"


def fork_worker(live: Callable[[], None], log: ErrorLog, name: str, title: str, words_file: int) -> int:
    """Fork a worker that runs `live` and never returns from here; return its pid. Raises OSError.

    It exits with 0 when `live` returns, with the code of a SystemExit, and with 1 after any other exception: the reason is in its
    last words, and the traceback in the log if it is a bug of ours. name, title: our name, and the kind of process, for its
    title.
    """
    flush_standard_streams()
    # The child's collector leaves frozen objects alone: one collection would otherwise copy most pages that it shares with us
    # (nginx/process.md §10: 95 of 163 MB, frozen 0.9). Ours must go on collecting old configurations.
    gc.freeze()
    pid = os.fork()
    if pid:
        gc.unfreeze()
        return pid
    code = 1
    try:
        restore_signals()
        name_process(name, title)
        live()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        last_words.leave_reason(words_file, reason_of(error))
        if is_bug(error):
            log.write("alert", f"{title} {os.getpid()} failed: {traceback.format_exc().rstrip()}")
    finally:
        flush_standard_streams()
        os._exit(code)  # never back into the master's stack, and none of its exit handlers


# Signals of a crash: the process itself has caused them.
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGSYS, signal.SIGTRAP)


def exit_word(worker: Worker, status: int) -> int:
    """Return the word of the head that counts ends like this one."""
    if worker.is_hung:
        return HEAD_EXITS_HUNG
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) in _CRASHES:
            return HEAD_EXITS_CRASHED
        return HEAD_EXITS_ASKED if worker.is_retiring else HEAD_EXITS_KILLED
    return HEAD_EXITS_CRASHED if os.WEXITSTATUS(status) else HEAD_EXITS_ASKED


def describe_end(worker: Worker, status: int) -> tuple[str, str]:
    """Return the level and nginx's words for the end of a worker (nginx: ngx_process_get_status)."""
    level, text = describe_exit(worker.title, status)
    is_as_told = worker.is_cut and os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGTERM, signal.SIGKILL)
    return ("notice" if is_as_told else level), text


def describe_exit(process: str, status: int) -> tuple[str, str]:
    """Return the level and nginx's words for the end of a process of that name."""
    if os.WIFSIGNALED(status):
        core = " (core dumped)" if os.WCOREDUMP(status) else ""
        return "alert", f"{process} exited on signal {os.WTERMSIG(status)}{core}"
    return "notice", f"{process} exited with code {os.WEXITSTATUS(status)}"
