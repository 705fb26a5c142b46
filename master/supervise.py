"""The life of the master: bind, go to the background, fork, watch, reload, quit (nginx: ngx_master_process_cycle).

The master never serves and never blocks: it waits for signals, with a time limit where something is due, and every
turn of its loop is short, except for the loading of a configuration.

A start and a reload are one transaction:

    prepare    load, look up the user, open the log, allocate records, bind what is new, write a new pid file, fork
    wait       turn after turn, until every new worker says SERVING; meanwhile old workers are watched as ever
    commit     publish the generation, close what is no longer configured, tell the old workers to finish
    abandon    or: a new worker died, or time is up: end the new ones, close what is new; the old ones never noticed

The upgrade of the program, with a second master beside this one, is in `master.upgrade`.
"""

from __future__ import annotations

import gc
import math
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable

import setproctitle

from master.command_line import own_command
from master.daemon import StartReport, daemonise, wait_for_start
from master.generation import Generation, Work, worker_count
from master.inheritance import Inheritance, take_inheritance
from master.limits import process_warnings, refuse_missing_directory
from master.log import open_error_log, provide_logs, reopen_error_log
from master.memory import Memory, OtherLayout, adopt_memory, create_memory
from master.notify import Notifier
from master.peer_records import PeerRecords, assign_records
from master.pidfile import refuse_second_master, remove_pid_file, write_pid_file
from master.signals import IGNORING, Arrival, block_signals, take_signal
from master.sockets import ListeningSockets, bind_patiently
from master.start_log import StartLog
from master.state_files import provide_state_directories
from master.upgrade import Upgrade
from master.user import worker_identity
from master.watchdog import Watchdog, limit_of
from master.workers import Worker, Workers, describe_end
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.identity import WPROXY
from wproxy.shared import (
    HEAD_BEGUN,
    HEAD_GENERATION,
    HEAD_OUTCOME,
    HEAD_READY,
    HEAD_RELOADED,
    HEAD_REOPENED,
    HEAD_STARTED,
    HEAD_STOPPING,
    MAX_WORKERS,
)

Load = Callable[[], Configuration]

READY_TIMEOUT = 10.0  # seconds for a new generation until all its workers serve
READY_INTERVAL = 0.01  # seconds between two looks at a new generation
# Seconds from one TERM to the next; after the last follows KILL, 3.15 seconds after the first (nginx: ngx_master_process_cycle).
STOP_PACE = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
STOP_TIMEOUT = sum(STOP_PACE)
SHORT_LIFE = 1.0  # seconds: who dies younger probably dies at once again
RESPAWN_DELAYS = (0.1, 5.0)  # seconds, first and longest: doubled from one short life to the next
FATAL_CODE = 2  # of a worker that says that no successor would fare better
IDLE = 60.0  # seconds: the longest wait for a signal


def supervise(
    load: Load,
    work: Work,
    configuration: Configuration | None = None,
    foreground: bool | None = None,
    log: StartLog | None = None,
) -> int:
    """Run a master until it is told to stop; returns the exit code.

    load: reads the configuration, at the start (unless `configuration` is given) and at every reload; raises
        ConfigurationError. It is the one thing that may take its time.
    work: what a worker does; see `wproxy.assignment` for what it is given and `master.workers` for what it owes.
    foreground: overrides the configuration's `daemon`.
    log: where a failed start is told, and under which name we run; by default on stderr, as wproxy.

    In the background it returns twice: in the process that was called, 0 when the first generation serves and 1 when it
    does not, and in the daemon at its end. Whatever prevents the start is told in the log, a line for each problem.
    """
    sockets = ListeningSockets()
    log = log or StartLog()
    parent = os.getppid()
    inheritance = take_inheritance(os.environ, os.getpid(), parent)
    inheritance.complaints += sockets.adopt(inheritance.sockets, inheritance.owns_files)
    if inheritance.is_upgrade:
        sockets.keep_company()
    log_inheritance(inheritance, log.tell)
    try:
        configuration = configuration or load()
        log.tell_all("warn", (*configuration.warnings, *process_warnings(configuration)))
        refuse_unsafe(configuration)
        if configuration.pid:
            refuse_second_master(configuration.path(configuration.pid))
        # Before the background, because an address in use is the usual mistake, and retried while nobody waits for us.
        bind_patiently(sockets, configuration.all_listeners, worker_count(configuration))
    except ConfigurationError as error:
        log.tell_all("emerg", error.problems)
        if configuration:
            tell_configured_logs(configuration, log, error)
        return 1
    except KeyboardInterrupt:
        return 130
    report = StartReport(log, inheritance.report, inheritance.is_foreground if inheritance.is_upgrade else None)
    if not inheritance.counts_as_daemon and not (foreground if foreground is not None else not configuration.daemon):
        pid, pipe = daemonise()
        if pid:
            sockets.keep_only(())
            return wait_for_start(pid, pipe, log)
        report = StartReport(log, pipe)
        parent = os.getppid()
    setproctitle.setproctitle(f"{log.identity.name}: master process {' '.join(sys.argv)}")
    try:
        master = Master(load, work, sockets, report, log, inheritance, parent)
    except OSError as error:  # no memory, no descriptors
        report.failed(f"the master cannot start: {error}")
        sockets.close()
        return 1
    return master.run(configuration)


