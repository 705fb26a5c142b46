"""`wproxy upgrade`: the whole upgrade as one command that either ends well or changes nothing.

    1  USR2 to the running master, which starts the new one with the program that is installed now
    2  wait until the new one serves: its generation is ready, and every worker of it has said so
    3  QUIT to the old one, which finishes what it has begun; the new one has the pid file

If the second step fails, the old master has noticed by itself and serves on as before; the output of the new one is printed. A
new master that neither serves nor ends is ended. The old master may be of another version, whose memory we cannot read: then the
pid file shows its progress, and the reasons of a failure are only in its log.

Ctrl-C while the new one is starting rolls back, too.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from master.control import INTERVAL, CannotControl, Running, fail, say
from master.memory import NoMaster, open_memory_of
from master.pidfile import PidFileError, read_pid_file
from master.progress import Progress, open_work
from master.signals import send_signal
from master.upgrade import OLD_SUFFIX
from wproxy.shared import (
    HEAD_IS_ALONE,
    HEAD_NEW_BINARY,
    HEAD_PREDECESSOR,
    HEAD_READY,
    HEAD_STOPPING,
    HEAD_UPGRADE_OUTCOME,
    HEAD_UPGRADES,
    UPGRADE,
)

START_TIMEOUT = 30.0  # seconds for the new master, from its start until it serves
END_TIMEOUT = 5.0  # seconds for one that has to leave
GRACE = 0.5  # seconds to wait for the old one's end before we leave it to its open requests


class NotUpgraded(Exception):
    """The old master serves on; the reasons, a line for each."""


def upgrade(pid_path: str) -> int:
    """Replace the running master by the installed program; return the exit code, 0 when the new program serves."""
    try:
        with Running(pid_path, needs_memory=False) as old:
            new = _start_beside(old, pid_path)
            if old.has_memory and old.head(HEAD_NEW_BINARY) != new:
                raise NotUpgraded("the new binary served, and ended at once")
            old.send(signal.SIGQUIT)
            if old.has_memory:
                old.reaches(HEAD_STOPPING, 1, END_TIMEOUT)
            text = f"upgraded: master process {new} serves"
            if not old.ends_within(GRACE):
                text += f"; the old one, {old.pid}, finishes {_rest(old)}"
            return say(text)
    except NotUpgraded as error:
        return fail(str(error))
    except CannotControl as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return 130


def _rest(old: Running) -> str:
    """Return what the old master still has to finish."""
    return (open_work(old.memory.shared, old.pid) if old.has_memory else "") or "its open requests"


def _start_beside(old: Running, pid_path: str) -> int:
    """Make the old master start the new one; return its pid when it serves. Raises NotUpgraded or CannotControl."""
    _refuse_second(old, pid_path)
    before = old.head(HEAD_UPGRADES) if old.has_memory else 0
    observer = _Observer(old.pid, pid_path)

    def find() -> int:
        return _told(old, before) if old.has_memory else observer.look()

    deadline = time.monotonic() + START_TIMEOUT
    try:
        old.send(signal.SIGUSR2)
        with Progress(lambda: "waiting for the new program to serve; Ctrl-C rolls back") as progress:
            while not (new := find()):
                if old.ends_within(INTERVAL):
                    raise CannotControl(f"the master process {old.pid} ended")
                if time.monotonic() > deadline:
                    _roll_back(old, pid_path, before)
                    raise NotUpgraded(f"the new binary did not serve within {START_TIMEOUT:.0f} seconds, rolled back")
                progress.tell()
    except KeyboardInterrupt:
        _roll_back(old, pid_path, before)
        raise
    return new


def _refuse_second(old: Running, pid_path: str) -> None:
    """Raise NotUpgraded while another upgrade is not over."""
    if not old.has_memory:
        return
    if old.head(HEAD_IS_ALONE):
        raise NotUpgraded("no upgrade: it runs without a master process, restart it")
    if other := old.head(HEAD_NEW_BINARY):
        raise NotUpgraded(f"an upgrade is under way: process {other} runs beside {old.pid}")
    other = old.head(HEAD_PREDECESSOR)
    if other and os.path.exists(f"/proc/{other}"):
        raise NotUpgraded(f'the last upgrade is not over: process {other}, in "{pid_path}{OLD_SUFFIX}", finishes its requests')


def _told(old: Running, before: int) -> int:
    """Return the pid of the new master if the old one has seen it serve, 0 while that is open; raises NotUpgraded."""
    if old.head(HEAD_UPGRADES) <= before:
        return 0
    if not old.head(HEAD_UPGRADE_OUTCOME):
        raise NotUpgraded(old.memory.shared.message(UPGRADE))
    return old.head(HEAD_NEW_BINARY) or -1


class _Observer:
    """Follows the progress of an old master of another version, by the pid file and by what the new one reports of itself."""

    def __init__(self, old: int, pid_path: str) -> None:
        self._old = old
        self._path = pid_path
        self._has_begun = False  # whether the pid file has stopped being the old master's

    def look(self) -> int:
        """Return the pid of the new master if it serves, 0 while it does not; raises NotUpgraded."""
        try:
            named = read_pid_file(self._path)
        except PidFileError:  # it is old.oldbin now, and the new one has not written its own yet
            named = 0
        if named == self._old:
            if self._has_begun:
                raise NotUpgraded("the new binary did not start; the error log of the old one says why")
            return 0
        self._has_begun = True
        return named if named and _is_ready(named) else 0


def _is_ready(pid: int) -> bool:
    try:
        with open_memory_of(pid) as memory:
            return memory.shared.head(HEAD_READY) == 1
    except (NoMaster, OSError):
        return False


def _roll_back(old: Running, pid_path: str, before: int) -> None:
    """End the new binary, gracefully if possible, and wait until the old master is as it was.

    before: the old master's number of upgrades. It may not have started the new one yet, although it has been told to.
    """

    def find() -> int:
        return old.head(HEAD_NEW_BINARY) if old.has_memory else _other_in(pid_path, old.pid)

    _comes_true(lambda: find() or (old.has_memory and old.head(HEAD_UPGRADES) > before), END_TIMEOUT)
    new = find()
    if not new or not _is_child(new, old.pid):  # other processes can write the number, too
        return
    for number in (signal.SIGQUIT, signal.SIGKILL):
        send_signal(new, number)
        if _comes_true(lambda: not os.path.exists(pid_path + OLD_SUFFIX), END_TIMEOUT):
            return


def _is_child(pid: int, parent: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1]) == parent
    except OSError:
        return False


def _other_in(pid_path: str, pid: int) -> int:
    try:
        named = read_pid_file(pid_path)
    except PidFileError:
        return 0
    return 0 if named == pid else named


def _comes_true(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(INTERVAL)
    return True
