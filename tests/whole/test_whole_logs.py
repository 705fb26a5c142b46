"""Logs of a running server: rotated under load, buffered until the end, sent to syslog, and told of what is debugged."""

from __future__ import annotations

import contextlib
import gzip
import os
import pwd
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from harness import Wproxy, title, until
from wire import Load, Wire, ask

pytestmark = pytest.mark.whole

HTTP = """
log_format.line = "$connection $connection_requests $pid $request_uri"
[[http.server]]
listen = "127.0.0.1:{port}"
root = "."
location."/" = { access_log."rotated.log" = "line", return = [200, "hello"] }
location."/gathered" = { access_log."gathered.log" = ["line", "buffer=1m"], return = [200, "hello"] }
location."/zipped" = { access_log."zipped.log.gz" = ["line", "gzip=9", "flush=1h"], return = [200, "hello"] }
location."/named" = { access_log."named-$arg_n.log" = "line", return = [200, "hello"] }
location."/if" = { access_log."if.log" = ["line", "if=$arg_log"], return = [200, "hello"] }
location."/syslog" = { access_log."syslog:server=unix:syslog,tag=front" = "line", return = [200, "hello"] }
location."/own" = { error_log."own.log" = "error", root = "nowhere" }
location."/lost" = { root = "nowhere" }
"""
MAIN = """
error_log."debug.log" = "debug"
error_log."syslog:server=unix:syslog,nohostname" = "error"
"""


@pytest.fixture(scope="module")
def syslog(tmp_path_factory) -> Iterator[socket.socket]:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    directory = tmp_path_factory.mktemp("syslog")
    server.bind(str(directory / "syslog"))
    os.chmod(directory / "syslog", 0o666)
    server.settimeout(10)
    yield server
    server.close()


@pytest.fixture(scope="module")
def front(tmp_path_factory, syslog) -> Iterator[Wproxy]:
    directory = tmp_path_factory.mktemp("logs")
    place = f"unix:{syslog.getsockname()}"
    http, main = HTTP.replace("unix:syslog", place), MAIN.replace("unix:syslog", place)
    with Wproxy(directory, http, main) as front:
        yield front


def lines(path: Path) -> list[str]:
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    return text.splitlines()


def test_fifty_rotations_under_load_lose_and_tear_nothing(front):
    path = front.directory / "rotated.log"
    before = {process.pid: process.num_fds() for process in front.family()}
    with Load(front.port, clients=16) as load:
        for number in range(50):
            load.wait_for(5)
            path.rename(front.directory / f"rotated.{number}")
            front.signal(signal.SIGUSR1)
            until(path.exists, "a new log")
    assert not load.failures, load.failures[:3]
    files = [*(front.directory / f"rotated.{number}" for number in range(50)), path]

    def written() -> list[str]:
        return [line for file in files for line in lines(file)]

    until(lambda: len(written()) == load.answers, lambda: f"{load.answers} lines, not {len(written())}")
    assert all(re.fullmatch(r"\d+ \d+ \d+ /\S*", line) for line in written())
    assert len({line.rpartition(" ")[0] for line in written()}) == load.answers  # each once
    assert Counter(line.split()[2] for line in written()).keys() == {str(pid) for pid in front.worker_pids()}
    until(lambda: {process.pid: process.num_fds() for process in front.family()} == before, "as many descriptors as before")


