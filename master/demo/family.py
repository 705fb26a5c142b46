"""The processes of the demo: start them, know which are alive, end them all."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from master.demo.signals import release_signals

# The master kills its workers after 3 seconds; killing it before that would leave them behind.
WPROXY_STOP_SECONDS = 4.0
APPLICATION_STOP_SECONDS = 1.0

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def python_command(module: str, *arguments: str) -> list[str]:
    """Return a command that runs one of our modules; -P so that a `master.py` in the current directory is not taken for ours."""
    return [sys.executable, "-P", "-m", module, *arguments]


class Child:
    """One process, which may be started again after its end."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<child {self.name}: {self.fate}>"

    def start(self) -> None:
        """Start it in a process group of its own: we pass on a Ctrl-C in the terminal."""
        paths = [ROOT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            process_group=0,
            preexec_fn=release_signals,
        )

    @property
    def pid(self) -> int:
        """The pid of the last start; 0 before the first."""
        return self._process.pid if self._process else 0

    @property
    def is_alive(self) -> bool:
        """Whether it runs; False before the start and after the end."""
        return self._process is not None and self._process.poll() is None

    @property
    def fate(self) -> str:
        """How it ended, if it did."""
        if self._process is None:
            return "never started"
        code = self._process.poll()
        if code is None:
            return f"runs, pid {self.pid}"
        return f"exited with code {code}" if code >= 0 else f"ended by signal {-code}"

    def kill(self) -> None:
        """Kill it at once; return when it is gone."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def ask_to_stop(self) -> None:
        """Ask it to stop."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def see_it_stop(self, seconds: float) -> None:
        """Wait so long for it to stop, then kill it."""
        try:
            if self._process:
                self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()


class Family:
    """wproxy and the applications behind it."""

    def __init__(self, wproxy: Child, applications: list[Child]) -> None:
        self.wproxy = wproxy
        self.applications = applications

    def stop(self) -> None:
        """Stop wproxy first, so that it never meets a dead application and complains."""
        _stop_all([self.wproxy], WPROXY_STOP_SECONDS)
        _stop_all(self.applications, APPLICATION_STOP_SECONDS)


def _stop_all(children: list[Child], seconds: float) -> None:
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + seconds
    for child in children:
        child.see_it_stop(max(0.0, deadline - time.monotonic()))
