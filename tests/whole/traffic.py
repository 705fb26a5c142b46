"""Clients of every kind at once, for tests that put a running wproxy through changes: what any of them sees go wrong is kept.

keepalive connections (`wire.Load`), a connection for each request and no second try, slow downloads, and websockets that
exchange some messages and then close in peace, so that old workers have an end to wait for.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from harness import BACKENDS, PATIENCE, Program
from websockets.sync.client import connect
from wire import Load, Wire, request_bytes

from bench.ports import free_port

DOWNLOAD = 3_000_000
DOWNLOAD_STEP = 65536
MESSAGES = 20


def backend(directory: Path) -> tuple[Program, int]:
    """A websocket echo and its port; to be ended by the caller."""
    port = free_port()
    program = Program([sys.executable, str(BACKENDS / "websocket_echo.py"), str(port)], directory)
    program.wait_for_address(port)
    return program, port


def configuration(directory: Path, echo: int) -> str:
    """The [http] section that this traffic is for; makes the file to download."""
    (directory / "files").mkdir(exist_ok=True)
    (directory / "files" / "big").write_bytes(bytes(range(256)) * (DOWNLOAD // 256))
    return f"""
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        location."/" = {{ return = [200, "here"] }}
        location."/files/" = {{ root = "{directory}" }}
        [http.server.location."/ws/"]
        proxy_pass = "http://127.0.0.1:{echo}"
        proxy_set_header = {{ Upgrade = "$http_upgrade", Connection = "$wproxy_connection_upgrade" }}
        """


class Traffic:
    """All of it, from entering to leaving. `failures`: what went wrong; `done`: how often each kind has come to a good end."""

    def __init__(self, port: int, keepalive: int = 3, single: int = 2, downloads: int = 1, websockets: int = 1) -> None:
        self.port = port
        self.load = Load(port, clients=keepalive)
        self._failures: list[str] = []
        self.done: dict[str, int] = {"single": 0, "download": 0, "websocket": 0}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        kinds = [
            ("single", self._single, single),
            ("download", self._download, downloads),
            ("websocket", self._websocket, websockets),
        ]
        self._threads = [
            threading.Thread(target=self._run, args=(name, deed), daemon=True)
            for name, deed, count in kinds
            for _ in range(count)
        ]

    @property
    def failures(self) -> list[str]:
        return self.load.failures + self._failures

    def wait(self, count: int) -> None:
        """Until the keepalive clients have so many more answers, and the others another good end each."""
        before = dict(self.done)
        self.load.wait_for(count, 60)
        deadline = time.monotonic() + 60
        while any(self.done[name] <= number for name, number in before.items()):
            assert time.monotonic() < deadline, f"{self.done} after {before}, failures {self.failures[:5]}"
            time.sleep(0.005)

    def _run(self, name: str, deed: Callable[[], None]) -> None:
        while not self._ending.is_set():
            try:
                deed()
                with self._lock:
                    self.done[name] += 1
            except Exception as error:
                with self._lock:
                    self._failures.append(f"{name}: {error!r}")

    def _single(self) -> None:
        with Wire(self.port) as wire:
            answer = wire.request("GET", "/", [("Connection", "close")])
            assert (answer.status, answer.body) == (200, b"here"), answer
        time.sleep(0.002)

    def _download(self) -> None:
        with Wire(self.port) as wire:
            wire.send(request_bytes("GET", "/files/big", [("Connection", "close")]))
            received = 0
            while data := wire.sock.recv(DOWNLOAD_STEP):
                received += len(data)
                time.sleep(0.01)
            assert received > DOWNLOAD // 256 * 256, f"{received} bytes only"

    def _websocket(self) -> None:
        with connect(f"ws://127.0.0.1:{self.port}/ws/", open_timeout=PATIENCE, close_timeout=PATIENCE) as socket:
            for number in range(MESSAGES):
                socket.send(f"message {number}")
                assert socket.recv(PATIENCE) == f"message {number}"
                time.sleep(0.02)

    def __enter__(self) -> Traffic:
        self.load.__enter__()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ending.set()
        self.load.__exit__(kind, error, trace)
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"