def test_the_lines_of_several_workers_stand_in_the_order_of_the_answers(front):
    """Each is there when its connection has ended, whichever worker had it."""
    for number in range(40):
        with contextlib.closing(Wire(front.port)) as wire:
            wire.send(f"GET /order{number} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
            wire.rest()
        told = [line.split() for line in lines(front.directory / "rotated.log") if "/order" in line]
        assert [line[3] for line in told] == [f"/order{each}" for each in range(number + 1)]
    assert {line[2] for line in told} == {str(pid) for pid in front.worker_pids()}


def test_a_line_about_a_request_is_in_the_log_of_its_location_and_nowhere_else(front):
    assert ask(front.port, "/own/x").status == 404
    until(lambda: "nowhere/own/x" in (front.directory / "own.log").read_text(), "a line in the log of the location")
    assert "nowhere/own/x" not in front.error_log


def test_each_connection_has_a_line_at_debug(front):
    ask(front.port, "/")
    pattern = r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[debug\] (\d+)#\1: \*\d+ accept: 127\.0\.0\.1:\d+ fd:\d+$"
    told = re.findall(pattern, (front.directory / "debug.log").read_text(), re.M)
    assert told
    assert "[debug]" not in front.error_log


def test_syslog_gets_access_and_error_lines(front, syslog):
    ask(front.port, "/syslog/x")
    access = syslog.recv(4096)
    ask(front.port, "/lost/x")
    error = syslog.recv(4096)
    time = rb"\w{3} [ \d]\d \d\d:\d\d:\d\d"
    host = re.escape(os.uname().nodename.lower().encode())
    assert re.fullmatch(rb"<190>%b %b front: \d+ 1 \d+ /syslog/x" % (time, host), access)
    told = rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[error\] (\d+)#\1: \*\d+ .*nowhere/lost/x"
    assert re.match(rb"<187>%b wproxy: %b" % (time, told), error)


def test_names_and_conditions(front):
    for target in ("/named?n=1", "/named?n=2", "/named?n=1", "/if?log=0", "/if?log=1", "/if"):
        assert ask(front.port, target).status == 200
    until(lambda: (front.directory / "if.log").read_text().count("\n") == 1, "one line that the condition lets pass")
    assert (front.directory / "if.log").read_text().endswith("/if?log=1\n")
    assert len(lines(front.directory / "named-1.log")) == 2
    assert len(lines(front.directory / "named-2.log")) == 1


def test_buffers_are_complete_when_the_processes_have_gone(front):
    """The last test of the module: it ends the server."""
    for _ in range(20):
        ask(front.port, "/gathered/x")
        ask(front.port, "/zipped/x")
    assert (front.directory / "gathered.log").read_bytes() == b""
    assert (front.directory / "zipped.log.gz").read_bytes() == b""
    assert front.program is not None
    front.signal(signal.SIGQUIT)
    assert front.program.wait(10) == 0
    assert len(lines(front.directory / "gathered.log")) == 20
    assert gzip.decompress((front.directory / "zipped.log.gz").read_bytes()).count(b"/zipped/x\n") == 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user's workers")
def test_workers_of_another_user_log_where_only_root_may_and_reopen_after_a_rotation(public_path):
    http = """
    [[http.server]]
    listen = "127.0.0.1:{port}"
    location."/own" = { error_log."own.log" = "error", access_log."own-access.log" = "short", root = "nowhere" }
    """
    with Wproxy(public_path, http, workers=1, user="nobody") as front:
        assert {psutil.Process(pid).username() for pid in front.worker_pids()} == {"nobody"}
        names = ("own.log", "own-access.log")
        assert {pwd.getpwuid((public_path / name).stat().st_uid).pw_name for name in names} == {"nobody"}
        assert ask(front.port, "/own/before").status == 404
        for name in names:
            (public_path / name).rename(public_path / f"{name}.old")
        front.signal(signal.SIGUSR1)
        until(lambda: all((public_path / name).exists() for name in names), "logs that are made anew")

        def is_told() -> bool:
            assert ask(front.port, "/own/after").status == 404
            return all("/own/after" in (public_path / name).read_text() for name in names)

        until(is_told, "lines in the new logs")


@pytest.mark.parametrize("daemon", [False, True], ids=["in the foreground", "in the background"])
def test_after_a_rotation_no_process_holds_an_old_file(tmp_path, daemon):
    """Not as standard error either: its room on the disk would never be free again."""
    http = """
    [[http.server]]
    listen = "127.0.0.1:{port}"
    error_log."own.log" = "error"
    location."/" = { access_log."access.log" = "short", root = "nowhere" }
    """
    front = Wproxy(tmp_path, http, 'error_log."errors.log" = "notice"\n', workers=2, daemon=daemon)
    front.write()
    if daemon:
        assert front.command("start").code == 0
        front.master = psutil.Process(int((tmp_path / "wproxy.pid").read_text()))
    with front if not daemon else contextlib.nullcontext():
        names = ("errors.log", "own.log", "access.log")
        for name in names:
            (tmp_path / name).rename(tmp_path / f"{name}.old")
        assert front.command("reopen").code == 0
        old = {(tmp_path / f"{name}.old").stat().st_ino for name in names}
        for process in front.family():
            held = {entry.name: entry.stat().st_ino for entry in Path(f"/proc/{process.pid}/fd").iterdir() if entry.exists()}
            assert not {name for name, inode in held.items() if inode in old}, title(process)
        ask(front.port, "/x")
        until(lambda: "nowhere/x" in (tmp_path / "own.log").read_text(), "a line in the new log")
        front.signal(signal.SIGHUP)
        until(lambda: "generation 2 serves" in (tmp_path / "errors.log").read_text(), "a line of the master's in the new log")
    if daemon:
        assert front.command("stop").code == 0


def test_clients_that_are_debugged_are_told_of_at_any_level(tmp_path):
    http = '[[http.server]]\nlisten = "127.0.0.1:{port}"\nlocation."/" = { return = 204 }\n'
    main = 'error_log."grave.log" = "crit"\n[events]\ndebug_connection = "127.0.0.0/8"\n'
    with Wproxy(tmp_path, http, main, workers=1) as front:
        ask(front.port, "/")
        until(lambda: "[debug]" in (tmp_path / "grave.log").read_text(), "a line about the client")
        assert all("[debug]" in line for line in lines(tmp_path / "grave.log"))
