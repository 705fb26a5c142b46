"""A link named nginx to the command wproxy, and what the programs that drive an nginx do with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from harness import ENVIRONMENT, PATIENCE, Finished, Program, is_alive, run_prepared, until

from bench.ports import free_port

REAL_NGINX = "/usr/sbin/nginx"
MINIMAL = """\
events {}
http {
    access_log off;
    server {
        listen 127.0.0.1:{port};
        location / { return 200 "here"; }
    }
}
"""


class Nginx:
    """A directory that is a prefix, with a link named nginx and a main file; the link is run with `-p DIR -c nginx.conf -e error.log`."""

    def __init__(self, directory: Path, text: str = MINIMAL) -> None:
        self.directory = directory
        self.port = free_port()
        self.link = directory / "sbin" / "nginx"
        self.link.parent.mkdir(parents=True)
        self.link.symlink_to(Path(sys.executable).parent / "wproxy")
        self.log = directory / "error.log"
        self.pid_file = directory / "nginx.pid"
        self.main = "pid nginx.pid;" + (" user root;" if os.geteuid() == 0 else "")
        self.write(text)

    def write(self, text: str, name: str = "nginx.conf") -> Path:
        """Write a file of the configuration; {port} stands for the port, {here} for the directory."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{port}", str(self.port)).replace("{here}", str(self.directory)))
        return path

    def run(self, *words: str, binary: str | Path | None = None) -> Finished:
        """The link, or another binary, with exactly these words."""
        began = time.monotonic()
        done = subprocess.run(
            [str(binary or self.link), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            cwd=self.directory,
            env=ENVIRONMENT,
        )
        return Finished(done.returncode, done.stdout, done.stderr, time.monotonic() - began)

    def run_prepared(self, *words: str) -> Finished:
        """What the script behind the link does with these words, without the kernel's part and the imports."""
        return run_prepared([sys.executable, str(self.link), *words], self.directory)

    def words(self, *more: str, main: str | None = None) -> list[str]:
        """The usual words before these."""
        return ["-p", f"{self.directory}/", "-c", "nginx.conf", "-e", "error.log", "-g", main or self.main, *more]

    def usual(self, *more: str) -> Finished:
        """Run with the usual words."""
        return self.run(*self.words(*more))

    @contextmanager
    def running(self) -> Iterator[Nginx]:
        """Started as a daemon; stopped at the end, if it still is there."""
        done = self.usual()
        assert (done.code, done.output) == (0, ""), done
        try:
            yield self
        finally:
            self.end()

    @contextmanager
    def in_foreground(self, main: str = "") -> Iterator[Program]:
        """Started with `daemon off`; the process that was started."""
        words = self.words(main=f"{self.main} daemon off; {main}")
        program = Program([str(self.link), *words], self.directory, cwd=self.directory)
        try:
            until(lambda: self.has_pid() or not program.is_running, "a pid file", 60)
            yield program
        finally:
            self.end()
            program.end()

    def has_pid(self) -> bool:
        return self.pid_file.exists() and self.pid_file.read_text().strip().isdigit()

    @property
    def master(self) -> psutil.Process:
        return psutil.Process(int(self.pid_file.read_text()))

    @property
    def errors(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def logged(self, text: str) -> str:
        """The first line of the error log with this text, when it has come."""
        return until(
            lambda: next((line for line in self.errors.splitlines() if text in line), ""),
            lambda: f"{text!r} in the error log:\n{self.errors}",
        )

    def family(self) -> list[psutil.Process]:
        """Master and workers."""
        try:
            return [self.master, *self.master.children(recursive=True)]
        except (OSError, ValueError, psutil.NoSuchProcess):
            return []

    def end(self) -> None:
        """Make sure that all of it is gone."""
        family = self.family()
        for process in family[:1]:
            process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(family, PATIENCE / 2)
        for process in left:
            if is_alive(process):
                process.kill()
