"""The loading of a configuration, at the start and at every reload: a transaction that succeeds, or changes nothing.

prepare    load, look up the user, open the log, allocate records, bind new addresses, write a new pid file, fork
wait       turn after turn, until every new worker says SERVING; meanwhile old workers are watched as usual
commit     publish the generation, close addresses that are no longer configured, tell the old workers to finish
abandon    or: a new worker died, or time is up: end the new ones, close new addresses; the old ones never noticed
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import time
import traceback

from master.counters import assign_rows, provide_decision_ring
from master.directories import provide_directories, provide_own_directories
from master.generation import Generation, worker_count
from master.limits import process_warnings, refuse_missing_directory
from master.log import open_error_log, provide_logs
from master.peer_records import assign_records
from master.pidfile import refuse_second_master, remove_pid_file, write_pid_file
from master.state import State
from master.state_files import provide_state_directories
from master.succession import Succession
from master.tls_files import load_tls
from master.upstream_contexts import upstream_contexts
from master.user import worker_identity
from wproxy.address_space import CannotMap
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.failures import reason_of
from wproxy.identity import WPROXY
from wproxy.shared import HEAD_BEGUN, HEAD_GENERATION, HEAD_OUTCOME, HEAD_READY, HEAD_RELOADED, HEAD_STARTED, MAX_WORKERS

READY_TIMEOUT = 10.0  # seconds for a new generation until all its workers serve; more for thousands of locations (ready_timeout)


def ready_timeout(configuration: Configuration) -> float:
    """Return the seconds that a new generation has until all its workers serve: a second more for every 50 servers after 50.

    A worker attaches 1,000 servers of 10 locations in a second on an idle machine; a busy one with many workers needs far longer.
    """
    return READY_TIMEOUT + max(0, len(configuration.servers) - 50) / 50


def refuse_unsafe(configuration: Configuration) -> None:
    """Refuse a configuration that relies on a protection that we do not implement; raises ConfigurationError."""
    if configuration.refusals:
        raise ConfigurationError(*configuration.refusals)


class Transaction:
    """The master's loading of configurations."""

    def __init__(self, state: State, succession: Succession) -> None:
        self._state = state
        self._succession = succession

    def begin(self, configuration: Configuration) -> None:
        """Prepare the first generation: it is pending then, or the state has the failure."""
        state = self._state
        if not state.inheritance.is_reload:
            state.shared.set_head(HEAD_STARTED, int(time.time()))
        try:
            state.pending = self.prepare(configuration)
        except ConfigurationError as error:
            state.failure = error.lines
        except Exception as error:
            state.error_log.write("alert", f"unexpected: {traceback.format_exc().rstrip()}")
            state.failure = f"cannot start: {type(error).__name__}: {error}"

    def reload(self) -> None:
        """Try a new generation. Whatever is wrong with it, the current one serves on."""
        state = self._state
        state.shared.set_head(HEAD_BEGUN, state.shared.head(HEAD_BEGUN) + 1)
        state.error_log.write("notice", "reconfiguring")
        # Configurations are full of cycles, and the collector takes objects that `fork_worker` freezes and thaws for old and
        # hardly ever looks at them: old configurations would pile up (measured: 14 KB a reload of a small one).
        gc.collect()
        state.notifier.reloading()
        try:
            state.pending = self.prepare(state.load())
        except ConfigurationError as error:
            self.refuse(error.lines)
        except ImportError as error:  # our files have been replaced, and this configuration needs one that we have not loaded
            self.refuse(f"the configuration cannot be loaded: {reason_of(error)}")
        except Exception as error:  # a bug in reading the file is no reason to stop serving the old one
            state.error_log.write("alert", f"unexpected: {traceback.format_exc().rstrip()}")
            self.refuse(f"the configuration cannot be loaded: {type(error).__name__}: {error}")

    def prepare(self, configuration: Configuration) -> Generation:
        """Prepare everything that a generation needs, and its workers; raises ConfigurationError with everything undone."""
        state = self._state
        refuse_unsafe(configuration)
        count = 0 if state.is_alone else worker_count(configuration)
        helpers = () if state.is_alone else tuple(role for role in state.roles if role.is_wanted(configuration))
        if count + len(helpers) > state.workers.free_slots():
            raise ConfigurationError(Problem(f"too many workers, old ones included: there is room for {MAX_WORKERS}"))
        identity = worker_identity(configuration.user)
        if configuration.is_transparent:
            import master.capabilities  # noqa: F401  # ctypes takes 5 ms; workers need it, and must find it loaded (worker/imports.py)
        refuse_missing_directory(configuration)
        provide_own_directories(configuration, identity)
        tls, unusable = load_tls(configuration)
        if not unusable:
            client_contexts, unusable = upstream_contexts(configuration)
        if unusable:
            raise ConfigurationError(*unusable)
        generation = Generation(
            number=state.shared.head(HEAD_GENERATION) + 1,
            configuration=configuration,
            identity=identity,
            sockets=(),
            workers=count,
            log=open_error_log(configuration.error_log_targets, identity, configuration.identity.name),
            pid_path=configuration.path(configuration.pid) if configuration.pid else "",
            helpers=helpers,
            client_contexts=client_contexts,
            tls=tls,
        )
        if state.current is None:
            state.error_log = generation.log
            if state.memory_loss:
                generation.log.write("warn", state.memory_loss)
            state.has_log_apart = not state.start_log.is_among([path for path, _ in configuration.error_log_targets])
            self.introduce()
        try:
            provide_logs(configuration, identity)
            provide_directories(configuration, identity)
            assign_records(configuration.upstreams, state.records, generation)
            generation.counting = assign_rows(configuration, state.shared, generation.number)
            provide_decision_ring(configuration)
            for problem in state.sockets.bind(configuration.all_listeners, max(1, count)):
                generation.log.write("warn", str(problem))
            generation.sockets = state.sockets.of(configuration.all_listeners)
            provide_state_directories(configuration, identity)
            # Late: a program that waits for the pid file assumes that clients can connect then.
            if self.has_new_pid_file(generation):
                refuse_second_master(generation.pid_path)
                write_pid_file(generation.pid_path, os.getpid(), generation.distrusted)
            if state.current or state.has_log_apart:
                lacking = tls.warnings if tls is not None else ()
                for warning in (*configuration.warnings, *process_warnings(configuration), *lacking):
                    generation.log.write("warn", str(warning))
            generation.log.write("notice", "start worker processes")
            for index in range(generation.processes):
                self._succession.start_worker(generation, index)
        except OSError as error:
            self.undo(generation)
            if isinstance(error, CannotMap):
                raise ConfigurationError(Problem(str(error))) from None
            text = f'fork() failed while spawning "worker process" ({error.errno}: {error.strerror})'
            raise ConfigurationError(Problem(text)) from None
        except BaseException:
            self.undo(generation)
            raise
        return generation

    def introduce(self) -> None:
        """Log our name and platform, as the first lines of a log."""
        state = self._state
        identity = state.start_log.identity
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        system = os.uname()
        for line in (
            f"{identity.token}, wproxy {WPROXY.version}, Python {sys.version.split()[0]}",
            f"OS: {system.sysname} {system.release}",
            f"getrlimit(RLIMIT_NOFILE): {soft}:{hard}",
        ):
            state.error_log.write("notice", line)
        if state.has_log_apart:
            state.inheritance.tell(state.error_log.write)

    def settle(self, pending: Generation) -> None:
        """Commit if all its workers serve; give up if time is up."""
        state = self._state
        if all(worker.is_serving for worker in state.workers.of(pending)):
            self.commit(pending)
        elif time.monotonic() - pending.born > (timeout := ready_timeout(pending.configuration)):
            self.abandon(pending, f"the new workers did not serve within {timeout:g} seconds")

    def commit(self, generation: Generation) -> None:
        """Make this the generation that serves."""
        state = self._state
        old, state.current, state.pending = state.current, generation, None
        state.is_not_accepting = False
        state.error_log = generation.log
        state.inheritance.restore_standard_error()
        for unused in state.sockets.unconfigured(generation.configuration.all_listeners):
            state.error_log.write("notice", f"inherited socket {unused} is not configured, closed")
        if not state.report.is_foreground:
            state.error_log.take_over_stderr()
        state.respawns = []  # they belonged to the old one
        state.sockets.commit(generation.configuration.all_listeners)
        state.shared.set_head(HEAD_GENERATION, generation.number)
        state.shared.set_head(HEAD_RELOADED, int(time.time()))
        if old is None:
            state.shared.set_head(HEAD_OUTCOME, 1)
            state.shared.set_head(HEAD_READY, 1)
            state.report.serves()
            state.start_log.close()  # otherwise a rotation could never free the file
            if not state.predecessor:
                state.notifier.ready(os.getpid(), generation.describe())
            if state.inheritance.is_reload:
                self._tell_that_it_serves(generation)
            return
        if old.pid_path and old.pid_path != generation.pid_path:
            remove_pid_file(old.pid_path, os.getpid(), old.distrusted)
        self._succession.retire(old)
        old.log.close()
        self._tell_that_it_serves(generation)
        state.notifier.ready(os.getpid(), generation.describe())

    def _tell_that_it_serves(self, generation: Generation) -> None:
        text = f"generation {generation.number} serves"
        self._state.error_log.write("notice", text)
        self._state.shared.write_outcome(True, text)

    def abandon(self, generation: Generation, reason: str) -> None:
        """Undo a generation that did not come to serve, and report why."""
        state = self._state
        state.pending = None
        self.undo(generation)
        if state.current:
            self.refuse(reason)
        elif state.stopping and state.report.is_foreground:
            pass  # the process that stopped us knows; it is no failure of the start
        else:
            state.failure = reason

    def undo(self, generation: Generation) -> None:
        """End the workers of a generation that never served, and release everything that only it has."""
        state = self._state
        # Those that serve may have clients already, from sockets that they share with the current generation.
        for worker in state.workers.of(generation):
            worker.retire(signal.SIGQUIT if worker.is_serving else signal.SIGKILL, generation.patience())
        self._succession.release(generation)
        state.sockets.roll_back()
        if self.has_new_pid_file(generation):
            remove_pid_file(generation.pid_path, os.getpid(), generation.distrusted)
        if generation.log is not state.error_log:
            generation.log.close()

    def has_new_pid_file(self, generation: Generation) -> bool:
        """Whether its pid file differs from that of the current generation."""
        state = self._state
        return bool(generation.pid_path) and not (state.current and state.current.pid_path == generation.pid_path)

    def refuse(self, reason: str) -> None:
        """Log a failed reload and report it to the command that waits for it."""
        state = self._state
        for line in reason.splitlines():
            state.error_log.write("emerg", line)
        state.shared.write_outcome(False, reason)
        assert state.current
        state.notifier.ready(os.getpid(), f"{state.current.describe()}; a reload failed")
