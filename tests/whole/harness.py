"""A real wproxy for tests: started from a configuration file, asked over sockets, told by commands and signals, watched by psutil.

Nothing here waits for time to pass: `until` polls a condition and gives up at a deadline.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

from bench.ports import free_port
from master.memory import NoMaster, open_memory_of
from tests.prepared import Adopted, Prepared
from wproxy.shared import HEAD_READY

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = Path(__file__).resolve().parent / "backends"
COMMAND = (sys.executable, "-m", "wproxy")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
PATIENCE = 10.0  # seconds: generous, for machines that are shared

Found = TypeVar("Found")


def until(condition: Callable[[], Found], what: str | Callable[[], str], seconds: float = PATIENCE) -> Found:
    """Poll until the condition holds; returns what it returned. AssertionError when it never does."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.005)


def accepts(address: int | str | tuple[str, int]) -> bool:
    """Whether a connection to an address, as `connect` takes it, is accepted."""
    try:
        connect(address).close()
    except OSError:
        return False
    return True


def connect(address: int | str | tuple[str, int], timeout: float = PATIENCE) -> socket.socket:
    """A connection to a port of 127.0.0.1, to a unix socket, or to a host and port."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return sock
    sock = socket.create_connection(("127.0.0.1", address) if isinstance(address, int) else address, timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def descendants() -> set[psutil.Process]:
    """All processes below us that run; orphans that have ended are buried on the way."""
    running = set()
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                running.add(process)
            elif process.ppid() == os.getpid() and process.pid not in _OURS:
                os.waitpid(process.pid, os.WNOHANG)
        except (psutil.NoSuchProcess, ChildProcessError):
            pass
    return running


# The pids that a Popen object waits for: they are not buried by anybody else.
_OURS: set[int] = set()


# Becomes what begins with COMMAND, where that is not what a test is about; there is one while pytest runs.
prepared: Prepared | None = None


class Program:
    """A child process with its output in a file; ended by its pid."""

    def __init__(self, command: Sequence[str], directory: Path, cwd: Path = ROOT, is_prepared: bool = False) -> None:
        """is_prepared: for a command that begins with COMMAND."""
        directory.mkdir(parents=True, exist_ok=True)
        name = f"{Path(command[0]).name}-{random.randrange(1 << 32):08x}"
        self.command = list(command)
        self.output_path = directory / f"{name}.output"
        self.error_path = directory / f"{name}.errors"
        with self.output_path.open("wb") as output, self.error_path.open("wb") as errors:
            self.popen: Adopted | subprocess.Popen[bytes]
            if is_prepared and prepared is not None:
                self.popen = prepared.become(self.command, cwd, output, errors)
            else:
                self.popen = subprocess.Popen(
                    self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=ENVIRONMENT, cwd=cwd
                )
        self.pid = self.popen.pid
        _OURS.add(self.pid)

    @property
    def output(self) -> str:
        return self.output_path.read_text(errors="replace")

    @property
    def errors(self) -> str:
        return self.error_path.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self.popen.poll() is None

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code."""
        return self.popen.wait(seconds)

    def wait_for_address(self, address: int | str | tuple[str, int]) -> None:
        """Until it accepts connections there; AssertionError when it ends first."""

        def serves() -> bool:
            assert self.is_running, f"{self.command} ended with {self.popen.returncode}:\n{self.output}{self.errors}"
            return accepts(address)

        until(serves, lambda: f"{self.command} does not listen on {address}:\n{self.output}{self.errors}", 60)

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it, by force when it does not go; returns the exit code."""
        if self.is_running:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.send_signal(number)
            try:
                self.popen.wait(5)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        return self.popen.wait()


class Finished:
    """What became of a command that has ended. cpu: the processor time it took, which a busy machine hardly changes; 0: not known."""

    def __init__(self, code: int, output: str, errors: str, seconds: float, cpu: float = 0.0) -> None:
        self.cpu = cpu
        self.code = code
        self.output = output
        self.errors = errors
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"<exit code {self.code} after {self.seconds:.2f} s\n{self.output}\n--- stderr:\n{self.errors}>"


def wproxy(*arguments: str, cwd: Path | str = ROOT, seconds: float = 30.0) -> Finished:
    """Run one command to its end; raises TimeoutExpired when that does not come within so many seconds."""
    began, before = time.monotonic(), cpu_of_ended_children()
    done = subprocess.run(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=cwd,
        env=ENVIRONMENT,
    )
    cpu = cpu_of_ended_children() - before
    return Finished(done.returncode, done.stdout, done.stderr, time.monotonic() - began, cpu)


def prepared_wproxy(*arguments: str, seconds: float = 30.0) -> Finished:
    """Do the same by a fork, for a test that is not about the command: without the imports, and what it leaves behind may keep its output."""
    return run_prepared([*COMMAND, *arguments], seconds=seconds)


def run_prepared(words: Sequence[str], cwd: Path = ROOT, seconds: float = 30.0) -> Finished:
    """Do this with an interpreter, and a module or a script."""
    assert prepared is not None, "pytest has one"
    began, before = time.monotonic(), cpu_of_ended_children()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        command = prepared.become(words, cwd, output, errors)
        _OURS.add(command.pid)
        try:
            command.wait(seconds)
        except subprocess.TimeoutExpired:
            command.kill()
            command.wait()
            raise
        said = []
        for file in (output, errors):
            file.seek(0)
            said.append(file.read().decode())
    cpu = cpu_of_ended_children() - before
    return Finished(command.wait(), said[0], said[1], time.monotonic() - began, cpu)


def cpu_of_ended_children() -> float:
    """Processor time, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_of_family(master: int) -> float:
    """Processor time of a running master and its workers, in seconds."""
    process = psutil.Process(master)
    family = [process, *process.children(recursive=True)]
    return sum(times.user + times.system for times in (each.cpu_times() for each in family))


