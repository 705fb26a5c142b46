"""The real nginx and wproxy on one configuration file; wproxy also on what `wproxy convert` makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from applications.masks import masked
from applications.programs import ROOT, Program, until
from bench.ports import free_port

MIME_TYPES = """\
types {
    text/html html htm;
    text/css css;
    text/plain txt;
    application/javascript js;
    application/json json map;
    image/svg+xml svg svgz;
    image/png png;
    image/x-icon ico;
    font/woff2 woff2;
}
"""
WPROXY = (sys.executable, "-m", "wproxy")
ENVIRONMENT = {"PYTHONPATH": str(ROOT)}
# The slower of two fronts may take so many times the seconds of the other, and so many seconds more.
MUCH_SLOWER = (4.0, 15.0)


class Front:
    """One of them, running. directory: its prefix, with the file and the logs."""

    def __init__(self, name: str, directory: Path, text: str, words: Mapping[str, object], nginx: str = "") -> None:
        """name: nginx (the program is given), wproxy, or converted, which is wproxy on the same in TOML."""
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory = directory
        (directory / "logs").mkdir(parents=True)
        (directory / "mime.types").write_text(MIME_TYPES)
        for word, value in {**words, "PORT": self.port}.items():
            text = text.replace(f"@{word}@", str(value))
        file = directory / "nginx.conf"
        file.write_text(text)
        if name == "converted":
            file = convert(file)
        command = [nginx] if name == "nginx" else [*WPROXY, "--as-nginx"]
        main = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
        options = ["-p", f"{directory}/", "-c", file.name, "-e", "logs/error.log", "-g", main]
        self.program = Program(name, [*command, *options], directory, self.port, ENVIRONMENT, ROOT)

    def reload(self) -> None:
        """Read the file again: return when a new generation serves."""
        before = workers_of(self.program.pid)
        self.program.send_signal(signal.SIGHUP)
        until(lambda: workers_of(self.program.pid) - before, "a new generation of workers")

    @property
    def access_log(self) -> list[str]:
        """What has been logged of requests."""
        log = self.directory / "logs" / "access.log"
        return log.read_text(errors="replace").splitlines() if log.exists() else []

    @property
    def errors(self) -> str:
        """What was logged and printed."""
        log = self.directory / "logs" / "error.log"
        return self.program.output + (log.read_text(errors="replace") if log.exists() else "")

    def end(self) -> None:
        """Stop it; it must have had no fault of its own."""
        errors, code = self.errors, self.program.end()
        assert code == 0, f"{self.name} ended with {code}: {self.errors[-3000:]}"
        assert "Traceback" not in errors and "bug ended" not in errors, errors[-5000:]


def workers_of(master: int) -> set[int]:
    """The pids of the children of a master."""
    return {int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()}


def convert(file: Path) -> Path:
    """Write the same as TOML beside it."""
    done = subprocess.run(
        [*WPROXY, "convert", str(file)], env={**os.environ, **ENVIRONMENT}, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    toml = file.with_suffix(".toml")
    toml.write_text(done.stdout)
    return toml


class Fronts:
    """The real one and ours, on the same text. Each has a port of its own."""

    def __init__(self, nginx: str, directory: Path, file: Path, words: Mapping[str, object]) -> None:
        self.all: list[Front] = []
        try:
            for name in ("nginx", "wproxy", "converted"):
                self.all.append(Front(name, directory / name, file.read_text(), words, nginx))
        except BaseException:
            self.end()
            raise
        self.nginx, *self.ours = self.all

    def compare(self, flow: Callable[[Front], Any], masks: Mapping[str, str] = {}, logs: bool = True) -> Any:
        """Lead a flow through nginx, then through ours; return what all gave, with what differs by nature masked.

        logs: whether all have to log the same requests, too; those of some clients are a matter of time.
        """
        logged = {front: len(front.access_log) for front in self.all}

        def lead(front: Front) -> tuple[Any, float]:
            began = time.monotonic()
            return masked(flow(front), front.port, masks), time.monotonic() - began

        def lines(front: Front) -> list[str]:
            """Return what has been logged since then."""
            names = {front.name: "FRONT", r"\d{19}": "TIME", **masks}
            return sorted(masked(front.access_log[logged[front] :], front.port, names))

        theirs, their_seconds = lead(self.nginx)
        for front in self.ours:
            given, seconds = lead(front)
            assert given == theirs, f"{front.name} gave something else than nginx"
            times, more = MUCH_SLOWER
            assert seconds < their_seconds * times + more, f"{front.name} gave the same, but {seconds} s after {their_seconds} s"
        for front in self.ours if logs else ():
            # A request is logged when it is over, which a client need not see.
            until(
                lambda front=front: lines(front) == lines(self.nginx),
                lambda front=front: "\n".join(["the same in both logs:", *lines(self.nginx), "---", *lines(front)]),
                10,
            )
        return theirs

    def end(self) -> None:
        """End all; what one complains about does not keep the others running."""
        with ExitStack() as stack:
            for front in self.all:
                stack.callback(front.end)
