"""The real nginx and wproxy on one configuration file."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
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
# The slower of two fronts may take so many times the seconds of the other, and so many seconds more.
MUCH_SLOWER = (4.0, 15.0)


class Front:
    """One of the two, running. directory: its prefix, with the file and the logs."""

    def __init__(self, name: str, command: list[str], directory: Path, text: str, words: Mapping[str, object]) -> None:
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory = directory
        (directory / "logs").mkdir(parents=True)
        (directory / "mime.types").write_text(MIME_TYPES)
        for word, value in {**words, "PORT": self.port}.items():
            text = text.replace(f"@{word}@", str(value))
        (directory / "nginx.conf").write_text(text)
        main = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
        words_of_nginx = ["-p", f"{directory}/", "-c", "nginx.conf", "-e", "logs/error.log", "-g", main]
        self.program = Program(name, [*command, *words_of_nginx], directory, self.port, {"PYTHONPATH": str(ROOT)}, ROOT)

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


class Fronts:
    """Both, on the same text. Each has a port of its own."""

    def __init__(self, nginx: str, directory: Path, file: Path, words: Mapping[str, object]) -> None:
        text = file.read_text()
        self.nginx = Front("nginx", [nginx], directory / "nginx", text, words)
        try:
            self.wproxy = Front("wproxy", [sys.executable, "-m", "wproxy", "--as-nginx"], directory / "wproxy", text, words)
        except BaseException:
            self.nginx.end()
            raise

    def compare(self, flow: Callable[[Front], Any], masks: Mapping[str, str] = {}, logs: bool = True) -> Any:
        """Lead a flow through nginx, then through wproxy; return what both gave, with what differs by nature masked.

        logs: whether both have to log the same requests, too; those of some clients are a matter of time.
        """
        logged = {front: len(front.access_log) for front in (self.nginx, self.wproxy)}
        began = time.monotonic()
        theirs = masked(flow(self.nginx), self.nginx.port, masks)
        between = time.monotonic()
        ours = masked(flow(self.wproxy), self.wproxy.port, masks)
        ended = time.monotonic()
        assert ours == theirs
        times, more = MUCH_SLOWER
        assert ended - between < (between - began) * times + more, "the same, but much slower than nginx"
        if logs:
            self.compare_logs(logged, masks)
        return ours

    def compare_logs(self, before: Mapping[Front, int], masks: Mapping[str, str]) -> None:
        """Wait until both have logged the same since then. A request is logged when it is over, which a client need not see."""

        def lines(front: Front) -> list[str]:
            return sorted(
                masked(front.access_log[before[front] :], front.port, {front.name: "FRONT", r"\d{19}": "TIME", **masks})
            )

        until(
            lambda: lines(self.nginx) == lines(self.wproxy),
            lambda: "\n".join(["the same in both logs:", *lines(self.nginx), "--- wproxy", *lines(self.wproxy)]),
            10,
        )

    def end(self) -> None:
        try:
            self.nginx.end()
        finally:
            self.wproxy.end()
