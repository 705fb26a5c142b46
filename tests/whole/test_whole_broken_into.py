"""A worker that somebody has broken into may do what its user may, and nothing as root: names that it has made lead nowhere.

What the intruder does is done here as root, in a directory that belongs to the workers, for the kernel sees no difference.
"""

from __future__ import annotations

import mmap
import os
import pwd
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from harness import Wproxy, until
from wire import ask

from wproxy.record_locks import RecordLocks
from wproxy.shared import (
    HEAD_MAGIC,
    HEAD_MASTER_PID,
    HEAD_SLOTS,
    HEAD_WORDS,
    PEERS_OFFSET,
    PLACES_OFFSET,
    ROWS_OFFSET,
    TOTAL_BYTES,
    WORKER_TURNS,
    WORKER_WORDS,
    WORKERS_OFFSET,
)

pytestmark = [pytest.mark.whole, pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user's workers")]

NOBODY = pwd.getpwnam("nobody")
HTTP = """
[http.upstream.pool]
state = "theirs/state/pool.conf"
[[http.server]]
listen = "127.0.0.1:{port}"
access_log."theirs/access.log" = "combined"
client_body_temp_path = "theirs/temporary"
client_body_in_file_only = true
location."/" = { return = [200, "hello"] }
location."/own" = { root = "theirs", error_log."theirs/own.log" = "error" }
location."/kept" = { proxy_pass = "http://127.0.0.1:{port}/" }
"""
MAIN = """
error_log."theirs/error.log" = "notice"
"""


@pytest.fixture
def front(public_path):
    theirs = public_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, NOBODY.pw_uid, NOBODY.pw_gid)
    (public_path / "secret").write_text("root's\n")
    (public_path / "secret").chmod(0o600)
    with Wproxy(public_path, HTTP, MAIN, workers=1, user="nobody") as front:
        yield front


def exchange_for_link(front: Wproxy, name: str) -> Path:
    """Make a name of theirs a link to the secret, as the intruder would; returns where the file has gone."""
    path = front.directory / "theirs" / name
    moved = path.with_suffix(".moved")
    path.rename(moved)
    path.symlink_to(front.directory / "secret")
    os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
    return moved


def assert_untouched(front: Wproxy) -> None:
    secret = front.directory / "secret"
    assert secret.read_text() == "root's\n"
    assert (secret.stat().st_uid, stat.S_IMODE(secret.stat().st_mode)) == (0, 0o600)


def test_reopening_follows_no_link_of_theirs(front):
    errors = exchange_for_link(front, "error.log")
    exchange_for_link(front, "access.log")
    assert front.command("reopen").code == 1
    assert ask(front.port, "/").status == 200
    until(lambda: 'theirs/error.log" failed (40: ' in errors.read_text(), "the reason in the log that is still open")
    assert_untouched(front)
    for name in ("error.log", "access.log"):
        (front.directory / "theirs" / name).unlink()
    assert front.command("reopen").code == 0
    assert (front.directory / "theirs" / "access.log").stat().st_uid == NOBODY.pw_uid


def test_neither_does_the_successor_of_a_worker_that_was_killed_nor_its_last_lines(front):
    exchange_for_link(front, "access.log")
    (victim,) = front.worker_pids()
    ask(front.port, "/")
    os.kill(victim, signal.SIGKILL)
    until(lambda: front.worker_pids() - {victim} and ask(front.port, "/").status == 200, "a successor that serves")
    assert 'access.log" is a symbolic link' in front_errors(front)
    assert_untouched(front)
    (front.directory / "theirs" / "access.log").unlink()
    assert front.command("reopen").code == 0
    ask(front.port, "/after")
    lines = front.directory / "theirs" / "access.log"
    until(lambda: "/after" in lines.read_text(), "its line, which is written after the answer")
    assert_untouched(front)


