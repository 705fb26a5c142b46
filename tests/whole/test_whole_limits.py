"""Limits of a real worker: connections and descriptors that run out, who it runs as and where, a pulse that never stops."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from harness import ENVIRONMENT, Wproxy, accepts, until
from recorder import PLAIN
from wire import Wire, ask, request_bytes

from bench.ports import free_port
from master.memory import open_memory_of
from tests.public_python import public_python
from wproxy.shared import WORKER_ACTIVE, WORKER_TURNS, WORKER_WAITING

pytestmark = pytest.mark.whole

HERE = """
[[http.server]]
listen = "127.0.0.1:{port}"
location."/" = { return = [200, "here"] }
location."/file.txt" = { root = "." }
"""


def count_of(front, word):
    """What the only worker counts."""
    with open_memory_of(front.master.pid) as memory:
        (slot,) = memory.shared.workers()
        return slot.get(word)


def answered(port):
    """An open connection that has been answered."""
    wire = Wire(port)
    assert wire.request("GET", "/").body == b"here"
    return wire


def test_new_clients_are_served_at_the_cost_of_the_oldest_idle_ones(start):
    front = start(HERE, workers=1, main="[events]\nworker_connections = 32\n")
    wires = [answered(front.port) for _ in range(60)]
    try:
        assert wires[0].is_closed_by_peer()
        assert wires[-1].request("GET", "/").body == b"here"
    finally:
        for wire in wires:
            wire.close()
    front.error_logged("32 worker_connections are not enough, reusing connections")
    assert "[alert]" not in front.error_log


def test_without_any_room_a_client_is_closed_and_the_others_are_served(start, recorder):
    gate = threading.Event()

    def reply(conversation, received):
        gate.wait(20)
        conversation.send(PLAIN)

    recorder.reply = reply
    front = start(
        f"""
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        location."/" = {{ proxy_pass = "{recorder.url}" }}
        """,
        workers=1,
        main="[events]\nworker_connections = 12\n",
    )
    busy = [Wire(front.port) for _ in range(4)]
    try:
        for count, wire in enumerate(busy, start=1):
            wire.send(request_bytes("GET", "/"))
            until(lambda wanted=count: len(recorder.heads) == wanted, "the request at the upstream")
        # Four clients, four upstreams, a listening socket, the channel of signals and that of the master: one is left.
        assert ask(front.port, "/").status == 500
        with Wire(front.port) as half:
            half.send(b"GET / HTTP/1.1\r\n")
            until(lambda: count_of(front, WORKER_ACTIVE) - count_of(front, WORKER_WAITING) == 5, "five clients that are not idle")
            with Wire(front.port) as refused:
                assert refused.is_closed_by_peer()
        gate.set()
        for wire in busy:
            assert wire.answer().body == b"ok"
    finally:
        gate.set()
        for wire in busy:
            wire.close()
    front.error_logged("[alert]")
    assert "12 worker_connections are not enough\n" in front.error_log
    assert "12 worker_connections are not enough while connecting to upstream, client: 127.0.0.1" in front.error_log


def test_a_worker_out_of_descriptors_rests_and_serves_again(start):
    front = start(HERE, workers=1, main="worker_rlimit_nofile = 40\n[events]\naccept_mutex_delay = '100ms'\n")
    (front.directory / "file.txt").write_text("content")
    wires = []
    try:
        for _ in range(60):
            wires.append(Wire(front.port))
        front.error_logged("accept4() failed (24: Too many open files)")
        front.error_logged("Too many open files, reusing connections")
        # Those who wait are served as soon as idle ones have made room.
        for wire in wires[-5:]:
            assert wire.request("GET", "/").body == b"here"
    finally:
        for wire in wires:
            wire.close()
    until(lambda: ask(front.port, "/").body == b"here", "an answer")
    assert len(front.error_log.splitlines()) < 200, "it does not spin"
    assert "1024 worker_connections exceed open file resource limit" not in front.error_log
    assert "worker_connections are not enough" not in front.error_log, "they are not what has run out"


def test_a_worker_with_nothing_to_do_has_a_pulse(start):
    front = start(HERE, workers=1, main="worker_watchdog = '1s'\n")
    (worker,) = front.worker_pids()
    before = count_of(front, WORKER_TURNS)
    until(lambda: count_of(front, WORKER_TURNS) > before + 3, "turns of an idle loop")
    assert front.worker_pids() == {worker}
    assert "hangs" not in front.error_log


def test_a_worker_that_is_killed_comes_back_whatever_kills_it(start):
    front = start(HERE, workers=1)
    for number in (signal.SIGKILL, signal.SIGSEGV):
        (victim,) = front.worker_pids()
        os.kill(victim, number)
        until(lambda gone=victim: front.worker_pids() - {gone}, "a successor", 3)
        assert ask(front.port, "/").body == b"here"
    assert "Fatal Python error: Segmentation fault" in front.error_log


def test_a_wrong_limit_is_told_by_the_test_with_its_place(tmp_path):
    front = Wproxy(tmp_path, HERE, main="[events]\nworker_connections = 1\n")
    front.write()
    done = front.command("start")
    assert done.code == 1
    assert "[emerg] 1 worker_connections are not enough for 1 listening sockets in " in done.errors


# Without root, at home.


@pytest.fixture
def home():
    """A directory of somebody who is not root."""
    path = Path(tempfile.mkdtemp(prefix="wproxy-home-"))
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    yield path
    shutil.rmtree(path)


def run_as_somebody(home, *arguments, **more):
    """A command of somebody who is not root, in their home."""
    nobody = pwd.getpwnam("nobody")
    who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    python = public_python()
    environment = {**ENVIRONMENT, **python.environment, "HOME": str(home)}
    command = [python.path, "-m", "wproxy", *arguments]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=30, **who, **more)


def test_somebody_starts_reloads_and_stops_it_in_their_home(home):
    port = free_port()
    conf = home / "nginx.conf"
    conf.write_text(
        f"events {{}} http {{ server {{ listen 127.0.0.1:{port}; location / {{ return 200 here; }} "
        f"location /up {{ client_body_buffer_size 1k; proxy_pass http://127.0.0.1:{port}/; }} }} }}"
    )
    started = run_as_somebody(home, "-p", str(home), "-c", "nginx.conf")
    try:
        assert (started.returncode, started.stderr) == (0, "")
        assert ask(port, "/").body == b"here"
        assert ask(port, "/up", "POST", b"x" * 100_000).body == b"here"
        assert run_as_somebody(home, "-p", str(home), "-c", "nginx.conf", "-s", "reload").returncode == 0
        assert (home / "logs" / "error.log").exists()
        assert (home / "logs" / "access.log").exists()
    finally:
        stopped = run_as_somebody(home, "-p", str(home), "-c", "nginx.conf", "-s", "stop")
    assert stopped.returncode == 0, stopped
    until(lambda: not accepts(port), "its end")
    until(lambda: not list(home.glob("**/*.pid")), "the pid file's end")


def test_somebody_who_may_not_write_there_is_told_what(home):
    port = free_port()
    conf = home / "nginx.conf"
    conf.write_text(f"error_log /proc/error.log; events {{}} http {{ access_log off; server {{ listen 127.0.0.1:{port}; }} }}")
    done = run_as_somebody(home, "-p", str(home), "-c", "nginx.conf")
    assert done.returncode == 1
    assert '[emerg] open() "/proc/error.log" failed (' in done.stderr
    assert "Traceback" not in done.stderr
    assert not accepts(port)


def test_user_means_nothing_to_who_is_not_root_and_is_said_to(home):
    port = free_port()
    conf = home / "nginx.conf"
    conf.write_text(f"user root; events {{}} http {{ access_log off; server {{ listen 127.0.0.1:{port}; }} }}")
    done = run_as_somebody(home, "-t", "-p", str(home), "-c", "nginx.conf")
    assert done.returncode == 0
    assert (
        f'[warn] the "user" directive makes sense only if the master process runs with super-user privileges, ignored in {conf}:1'
        in done.stderr
    )
