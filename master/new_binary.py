"""A new binary: how the old master starts it, and what it reports (nginx: ngx_exec_new_binary).

It is our child, until we are gone. It inherits, by number: all listening sockets (named in NGINX, so that a real nginx would
understand them too), the shared memory and the lasting one, a pipe on which it reports that it serves, and a pipe as its standard
error, because the most common obstacles to a new version are reported before any code of ours runs: a missing module, a missing
Python. The command that asked for the upgrade prints them.

Our signals stay blocked across exec: one that arrives while the new program is being loaded waits for it, instead of killing it.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Mapping

from master.command_line import Command
from master.daemon import SERVES, flush_standard_streams
from master.inheritance import NGINX_VARIABLE, OUR_VARIABLE, write_numbers
from master.sockets import ListeningSockets
from wproxy.lasting import LASTING

_PREFIX = re.compile(r"\A\w+: \[\w+\] ")
MOST_ERRORS = 16384  # bytes of its standard error that are kept


class NewBinary:
    """A new master that we have started and not yet reaped. `pid`; `serves`: whether it has reported so."""

    def __init__(self, pid: int, report: int, errors: int) -> None:
        """report, errors: our ends of the two pipes."""
        self.pid = pid
        self.serves = False
        self._pipes = {report: b"", errors: b""}
        self._report = report
        self._open = {report, errors}
        for pipe in self._open:
            os.set_blocking(pipe, False)

    def listen(self) -> None:
        """Read what it has reported since."""
        for pipe in list(self._open):
            try:
                while chunk := os.read(pipe, 65536):
                    self._pipes[pipe] = (self._pipes[pipe] + chunk)[-MOST_ERRORS:]
            except BlockingIOError:
                continue
            os.close(pipe)  # its end of the pipe
            self._open.discard(pipe)
        self.serves = self._pipes[self._report] == SERVES

    def words(self) -> list[str]:
        """Return its output apart from the report that it serves, in lines, each once."""
        told = b"" if self.serves else self._pipes[self._report]
        errors = b"".join(said for pipe, said in self._pipes.items() if pipe != self._report)
        lines = (errors + b"\n" + told).decode("utf-8", "replace").splitlines()
        return list(dict.fromkeys(_PREFIX.sub("", line.rstrip()) for line in lines if line.strip()))

    def close(self) -> None:
        """Close what is left of the pipes."""
        for pipe in self._open:
            os.close(pipe)
        self._open.clear()

    def __repr__(self) -> str:
        return f"<new binary {self.pid}{', serves' if self.serves else ''}>"


def start_new_binary(
    command: Command, environment: Mapping[str, str], listening: ListeningSockets, memory: int, is_foreground: bool
) -> NewBinary:
    """Fork and execute it; raises OSError when the system refuses another process.

    A command that cannot be executed counts as a new binary that ends at once and says so.
    """
    flush_standard_streams()
    sockets = listening.filenos()
    report_read, report_write = os.pipe()
    errors_read, errors_write = os.pipe()
    standard_error = -1
    try:
        # Not `dup`, which takes the lowest number: 0 to 2 may be closed in a daemon and have a meaning in the new program.
        standard_error = _duplicate_above(2)
        parent = os.getpid()
        variables = {
            **environment,
            NGINX_VARIABLE: "".join(f"{number};" for number in sockets),
            OUR_VARIABLE: write_numbers(
                parent=parent,
                foreground=int(is_foreground),
                files=int(listening.owns_files),
                memory=memory,
                lasting=LASTING.fileno,
                report=report_write,
                errors=standard_error,
            ),
        }
        pid = os.fork()
    except OSError:
        for pipe in (report_read, report_write, errors_read, errors_write, *([standard_error] if standard_error >= 0 else [])):
            os.close(pipe)
        raise
    if not pid:
        lasting = [LASTING.fileno] if LASTING.fileno >= 0 else []
        _execute(command, variables, [*sockets, memory, *lasting, report_write, standard_error], errors_write)
    for mine in (report_write, errors_write, standard_error):
        os.close(mine)
    return NewBinary(pid, report_read, errors_read)


def _execute(command: Command, variables: Mapping[str, str], inherited: Iterable[int], errors: int) -> None:
    """In the child: become the new program, or report why not and end. Never returns."""
    try:
        os.dup2(errors, 2)
        for number in inherited:
            os.set_inheritable(number, True)
        os.execve(command.path, command.words, dict(variables))
    except OSError as error:
        text = f'execve() failed while executing new binary process "{command.path}" ({error.errno}: {error.strerror})\n'
        os.write(2, text.encode("utf-8", "replace"))
    finally:
        os._exit(1)


def _duplicate_above(fileno: int) -> int:
    """Return a copy of a descriptor with a number above 2; of /dev/null when there is none to copy. Raises OSError."""
    try:
        return fcntl.fcntl(fileno, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            return fcntl.fcntl(null, fcntl.F_DUPFD_CLOEXEC, 3)
        finally:
            os.close(null)
