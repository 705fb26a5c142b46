"""A real master on a trivial worker, for tests: run as a script it supervises, imported it starts and asks such scripts.

The configuration is a JSON file that a test rewrites before a reload. What the worker answers to any line is its pid, its
generation, its index and the configured text; it serves whoever has connected until the line has come, also after QUIT.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

from master import generation, sockets
from master.memory import Memory, NoMaster, open_memory_of
from master.start_log import StartLog
from master.supervise import supervise
from wproxy.address import Address, parse_listen_address
from wproxy.config.model import Listener, Peer
from wproxy.config.tree import ConfigurationError, Position, Problem
from wproxy.directives.listen import SocketOptions
from wproxy.directives.processes import cpu_affinity
from wproxy.identity import NGINX, WPROXY
from wproxy.shared import (
    CACHE_MANAGER,
    DRAINING,
    HEAD_READY,
    HEAD_REOPENS_BEGUN,
    SERVING,
    WORKER_ACCEPTED,
    WORKER_ACTIVE,
    WORKER_GENERATION,
    WORKER_PID,
    WORKER_REOPENED,
    WORKER_REQUESTS,
    WORKER_STATE,
    WORKER_TURNS,
)

if TYPE_CHECKING:  # the file is a script too, run from anywhere
    from tests.prepared import Adopted, Prepared

# In the script.


NO_FILE = ("off", "stdout")


def load(path: str) -> Any:
    """The configuration in the JSON file, in the shape that the master reads."""
    with open(path) as file:
        written = json.load(file)
    if "broken" in written:
        raise ConfigurationError(Problem(written["broken"], Position(path, 3, 5)))
    if "bug" in written:
        raise KeyError(written["bug"])
    sys.modules["master.transaction"].READY_TIMEOUT = written.get("ready_timeout", 10.0)  # type: ignore[attr-defined]
    sockets.BIND_PAUSE = written.get("bind_pause", 0.05)
    generation.STRAGGLER_TIMEOUT = written.get("straggler_timeout", 5.0)
    prefix = os.path.dirname(path) + "/"
    listeners = tuple(
        Listener(parse_listen_address(address), Position(path, line, 1), SocketOptions(**written.get("options", {})))
        for line, address in enumerate(written["listen"], start=1)
    )
    return SimpleNamespace(
        listeners=listeners,
        all_listeners=listeners,
        upstreams=tuple(
            SimpleNamespace(name=name, state=None, peers=tuple(Peer(peer, Address("127.0.0.1", 1), peer) for peer in peers))
            for name, peers in written.get("upstreams", {}).items()
        ),
        servers=(),
        tls_files=(),
        has_tls=False,
        read_at_start=(),
        identity=WPROXY,
        tree=None,
        access_log_files=[
            prefix + path if path[0] != "/" else path for path in written.get("access_logs", ()) if path not in NO_FILE
        ],
        error_log_files=[written.get("error_log", prefix + "error.log")],
        master_process=written.get("master_process", True),
        worker_processes=written.get("workers", 2),
        daemon=written.get("daemon", False),
        pid=written.get("pid", "wproxy.pid"),
        user=None,
        warnings=tuple(map(Problem, written.get("warnings", ()))),
        refusals=tuple(map(Problem, written.get("refusals", ()))),
        worker_shutdown_timeout=written.get("worker_shutdown_timeout"),
        worker_watchdog=written.get("worker_watchdog", 0.0),
        worker_rlimit_nofile=written.get("worker_rlimit_nofile"),
        worker_rlimit_core=written.get("worker_rlimit_core"),
        worker_priority=written.get("worker_priority"),
        worker_cpu_affinity=cpu_affinity(*written["worker_cpu_affinity"]) if "worker_cpu_affinity" in written else None,
        worker_connections=512,
        own_directories=frozenset(written.get("own_directories", ())),
        made_directories=written.get("made_directories", {}),
        working_directory=written.get("working_directory"),
        env=tuple(map(tuple, written.get("env", ()))),
        prefix=prefix,
        origin=lambda name: "default",
        is_transparent=written.get("transparent", False),
        error_log_targets=[(written.get("error_log", prefix + "error.log"), "debug")],
        path=lambda name: name if name.startswith("/") else prefix + name,
        text=written.get("text", ""),
        manager=written.get("manager", False),  # whether there is a cache manager
        bad_worker=written.get("bad_worker"),  # [index, what is wrong with it]
    )


def work(assignment: Any, stays: bool = False) -> None:
    """Serve as the module says, in one short loop. stays: until QUIT, with nothing to listen on."""
    index, fault = assignment.configuration.bad_worker or (-1, "")
    fault = fault if index in (assignment.index, "all") else ""
    is_armed = os.path.exists(assignment.configuration.path("armed"))
    if fault == "raises" or (fault == "raises when armed" and is_armed):
        raise RuntimeError("this worker is bad")
    assignment.drop_privileges()
    told: set[int] = set()
    for number in (signal.SIGQUIT, signal.SIGUSR1):
        signal.signal(number, lambda number, _: told.add(number))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if fault == "exits":
        raise SystemExit(7)
    if fault == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if fault == "hangs when armed" and is_armed:
        hang_in_c()
    slot = assignment.shared.worker(assignment.slot)
    selector = selectors.DefaultSelector()
    selector.register(assignment.lifeline, selectors.EVENT_READ)
    listening = [socket.socket(fileno=one.fileno) for one in assignment.listening]
    for one in listening:
        selector.register(one, selectors.EVENT_READ, "listening")
    clients = 0
    if fault != "never serves":
        slot.set(WORKER_STATE, SERVING)
    while listening or clients or stays:
        if fault == "turns":
            slot.set(WORKER_TURNS, slot.get(WORKER_TURNS) + 1)
        if signal.SIGQUIT in told and fault != "deaf":
            for one in listening:
                selector.unregister(one)
                one.close()
            listening, stays = [], False
            slot.set(WORKER_STATE, DRAINING)
            told.clear()
        if signal.SIGUSR1 in told:
            slot.set(WORKER_TURNS, slot.get(WORKER_TURNS) + 1)  # stands for reopened logs here
            slot.set(WORKER_REOPENED, assignment.shared.head(HEAD_REOPENS_BEGUN))
            told.clear()
        for key, _ in selector.select(0.02):
            if key.fileobj == assignment.lifeline:
                return
            if key.data == "listening":
                try:
                    client = key.fileobj.accept()[0]
                except BlockingIOError:
                    continue
                clients += 1
                slot.set(WORKER_ACCEPTED, slot.get(WORKER_ACCEPTED) + 1)
                selector.register(client, selectors.EVENT_READ, "client")
            else:
                line = key.fileobj.recv(100)
                if line == b"hang\n":
                    hang_in_python()
                if line == b"hang in c\n":
                    hang_in_c()
                if line == b"fatal\n":
                    raise SystemExit(2)
                if line == b"crash\n":
                    os.kill(os.getpid(), signal.SIGSEGV)
                if line == b"where\n":
                    key.fileobj.send(f"{os.getcwd()} {os.environ.get('TZ')} {time.tzname[0]}".encode())
                elif line:
                    text = os.path.expandvars(assignment.configuration.text)
                    answer = f"{os.getpid()} {assignment.generation} {assignment.index} {text}"
                    slot.set(WORKER_REQUESTS, slot.get(WORKER_REQUESTS) + 1)
                    key.fileobj.send(answer.encode())
                selector.unregister(key.fileobj)
                key.fileobj.close()
                clients -= 1
            slot.set(WORKER_ACTIVE, clients)


def manage(assignment: Any) -> None:
    """Be a process beside the workers: there until it is told to go."""
    assert not assignment.listening
    work(assignment, stays=True)


def hang_in_python() -> None:
    """A loop without end."""
    while True:
        pass


def hang_in_c() -> None:
    """The same in C, where no Python handler is ever run."""
    sum(itertools.repeat(0))


# In the tests.


class Answer(NamedTuple):
    pid: int
    generation: int
    index: int
    text: str


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Look until the condition holds and return what it says; fails the test when time is up."""
    deadline = time.monotonic() + seconds
    while not (holds := condition()):
        assert time.monotonic() < deadline, "did not come true in time"
        select.select([], [], [], 0.005)
    return holds


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that its parent has not reaped yet has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def connect(address: Address) -> socket.socket:
    client = socket.socket(socket.AF_UNIX if address.is_unix else socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(10)
    try:
        client.connect(address.host if address.is_unix else (address.host, address.port))
    except OSError:
        client.close()
        raise
    return client


def is_refused(address: Address) -> bool:
    try:
        connect(address).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    return False


def ask(client: socket.socket) -> Answer:
    """Send the line on a connection, read the answer, close."""
    with client:
        client.sendall(b"hello\n")
        pid, generation, index, text = client.recv(1000).decode().split(" ", 3)
        return Answer(int(pid), int(generation), int(index), text)


prepared: Prepared | None = None  # while pytest runs the tests of this directory


class RunningMaster:
    """A master that a test has started in the foreground, and what can be asked of it."""

    def __init__(self, directory: str, **written: Any) -> None:
        self.path = f"{directory}/conf.json"
        self.pid_path = f"{directory}/wproxy.pid"
        self.log_path = f"{directory}/error.log"
        from bench.ports import free_port  # not at the top: the file is a script too, run from anywhere

        self.written: dict[str, Any] = {"listen": [f"127.0.0.1:{free_port()}"], **written}
        self.write()
        self.process: Adopted | subprocess.Popen[str] | None = None
        self.words: tuple[str, ...] = ()  # the path of a start log, to run as nginx
        self.environment: dict[str, str] = {}  # beside our own
        self.pass_fds: tuple[int, ...] = ()

    @property
    def address(self) -> Address:
        return parse_listen_address(self.written["listen"][0])

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def write(self, **changes: Any) -> None:
        """Rewrite the configuration file; None removes an entry."""
        self.written.update(changes)
        with open(self.path, "w") as file:
            json.dump({name: value for name, value in self.written.items() if value is not None}, file)

    def start(self) -> RunningMaster:
        """Start it and wait until it serves."""
        self.launch()
        until(lambda: (self.process and self.process.poll() is not None) or self.is_ready())
        assert self.process and self.process.poll() is None, self.process.communicate()[1]
        return self

    def launch(self) -> Adopted | subprocess.Popen[str]:
        is_usual = self.command()[:2] == [sys.executable, __file__] and not self.environment and not self.pass_fds
        if prepared is not None and is_usual:
            self.process = prepared.become_with_pipe(self.command(), os.getcwd())
            return self.process
        environment = {**os.environ, **self.environment}
        self.process = subprocess.Popen(
            self.command(),
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=environment,
            pass_fds=self.pass_fds,
        )
        return self.process

    def command(self) -> list[str]:
        return [sys.executable, __file__, self.path, *self.words]

    def is_ready(self) -> bool:
        try:
            with self.memory() as memory:
                return memory.shared.head(HEAD_READY) == 1
        except NoMaster:
            return False

    def memory(self, pid: int | None = None) -> Memory:
        """The memory of this master, or of another one that an upgrade has put beside it."""
        return open_memory_of(self.pid if pid is None else pid)

    def head(self, word: int, pid: int | None = None) -> int:
        with self.memory(pid) as memory:
            return memory.shared.head(word)

    def workers(self, state: int | None = SERVING, generation: int | None = None) -> list[int]:
        """The pids of the workers in a state (None: any) and of a generation (None: any)."""
        with self.memory() as memory:
            return [
                slot.get(WORKER_PID)
                for slot in memory.shared.workers()
                if (state is None or slot.get(WORKER_STATE) == state)
                and (generation is None or slot.get(WORKER_GENERATION) == generation)
            ]

    def count(self, word: int) -> int:
        """A word of all workers' slots, added up."""
        with self.memory() as memory:
            return sum(slot.get(word) for slot in memory.shared.workers())

    def ask(self) -> Answer:
        return ask(connect(self.address))

    def signal(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)

    def exit_code(self) -> int:
        assert self.process
        self.process.communicate(timeout=15)
        return self.process.returncode

    def log(self) -> str:
        with open(self.log_path) as file:
            return file.read()

    def end(self) -> None:
        """Make sure that it and all its workers are gone."""
        if self.process is None:
            return
        family = [self.process.pid]
        if self.process.poll() is None:
            family += [child.pid for child in psutil.Process(self.process.pid).children()]
            self.process.terminate()
        try:
            self.process.communicate(timeout=8)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        # Every process we have seen is gone; a master that left one behind has a bug.
        until(lambda: all(is_gone(pid) for pid in family))


@contextmanager
def running_master(directory: Any, **written: Any) -> Iterator[RunningMaster]:
    """A master that serves, and that is ended at the end."""
    master = RunningMaster(str(directory), **written)
    try:
        yield master.start()
    finally:
        master.end()


if __name__ == "__main__":
    start_log = StartLog(NGINX, sys.argv[2]) if len(sys.argv) > 2 else None
    manager = generation.Role(CACHE_MANAGER, manage, lambda configuration: configuration.manager)
    raise SystemExit(supervise(lambda: load(sys.argv[1]), work, log=start_log, roles=(manager,)))
