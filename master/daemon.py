"""Going to the background, and how the shell's prompt learns whether the start succeeded.

nginx's first process exits at once, before the pid file exists, and a start that fails later fails silently. Ours waits on a
pipe until the first generation serves, so that `wproxy start && curl ...` works; or it prints the reasons and exits with 1.
"""

from __future__ import annotations

import os
import signal
import sys

from master.signals import send_signal
from master.start_log import StartLog

SERVES = b"serves"


class StartReport:
    """The result of the start, reported once: through the pipe to the waiting process, or without a pipe in the start log.

    is_foreground: whether standard error stays as it is, and belongs to the process that started us.
    """

    def __init__(self, log: StartLog, fileno: int = -1, is_foreground: bool | None = None) -> None:
        """fileno: that of the pipe; is_foreground: by default whether there is no pipe."""
        self._log = log
        self._fileno = fileno
        self._has_pipe = fileno >= 0
        self.is_foreground = not self._has_pipe if is_foreground is None else is_foreground

    def serves(self) -> None:
        """Report that the first generation serves."""
        self._tell(SERVES)
        self.close()

    def failed(self, text: str) -> None:
        """Report the reasons, one a line."""
        if self._has_pipe:
            self._tell(text.encode("utf-8", "replace"))
        else:
            self._log.tell("emerg", text)
        self.close()

    def close(self) -> None:
        """Close without reporting; the waiting parent then reports a failed start. A worker closes its copy this way."""
        if self._fileno >= 0:
            os.close(self._fileno)
            self._fileno = -1

    def _tell(self, message: bytes) -> None:
        if self._fileno >= 0:
            try:
                os.write(self._fileno, message)
            except BrokenPipeError:  # the parent no longer waits; that is no reason not to serve
                pass


def daemonise() -> tuple[int, int]:
    """Split in two. Return (pid of the daemon, read end) in the waiting process, (0, write end) in the daemon.

    The daemon has a session of its own, no terminal, and /dev/null as standard input and output; standard error stays until the
    log takes it over. The umask is 022, not nginx's 0: files that we forget to give a mode must not be writable by all.
    """
    flush_standard_streams()
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return pid, read_end
    os.close(read_end)
    os.setsid()
    os.umask(0o022)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    if null > 2:
        os.close(null)
    return 0, write_end


def wait_for_start(pid: int, read_end: int, log: StartLog) -> int:
    """Return the exit code of the waiting process, once the daemon serves or has reported why not."""
    told = b""
    try:
        while chunk := os.read(read_end, 65536):
            told += chunk
            if told == SERVES:
                return 0
    except KeyboardInterrupt:
        send_signal(pid, signal.SIGTERM)
        return 130
    finally:
        os.close(read_end)
    log.tell("emerg", told.decode("utf-8", "replace") or _last_words(pid))
    return 1


def _last_words(pid: int) -> str:
    """Describe a daemon that ended without a report."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return f"the master process {pid} " + (f"exited on signal {-code}" if code < 0 else f"exited with code {code}")


def flush_standard_streams() -> None:
    """Flush before a fork: both processes would write whatever is still buffered."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):  # the reader is gone, or the stream is closed: no one is left to tell
            pass
