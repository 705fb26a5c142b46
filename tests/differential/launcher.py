"""Starts wproxy again and again in no time: a process that has everything imported, and forks for each command.

It reads one JSON list of words for each command and answers with one JSON object: `{"pid": N}` when the command runs, and
`{"ended": N, "code": C}` for each that ends. Run as a script; `Launcher` is the side of the tests.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Launcher:
    """The process that forks. One at a time: start a command, later ask for its end."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT
        )

    def start(self, words: list[str], output: str) -> int:
        """Run `wproxy WORDS`, with what it prints in a file; returns the pid."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"words": words, "output": output}).encode() + b"\n")
        self.process.stdin.flush()
        return int(self._hear(60.0)["pid"])

    def wait(self, pid: int, seconds: float) -> int | None:
        """The exit code of a command, when it ends in this time; None if not."""
        heard = self._hear(seconds)
        assert heard is None or heard["ended"] == pid, heard
        return None if heard is None else int(heard["code"])

    def _hear(self, seconds: float) -> Any:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return None
        line = self.process.stdout.readline()
        assert line, f"the launcher has ended with {self.process.poll()}"
        return json.loads(line)

    def close(self) -> None:
        """End it; what it has started must have ended."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


def run_command(words: list[str], output: str) -> None:
    """In a child: be wproxy; never returns."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (descriptor, 1), (descriptor, 2)):
        os.dup2(source, target)
    os.closerange(3, 256)
    code = 70
    try:
        from wproxy.__main__ import main

        code = main(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Fork for each line that comes; tell of each child that ends."""
    import wproxy.__main__
    import wproxy.config.load
    import wproxy.config.resolve  # noqa: F401

    heard, bell = os.pipe()
    os.set_blocking(bell, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(bell)
    buffer = b""
    while True:
        ready = select.select([0, heard], [], [])[0]
        if heard in ready:
            os.read(heard, 4096)
            bury()
        if 0 not in ready:
            continue
        data = os.read(0, 1 << 20)
        if not data:
            return
        buffer += data
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            asked = json.loads(line)
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                run_command(asked["words"], asked["output"])
            tell({"pid": pid})


def bury() -> None:
    """Tell of the children that have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        tell({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def tell(what: object) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    serve()
