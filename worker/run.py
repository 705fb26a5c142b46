"""The life of a worker: attach to its share, serve until told to leave, drain, go (nginx: ngx_worker_process_cycle)."""

from __future__ import annotations

import gc
import signal
import socket
import traceback
from collections.abc import Callable

import setproctitle

from worker import pipes
from worker.attach import attach_server
from worker.client.accept import Acceptors
from worker.client.clients import Clients
from worker.logs import FLUSH_PAUSE, AccessLogs, ErrorLogs, log_request
from worker.loop import READ, Loop, Task, park, sleep
from worker.regex_guard import install_regex_guard
from worker.room import Room
from worker.services import Logs, make_services
from worker.stream import Descriptor, Stream
from worker.upstream.checks import HealthChecks
from worker.upstream.exchange import proxy_request
from wproxy.assignment import Assignment
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
    WORKER_REOPEN_FAILED,
    WORKER_REOPENED,
    WORKER_REQUESTS,
    WORKER_STATE,
    WORKER_TURNS,
    WORKER_WAITING,
)
from wproxy.variables import hear_complaints

# How often the counters in shared memory are brought up to date and idle upstream connections are looked over, in seconds.
TICK = 0.5
# How long a pipe that nobody needs is kept, in seconds; at most twice that.
PIPES_KEPT = 5.0
# How long a worker waits for names before it serves, in seconds.
NAMES_PATIENCE = 2.0
# How often the cyclic collector looks at young objects: requests make no cycles, so rarely.
GC_THRESHOLDS = (20000, 20, 100)

# What follows from a signal, in nginx's words.
CONSEQUENCE = {
    signal.SIGQUIT: ", shutting down",
    signal.SIGTERM: ", exiting",
    signal.SIGINT: ", exiting",
    signal.SIGUSR1: ", reopening logs",
    signal.SIGHUP: ", ignoring",
    signal.SIGUSR2: ", ignoring",
}
SIGNALS = (*CONSEQUENCE, signal.SIGWINCH)
# Those that the master sends.
ORDERS = (signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1)


def work(assignment: Assignment) -> None:
    """Be a worker; returns when it has left. Raises OSError or CannotBegin when it cannot begin."""
    gc.set_threshold(*GC_THRESHOLDS)
    worker = Worker(assignment)
    assignment.drop_privileges()
    try:
        worker.run()
    finally:
        worker.access_logs.close()


