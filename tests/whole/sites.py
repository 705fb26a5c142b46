"""A wproxy on a configuration file of either syntax, run as nginx is: `wproxy -p DIR -c FILE -g 'daemon off;'`."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
from harness import COMMAND, Program, is_alive, is_ready, until


class Site:
    """Started in the directory of its file, which is its prefix; the process that was started is the master."""

    def __init__(self, file: Path, port: int | str | tuple[str, int]) -> None:
        """port: one that it listens on, or another address."""
        self.file = file
        self.port = port
        self.directory = file.parent
        # A test of ours may read what it has written itself; nginx's workers would be nobody.
        main = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
        command = [*COMMAND, "-p", f"{self.directory}/", "-c", str(file), "-g", main]
        self.program = Program(command, self.directory, is_prepared=True)
        try:
            self.program.wait_for_address(port)
            until(lambda: is_ready(self.program.pid), lambda: f"a generation that serves:\n{self.errors}", 30)
        except BaseException:
            self._kill()
            raise

    @property
    def errors(self) -> str:
        """What it said on the terminal and in logs/error.log."""
        log = self.directory / "logs" / "error.log"
        return self.program.errors + (log.read_text(errors="replace") if log.exists() else "")

    def logged(self, text: str) -> str:
        """The first line of its errors with this text, when it has come."""
        return until(
            lambda: next((line for line in self.errors.splitlines() if text in line), ""),
            lambda: f"{text!r} in:\n{self.errors}",
            5,
        )

    def end(self) -> None:
        """Stop it; raises AssertionError when it does not stop well, or when a bug was logged."""
        try:
            assert self.program.is_running, self.errors
            assert self.program.end(signal.SIGTERM) == 0, self.errors
        finally:
            self._kill()
        assert "bug ended" not in self.errors, self.errors
        assert "Traceback" not in self.errors, self.errors

    def _kill(self) -> None:
        try:
            family = psutil.Process(self.program.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        self.program.end(signal.SIGTERM)
        for process in family:
            if is_alive(process):
                process.kill()