def test_neither_does_the_successor_with_the_error_log_of_a_location(front):
    exchange_for_link(front, "own.log")
    (victim,) = front.worker_pids()
    os.kill(victim, signal.SIGKILL)
    until(lambda: front.worker_pids() - {victim} and ask(front.port, "/own/x").status == 404, "a successor that serves")
    assert 'own.log" is a symbolic link' in front_errors(front)
    assert "theirs/own/x" in front_errors(front)
    assert_untouched(front)


def test_a_lock_that_a_worker_holds_for_ever_keeps_no_successor_from_starting(front):
    (victim,) = front.worker_pids()
    memory = next(path for path in Path(f"/proc/{victim}/fd").iterdir() if os.readlink(path).startswith("/memfd:wproxy "))
    with memory.open("r+b") as file:
        assert RecordLocks(file.fileno()).try_lock(HEAD_SLOTS)
        os.kill(victim, signal.SIGKILL)
        until(lambda: front.worker_pids() - {victim} and ask(front.port, "/").status == 200, "a successor that serves")


def test_nor_does_a_reload_nor_the_test_of_a_configuration(front):
    exchange_for_link(front, "access.log")
    refused = front.reload()
    assert (refused.code, "access.log" in refused.errors) == (1, True), refused
    assert front.command("check").code != 0
    assert_untouched(front)
    assert ask(front.port, "/").status == 200


def test_a_state_file_that_is_a_link_is_not_read_out(front):
    state = front.directory / "theirs" / "state" / "pool.conf"
    assert state.parent.stat().st_uid == NOBODY.pw_uid
    state.symlink_to(front.directory / "secret")
    os.chown(state, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
    refused = front.reload()
    assert (refused.code, "symbolic link" in refused.errors, "root's" in refused.errors) == (1, True, False), refused
    assert "root's" not in front_errors(front)


def test_temporary_files_are_made_by_workers_alone(front):
    assert ask(front.port, "/kept", method="POST", body=b"x" * 100).status == 200
    (kept,) = (path for path in (front.directory / "theirs" / "temporary").rglob("*") if path.is_file())
    assert kept.stat().st_uid == kept.parent.stat().st_uid == NOBODY.pw_uid
    assert psutil.Process(next(iter(front.worker_pids()))).username() == "nobody"


@pytest.mark.parametrize("number", [1 << 40, (1 << 64) - 1])
def test_wild_numbers_in_the_shared_memory_stop_neither_successors_nor_reloads_nor_commands(front, number):
    (victim,) = front.worker_pids()
    with writable_memory(victim) as words:
        for word in range(HEAD_WORDS):
            if word not in (HEAD_MAGIC, HEAD_MASTER_PID):
                words[word] = number
        for word in range(WORKERS_OFFSET, PEERS_OFFSET):
            if (word - WORKERS_OFFSET) % WORKER_WORDS != WORKER_TURNS:  # the watchdog would end it
                words[word] = number
        for word in range(PLACES_OFFSET, ROWS_OFFSET):
            words[word] = number
    front.signal(signal.SIGUSR1)
    status = front.command("status")
    assert (status.code, "Traceback" in status.errors) == (0, False), status
    os.kill(victim, signal.SIGKILL)
    until(lambda: front.worker_pids() - {victim} and ask(front.port, "/").status == 200, "a successor that serves")
    front.http = front.http.replace("hello", "changed")
    front.write()
    front.signal(signal.SIGHUP)
    until(lambda: ask(front.port, "/").body == b"changed", lambda: f"a new generation:\n{front_errors(front)}")
    assert "unexpected" not in front_errors(front)
    assert front.command("stop").code == 0


@contextmanager
def writable_memory(pid: int) -> Iterator[memoryview]:
    """The shared memory, as the worker of that pid has it."""
    name = next(path for path in Path(f"/proc/{pid}/fd").iterdir() if os.readlink(path).startswith("/memfd:wproxy "))
    with name.open("r+b") as file, mmap.mmap(file.fileno(), TOTAL_BYTES) as mapping:
        view = memoryview(mapping)
        words = view.cast("Q")
        yield words
        words.release()
        view.release()


def front_errors(front: Wproxy) -> str:
    found = [path.read_text() for path in (front.directory / "theirs").glob("error.*")]
    return "".join(found)
