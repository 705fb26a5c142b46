"""The life of a worker: attach to its share, serve until told to leave, drain, exit (nginx: ngx_worker_process_cycle)."""

from __future__ import annotations

import gc
import math
import signal
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

import setproctitle

from worker import pipes
from worker.attach import attach_server
from worker.client.accept import Acceptors
from worker.client.clients import Clients
from worker.descriptor import Descriptor
from worker.logs import FLUSH_PAUSE, AccessLogs, ErrorLogs, log_request
from worker.loop import READ, Loop, Task, give_way, park, sleep
from worker.regex_guard import install_regex_guard
from worker.room import Room
from worker.services import Logs, Services, make_services
from worker.signals import ORDERS, heed_signals
from worker.stream import Stream
from worker.upstream.checks import HealthChecks
from worker.upstream.exchange import proxy_request
from wproxy.assignment import Assignment
from wproxy.config.model import Configuration
from wproxy.http import Process
from wproxy.shared import (
    DRAINING,
    HEAD_CONNECTIONS,
    HEAD_REOPENS_BEGUN,
    SERVING,
    WORKER_ACCEPTED,
    WORKER_ACTIVE,
    WORKER_ORDERS,
    WORKER_READING,
    WORKER_REFUSED,
    WORKER_REOPEN_FAILED,
    WORKER_REOPENED,
    WORKER_REQUESTS,
    WORKER_STATE,
    WORKER_TUNNELS,
    WORKER_TURNS,
    WORKER_WAITING,
    WORKER_WRITING,
)
from wproxy.variables import hear_complaints

if TYPE_CHECKING:
    from worker.tracing.exporter import Exporter

# The interval, in seconds, at which counters in shared memory are updated and idle upstream connections checked.
TICK = 0.5
# How long an unused pipe is kept, in seconds; at most twice that.
PIPES_KEPT = 5.0
# How long a worker waits for names before it serves, in seconds.
NAMES_PATIENCE = 2.0
# The same for the servers at which machines count together: without them it serves as well.
LINKS_PATIENCE = 0.5
# The thresholds of the cyclic collector for young objects: requests make no cycles, so they are high.
GC_THRESHOLDS = (20000, 20, 100)

# The consequence of a signal, in nginx's words.
CONSEQUENCE = {
    signal.SIGQUIT: ", shutting down",
    signal.SIGTERM: ", exiting",
    signal.SIGINT: ", exiting",
    signal.SIGUSR1: ", reopening logs",
    signal.SIGHUP: ", ignoring",
    signal.SIGUSR2: ", ignoring",
    signal.SIGWINCH: "",
}
# The longest wait for the last spans to reach their collector, in seconds.
LAST_EXPORT = 1.0


def work(assignment: Assignment) -> None:
    """Be a worker; return when it has left. Raises OSError or CannotBegin when it cannot begin."""
    gc.set_threshold(*GC_THRESHOLDS)
    worker = Worker(assignment)
    assignment.drop_privileges()
    try:
        worker.run()
    finally:
        worker.access_logs.close()


def exporter_of(configuration: Configuration, services: Services) -> Exporter | None:
    """Return the exporter of spans, if one is configured."""
    if configuration.exporter is None:
        return None
    from worker.tracing.exporter import Exporter

    return Exporter(services, configuration.exporter)