class Worker:
    """All that belongs to one worker process."""

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
        # Signals of the master's that have been obeyed: those beyond it come from somebody else, and are told of.
        self._orders = 0
        self._is_to_abort = False
        self.clients = Clients(self.loop.stop, self.access_logs.flush_prompt)
        self.room = Room(self.loop, configuration.worker_connections, self.clients.connections, self.error_log.write)
        self.loop.lacks_room = self.room.lacks
        self.process = Process(assignment.identity, self.connection_counts)
        # Numbers of connections are unique among the workers of a generation: each takes every n-th.
        step = assignment.workers
        base = assignment.shared.head(HEAD_CONNECTIONS) + assignment.index + 1 - step
        self.acceptors = Acceptors(
            self.loop, configuration, self.process, self.clients, self.room, self.error_log, lambda count: base + count * step
        )
        logs = Logs(self.error_log, self.error_logs.log_of, self.access_logs.writer)
        services = make_services(assignment, self.loop, self.process, logs, self.clients, proxy_request)
        self.groups = services.groups
        self.thread_pools = services.thread_pools
        self.discovery = services.discovery
        self.edits = services.edits
        hear_complaints(log_request)
        for server in configuration.all_servers:
            attach_server(server, services)
        self.checks = HealthChecks(services)

    def run(self) -> None:
        """Serve until told to leave and done."""
        loop = self.loop
        self._heed_signals()
        loop.spawn(self._watch_master(), "lifeline")
        loop.running = True
        self.discovery.start(self.configuration.upstreams, self.groups)
        self.room.uncounted = self.edits.start()
        self._await_names()
        for listening in self.assignment.listening:
            self.acceptors.listen(listening)
        loop.spawn(self._tick(), "tick")
        self.slot.set(WORKER_STATE, SERVING)
        self.edits.heed()  # whoever has changed something since did not see that we serve
        self.checks.start()
        while loop.running:
            self.turn()
        self._publish()
        if self._is_to_abort:
            self.error_log.write("alert", "aborting")

    def turn(self, longest: float = 3600.0) -> None:
        """Let the loop turn; before it waits, the lines that have come together are written."""
        loop, logs = self.loop, self.access_logs
        if not logs.flush_if_due():
            loop.turn(longest)
        elif not loop.turn(0.0):
            loop.turn(min(longest, FLUSH_PAUSE) if logs.flush_prompt() else longest)

    def _await_names(self) -> None:
        """Let upstreams whose peers only a name server knows have them before the first request comes."""
        loop = self.loop
        deadline = loop.clock.now + NAMES_PATIENCE
        while loop.running and not self.clients.draining and not self.discovery.is_ready and loop.clock.now < deadline:
            loop.turn(deadline - loop.clock.now)

    def report(self, task: Task, error: BaseException) -> None:
        """A bug ended a task: say where, go on with everything else."""
        trace = "".join(traceback.format_exception(error)).rstrip().replace("\n", "\n\t")
        self.error_log.write("alert", f"a bug ended {task.name or 'a task'}: {trace}")

    # Leaving.

    def drain(self) -> None:
        """Take no new connections, close idle ones, finish the others, then end."""
        if self.clients.draining:
            return
        self.slot.set(WORKER_STATE, DRAINING)
        setproctitle.setproctitle(f"{self.assignment.identity.name}: worker process is shutting down")
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
        """worker_shutdown_timeout: whoever is not done by then is cut."""
        await sleep(seconds)
        if self.clients.connections:
            where = self.configuration.origin("worker_shutdown_timeout")
            self.error_log.write(
                "notice", f"{len(self.clients.connections)} connections closed by worker_shutdown_timeout {seconds:g}: {where}"
            )
        self.loop.stop()

    # Signals and the master.

    def _heed_signals(self) -> None:
        """Turn signals into bytes on a socket of the loop: a handler alone would not end the wait (PEP 475)."""
        receiver, sender = socket.socketpair()
        receiver.setblocking(False)
        sender.setblocking(False)
        stream = Stream(self.loop, receiver)
        self.loop.add(stream)
        self._wakeup = sender
        signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a process that is its own master has kept them waiting
        install_regex_guard()
        self.loop.spawn(self._obey(stream), "signals")

    async def _obey(self, stream: Stream) -> None:
        """Do what signals say."""
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
                self._tell_of_signal(number)
                deed = deeds.get(number)
                if deed is not None:
                    deed()

    def _tell_of_signal(self, number: int) -> None:
        """Log a signal that did not come from the master (nginx: ngx_signal_handler; a Python handler is not told the sender)."""
        orders = self.slot.get(WORKER_ORDERS)
        if orders != self._orders and number in ORDERS:
            self._orders = orders
            return
        if number == signal.SIGWINCH:
            consequence = ", shutting down" if self.assignment.heeds_winch else ""
        else:
            consequence = CONSEQUENCE[signal.Signals(number)]
        if number == signal.SIGHUP and self.assignment.own_master is not None:
            consequence = ", reconfiguring"
        self.error_log.write("notice", f"signal {number} ({signal.Signals(number).name}) received{consequence}")

    def _reload(self) -> None:
        """HUP, in a process that is master and worker at once: it does not come back if the new configuration is good."""
        assert self.assignment.own_master is not None
        successor = self.assignment.own_master.reload()
        if successor >= 0:  # we are the copy that stays for the connections
            self.loop.spawn(self._end_with(successor), "successor")
            self.drain()

    async def _end_with(self, process: int) -> None:
        """When the process with that descriptor ends, so do we."""
        stream = Stream(self.loop, Descriptor(process))
        self.loop.add(stream)
        await park(stream, READ, float("inf"))
        self.loop.stop()

    def _drain_and_abort(self) -> None:
        """WINCH to a worker: leave gracefully, and say at the end what a debugging nginx stops at (nginx: ngx_debug_quit)."""
        self._is_to_abort = True
        self.drain()

    def reopen_logs(self) -> None:
        """After a rotation: write to the files that have the names now, and tell the master."""
        begun = self.assignment.shared.head(HEAD_REOPENS_BEGUN)
        for reopen in (self.error_logs.reopen, self.access_logs.reopen):
            try:
                reopen()
            except OSError as error:
                # We go on with the old file, which is better than nowhere.
                self.slot.set(WORKER_REOPEN_FAILED, begun)
                self.error_log.write("emerg", f'open() "{error.filename}" failed ({error.errno}: {error.strerror})')
        self.slot.set(WORKER_REOPENED, begun)
        if self.assignment.own_master is not None:
            self.assignment.own_master.reopen()

    async def _watch_master(self) -> None:
        """When the master is gone nobody will tell us to leave: finish what there is and go."""
        stream = Stream(self.loop, Descriptor(self.assignment.lifeline))
        self.loop.add(stream)
        await park(stream, READ, float("inf"))
        self.error_log.write("alert", "the master process is gone, leaving gracefully")
        stream.close()
        self.drain()

    async def _tick(self) -> None:
        """What has to be done now and then."""
        look_at_pipes = 0.0
        while True:
            self._publish()
            if self.loop.clock.now >= look_at_pipes:
                look_at_pipes = self.loop.clock.now + PIPES_KEPT
                pipes.pool.close_spare()
            for group in self.groups.values():
                if group.idle_count:
                    group.close_expired()
                group.publish()
            self.edits.tick()
            self.discovery.close_expired()
            await sleep(TICK)

    def connection_counts(self) -> tuple[int, int, int, int]:
        """The clients of all workers: (active, reading, writing, waiting); ours now, others' as of their last tick.

        It looks at each of our own: for a log or a status page now and then.
        """
        active, reading, waiting = self.clients.count()
        shared = self.assignment.shared
        for index in range(shared.slots):
            if index != self.assignment.slot:
                slot = shared.worker(index)
                active += slot.get(WORKER_ACTIVE)
                reading += slot.get(WORKER_READING)
                waiting += slot.get(WORKER_WAITING)
        return active, reading, max(0, active - reading - waiting), waiting

    def _publish(self) -> None:
        """Bring this worker's counters in the shared memory up to date."""
        slot = self.slot
        active, reading, waiting = self.clients.count()
        slot.set(WORKER_ACTIVE, active)
        slot.set(WORKER_READING, reading)
        slot.set(WORKER_WAITING, waiting)
        slot.set(WORKER_ACCEPTED, self.clients.accepted)
        slot.set(WORKER_REQUESTS, self.clients.requests)
        slot.set(WORKER_TURNS, self.loop.turns)
