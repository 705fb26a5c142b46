"""The servers under test and the backend: start them on a core, wait until they answer, end them by pid.

Each lives in a folder of its own below the run's temporary folder. It is started in the foreground and in its own
process group, so a Ctrl-C in the terminal reaches the harness alone, and the harness ends what it started in `finally`.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from bench import configurations
from bench.cores import confined_to
from bench.failure import BenchFailure
from bench.ports import free_port
from bench.workloads import TEN_MB

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
START_SECONDS = 10.0
STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Contestant:
    """A proxy to measure: its name in the report, its configuration and the command that starts it."""

    name: str
    kind: str  # "wproxy" or "nginx"
    tree: str = TREE  # for wproxy: the place of its source


@dataclass(slots=True)
class RunningServer:
    """A started server: its first process, its port, and its folder."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    folder: str

    def processes(self) -> list[psutil.Process]:
        """Return all its processes: the master and those it forked."""
        try:
            master = psutil.Process(self.process.pid)
            return [master, *master.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def pids(self) -> list[int]:
        """Return the pids of its processes."""
        return [process.pid for process in self.processes()]

    def last_words(self) -> str:
        """Return the end of its output and logs, for a message."""
        return "".join(_tail(os.path.join(self.folder, name)) for name in ("output", "error.log")).rstrip()


def _tail(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read()[-4000:].splitlines()[-12:]
    except FileNotFoundError:
        return ""
    return "".join(f"\n    {line}" for line in lines)


def _nginx_command(folder: str) -> list[str]:
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if not nginx:
        raise BenchFailure("nginx is not installed: apt-get install nginx-light")
    return [nginx, "-p", folder, "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _write_bytes(path: str, size: int) -> None:
    """Write a file of so many bytes, a multiple of 1024, that no server can shorten."""
    with open(path, "wb") as file:
        file.write(os.urandom(1024) * (size // 1024))


@contextmanager
def proxy(contestant: Contestant, folder: str, backend_port: int, streams_port: int, core: int) -> Iterator[RunningServer]:
    """Yield the contestant, listening, with all its processes on this core."""
    os.makedirs(os.path.join(folder, "static"))
    _write_bytes(os.path.join(folder, "static", "1k"), 1024)
    _write_bytes(os.path.join(folder, "static", "10m"), TEN_MB)
    is_root = os.geteuid() == 0
    if contestant.kind == "nginx":
        write, file, command = configurations.nginx_proxy, "nginx.conf", _nginx_command(folder)
    else:
        write, file = configurations.wproxy_proxy, "wproxy.toml"
        command = [sys.executable, "-m", "wproxy", "start", "-c", f"{folder}/wproxy.toml"]

    def configure(port: int) -> None:
        _write(os.path.join(folder, file), write(folder, port, backend_port, is_root=is_root, streams_port=streams_port))

    with _running(contestant.name, command, folder, configure, core, contestant.tree) as server:
        yield server


@contextmanager
def backend(folder: str, core: int) -> Iterator[RunningServer]:
    """Yield nginx as the application behind the proxies."""
    os.makedirs(os.path.join(folder, "files"))
    _write_bytes(os.path.join(folder, "files", "10m"), TEN_MB)

    def configure(port: int) -> None:
        text = configurations.nginx_backend(folder, port, is_root=os.geteuid() == 0)
        _write(os.path.join(folder, "nginx.conf"), text)

    with _running("the backend", _nginx_command(folder), folder, configure, core, folder) as server:
        yield server


@contextmanager
def streams(folder: str, core: int) -> Iterator[RunningServer]:
    """Yield the application for uploads and upgraded connections."""
    os.makedirs(folder)
    command = [sys.executable, "-m", "bench.streams"]

    def configure(port: int) -> None:
        command.append(str(port))

    with _running("the application of streams", command, folder, configure, core, TREE) as server:
        yield server


@contextmanager
def _running(
    name: str, command: list[str], folder: str, configure: Callable[[int], None], core: int, cwd: str
) -> Iterator[RunningServer]:
    port = free_port()
    configure(port)
    with open(os.path.join(folder, "output"), "wb") as output, confined_to(core):
        process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, process_group=0
        )
    server = RunningServer(name, process, port, folder)
    try:
        _wait_until_it_answers(server)
        _check_affinity(server, core)
        yield server
    finally:
        stop(server)


def _wait_until_it_answers(server: RunningServer) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        if server.process.poll() is not None:
            code = server.process.returncode
            raise BenchFailure(f"{server.name} ended at once, exit code {code}:{server.last_words()}")
        try:
            status = _status_of_get(server.port)
        except (OSError, http.client.HTTPException) as error:
            answer = repr(error)
        else:
            if status == 200:
                return
            answer = f"status {status}"
        if time.monotonic() > deadline:
            lateness = f"does not serve {START_SECONDS:.0f} s after its start: {answer}"
            raise BenchFailure(f"{server.name} {lateness}{server.last_words()}")
        time.sleep(0.02)


def _status_of_get(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def _check_affinity(server: RunningServer, core: int) -> None:
    """Check that a server has not moved its processes to other cores (worker_cpu_affinity), beyond the measurement."""
    for process in server.processes():
        if set(process.cpu_affinity()) != {core}:
            raise BenchFailure(f"{server.name}: process {process.pid} is not confined to core {core}")


def stop(server: RunningServer) -> None:
    """End every process of the server: politely, then by force."""
    family = server.processes()
    if server.process.poll() is None:
        server.process.terminate()
        try:
            server.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
    # psutil remembers when each was started, so a reused pid is not hit.
    children = [process for process in family if process.pid != server.process.pid]
    _, alive = psutil.wait_procs(children, timeout=STOP_SECONDS)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