class Worker:
    """The state of one worker process."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.configuration = configuration = assignment.configuration
        self.loop = Loop(self.report)
        self.error_logs = ErrorLogs(configuration, lambda: self.loop.clock.wall, assignment.distrusted, assignment.error_log)
        self.error_log = self.error_logs.main
        self.access_logs = AccessLogs(
            configuration, self.loop.clock, self.error_log.write, assignment.unwritten, assignment.distrusted
        )
        self.slot = assignment.shared.worker(assignment.slot)
        assignment.shared.become_worker(assignment.slot, assignment.memory_fileno)
        # The number of the master's signals that have been obeyed: further ones come from another process, and are logged.
        self._orders = 0
        self._is_to_abort = False
        self.clients = Clients(self.loop.stop, self.access_logs.flush_prompt)
        self.room = Room(self.loop, configuration.worker_connections, self.clients.connections, self.error_log.write)
        self.room.let_go = self._close_surplus
        self.loop.lacks_room, self.loop.has_plenty = self.room.lacks, self.room.has_plenty
        self.process = Process(assignment.identity, self.connection_counts)
        logs = Logs(self.error_log, self.error_logs.log_of, self.access_logs.writer)
        services = make_services(assignment, self.loop, self.process, logs, self.clients, proxy_request)
        self._services = services
        self.groups = services.groups
        self.thread_pools = services.thread_pools
        self.discovery = services.discovery
        self.bell = services.bell
        self.edits = services.edits
        self.links = services.links
        self.counting = services.counting
        # Numbers of connections are unique among the workers of a generation: each takes every n-th.
        step = assignment.workers
        base = assignment.shared.head(HEAD_CONNECTIONS) + assignment.index + 1 - step
        self.acceptors = Acceptors(
            self.loop,
            configuration,
            self.process,
            self.clients,
            self.room,
            self.error_log,
            lambda count: base + count * step,
            assignment.tls,
            self.discovery.resolver,
        )
        hear_complaints(log_request)
        self.exporter = exporter_of(configuration, services)
        services.add_spans = None if self.exporter is None else self.exporter.add
        if self.counting is not None:
            self.counting.sources += [self.lost_lines, *([] if self.exporter is None else [self.exporter.counts])]
            if self.links:
                self.counting.sources.append(self.links.counts)
        for server in configuration.all_servers:
            attach_server(server, services)
        self.checks = HealthChecks(services)
        self.caches = services.caches

    def run(self) -> None:
        """Serve until told to leave and done."""
        loop = self.loop
        self._heed_signals()
        loop.spawn(self._watch_master(), "lifeline")
        loop.running = True
        self.discovery.start(self.configuration.upstreams, self.groups)
        self.edits.heed()
        self.links.start()
        self.room.uncounted = self.bell.start()
        self._await_names()
        self._prepare_tls()
        for listening in self.assignment.listening:
            self.acceptors.listen(listening)
        loop.spawn(self._tick(), "tick")
        self.slot.set(WORKER_STATE, SERVING)
        self.edits.heed()  # a worker that made a change since then did not see that we serve
        self.checks.start()
        if self.caches and self.assignment.own_master is not None:
            from worker.cache.processes import manage_alone

            manage_alone(self.caches, loop)
        if self.exporter is not None:
            self.exporter.start()
        while loop.running:
            self.turn()
        if self.exporter is not None:
            self._export_rest(self.exporter)
        self._publish()
        if self.counting is not None:
            self.counting.publish()
        if self._is_to_abort:
            self.error_log.write("alert", "aborting")

    def _prepare_tls(self) -> None:
        """Fetch OCSP responses for certificates with `ssl_stapling`, and look for sessions where all workers do."""
        tls = self.assignment.tls
        if tls is None:
            return
        if any(context.inquiries for context in tls.of.values()):
            from worker.tls.stapling import Stapler

            Stapler(self._services, tls).start()
        if any(context.sessions is not None for context in tls.of.values()):
            from worker.tls.shared_sessions import share_sessions

            share_sessions(tls, self.loop.clock)

    def _export_rest(self, exporter: Exporter) -> None:
        """Let the last spans reach their collector, if they do so soon."""
        exporter.finish()
        clock = self.loop.clock
        deadline = clock.now + LAST_EXPORT
        while not exporter.is_done and clock.now < deadline:
            self.loop.turn(deadline - clock.now)

    def turn(self, longest: float = 3600.0) -> None:
        """Let the loop turn; before it waits, write the collected log lines."""
        loop, logs = self.loop, self.access_logs
        if not logs.flush_if_due():
            loop.turn(longest)
        elif not loop.turn(0.0):
            loop.turn(min(longest, FLUSH_PAUSE) if logs.flush_prompt() else longest)

    def _await_names(self) -> None:
        """Let upstreams whose peers depend on a name server get them before the first request arrives, and links come up."""
        loop = self.loop
        began = loop.clock.now
        while loop.running and not self.clients.draining:
            ends = (
                began + NAMES_PATIENCE if not self.discovery.is_ready else began,
                began + LINKS_PATIENCE if not self.links.are_settled else began,
            )
            if max(ends) <= loop.clock.now:
                break
            loop.turn(max(ends) - loop.clock.now)

    def report(self, task: Task, error: BaseException) -> None:
        """Log where a bug ended a task; everything else continues."""
        trace = "".join(traceback.format_exception(error)).rstrip().replace("\n", "\n\t")
        self.error_log.write("alert", f"a bug ended {task.name or 'a task'}: {trace}")

    # Leaving.

    def drain(self) -> None:
        """Take no new connections, close idle ones, finish the others, then end."""
        if self.clients.draining:
            return
        self.slot.set(WORKER_STATE, DRAINING)
        name = self.assignment.identity.name
        setproctitle.setproctitle(f"{name}: worker process is shutting down")
        setproctitle.setthreadtitle(name)
        self.acceptors.close()
        for group in self.groups.values():
            group.close_idle()
        self.discovery.close_idle()
        self.checks.resign()
        self.clients.drain(self.loop.clock.now)
        timeout = self.configuration.worker_shutdown_timeout
        if timeout is not None:
            self.loop.spawn(self._leave_after(timeout), "worker_shutdown_timeout")

    async def _leave_after(self, seconds: float) -> None:
        """Wait for worker_shutdown_timeout, then cut the remaining connections."""
        await sleep(seconds)
        if self.clients.connections:
            where = self.configuration.origin("worker_shutdown_timeout")
            self.error_log.write(
                "notice", f"{len(self.clients.connections)} connections closed by worker_shutdown_timeout {seconds:g}: {where}"
            )
            self.clients.cut(f"worker_shutdown_timeout {seconds:g} is over ({where})")
            await give_way()  # they are logged
        self.loop.stop()

    # Signals and the master.

    def _heed_signals(self) -> None:
        """Listen to signals from now on."""
        stream, self._wakeup = heed_signals(self.loop)
        install_regex_guard()
        self.loop.spawn(self._obey(stream), "signals")

    async def _obey(self, stream: Stream) -> None:
        """Act on signals."""
        deeds: dict[int, Callable[[], None]] = {
            signal.SIGQUIT: self.drain,
            signal.SIGTERM: self.loop.stop,
            signal.SIGINT: self.loop.stop,
            signal.SIGUSR1: self.reopen_logs,
        }
        if self.assignment.own_master is not None:
            deeds |= {signal.SIGHUP: self._reload, signal.SIGQUIT: self.loop.stop}
        if self.assignment.heeds_winch:
            deeds[signal.SIGWINCH] = self._drain_and_abort
        while True:
            await park(stream, READ, float("inf"))
            for number in stream.recv(64):
                if number not in CONSEQUENCE:
                    continue  # that of the guard of regexes
                self._tell_of_signal(number)
                deed = deeds.get(number)
                if deed is not None:
                    deed()

    def _tell_of_signal(self, number: int) -> None:
        """Log a signal that is not the master's (nginx: ngx_signal_handler; a Python handler does not learn the sender)."""
        orders = self.slot.get(WORKER_ORDERS)
        if orders != self._orders and number in ORDERS:
            self._orders = orders
            return
        consequence = CONSEQUENCE[signal.Signals(number)]
        if number == signal.SIGWINCH and self.assignment.heeds_winch:
            consequence = ", shutting down"
        if number == signal.SIGHUP and self.assignment.own_master is not None:
            consequence = ", reconfiguring"
        self.error_log.write("notice", f"signal {number} ({signal.Signals(number).name}) received{consequence}")

    def _reload(self) -> None:
        """Reload on HUP, as master and worker in one process; this does not return if the new configuration is good."""
        assert self.assignment.own_master is not None
        successor = self.assignment.own_master.reload()
        if successor >= 0:  # we are the copy that stays for the connections
            self.loop.spawn(self._end_with(successor), "successor")
            self.drain()

    async def _end_with(self, process: int) -> None:
        """End when the process with that descriptor ends."""
        stream = Stream(self.loop, Descriptor(process))
        self.loop.add(stream)
        await park(stream, READ, float("inf"))
        self.loop.stop()

    def _drain_and_abort(self) -> None:
        """Handle WINCH to a worker: leave gracefully, then log where a debugging nginx would stop (nginx: ngx_debug_quit)."""
        self._is_to_abort = True
        self.drain()

    def reopen_logs(self) -> None:
        """Write to the files that have the names now, after a rotation, and tell the master."""
        begun = self.assignment.shared.head(HEAD_REOPENS_BEGUN)
        for reopen in (self.error_logs.reopen, self.access_logs.reopen):
            try:
                reopen()
            except OSError as error:
                # We keep the old file, which is better than none.
                self.slot.set(WORKER_REOPEN_FAILED, begun)
                self.error_log.write("emerg", f'open() "{error.filename}" failed ({error.errno}: {error.strerror})')
        self.slot.set(WORKER_REOPENED, begun)
        if self.assignment.own_master is not None:
            self.assignment.own_master.reopen()

    async def _watch_master(self) -> None:
        """Finish and exit when the master is gone: then no process can tell us to leave."""
        stream = Stream(self.loop, Descriptor(self.assignment.lifeline))
        self.loop.add(stream)
        await park(stream, READ, float("inf"))
        self.error_log.write("alert", "the master process is gone, leaving gracefully")
        stream.close()
        self.drain()

    async def _tick(self) -> None:
        """Do the periodic work."""
        look_at_pipes = 0.0
        while True:
            self._publish()
            if self.loop.clock.now >= look_at_pipes:
                look_at_pipes = self.loop.clock.now + PIPES_KEPT
                pipes.pool.close_spare()
            for group in self.groups.values():
                if group.idle_count:
                    group.close_expired()
                group.look_at_turns()
                group.publish()
            if self.counting is not None:
                for _ in self.counting.publishing(is_asked=False):
                    await give_way()
            self.edits.tick()
            self.discovery.close_expired()
            due = self.loop.clock.now + TICK
            await sleep(TICK)
            if self.counting is not None:
                self.counting.count_lag(max(0.0, self.loop.clock.now - due))

    def lost_lines(self) -> tuple[tuple[int, int], ...]:
        """Return how many lines of logs were lost, for the counters."""
        from wproxy.counters.layout import LOST_ACCESS_LINES, LOST_ERROR_LINES

        return (LOST_ACCESS_LINES, self.access_logs.lost), (LOST_ERROR_LINES, self.error_logs.lost)

    def _close_surplus(self) -> None:
        """Close the idle connections to upstreams beyond `keepalive` that are kept for a moment: the room gets tight."""
        for group in self.groups.values():
            group.close_surplus(math.inf)

    def connection_counts(self) -> tuple[int, int, int, int]:
        """Return the clients of all workers: (active, reading, writing, waiting); ours now, others' as of their last tick.

        It visits each of our own: for a log or a status page now and then. Totals that are shown beside are published first, so
        that no other worker shows less, and no killed one takes anything back.
        """
        self._publish_totals()
        active, reading, writing, waiting = self.clients.count()
        shared = self.assignment.shared
        for index in range(shared.slots):
            if index != self.assignment.slot:
                slot = shared.worker(index)
                active += slot.get(WORKER_ACTIVE)
                reading += slot.get(WORKER_READING)
                writing += slot.get(WORKER_WRITING)
                waiting += slot.get(WORKER_WAITING)
        return active, reading, writing, waiting

    def _publish_totals(self) -> None:
        """Update what only grows in the shared memory."""
        self.slot.set(WORKER_ACCEPTED, self.clients.accepted)
        self.slot.set(WORKER_REFUSED, self.clients.refused)
        self.slot.set(WORKER_REQUESTS, self.clients.begun)

    def _publish(self) -> None:
        """Update this worker's counters in the shared memory."""
        slot = self.slot
        active, reading, writing, waiting = self.clients.count()
        slot.set(WORKER_ACTIVE, active)
        slot.set(WORKER_READING, reading)
        slot.set(WORKER_WRITING, writing)
        slot.set(WORKER_WAITING, waiting)
        if self.clients.draining:
            slot.set(WORKER_TUNNELS, self.clients.count_tunnels())
        self._publish_totals()
        slot.set(WORKER_TURNS, self.loop.turns)
