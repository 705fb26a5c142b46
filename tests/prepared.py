"""A Python that has imported what every master imports, and becomes one by a fork.

The imports are 0.2 s of processor time, of the 0.33 s that a start and an end take, and tests start hundreds. What a process so made
does is what `python -m wproxy` or the script of tests/master does, but for the imports. These have their tests where commands are
started as a person starts them: test_whole_commands.py, test_whole_command_line.py, and wherever else a test of tests/whole names
COMMAND or calls `wproxy`.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, TextIO

_PR_SET_CHILD_SUBREAPER = 36
MOST = 1 << 16  # bytes of a command
# What every master imports, by way of which it imports nearly all; what only some configurations need is not among it.
MODULES = ("master.names", "master.signals", "master.supervise", "worker.imports", "worker.run", "wproxy.config.load")


class Adopted:
    """A process that is our child by adoption, as far as a Popen is used here. errors: a pipe with what it says."""

    def __init__(self, pid: int, command: Sequence[str], errors: TextIO | None = None) -> None:
        self.pid = pid
        self.args = list(command)
        self._errors = errors
        self._told = b""
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        with self._lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, when it has ended. Raises TimeoutExpired."""
        if self.poll() is None:
            ended = os.pidfd_open(self.pid)
            try:
                select.select([ended], [], [], timeout)
            finally:
                os.close(ended)
        code = self.poll()
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[None, str]:
        """Read its errors to their end, and wait for its own. Raises TimeoutExpired."""
        assert self._errors is not None
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._errors.closed:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._errors], [], [], left)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            data = os.read(self._errors.fileno(), 65536)
            self._told += data
            if not data:
                self._errors.close()
        self.wait(timeout)
        return None, self._told.decode()

    def send_signal(self, number: int) -> None:
        """Send it, if the process runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it by force."""
        self.send_signal(signal.SIGKILL)


def adopt_orphans(adopt: bool) -> None:
    """Become the parent of grandchildren whose parent has ended, daemons among them, so that none can hide from us."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


class Prepared:
    """The process that has imported all, and our end of the socket on which it is told what to become. Orphans must be adopted by us."""

    def __init__(self, environment: Mapping[str, str], root: Path) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
                cwd=root,
                pass_fds=[theirs.fileno()],
            )
        self.pid = self._popen.pid

    def become(self, command: Sequence[str], cwd: Path | str, output: BinaryIO, errors: BinaryIO) -> Adopted:
        """Start `python -m wproxy ...`, or the script whose path is the second word."""
        asked = json.dumps([list(command), str(cwd)]).encode()
        socket.send_fds(self._socket, [asked], [output.fileno(), errors.fileno()])
        pid = self._socket.recv(100)
        assert pid, "the prepared process has ended"
        return Adopted(int(pid), command)

    def become_with_pipe(self, command: Sequence[str], cwd: Path | str) -> Adopted:
        """Do the same, with what it says on standard error for `communicate`."""
        reader, writer = os.pipe()
        with open(writer, "wb") as errors, open(os.devnull, "wb") as output:
            started = self.become(command, cwd, output, errors)
        return Adopted(started.pid, command, open(reader))

    def end(self) -> None:
        """It ends when nobody is there any more to tell it anything."""
        self._socket.close()
        self._popen.wait(10)


def serve(told: socket.socket) -> None:
    """Become what we are told, in a grandchild: an orphan, whose parent is then whoever adopts those."""
    import setproctitle

    for name in MODULES:
        import_module(name)
    setproctitle.getproctitle()  # it finds its place now
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    while True:
        asked, descriptors, _, _ = socket.recv_fds(told, MOST, 2)
        if not asked:
            return
        middle = os.fork()
        if middle == 0:
            middle = os.getpid()
            if os.fork():
                os._exit(0)
            while os.getppid() == middle:
                time.sleep(0.0005)
            told.send(str(os.getpid()).encode())
            told.close()
            become(*json.loads(asked), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        os.waitpid(middle, 0)


def become(command: list[str], cwd: str, descriptors: list[int]) -> None:
    """Be what the command would have become; does not return."""
    import runpy

    for standard, descriptor in enumerate(descriptors, 1):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.unfreeze()
    sys.orig_argv = command
    if command[1] == "-m":
        sys.argv, sys.path[0] = command[2:], cwd
        runpy.run_module(command[2], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = command[1:], os.path.dirname(command[1])
        runpy.run_path(command[1], run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as ours:
        serve(ours)