def describe(error: ConfigurationError) -> str:
    """Every problem on a line of its own."""
    return "\n".join(map(str, error.problems))


def refuse_unsafe(configuration: Configuration) -> None:
    """Raises ConfigurationError for what it asks for, we do not do yet, and nobody is safe without."""
    if configuration.refusals:
        raise ConfigurationError(*configuration.refusals)


def tell_configured_logs(configuration: Configuration, log: StartLog, error: ConfigurationError) -> None:
    """Leave the reasons of a failed start where the operator has asked for errors, too, if that can be opened at all."""
    targets = configuration.error_log_targets
    if log.is_among([path for path, _ in targets]):
        return
    try:
        configured = open_error_log(targets, worker_identity(configuration.user), configuration.identity.name)
    except ConfigurationError:  # the start has failed for a better reason, which is told already
        return
    for problem in error.problems:
        configured.write("emerg", str(problem))
    configured.close()


def log_inheritance(inheritance: Inheritance, write: Callable[[str, str], None]) -> None:
    """Tell what there is to tell about it, each as (level, text)."""
    for level, text in inheritance.complaints:
        write(level, text)


class Master:
    """The loop and what it holds.

    current: the generation that serves; pending: the one being tried.
    stopping: "", or the way we stop, "quit" or "stop".
    is_not_accepting: the workers were sent away by WINCH.
    parent: who was our parent when we started.
    """

    def __init__(
        self,
        load: Load,
        work: Work,
        sockets: ListeningSockets,
        report: StartReport,
        log: StartLog,
        inheritance: Inheritance,
        parent: int,
    ) -> None:
        self.load = load
        self.inheritance = inheritance
        self.parent = parent
        self.command = own_command()
        self.notifier = Notifier(os.environ.get("NOTIFY_SOCKET", ""))
        self.start_log = log
        self.sockets = sockets
        self.report = report
        self.current: Generation | None = None
        self.pending: Generation | None = None
        self.stopping = ""
        self.failure = ""  # why the start failed
        self.has_log_apart = False  # whether errors go where a start does not tell them anyway
        self.reload_wanted = False
        self.respawns: list[tuple[float, Generation, int]] = []  # when, and whom
        self.error_log = open_error_log([("stderr", "error")])  # until the configuration's own is open
        self.memory_loss = ""  # why we have not gone on with the memory of our predecessor
        self.memory = self.find_memory()
        self.shared = self.memory.shared
        self.records = PeerRecords(self.shared)
        self.lifeline_read, self.lifeline_write = os.pipe()
        self.watchdog = Watchdog()
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.workers = Workers(
            self.memory,
            work,
            self.lifeline_read,
            self.leave_master,
            log.identity,
            heeds_winch=self.may_stop_accepting,
            bell=self.bell,
        )
        self.is_not_accepting = False
        self.next_term = math.inf  # monotonic seconds
        self.terms = iter(STOP_PACE)
        self.upgrade = Upgrade(self)

    def find_memory(self) -> Memory:
        """Our predecessor's, where it has one that we understand, else a new one; raises OSError."""
        if self.inheritance.memory >= 0:
            try:
                return adopt_memory(self.inheritance.memory, self.inheritance.parent)
            except (OtherLayout, OSError, ValueError) as error:
                self.memory_loss = f"{error}: the health of peers and all counters start anew"
        return create_memory()

    def run(self, configuration: Configuration) -> int:
        """Start, then turn after turn until no worker is left to wait for; returns the exit code."""
        block_signals()
        self.shared.set_head(HEAD_STARTED, int(time.time()))
        try:
            self.pending = self.prepare(configuration)
        except ConfigurationError as error:
            self.failure = describe(error)
            self.stop()
        except Exception as error:
            self.error_log.write("alert", f"unexpected: {traceback.format_exc().rstrip()}")
            self.failure = f"cannot start: {type(error).__name__}: {error}"
            self.stop()
        while not (self.stopping and not self.workers):
            self.turn()
        return self.leave()

    def turn(self) -> None:
        """Wait for a signal, not longer than something else is due, then do what is to be done."""
        arrival = take_signal(self.seconds_to_wait())
        try:
            # All that have come, before anything is done: a HUP beside a QUIT, which the kernel hands out first, is dropped.
            while arrival:
                self.heed(arrival)
                arrival = take_signal(0.0)
            for worker, status in self.workers.reap(self.upgrade.bury):
                self.bury(worker, status)
            self.do_what_is_due()
        except Exception:  # a bug of ours must not take the workers down
            self.error_log.write("alert", f"unexpected: {traceback.format_exc().rstrip()}")
            time.sleep(READY_INTERVAL)

    def seconds_to_wait(self) -> float:
        """How long nothing is due, unless a signal comes."""
        if self.pending or any(worker.owes_reopen for worker in self.workers.all()):
            return READY_INTERVAL
        if self.reload_wanted or self.upgrade.wanted:
            return 0.0
        due = [when for when, _, _ in self.respawns] + [worker.kill_at for worker in self.workers.all()]
        due += [self.next_term, self.watchdog.next_look]
        return max(0.0, min(IDLE, self.upgrade.due(), min(due) - time.monotonic()))

    def heed(self, arrival: Arrival) -> None:
        """What a signal asks for. TERM overrides a QUIT in progress; after either there are no reloads and no upgrades."""
        match arrival.signal:
            case signal.SIGUSR2 if self.upgrade.obstacle():
                self.error_log.write("notice", arrival.describe(IGNORING))
            case signal.SIGWINCH if not self.may_stop_accepting:
                self.error_log.write("notice", arrival.describe(""))
                return
            case _:
                self.error_log.write("notice", str(arrival))
        match arrival.signal:
            case signal.SIGTERM | signal.SIGINT:
                self.stop()
            case signal.SIGQUIT:
                if not self.stopping:
                    self.quit()
            case signal.SIGUSR1:
                self.reopen_logs()
            case _ if self.stopping:
                return
            case signal.SIGHUP:
                self.reload_wanted = True
            case signal.SIGUSR2:
                self.upgrade.ask()
            case signal.SIGWINCH:
                self.stop_accepting()

    @property
    def may_stop_accepting(self) -> bool:
        """Whether WINCH is heeded: a terminal sends it to who runs in the foreground when its window changes its size."""
        return not self.report.is_foreground or self.inheritance.counts_as_daemon

    def do_what_is_due(self) -> None:
        """Kill, respawn, settle and reload whatever has its time now."""
        now = time.monotonic()
        for worker in self.workers.kill_overdue(now):
            self.error_log.write("alert", f"worker process {worker.pid} did not exit in time, killed")
        for worker in self.watchdog.look(self.workers.all(), now):
            where = worker.generation.configuration.origin("worker_watchdog")
            text = f"worker process {worker.pid} hangs: its loop has not turned for {limit_of(worker):g} seconds"
            self.error_log.write("alert", f"{text} (worker_watchdog: {where}), ending it")
        for worker in self.workers.all():
            if worker.owes_reopen:
                worker.reopen_logs()
        if self.next_term <= now:
            self.terminate(now)
        self.upgrade.look()
        due = [respawn for respawn in self.respawns if respawn[0] <= now]
        self.respawns = [respawn for respawn in self.respawns if respawn[0] > now]
        for _, generation, index in due:
            self.respawn(generation, index)
        if self.pending:
            self.settle(self.pending)
        elif self.reload_wanted:
            self.reload_wanted = False
            if self.upgrade.successor:
                self.serve_beside_new_binary()
            else:
                self.reload()
        elif self.upgrade.wanted:
            self.upgrade.begin()

    # The transaction.

    def reload(self) -> None:
        """Try a new generation. Whatever is wrong with it, the current one serves on."""
        self.shared.set_head(HEAD_BEGUN, self.shared.head(HEAD_BEGUN) + 1)
        self.error_log.write("notice", "reconfiguring")
        # Configurations are full of cycles, and what `fork_worker` freezes and thaws the collector takes for old and hardly ever
        # looks at: those that are gone would pile up (measured: 14 KB a reload of a small one).
        gc.collect()
        self.notifier.reloading()
        try:
            self.pending = self.prepare(self.load())
        except ConfigurationError as error:
            self.refuse(describe(error))
        except Exception as error:  # a bug in reading the file is no reason to stop serving the old one
            self.error_log.write("alert", f"unexpected: {traceback.format_exc().rstrip()}")
            self.refuse(f"the configuration cannot be loaded: {type(error).__name__}: {error}")

    def prepare(self, configuration: Configuration) -> Generation:
        """Everything a generation needs, and its workers; raises ConfigurationError with everything undone."""
        refuse_unsafe(configuration)
        count = worker_count(configuration)
        if count > self.workers.free_slots():
            raise ConfigurationError(Problem(f"too many workers, old ones included: there is room for {MAX_WORKERS}"))
        identity = worker_identity(configuration.user)
        refuse_missing_directory(configuration)
        generation = Generation(
            number=self.shared.head(HEAD_GENERATION) + 1,
            configuration=configuration,
            identity=identity,
            sockets=(),
            workers=count,
            log=open_error_log(configuration.error_log_targets, identity, configuration.identity.name),
            pid_path=configuration.path(configuration.pid) if configuration.pid else "",
        )
        if self.current is None:
            self.error_log = generation.log
            if self.memory_loss:
                generation.log.write("warn", self.memory_loss)
            self.has_log_apart = not self.start_log.is_among([path for path, _ in configuration.error_log_targets])
            self.introduce()
        try:
            provide_logs(configuration, identity)
            assign_records(configuration.upstreams, self.records, generation)
            for problem in self.sockets.bind(configuration.all_listeners, count):
                generation.log.write("warn", str(problem))
            generation.sockets = self.sockets.of(configuration.all_listeners)
            provide_state_directories(configuration, identity)
            # Late: who waits for the pid file takes it that clients can connect.
            if self.has_new_pid_file(generation):
                refuse_second_master(generation.pid_path)
                write_pid_file(generation.pid_path, os.getpid())
            if self.current or self.has_log_apart:
                for warning in (*configuration.warnings, *process_warnings(configuration)):
                    generation.log.write("warn", str(warning))
            generation.log.write("notice", "start worker processes")
            for index in range(count):
                self.start_worker(generation, index)
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
        identity = self.start_log.identity
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        system = os.uname()
        for line in (
            f"{identity.token}, wproxy {WPROXY.version}, Python {sys.version.split()[0]}",
            f"OS: {system.sysname} {system.release}",
            f"getrlimit(RLIMIT_NOFILE): {soft}:{hard}",
        ):
            self.error_log.write("notice", line)
        if self.has_log_apart:
            log_inheritance(self.inheritance, self.error_log.write)

    def settle(self, pending: Generation) -> None:
        """Commit if all its workers serve, give up if time is up."""
        if all(worker.is_serving for worker in self.workers.of(pending)):
            self.commit(pending)
        elif time.monotonic() - pending.born > READY_TIMEOUT:
            self.abandon(pending, f"the new workers did not serve within {READY_TIMEOUT:g} seconds")

    def commit(self, generation: Generation) -> None:
        """From now on this generation serves."""
        old, self.current, self.pending = self.current, generation, None
        self.is_not_accepting = False
        self.error_log = generation.log
        self.inheritance.restore_standard_error()
        for unused in self.sockets.unconfigured(generation.configuration.all_listeners):
            self.error_log.write("notice", f"inherited socket {unused} is not configured, closed")
        if not self.report.is_foreground:
            self.error_log.take_over_stderr()
        self.respawns = []  # they were the old one's
        self.sockets.commit(generation.configuration.all_listeners)
        self.shared.set_head(HEAD_GENERATION, generation.number)
        self.shared.set_head(HEAD_RELOADED, int(time.time()))
        if old is None:
            self.shared.set_head(HEAD_OUTCOME, 1)
            self.shared.set_head(HEAD_READY, 1)
            self.report.serves()
            self.start_log.close()  # or a rotation could never free the file
            if not self.upgrade.predecessor:
                self.notifier.ready(os.getpid(), self.describe_generation())
            return
        if old.pid_path and old.pid_path != generation.pid_path:
            remove_pid_file(old.pid_path, os.getpid())
        self.retire(old)
        old.log.close()
        self.error_log.write("notice", f"generation {generation.number} serves")
        self.shared.write_outcome(True, f"generation {generation.number} serves")
        self.notifier.ready(os.getpid(), self.describe_generation())

    def describe_generation(self) -> str:
        """A line for the service manager."""
        assert self.current
        return f"generation {self.current.number} serves with {self.current.workers} workers"

    def abandon(self, generation: Generation, reason: str) -> None:
        """It did not come to serve: undo it, and say why."""
        self.pending = None
        self.undo(generation)
        if self.current:
            self.refuse(reason)
        elif self.stopping and self.report.is_foreground:
            pass  # whoever stopped us knows; it is no failure of the start
        else:
            self.failure = reason
            if not self.stopping:
                self.stop()

    def undo(self, generation: Generation) -> None:
        """End the workers of a generation that never served, and take back what it alone has."""
        # Those that serve may have clients already, from sockets that they share with the current generation.
        for worker in self.workers.of(generation):
            worker.retire(signal.SIGQUIT if worker.is_serving else signal.SIGKILL, generation.patience())
        self.release(generation)
        self.sockets.roll_back()
        if self.has_new_pid_file(generation):
            remove_pid_file(generation.pid_path, os.getpid())
        if generation.log is not self.error_log:
            generation.log.close()

    def has_new_pid_file(self, generation: Generation) -> bool:
        """Whether its pid file is one that the current generation does not have."""
        return bool(generation.pid_path) and not (self.current and self.current.pid_path == generation.pid_path)

    def refuse(self, reason: str) -> None:
        """A reload failed: log it and tell whoever waits for it."""
        for line in reason.splitlines():
            self.error_log.write("emerg", line)
        self.shared.write_outcome(False, reason)
        self.notifier.ready(os.getpid(), f"{self.describe_generation()}; a reload failed")

    # Workers.

    def start_worker(self, generation: Generation, index: int) -> None:
        """Fork a worker of this generation; raises OSError."""
        worker = self.workers.start(generation, index)
        generation.log.write("notice", f"start worker process {worker.pid}")

    def leave_master(self, generation: Generation, own: Iterable[int]) -> None:
        """In a new worker of this generation: give up what is the master's alone, and all sockets but its own."""
        os.close(self.lifeline_write)  # or no worker would ever read the end of it
        self.report.close()
        self.start_log.close()
        self.sockets.keep_only(own)
        if generation.log is not self.error_log:
            self.error_log.close()
        self.inheritance.restore_standard_error()
        if not self.report.is_foreground:
            generation.log.take_over_stderr()

    def bury(self, worker: Worker, status: int) -> None:
        """A worker has ended: say so, and see to its succession."""
        level, text = describe_end(worker, status)
        self.error_log.write(level, text)
        if worker.stack:
            told = worker.stack.replace("\n", "\n\t")
            self.error_log.write("alert", f"worker process {worker.pid} was in:\n\t{told}")
        self.rescue_lines(worker)
        generation = worker.generation
        if generation is self.pending:
            self.abandon(generation, f"{text} before it served")
        elif generation is self.current and os.WIFEXITED(status) and os.WEXITSTATUS(status) == FATAL_CODE:
            text = f"worker process {worker.pid} exited with fatal code {FATAL_CODE} and cannot be respawned"
            self.error_log.write("alert", text)
        elif generation is self.current and not worker.is_retiring:
            lived = time.monotonic() - worker.started
            lives = generation.short_lives.get(worker.index, 0) + 1 if lived < SHORT_LIFE else 0
            generation.short_lives[worker.index] = lives
            self.respawn_later(generation, worker.index)
        self.release(generation)

    def rescue_lines(self, worker: Worker) -> None:
        """Write the lines of access logs that a worker was killed with."""
        try:
            if worker.unwritten.write_out(worker.generation.identity):
                self.error_log.write("info", f"access log lines of worker process {worker.pid} written after its end")
        except OSError as error:
            text = f'write() to "{error.filename}" failed ({error.errno}: {error.strerror}), access log lines lost'
            self.error_log.write("alert", text)
        finally:
            worker.unwritten.close()

    def respawn_later(self, generation: Generation, index: int) -> None:
        """At once, unless its predecessors died young: a crash at the start must not become a storm of forks."""
        lives = generation.short_lives.get(index, 0)
        first, longest = RESPAWN_DELAYS
        delay = min(longest, first * 2 ** (lives - 1)) if lives else 0.0
        self.respawns.append((time.monotonic() + delay, generation, index))

    def respawn(self, generation: Generation, index: int) -> None:
        """Start the successor of a worker that died, later again if that fails."""
        try:
            self.start_worker(generation, index)
        except OSError as error:
            self.error_log.write("alert", f'fork() failed while spawning "worker process" ({error.errno}: {error.strerror})')
            generation.short_lives[index] = generation.short_lives.get(index, 0) + 1
            self.respawn_later(generation, index)

    def release(self, generation: Generation) -> None:
        """Free the records of a generation of which nothing is left."""
        if generation not in (self.current, self.pending) and not self.workers.of(generation):
            self.records.release(generation)

    def retire(self, generation: Generation) -> None:
        """Its workers finish what they have begun, then go."""
        for worker in self.workers.of(generation):
            if not worker.is_retiring:
                # Who has not served yet has nothing to finish, and no handler for QUIT.
                worker.retire(signal.SIGTERM if worker.is_starting else signal.SIGQUIT, generation.patience())
        self.release(generation)

    def reopen_logs(self) -> None:
        """After a rotation: our own, then the workers theirs."""
        try:
            reopen_error_log(self.error_log)
            if self.current:
                provide_logs(self.current.configuration, self.current.identity)
        except ConfigurationError as error:  # goes to the old file, which is better than nowhere
            self.error_log.write("emerg", describe(error))
        for worker in self.workers.all():
            worker.reopen_logs()
        self.shared.set_head(HEAD_REOPENED, self.shared.head(HEAD_REOPENED) + 1)

    # Beside a new binary.

    def stop_accepting(self) -> None:
        """WINCH: the workers finish and leave, the sockets stay open and clients wait in their queues."""
        if self.current:
            self.is_not_accepting = True
            self.respawns = []
            self.retire(self.current)

    def restart_workers(self) -> None:
        """Start again the workers that `stop_accepting` has sent away."""
        generation = self.current
        assert generation
        self.is_not_accepting = False
        self.sockets.commit(generation.configuration.all_listeners)  # the other master may have set other options
        there = {worker.index for worker in self.workers.of(generation) if not worker.is_retiring}
        for index in range(generation.workers):
            if index not in there:
                self.respawn(generation, index)

    def serve_beside_new_binary(self) -> None:
        """HUP to an old binary: serve with the configuration that there is, once."""
        self.shared.set_head(HEAD_BEGUN, self.shared.head(HEAD_BEGUN) + 1)
        if self.is_not_accepting:
            self.restart_workers()
            text = "the workers of the old binary are started again, with its old configuration"
        else:
            text = "the workers of the old binary serve already"
        self.error_log.write("notice", text)
        self.shared.write_outcome(True, text)

    # Stopping.

    def quit(self) -> None:
        """Stop gracefully: nobody is let in any more, and everybody inside is served."""
        self.stop_reloading("quit")
        for generation in {worker.generation for worker in self.workers.all()}:
            self.retire(generation)

    def stop(self) -> None:
        """Stop at once; who has not gone in STOP_TIMEOUT is killed."""
        self.stop_reloading("stop")
        self.terms = iter(STOP_PACE)
        self.terminate(time.monotonic(), STOP_TIMEOUT)

    def terminate(self, now: float, patience: float = math.inf) -> None:
        """TERM to all, who will be killed after so many seconds."""
        for worker in self.workers.all():
            worker.retire(signal.SIGTERM, now + patience)
        self.next_term = now + next(self.terms, math.inf)

    def stop_reloading(self, way: str) -> None:
        """From now on only stop: give up what was being loaded, and the sockets."""
        if self.pending:
            self.settle(self.pending)  # it may have come to serve since we last looked
        pending, self.stopping = self.pending, way
        self.reload_wanted = False
        self.upgrade.wanted = False
        self.respawns = []
        self.shared.set_head(HEAD_STOPPING, 1)
        if self.upgrade.successor:
            self.notifier.hand_over(self.upgrade.successor.pid)
        elif not self.upgrade.predecessor:
            self.notifier.stopping("finishing requests" if way == "quit" else "stopping")
        if pending:
            self.abandon(pending, "the master was told to stop before the new workers served")
        self.sockets.close()

    def leave(self) -> int:
        """Nobody is left: remove what we put into the file system; returns the exit code."""
        own_pid_file = self.upgrade.leave_pid_file()
        if own_pid_file:
            remove_pid_file(own_pid_file, os.getpid())
        if self.failure:
            self.report.failed(self.failure)
            for line in self.failure.splitlines() if self.has_log_apart else ():
                self.error_log.write("emerg", line)
        self.error_log.write("notice", "exit")
        self.error_log.close()
        os.close(self.lifeline_read)
        os.close(self.lifeline_write)
        os.close(self.bell)
        self.memory.close()
        return 1 if self.failure else 0
