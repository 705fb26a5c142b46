"""The life of the master: bind, go to the background, then turn after turn until it is told to stop (nginx:
ngx_master_process_cycle).

The master never serves and never blocks: it waits for signals, with a time limit if something is due, and every turn of its loop
is short, except for the loading of a configuration. The work of a turn is in

    master.transaction    a start and a reload: all of it, or nothing
    master.succession     the replacement of workers that have ended
    master.upgrade        the upgrade of the program, with a second master beside this one
    master.reopening      new log files after a rotation
    master.alone          the single process of `master_process off`
    master.ending         quitting and stopping
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback

from master.alone import Alone
from master.daemon import StartReport, daemonise, wait_for_start
from master.directories import provide_own_directories
from master.ending import Ending
from master.generation import Role, Work, worker_count
from master.inheritance import take_inheritance
from master.limits import process_warnings
from master.log import open_error_log
from master.pidfile import refuse_second_master
from master.reopening import Reopening
from master.signals import IGNORING, Arrival, block_signals, take_signal
from master.sockets import ListeningSockets, bind_patiently
from master.start_log import StartLog
from master.state import Load, State, make_state
from master.succession import Succession
from master.titles import name_process
from master.transaction import Transaction, refuse_unsafe
from master.upgrade import Upgrade
from master.user import worker_identity
from master.watchdog import Watchdog, limit_of
from master.workers import Workers
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError
from wproxy.lasting import LASTING
from wproxy.log_files import plain_place

READY_INTERVAL = 0.01  # seconds between two looks at a new generation
IDLE = 60.0  # seconds: the longest wait for a signal


def supervise(
    load: Load,
    work: Work,
    configuration: Configuration | None = None,
    foreground: bool | None = None,
    log: StartLog | None = None,
    roles: tuple[Role, ...] = (),
) -> int:
    """Run a master until it is told to stop; returns the exit code.

    load: reads the configuration, at the start (unless `configuration` is given) and at every reload; raises
        ConfigurationError. It is the one thing that may take its time.
    work: the function that a worker runs; `wproxy.assignment` describes what it gets and `master.workers` its duties.
    roles: the processes that a generation has in addition to its workers, if its configuration asks for them.
    foreground: overrides the configuration's `daemon`.
    log: the place to report a failed start, with the name that we run under; by default stderr, as wproxy.

    In the background it returns twice: in the process that was called, 0 when the first generation serves and 1 when it
    does not, and in the daemon at its end. Obstacles to the start are reported in the log, a line for each problem.
    """
    sockets = ListeningSockets()
    log = log or StartLog()
    parent = os.getppid()
    inheritance = take_inheritance(os.environ, os.getpid(), parent)
    inheritance.complaints += sockets.adopt(inheritance.sockets, inheritance.owns_files, inheritance.keeper)
    if inheritance.is_upgrade:
        sockets.keep_company()
    if inheritance.lasting >= 0:
        LASTING.adopt(inheritance.lasting)  # before a configuration is read
    inheritance.tell(log.tell)
    try:
        configuration = configuration or load()
        log.tell_all("warn", (*configuration.warnings, *process_warnings(configuration)))
        refuse_unsafe(configuration)
        if configuration.pid:
            refuse_second_master(configuration.path(configuration.pid))
        # Before going to the background, because an address in use is the usual mistake, and retried while no parent waits for
        # us.
        is_alone = inheritance.is_reload or not configuration.master_process
        bind_patiently(sockets, configuration.all_listeners, 1 if is_alone else max(1, worker_count(configuration)))
    except ConfigurationError as error:
        log.tell_all("emerg", error.problems)
        if configuration:
            tell_configured_logs(configuration, log, error)
        return 1
    except KeyboardInterrupt:
        return 130
    is_told = inheritance.is_upgrade or inheritance.is_reload
    report = StartReport(log, inheritance.report, inheritance.is_foreground if is_told else None)
    if not inheritance.counts_as_daemon and not (foreground if foreground is not None else not configuration.daemon):
        pid, pipe = daemonise()
        if pid:
            sockets.keep_only(())
            return wait_for_start(pid, pipe, log)
        report = StartReport(log, pipe)
        parent = os.getppid()
    if not is_alone:
        name_process(log.identity.name, f"master process {' '.join(sys.argv)}")
    try:
        state = make_state(load, roles, sockets, report, log, inheritance, parent, is_alone)
    except OSError as error:  # no memory, no descriptors
        report.failed(f"the master cannot start: {error}")
        sockets.close()
        return 1
    master = Master(state, work)
    if is_alone:
        return Alone(state, master.transaction, master.reopening, master.ending, work).run(configuration)
    return master.run(configuration)


def tell_configured_logs(configuration: Configuration, log: StartLog, error: ConfigurationError) -> None:
    """Report the reasons of a failed start also in the configured error log, if that can be opened at all."""
    targets = configuration.error_log_targets
    if log.is_among([plain_place(path) for path, _ in targets]):
        return
    try:
        owner = worker_identity(configuration.user)
        provide_own_directories(configuration, owner)
        configured = open_error_log(targets, owner, configuration.identity.name)
    except ConfigurationError:  # the start has failed for a better reason, which is reported already
        return
    for problem in error.problems:
        configured.write("emerg", str(problem))
    configured.close()


class Master:
    """The loop of the master, and its parts."""

    def __init__(self, state: State, work: Work) -> None:
        self.state = state
        self.watchdog = Watchdog()
        self.succession = Succession(state)
        state.workers = Workers(
            state.memory,
            work,
            state.lifeline_read,
            self.succession.leave_master,
            state.start_log.identity,
            heeds_winch=state.may_stop_accepting,
            bell=state.bell,
            has_other_master=lambda: bool(state.successor or state.predecessor),
        )
        self.transaction = Transaction(state, self.succession)
        self.upgrade = Upgrade(state, self.succession)
        self.reopening = Reopening(state)
        self.ending = Ending(state, self.succession, self.transaction, self.upgrade)

    def run(self, configuration: Configuration) -> int:
        """Start, then run turn after turn until no worker is left to wait for; return the exit code."""
        block_signals()
        self.transaction.begin(configuration)
        self.stop_if_start_failed()
        while not (self.state.stopping and not self.state.workers):
            self.turn()
        return self.ending.leave()

    def turn(self) -> None:
        """Wait for a signal, at most until something else is due, then do what is due."""
        arrival = take_signal(self.seconds_to_wait())
        try:
            # All signals that have arrived, before anything is done: a HUP beside a QUIT, which the kernel hands out first, is
            # dropped.
            while arrival:
                self.heed(arrival)
                arrival = take_signal(0.0)
            for worker, status in self.state.workers.reap(self.upgrade.bury):
                failure = self.succession.bury(worker, status)
                if failure:
                    self.transaction.abandon(worker.generation, failure)
            self.do_what_is_due()
            self.stop_if_start_failed()
        except Exception:  # a bug of ours must not take the workers down
            self.state.error_log.write("alert", f"unexpected: {traceback.format_exc().rstrip()}")
            time.sleep(READY_INTERVAL)

    def stop_if_start_failed(self) -> None:
        """Stop when the first generation cannot serve."""
        if self.state.failure and not self.state.stopping:
            self.ending.stop()

    def seconds_to_wait(self) -> float:
        """Return how long nothing is due, unless a signal comes."""
        if self.state.pending or self.reopening.is_under_way:
            return READY_INTERVAL
        if self.state.reload_wanted or self.upgrade.wanted:
            return 0.0
        due = [self.succession.due(), self.ending.next_term, self.watchdog.next_look]
        due += [worker.kill_at for worker in self.state.workers.all()]
        return max(0.0, min(IDLE, self.upgrade.due(), min(due) - time.monotonic()))

    def heed(self, arrival: Arrival) -> None:
        """Obey a signal. TERM overrides a QUIT in progress; after either there are no reloads and no upgrades."""
        match arrival.signal:
            case signal.SIGUSR2 if self.upgrade.obstacle():
                self.state.error_log.write("notice", arrival.describe(IGNORING))
            case signal.SIGWINCH if not self.state.may_stop_accepting:
                self.state.error_log.write("notice", arrival.describe(""))
                return
            case _:
                self.state.error_log.write("notice", str(arrival))
        match arrival.signal:
            case signal.SIGTERM | signal.SIGINT:
                self.ending.stop()
            case signal.SIGQUIT:
                if not self.state.stopping:
                    self.ending.quit()
            case signal.SIGUSR1:
                self.reopening.begin()
            case _ if self.state.stopping:
                return
            case signal.SIGHUP:
                self.state.reload_wanted = True
            case signal.SIGUSR2:
                self.upgrade.ask()
            case signal.SIGWINCH:
                self.upgrade.stop_accepting()

    def do_what_is_due(self) -> None:
        """Kill, respawn, settle and reload whatever is due now."""
        now = time.monotonic()
        for worker in self.state.workers.kill_overdue(now):
            self.state.error_log.write("alert", f"{worker.title} did not exit in time, killed")
        for worker in self.watchdog.look(self.state.workers.all(), now):
            where = worker.generation.configuration.origin("worker_watchdog")
            text = f"{worker.title} hangs: its loop has not turned for {limit_of(worker):g} seconds"
            self.state.error_log.write("alert", f"{text} (worker_watchdog: {where}), ending it")
        self.reopening.look()
        if self.ending.next_term <= now:
            self.ending.terminate(now)
        self.upgrade.look()
        self.succession.respawn_due(now)
        if self.state.pending:
            self.transaction.settle(self.state.pending)
        elif self.state.reload_wanted:
            self.state.reload_wanted = False
            if self.state.successor:
                self.upgrade.serve_beside_new_binary()
            else:
                self.transaction.reload()
        elif self.upgrade.wanted:
            self.upgrade.begin()
