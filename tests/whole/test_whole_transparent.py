"""proxy_bind ADDRESS transparent: connections to upstreams that come from addresses of other machines, from workers without rights.

The master runs in a network of its own, which routes what is sent to those addresses back to itself, as a router in front of the
upstreams would. Its upstream is a server of the same configuration, and its clients come over a unix socket.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from harness import COMMAND, Program, until
from wire import Answer, ask

THERE = (("192.0.2.7", "192.0.2.0/24", "127.0.0.1"), ("2001:db8::7", "2001:db8::/64", "[::1]"))
NETWORK = "ip link set lo up && " + " && ".join(
    f"ip {family} route add local {network} dev lo table 100 && ip {family} rule add to {network} lookup 100"
    for family, (_, network, _) in zip(("-4", "-6"), THERE, strict=True)
)
CONFIGURATION = """\
worker_processes 1;
pid wproxy.pid;
error_log error.log info;
events {}
http {
    access_log off;
    server {
        listen 127.0.0.1:8080;
        listen [::1]:8080;
        return 200 $remote_addr;
    }
    server {
        listen unix:DIR/client.sock;
        location /plain { proxy_bind 192.0.2.7; proxy_pass http://127.0.0.1:8080; }
        LOCATIONS
    }
}
"""
TRANSPARENT = """
        location /4 { proxy_bind 192.0.2.7 transparent; proxy_pass http://127.0.0.1:8080; }
        location /6 { proxy_bind 2001:db8::7 transparent; proxy_pass http://[::1]:8080; }
        location /argument { proxy_bind $arg_from transparent; proxy_pass http://127.0.0.1:8080; }
"""
NET_RAW = f"{1 << 13:016x}"


def has_networks() -> bool:
    """Whether we may make a network with routes of its own."""
    if os.geteuid() or not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return subprocess.run(["unshare", "--net", "sh", "-c", NETWORK], capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.whole,
    pytest.mark.skipif(not has_networks(), reason="only root can make a network of its own, with unshare and ip"),
]

Start = Callable[..., Program]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Start]:
    """Begin a master in a network of its own with these locations; further arguments are put before its command."""
    programs = []

    def beginner(locations: str, *wrapper: str) -> Program:
        tmp_path.chmod(0o755)
        written = CONFIGURATION.replace("DIR", str(tmp_path)).replace("LOCATIONS", locations)
        (tmp_path / "nginx.conf").write_text(written)
        command = [*wrapper, *COMMAND, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path), "-g", "daemon off;"]
        program = Program(["unshare", "--net", "sh", "-c", f'{NETWORK} && exec "$@"', "sh", *command], tmp_path)
        programs.append(program)
        return program

    yield beginner
    for program in programs:
        program.end()


@pytest.fixture
def start(begin: Start, tmp_path: Path) -> Start:
    """The same, and wait until its worker serves."""

    def starter(locations: str) -> Program:
        program = begin(locations)
        program.wait_for_address(str(tmp_path / "client.sock"))
        assert asked(tmp_path, "/plain").status == 500
        return program

    return starter


def capabilities(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines) if name.startswith("Cap")}


def worker_of(program: Program) -> psutil.Process:
    (worker,) = psutil.Process(program.pid).children()
    return worker


def asked(tmp_path: Path, target: str) -> Answer:
    return ask(str(tmp_path / "client.sock"), target)


def test_an_upstream_sees_the_address_of_another_machine(start: Start, tmp_path: Path) -> None:
    start(TRANSPARENT)
    assert asked(tmp_path, "/4").body == b"192.0.2.7"
    assert asked(tmp_path, "/6").body == b"2001:db8::7"
    assert [asked(tmp_path, f"/argument?from=192.0.2.{number}").body for number in (1, 9)] == [b"192.0.2.1", b"192.0.2.9"]
    assert asked(tmp_path, "/argument").body == b"127.0.0.1"


def test_a_connection_without_the_word_gets_no_such_address(start: Start, tmp_path: Path) -> None:
    start(TRANSPARENT)
    assert asked(tmp_path, "/4").status == 200
    until(lambda: "bind(192.0.2.7:0) failed (99: " in (tmp_path / "error.log").read_text(), "a reason")


def test_workers_keep_the_one_right_that_it_takes(start: Start) -> None:
    worker = worker_of(start(TRANSPARENT))
    assert worker.uids().real != 0
    found = capabilities(worker.pid)
    assert (found["CapEff"], found["CapPrm"], found["CapInh"]) == (NET_RAW, NET_RAW, f"{0:016x}")


def test_workers_keep_no_right_that_nobody_asks_for(start: Start) -> None:
    worker = worker_of(start(""))
    assert worker.uids().real != 0
    found = capabilities(worker.pid)
    assert (found["CapEff"], found["CapPrm"]) == (f"{0:016x}", f"{0:016x}")


@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv here")
def test_a_root_without_that_right_says_what_failed(begin: Start) -> None:
    program = begin(TRANSPARENT, "setpriv", "--bounding-set=-net_raw")
    assert program.wait(60) != 0
    assert "capset() failed (1: Operation not permitted)" in program.errors
