"""A real Redis or Valkey for tests, on sockets of its own; ended by its pid."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import hiredis
import pytest

PATIENCE = 20.0
# Programs that speak the same protocol: what is told to one is told to the other.
SERVERS = ("redis-server", "valkey-server")


class RealRedis:
    """One server with nothing in it. path: its unix socket. more: further words of its command line. name: one of SERVERS."""

    def __init__(self, directory: Path, *more: str, name: str = SERVERS[0]) -> None:
        program = shutil.which(name)
        if program is None:
            pytest.skip(f"{name} is not installed: `make test` installs it as root, where the system has a package of it")
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.path = str(directory / "redis.sock")
        self._command = [program, "--port", "0", "--unixsocket", self.path, "--unixsocketperm", "777", "--save", "", *more]
        self._sock: socket.socket | None = None
        self.start()

    def start(self) -> None:
        with (self.directory / "redis.output").open("ab") as output:
            self.popen = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.directory
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if self.call("PING") == b"PONG":
                    return
            except OSError:
                pass
            assert self.popen.poll() is None and time.monotonic() < deadline, (self.directory / "redis.output").read_text()
            time.sleep(0.01)

    def call(self, *words: str | bytes | int) -> Any:
        """Say a command on a connection of our own; an error is raised."""
        if self._sock is None:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            try:
                sock.connect(self.path)
            except OSError:
                sock.close()
                raise
            self._sock, self._reader = sock, hiredis.Reader()
        try:
            self._sock.sendall(hiredis.pack_command(words))
            while (reply := self._reader.gets()) is False:
                data = self._sock.recv(65536)
                if not data:
                    raise ConnectionResetError("redis has gone")
                self._reader.feed(data)
        except OSError:
            self._sock.close()
            self._sock = None
            raise
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def send_signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        """Kill it as `kill -9` does; `start` begins anew, with nothing."""
        self.popen.kill()
        self.popen.wait()
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        with suppress(FileNotFoundError):
            os.unlink(self.path)

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
        self.kill()
