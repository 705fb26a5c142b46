"""The processes around a test: applications, the services they need and the fronts. Each is ended by its pid."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".applications"
PYTHON = KEPT / "python" / "bin"
PATIENCE = 60.0  # seconds: generous, for machines that are shared

Found = TypeVar("Found")
Address = int | Path


def needed(path: str | Path) -> str:
    """Return the path of a program, or of something that install.sh makes; skip the test where it is missing."""
    found = shutil.which(str(path)) or (str(path) if Path(path).exists() else None)
    if found is None:
        pytest.skip(f"{path} is not there: `make applications` installs it, as root and with the package registries")
    return found


def node() -> str:
    """Return the Node that install.sh has found or installed."""
    path = needed(KEPT / "node-path")
    return needed(Path(path).read_text().strip())


def until(condition: Callable[[], Found], what: str | Callable[[], str], seconds: float = PATIENCE) -> Found:
    """Poll until the condition holds; return what it returned."""
    limit = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < limit, f"not within {seconds:g} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.02)


def accepts(address: Address) -> bool:
    """Whether somebody listens on a port of 127.0.0.1 or on a unix socket."""
    with socket.socket(socket.AF_INET if isinstance(address, int) else socket.AF_UNIX) as probe:
        probe.settimeout(5)
        try:
            probe.connect(("127.0.0.1", address) if isinstance(address, int) else str(address))
        except OSError:
            return False
        return True


class Program:
    """A child in a session of its own, with its output in a file; ready when it listens on its address."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        directory: Path,
        address: Address | None = None,
        environment: Mapping[str, str] = {},
        cwd: Path | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.output_path = directory / f"{name}.output"
        with self.output_path.open("ab") as output:
            self.popen = subprocess.Popen(
                [str(word) for word in command],
                stdin=stdin,
                stdout=output if stdout is None else stdout,
                stderr=output,
                env={**os.environ, **environment},
                cwd=cwd or directory,
                start_new_session=True,
            )
        self.pid = self.popen.pid
        if address is not None:
            try:
                until(lambda: self.is_running_or_raises() and accepts(address), lambda: f"{self} on {address}")
            except BaseException:
                self.end()
                raise

    def __repr__(self) -> str:
        return f"<{self.name}, exit code {self.popen.poll()}: {self.output[-3000:]}>"

    @property
    def output(self) -> str:
        return self.output_path.read_text(errors="replace")

    def is_running_or_raises(self) -> bool:
        assert self.popen.poll() is None, self
        return True

    def send_signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it, and what it has left in its session; return its exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self.popen.wait()


class Dialogue(Program):
    """A child that takes a JSON list of words in a line, and answers each with a line of JSON."""

    def __init__(self, name: str, command: Sequence[str | Path], directory: Path, environment: Mapping[str, str] = {}) -> None:
        super().__init__(name, command, directory, environment=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, *words: object) -> Any:
        """Say the words and return the answer."""
        assert self.popen.stdin is not None and self.popen.stdout is not None
        self.popen.stdin.write(json.dumps(words).encode() + b"\n")
        self.popen.stdin.flush()
        assert select.select([self.popen.stdout], [], [], PATIENCE)[0], f"no answer to {words} in {PATIENCE:g} s: {self}"
        line = self.popen.stdout.readline()
        assert line, f"no answer to {words}: {self}"
        return json.loads(line)

    def end(self, number: int = signal.SIGTERM) -> int:
        code = super().end(number)
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        return code
