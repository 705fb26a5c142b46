"""`master_process off`: one process that is master and worker at once (nginx: ngx_single_process_cycle).

It is the same master, with the same transaction, but without children: when a configuration is loaded it becomes a worker
itself. That worker's loop receives the signals; QUIT means TERM, and a failed process is not restarted. For debugging, not for
service.

A reload prepares the new generation as always, and then executes the program anew, with the same process id, the listening
sockets and the shared memory; so waiting clients are served by the new one. A copy of the process, made just before, stays and
serves the open connections to their end, as an old worker would.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import traceback

from master.daemon import flush_standard_streams
from master.ending import Ending
from master.environment import confine_environment, new_binary_environment
from master.generation import Generation, Work
from master.inheritance import NGINX_VARIABLE, OUR_VARIABLE, write_numbers
from master.pidfile import remove_pid_file
from master.reopening import Reopening
from master.signals import BLOCKED, block_signals
from master.slots import bury_own
from master.sockets import share
from master.state import State
from master.titles import name_process
from master.transaction import Transaction
from wproxy.assignment import Assignment, ListeningSocket, OwnMaster
from wproxy.config.model import Configuration
from wproxy.failures import is_bug, reason_of
from wproxy.lasting import LASTING
from wproxy.shared import HEAD_IS_ALONE, WORKER_PID, WorkerSlot


class Alone:
    """The one process. is_left_over: whether we are the copy that serves the connections from before a reload."""

    def __init__(self, state: State, transaction: Transaction, reopening: Reopening, ending: Ending, work: Work) -> None:
        """state: without a configuration yet; work: the function that a worker runs."""
        self._state = state
        self._transaction = transaction
        self._reopening = reopening
        self._ending = ending
        self._work = work
        self._environment = dict(os.environ)
        self._slot: WorkerSlot | None = None
        self._is_left_over = False

    def run(self, configuration: Configuration) -> int:
        """Start, serve until told to stop, and exit; return the exit code only if it could not start."""
        state = self._state
        block_signals()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the copies that reloads leave
        state.shared.set_head(HEAD_IS_ALONE, 1)
        bury_own(state.shared)
        self._transaction.begin(configuration)
        generation = state.pending
        if not generation:
            self._ending.stop()
            return self._ending.leave()
        assignment = self._assign(generation)
        # It serves once it has everything that a worker needs.
        assignment.drop_privileges = lambda: self._transaction.commit(generation)
        try:
            self._work(assignment)
        except Exception as error:
            if is_bug(error):
                state.error_log.write("alert", f"failed: {traceback.format_exc().rstrip()}")
            if state.pending:
                self._transaction.abandon(generation, reason_of(error))
            state.failure = reason_of(error)
        if self._is_left_over:
            os._exit(0)
        self._ending.stop_reloading("stop")
        code = self._ending.leave()
        # As the process of a worker ends. Requests under way would run on while the interpreter takes its modules apart:
        # compiled coroutines crash then.
        flush_standard_streams()
        os._exit(code)

    def _assign(self, generation: Generation) -> Assignment:
        state = self._state
        self._slot = state.workers.take_slot()
        self._slot.set(WORKER_PID, os.getpid())
        # Copies: a worker closes its own.
        listening = tuple(ListeningSocket(one.listener, os.dup(one.fileno)) for one in share(generation.sockets, 0, 1))
        assignment = state.workers.assign(generation, 0, self._slot, listening)
        assignment.own_master = OwnMaster(self.reload, self._reopening.begin)
        assignment.heeds_winch = False
        confine_environment(generation.configuration.env)
        return assignment

    def reload(self) -> int:
        """Reload on HUP: see `wproxy.assignment.OwnMaster`. Problems of the configuration are reported and change nothing."""
        state = self._state
        self._transaction.reload()
        new = state.pending
        if new is None:
            return -1
        if threading.active_count() > 1:
            # A copy has no threads: a task that waits for one would wait for ever. They begin again when there is work.
            state.error_log.write("notice", "requests that wait for threads are cut by the reload")
        old = state.current
        assert old
        if old.pid_path and old.pid_path != new.pid_path:
            remove_pid_file(old.pid_path, os.getpid(), old.distrusted)
        try:
            return self._go_on_in_two()
        except OSError as error:
            self._transaction.abandon(new, f"execve() failed ({error.errno}: {error.strerror})")
            return -1

    def _go_on_in_two(self) -> int:
        """Execute the program anew; return, in the copy that is left, a descriptor of the process. Raises OSError."""
        if not os.access(self._state.command.path, os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        assert self._slot
        process = os.pidfd_open(os.getpid())
        # The copy waits until the writing end is gone, closed by exec, and ends if it reads a byte: then exec has failed.
        heard, told = os.pipe()
        pid = os.fork()
        if pid:
            os.close(heard)
            self._slot.set(WORKER_PID, pid)
            try:
                self._execute()
            finally:  # execution has failed
                self._slot.set(WORKER_PID, os.getpid())
                os.write(told, b"x")
                os.close(told)
                os.close(process)
        os.close(told)
        name_process(self._state.start_log.identity.name, "worker process")
        if os.read(heard, 1):
            os._exit(1)
        os.close(heard)
        self._is_left_over = True
        self._state.sockets.keep_only(())
        return process

    def _execute(self) -> None:
        """Become the new program; raises OSError."""
        state = self._state
        assert state.pending
        sockets = state.sockets.filenos()
        variables = {
            **new_binary_environment(state.pending.configuration.env, self._environment),
            NGINX_VARIABLE: "".join(f"{number};" for number in sockets),
            OUR_VARIABLE: write_numbers(
                process=os.getpid(),
                foreground=int(state.report.is_foreground),
                files=int(state.sockets.owns_files),
                memory=state.memory.fileno,
                lasting=LASTING.fileno,
            ),
        }
        inherited = [*sockets, state.memory.fileno, *([LASTING.fileno] if LASTING.fileno >= 0 else [])]
        for number in inherited:
            os.set_inheritable(number, True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)  # they wait until the new program takes them
        try:
            os.execve(state.command.path, state.command.words, variables)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            for number in inherited:
                os.set_inheritable(number, False)

    def __repr__(self) -> str:
        return f"<master and worker {os.getpid()}>"
