"""The servers under test and the backend: start them on a core, wait until they answer, end them by pid.

Each lives in a folder of its own below the run's temporary folder. It is started in the foreground and in its own
process group, so a Ctrl-C in the terminal reaches the harness alone, and the harness ends what it started in `finally`.
"""

from __future__ import annotations

import http.client
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import psutil

from bench import configurations
from bench.contestants import SYSTEM_PATH, TREE, Contestant, find_nginx, nginx_command
from bench.cores import confined_to
from bench.failure import BenchFailure
from bench.ports import free_port
from bench.workloads import HUNDRED_KB, TEN_MB, Workload

STATIC_FILES = {"1k": 1024, "100k": HUNDRED_KB, "10m": TEN_MB}
START_SECONDS = 10.0
STOP_SECONDS = 5.0


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


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _write_bytes(path: str, size: int) -> None:
    """Write a file of so many bytes, a multiple of 1024, that no server can shorten."""
    with open(path, "wb") as file:
        file.write(os.urandom(1024) * (size // 1024))


def _some_text() -> str:
    """Return 16 KB of text that compresses as pages do, the same in every run."""
    chance = random.Random(20261130)
    words = ["".join(chance.choices("etaoinshrdlucmfw", k=chance.randint(2, 9))) for _ in range(600)]
    return " ".join(chance.choices(words, k=4000))[:16384]


@contextmanager
def proxy(
    contestant: Contestant, folder: str, backend_port: int, streams_port: int, core: int, workload: Workload
) -> Iterator[RunningServer]:
    """Yield the contestant, configured for a workload, with all its processes on this core."""
    listen = workload.listen
    os.makedirs(os.path.join(folder, "static"))
    for name, size in STATIC_FILES.items():
        _write_bytes(os.path.join(folder, "static", name), size)
    if listen in ("tls", "h2"):
        _write_certificate(folder)

    def configure(port: int) -> None:
        if contestant.kind == "haproxy":
            text = configurations.haproxy(
                folder, port, backend_port, streams_port=streams_port, listen=listen, site=workload.site
            )
            _write(os.path.join(folder, "haproxy.cfg"), text)
            return
        beside = os.path.dirname(os.path.dirname(folder))
        text = configurations.nginx_proxy(
            folder,
            port,
            backend_port,
            is_root=os.geteuid() == 0,
            streams_port=streams_port,
            listen=listen,
            site=workload.site,
            shows=contestant.shows_counters(),
            php=os.path.join(beside, "php"),
            calls=os.path.join(beside, "backend", "calls"),
        )
        _write(os.path.join(folder, "nginx.conf"), text)

    command, environment = contestant.command(folder), contestant.environment
    with _running(contestant.name, command, folder, configure, core, contestant.tree, listen, environment) as server:
        yield server


@contextmanager
def backend(folder: str, core: int) -> Iterator[RunningServer]:
    """Yield nginx as the application behind the proxies."""
    os.makedirs(os.path.join(folder, "files"))
    for name, size in STATIC_FILES.items():
        _write_bytes(os.path.join(folder, "files", name), size)
    _write(os.path.join(folder, "files", "text"), _some_text())

    def configure(port: int) -> None:
        text = configurations.nginx_backend(folder, port, is_root=os.geteuid() == 0)
        _write(os.path.join(folder, "nginx.conf"), text)

    with _running("the backend", nginx_command(find_nginx(), folder), folder, configure, core, folder) as server:
        yield server


def php_fpm_program() -> str | None:
    """Return the path of PHP-FPM, whatever its version; None where it is not installed."""
    names = ["php-fpm", *(f"php-fpm{major}.{minor}" for major in (8, 7) for minor in range(9, -1, -1))]
    return next((found for name in names if (found := shutil.which(name, path=SYSTEM_PATH))), None)


@contextmanager
def php_fpm(folder: str, core: int) -> Iterator[None]:
    """Run PHP-FPM with one program, that says hello."""
    program = php_fpm_program()
    if program is None:
        raise BenchFailure("PHP-FPM is not installed: apt-get install php-fpm")
    os.makedirs(os.path.join(folder, "php"))
    _write(os.path.join(folder, "php", "hello.php"), '<?php echo "hello";')
    is_root = os.geteuid() == 0
    _write(os.path.join(folder, "fpm.conf"), configurations.php_fpm(folder, is_root=is_root))
    command = [program, "-F", "-y", f"{folder}/fpm.conf", *(["-R"] if is_root else [])]
    with open(os.path.join(folder, "output"), "wb") as output, confined_to(core):
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, process_group=0
        )
    server = RunningServer("PHP-FPM", process, 0, folder)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _accepts(os.path.join(folder, "fpm.sock")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchFailure(f"PHP-FPM does not listen:{server.last_words()}")
            time.sleep(0.02)
        yield
    finally:
        stop(server)


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


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
    name: str,
    command: list[str],
    folder: str,
    configure: Callable[[int], None],
    core: int,
    cwd: str,
    listen: str = "http",
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[RunningServer]:
    port = free_port()
    configure(port)
    with open(os.path.join(folder, "output"), "wb") as output, confined_to(core):
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    server = RunningServer(name, process, port, folder)
    try:
        _wait_until_it_answers(server, _PROBES[listen])
        _check_affinity(server, core)
        yield server
    finally:
        stop(server)


def _wait_until_it_answers(server: RunningServer, probe: Callable[[int], str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        if server.process.poll() is not None:
            code = server.process.returncode
            raise BenchFailure(f"{server.name} ended at once, exit code {code}:{server.last_words()}")
        try:
            answer = probe(server.port)
        except (OSError, http.client.HTTPException) as error:
            answer = repr(error)
        else:
            if not answer:
                return
        if time.monotonic() > deadline:
            lateness = f"does not serve {START_SECONDS:.0f} s after its start: {answer}"
            raise BenchFailure(f"{server.name} {lateness}{server.last_words()}")
        time.sleep(0.02)


def _probe_http(port: int) -> str:
    """Return the reason why a GET fails; nothing when it is answered with 200."""
    return _get(http.client.HTTPConnection("127.0.0.1", port, timeout=2))


def _probe_tls(port: int) -> str:
    """Return the reason why a GET over TLS fails; nothing when it is answered with 200."""
    return _get(http.client.HTTPSConnection("127.0.0.1", port, timeout=2, context=anyone()))


def _probe_h2c(port: int) -> str:
    """Return the reason why it does not begin to speak HTTP/2; nothing when it does."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
        return _greet(sock)


def _probe_h2(port: int) -> str:
    """Return the reason why it does not begin to speak HTTP/2 over TLS; nothing when it does."""
    context = anyone()
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=2) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as encrypted,
    ):
        return _greet(encrypted)


_PROBES = {"http": _probe_http, "tls": _probe_tls, "h2c": _probe_h2c, "h2": _probe_h2}


def _get(connection: http.client.HTTPConnection) -> str:
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        return "" if response.status == 200 else f"status {response.status}"
    finally:
        connection.close()


def _greet(sock: socket.socket) -> str:
    """Send the preface and empty SETTINGS; the answer begins with a SETTINGS frame."""
    sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
    answer = sock.recv(9)
    return "" if answer[3:4] == b"\4" else f"no SETTINGS, but {answer!r}"


def anyone() -> ssl.SSLContext:
    """Return a context that trusts any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _write_certificate(folder: str) -> None:
    """Make a certificate of its own with a key of the usual kind, P-256."""
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/certificate.pem"],
        capture_output=True,
        text=True,
        timeout=30,
    )  # fmt: skip
    if made.returncode:
        raise BenchFailure(f"openssl made no certificate: {made.stderr.strip()}")
    with open(f"{folder}/both.pem", "w", encoding="ascii") as both:  # as HAProxy wants it
        for name in ("certificate", "key"):
            with open(f"{folder}/{name}.pem", encoding="ascii") as file:
                both.write(file.read())


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