_HEAD = """\
worker_processes = {workers}
daemon = {daemon}
pid = "wproxy.pid"
error_log."error.log" = "info"
{user}{main}

[http]
access_log."access.log" = "short"
log_format.short = "$status|$request|$upstream_addr|$upstream_status|$wproxy_end_cause|$body_bytes_sent"
"""


class Logged:
    """A line of the access log."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.status, self.request, self.upstream, self.upstream_status, self.cause, self.size = line.split("|")

    def __repr__(self) -> str:
        return self.line


class Wproxy:
    """A master and its workers on a configuration in a directory of their own.

    http: what the configuration says inside [http], as TOML; "{port}" stands for a free port. main: lines for its top level.
    house: the tree of the program.
    """

    def __init__(
        self,
        directory: Path,
        http: str,
        main: str = "",
        workers: int = 2,
        user: str = "root",
        daemon: bool = False,
        house: Path = ROOT,
    ) -> None:
        self.directory = directory
        self.port = free_port()
        self.file = directory / "wproxy.toml"
        self.http = http
        self.main = main
        self.workers = workers
        self.user = user
        self.daemon = daemon
        self.house = house
        self.program: Program | None = None
        self.master: psutil.Process | None = None
        self.expects_bugs = False
        directory.mkdir(parents=True, exist_ok=True)

    # Configuration.

    @property
    def text(self) -> str:
        """The configuration."""
        user = f'user = "{self.user}"\n' if self.user and os.geteuid() == 0 else ""
        head = _HEAD.format(workers=self.workers, daemon=str(self.daemon).lower(), user=user, main=self.main)
        return head + self.http.replace("{port}", str(self.port))

    def write(self) -> None:
        """Write the configuration into its file, at once as a careful operator does."""
        beside = self.file.with_suffix(".new")
        beside.write_text(self.text)
        beside.replace(self.file)

    # Life.

    def start(self) -> Wproxy:
        """Start it, and return when it serves with all its workers."""
        self.write()
        command = [*COMMAND, "start", "-c", str(self.file)]
        self.program = Program(command, self.directory, cwd=self.house, is_prepared=self.house == ROOT)
        self.program.wait_for_address(self.port)
        until(self.pid_written, "a pid file")
        self.master = psutil.Process(int((self.directory / "wproxy.pid").read_text()))
        until(self.is_ready, lambda: f"a generation that serves:\n{self.error_log}")
        if self.daemon:
            assert self.program.wait() == 0  # until then the master has a parent, as if it ran in the foreground
        assert len(self.worker_pids()) == self.workers
        return self

    def is_ready(self) -> bool:
        """Whether the master knows that its first generation serves."""
        return self.master is not None and is_ready(self.master.pid)

    def pid_written(self) -> bool:
        path = self.directory / "wproxy.pid"
        return path.exists() and path.read_text().strip().isdigit()

    def __enter__(self) -> Wproxy:
        return self.start()

    def __exit__(self, failure: object, *_: object) -> None:
        errors = self.end()
        if failure is None and not self.expects_bugs:
            assert "bug ended" not in errors, errors
            assert "Traceback" not in errors, errors

    def end(self) -> str:
        """Stop it whatever state it is in, by the pids of its processes; returns its errors."""
        family = self.family()
        if self.program is not None and self.master is not None and self.master.is_running():
            self.signal(signal.SIGTERM)
            try:
                self.program.wait(6)
            except subprocess.TimeoutExpired:
                pass
        if self.program is not None:
            self.program.end()
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        until(lambda: not any(is_alive(process) for process in family), "an end of all processes")
        return self.error_log + (self.program.errors if self.program else "")

    def family(self) -> list[psutil.Process]:
        """Master and workers, as many as run."""
        if self.master is None:
            return []
        try:
            return [self.master, *self.master.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def worker_pids(self) -> set[int]:
        """The workers that serve: not those on their way out or in."""
        found = set()
        assert self.master is not None
        for child in self.master.children():
            try:
                if child.status() != psutil.STATUS_ZOMBIE and title(child) == "wproxy: worker process":
                    found.add(child.pid)
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                pass
        return found

    def signal(self, number: int) -> None:
        """Send a signal to the master."""
        assert self.master is not None
        self.master.send_signal(number)

    def command(self, name: str, *more: str) -> Finished:
        """`wproxy NAME -c FILE`."""
        run = prepared_wproxy if self.house == ROOT and prepared is not None else wproxy
        return run(name, *more, "-c", str(self.file))

    def reload(self, http: str | None = None) -> Finished:
        """Change the configuration, and have it loaded."""
        if http is not None:
            self.http = http
        self.write()
        return self.command("reload")

    def status(self) -> dict:
        """What `wproxy status --json` says."""
        done = self.command("status", "--json")
        assert done.code == 0, done
        return json.loads(done.output)

    # Logs.

    @property
    def error_log(self) -> str:
        path = self.directory / "error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def access_log(self) -> list[Logged]:
        """All lines, in order. That of a kept connection is written soon after its answer, so ask `logged` for it."""
        path = self.directory / "access.log"
        return [Logged(line) for line in path.read_text().splitlines()] if path.exists() else []

    def logged(self, text: str) -> Logged:
        """The last line of the access log with this text, when it has come."""
        return until(
            lambda: next((line for line in reversed(self.access_log) if text in line.line), None),
            lambda: f"{text!r} in the access log:\n" + "\n".join(map(str, self.access_log[-20:])),
            5,
        )

    def error_logged(self, text: str, count: int = 1) -> str:
        """The last line of the error log with this text, when it has come (so many times)."""

        def find() -> str | None:
            lines = [line for line in self.error_log.splitlines() if text in line]
            return lines[-1] if len(lines) >= count else None

        return until(find, lambda: f"{text!r} in the error log:\n{self.error_log[-3000:]}", 5)


def is_ready(master: int) -> bool:
    """Whether a master knows that its first generation serves: a moment after clients do, and until then TERM is a failure."""
    try:
        memory = open_memory_of(master)
    except (NoMaster, OSError):
        return False
    try:
        return bool(memory.shared.head(HEAD_READY))
    finally:
        memory.close()


def title(process: psutil.Process) -> str:
    """What `ps` shows; psutil would take it apart at spaces."""
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").rstrip()
    except OSError:
        return ""


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; one that is dead and not buried does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def let_rest(process: psutil.Process) -> None:
    """Wait until a process waits: whatever it had still to do after it told us something is done then."""
    until(lambda: process.status() == psutil.STATUS_SLEEPING, lambda: f"{process} at rest")


def lines_of(text: str) -> Iterator[str]:
    """The lines with something on them."""
    return (line for line in text.splitlines() if line.strip())
