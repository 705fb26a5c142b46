"""The loading of a configuration, at the start and at every reload: a transaction that serves, or changes nothing.

prepare    load, look up the user, open the log, allocate records, bind what is new, write a new pid file, fork
wait       turn after turn, until every new worker says SERVING; meanwhile old workers are watched as ever
commit     publish the generation, close what is no longer configured, tell the old workers to finish
abandon    or: a new worker died, or time is up: end the new ones, close what is new; the old ones never noticed
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING

from master.generation import Generation, worker_count
from master.limits import process_warnings, refuse_missing_directory
from master.log import open_error_log, provide_logs
from master.peer_records import assign_records
from master.pidfile import refuse_second_master, remove_pid_file, write_pid_file
from master.state_files import provide_state_directories
from master.user import worker_identity
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.identity import WPROXY
from wproxy.shared import HEAD_BEGUN, HEAD_GENERATION, HEAD_OUTCOME, HEAD_READY, HEAD_RELOADED, MAX_WORKERS

if TYPE_CHECKING:
    from master.supervise import Master

READY_TIMEOUT = 10.0  # seconds for a new generation until all its workers serve


def describe(error: ConfigurationError) -> str:
    """Every problem on a line of its own."""
    return "\n".join(map(str, error.problems))


def refuse_unsafe(configuration: Configuration) -> None:
    """Raises ConfigurationError for what it asks for, we do not do yet, and nobody is safe without."""
    if configuration.refusals:
        raise ConfigurationError(*configuration.refusals)


class Transaction:
    """The master's loading of configurations. failure: why the start failed."""

    def __init__(self, master: Master) -> None:
        """master: whose deeds these are."""
        self._master = master
        self.failure = ""

    def reload(self) -> None:
        """Try a new generation. Whatever is wrong with it, the current one serves on."""
        master = self._master
        master.shared.set_head(HEAD_BEGUN, master.shared.head(HEAD_BEGUN) + 1)
        master.error_log.write("notice", "reconfiguring")
        # Configurations are full of cycles, and what `fork_worker` freezes and thaws the collector takes for old and hardly ever
        # looks at: those that are gone would pile up (measured: 14 KB a reload of a small one).
        gc.collect()
        master.notifier.reloading()
        try:
            master.pending = self.prepare(master.load())
        except ConfigurationError as error:
            self.refuse(describe(error))
        except Exception as error:  # a bug in reading the file is no reason to stop serving the old one
            master.error_log.write("alert", f"unexpected: {traceback.format_exc().rstrip()}")
            self.refuse(f"the configuration cannot be loaded: {type(error).__name__}: {error}")

    def prepare(self, configuration: Configuration) -> Generation:
        """Everything a generation needs, and its workers; raises ConfigurationError with everything undone."""
        master = self._master
        refuse_unsafe(configuration)
        count = 0 if master.is_alone else worker_count(configuration)
        if count > master.workers.free_slots():
            raise ConfigurationError(Problem(f"too many workers, old ones included: there is room for {MAX_WORKERS}"))
        identity = worker_identity(configuration.user)
        refuse_missing_directory(configuration)
        generation = Generation(
            number=master.shared.head(HEAD_GENERATION) + 1,
            configuration=configuration,
            identity=identity,
            sockets=(),
            workers=count,
            log=open_error_log(configuration.error_log_targets, identity, configuration.identity.name),
            pid_path=configuration.path(configuration.pid) if configuration.pid else "",
        )
        if master.current is None:
            master.error_log = generation.log
            if master.memory_loss:
                generation.log.write("warn", master.memory_loss)
            master.has_log_apart = not master.start_log.is_among([path for path, _ in configuration.error_log_targets])
            self.introduce()
        try:
            provide_logs(configuration, identity)
            assign_records(configuration.upstreams, master.records, generation)
            for problem in master.sockets.bind(configuration.all_listeners, max(1, count)):
                generation.log.write("warn", str(problem))
            generation.sockets = master.sockets.of(configuration.all_listeners)
            provide_state_directories(configuration, identity)
            # Late: who waits for the pid file takes it that clients can connect.
            if self.has_new_pid_file(generation):
                refuse_second_master(generation.pid_path)
                write_pid_file(generation.pid_path, os.getpid(), generation.distrusted)
            if master.current or master.has_log_apart:
                for warning in (*configuration.warnings, *process_warnings(configuration)):
                    generation.log.write("warn", str(warning))
            generation.log.write("notice", "start worker processes")
            for index in range(count):
                master.succession.start_worker(generation, index)
        except OSError as error:
            self.undo(generation)
            text = f'fork() failed while spawning "worker process" ({error.errno}: {error.strerror})'
            raise ConfigurationError(Problem(text)) from None
        except BaseException:
            self.undo(generation)
            raise
        return generation

    def introduce(self) -> None:
        """Say who we are and what we run on, as the first lines of a log."""
        master = self._master
        identity = master.start_log.identity
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        system = os.uname()
        for line in (
            f"{identity.token}, wproxy {WPROXY.version}, Python {sys.version.split()[0]}",
            f"OS: {system.sysname} {system.release}",
            f"getrlimit(RLIMIT_NOFILE): {soft}:{hard}",
        ):
            master.error_log.write("notice", line)
        if master.has_log_apart:
            master.inheritance.tell(master.error_log.write)

    def settle(self, pending: Generation) -> None:
        """Commit if all its workers serve, give up if time is up."""
        master = self._master
        if all(worker.is_serving for worker in master.workers.of(pending)):
            self.commit(pending)
        elif time.monotonic() - pending.born > READY_TIMEOUT:
            self.abandon(pending, f"the new workers did not serve within {READY_TIMEOUT:g} seconds")

    def commit(self, generation: Generation) -> None:
        """From now on this generation serves."""
        master = self._master
        old, master.current, master.pending = master.current, generation, None
        master.upgrade.is_not_accepting = False
        master.error_log = generation.log
        master.inheritance.restore_standard_error()
        for unused in master.sockets.unconfigured(generation.configuration.all_listeners):
            master.error_log.write("notice", f"inherited socket {unused} is not configured, closed")
        if not master.report.is_foreground:
            master.error_log.take_over_stderr()
        master.succession.respawns = []  # they were the old one's
        master.sockets.commit(generation.configuration.all_listeners)
        master.shared.set_head(HEAD_GENERATION, generation.number)
        master.shared.set_head(HEAD_RELOADED, int(time.time()))
        if old is None:
            master.shared.set_head(HEAD_OUTCOME, 1)
            master.shared.set_head(HEAD_READY, 1)
            master.report.serves()
            master.start_log.close()  # or a rotation could never free the file
            if not master.upgrade.predecessor:
                master.notifier.ready(os.getpid(), self.describe_generation())
            if master.inheritance.is_reload:
                self._tell_that_it_serves(generation)
            return
        if old.pid_path and old.pid_path != generation.pid_path:
            remove_pid_file(old.pid_path, os.getpid(), old.distrusted)
        master.succession.retire(old)
        old.log.close()
        self._tell_that_it_serves(generation)
        master.notifier.ready(os.getpid(), self.describe_generation())

    def _tell_that_it_serves(self, generation: Generation) -> None:
        text = f"generation {generation.number} serves"
        self._master.error_log.write("notice", text)
        self._master.shared.write_outcome(True, text)

    def describe_generation(self) -> str:
        """A line for the service manager."""
        master = self._master
        assert master.current
        return f"generation {master.current.number} serves with {master.current.workers} workers"

    def abandon(self, generation: Generation, reason: str) -> None:
        """It did not come to serve: undo it, and say why."""
        master = self._master
        master.pending = None
        self.undo(generation)
        if master.current:
            self.refuse(reason)
        elif master.stopping and master.report.is_foreground:
            pass  # whoever stopped us knows; it is no failure of the start
        else:
            self.failure = reason
            if not master.stopping:
                master.ending.stop()

    def undo(self, generation: Generation) -> None:
        """End the workers of a generation that never served, and take back what it alone has."""
        master = self._master
        # Those that serve may have clients already, from sockets that they share with the current generation.
        for worker in master.workers.of(generation):
            worker.retire(signal.SIGQUIT if worker.is_serving else signal.SIGKILL, generation.patience())
        master.succession.release(generation)
        master.sockets.roll_back()
        if self.has_new_pid_file(generation):
            remove_pid_file(generation.pid_path, os.getpid(), generation.distrusted)
        if generation.log is not master.error_log:
            generation.log.close()

    def has_new_pid_file(self, generation: Generation) -> bool:
        """Whether its pid file is one that the current generation does not have."""
        master = self._master
        return bool(generation.pid_path) and not (master.current and master.current.pid_path == generation.pid_path)

    def refuse(self, reason: str) -> None:
        """A reload failed: log it and tell whoever waits for it."""
        master = self._master
        for line in reason.splitlines():
            master.error_log.write("emerg", line)
        master.shared.write_outcome(False, reason)
        master.notifier.ready(os.getpid(), f"{self.describe_generation()}; a reload failed")
