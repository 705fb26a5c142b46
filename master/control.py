"""The operator's commands: each sends a signal to the master and waits for its effect, so that a script can rely on it.

The master is held by a pidfd: it cannot be mistaken for another process that gets its number, and the descriptor becomes readable
when it ends. Everything else is read from the shared memory. Every function takes the path of the pid file, prints the result
(failures on stderr) and returns the exit code, 0 or 1; 130 when Ctrl-C ended the waiting.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from master.memory import Memory, NoMaster, OtherLayout, open_memory_of
from master.pidfile import PidFileError, has_title_of_master, is_master, read_pid_file
from master.progress import Progress, has_leaving, open_work
from master.start_log import StartLog
from wproxy.shared import (
    HEAD_ATTEMPTS,
    HEAD_BEGUN,
    HEAD_GENERATION,
    HEAD_OUTCOME,
    HEAD_REOPEN_FAILED,
    HEAD_REOPENED,
    HEAD_REOPENS_BEGUN,
    WORKER_MASTER,
    WORKER_PID,
    WORKER_REOPENED,
)

STOP_TIMEOUT = 10.0  # seconds; the master kills its workers after 3
RELOAD_TIMEOUT = 30.0
REOPEN_TIMEOUT = 10.0
LOOK_EVERY = 0.1  # seconds between two looks at what a person waits for
LEAVING_PATIENCE = 0.3  # seconds after a reload in which workers have begun to leave
LEAVING_WATCH = 10.0  # seconds for which a person watches them
INTERVAL = 0.01  # seconds between two looks at the shared memory


class CannotControl(Exception):
    """There is no master to talk to, or none that we may talk to."""


class Running:
    """A running master: its pid, its memory for reading, and a descriptor that becomes readable when it ends."""

    def __init__(self, pid_path: str, needs_memory: bool = True) -> None:
        """Find the master; raises CannotControl with the reason.

        needs_memory: False for a command that only signals it and watches it end, which works with a master of any version.
        """
        self._memory: Memory | None = None
        try:
            self.pid = read_pid_file(pid_path)
            self._pidfd = os.pidfd_open(self.pid)
        except PidFileError as error:
            raise CannotControl(f"{error}; is wproxy running?") from None
        except ProcessLookupError:
            raise CannotControl(f'"{pid_path}" is stale: process {self.pid} does not exist') from None
        try:
            self._memory = open_memory_of(self.pid)
        except OtherLayout as error:
            if needs_memory:
                os.close(self._pidfd)
                raise CannotControl(f"{error}: only stop, quit and upgrade work with it") from None
        except NoMaster as error:
            os.close(self._pidfd)
            raise CannotControl(f'"{pid_path}" is stale: {error}') from None
        except PermissionError:
            os.close(self._pidfd)
            raise CannotControl(f"no permission to control process {self.pid}: it belongs to another user") from None

    @property
    def has_memory(self) -> bool:
        """Whether its memory can be read."""
        return self._memory is not None

    @property
    def memory(self) -> Memory:
        """Its memory, for commands that need it."""
        assert self._memory is not None
        return self._memory

    def head(self, word: int) -> int:
        """Read a word of the master's head in the shared memory."""
        return self.memory.shared.head(word)

    def send(self, number: signal.Signals) -> None:
        """Signal the master; raises CannotControl."""
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except OSError as error:
            raise CannotControl(f"kill({self.pid}, {number.value}) failed ({error.errno}: {error.strerror})") from None

    def ends_within(self, seconds: float | None) -> bool:
        """Wait for its end, at most so many seconds (None: without limit)."""
        return bool(select.select([self._pidfd], [], [], seconds)[0])

    def reaches(self, word: int, value: int, seconds: float, progress: Progress | None = None) -> bool:
        """Wait until a word of the head is that large; False when time is up. progress: tells a person about the waiting.

        Raises CannotControl when the master ends.
        """
        deadline = time.monotonic() + seconds
        while self.head(word) < value:
            if self.ends_within(INTERVAL):
                raise CannotControl(f"the master process {self.pid} ended")
            if time.monotonic() > deadline:
                return False
            if progress is not None:
                progress.tell()
        return True

    def close(self) -> None:
        """Close the memory and the pidfd."""
        if self._memory is not None:
            self._memory.close()
        os.close(self._pidfd)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<running master {self.pid}>"


def stop(pid_path: str) -> int:
    """Stop at once; return when the master is gone."""
    try:
        with Running(pid_path, needs_memory=False) as master:
            master.send(signal.SIGTERM)
            if not master.ends_within(STOP_TIMEOUT):
                return fail(f"the master process {master.pid} did not stop within {STOP_TIMEOUT:.0f} seconds")
            return say("stopped")
    except CannotControl as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return 130


def quit(pid_path: str) -> int:
    """Stop when every request is done; wait without limit. Ctrl-C ends the waiting, not the quitting."""
    try:
        with Running(pid_path, needs_memory=False) as master:
            master.send(signal.SIGQUIT)
            with Progress(lambda: _quitting(master)) as progress:
                while not master.ends_within(LOOK_EVERY):
                    progress.tell()
            return say("stopped")
    except CannotControl as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return 130


def reload(pid_path: str) -> int:
    """Load the configuration again; 0 when the new generation serves, 1 with the reasons when the old one stays."""
    try:
        with Running(pid_path) as master:
            # A reload under way may have read the file before it was changed; the next one is ours.
            ours = master.head(HEAD_BEGUN) + 1
            master.send(signal.SIGHUP)
            with Progress(lambda: "waiting for workers with the new configuration to serve") as progress:
                has_outcome = master.reaches(HEAD_ATTEMPTS, ours, RELOAD_TIMEOUT, progress)
            if not has_outcome:
                return fail(f"no outcome of the reload within {RELOAD_TIMEOUT:.0f} seconds")
            if not master.head(HEAD_OUTCOME):
                return fail(master.memory.shared.message())
            say(f"generation {master.head(HEAD_GENERATION)} serves")
            if sys.stderr.isatty():
                _watch_leaving(master)
            return 0
    except CannotControl as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return 130


def _quitting(master: Running) -> str:
    """Return what a person who waits for the end of a master waits for."""
    work = open_work(master.memory.shared, master.pid) if master.has_memory else ""
    return f"waiting for {work or 'open requests'} to end; Ctrl-C ends only the waiting"


def _watch_leaving(master: Running) -> None:
    """Tell a person what the workers of the last generation still do, for as long as one may want to look at that."""
    shared = master.memory.shared
    begun = time.monotonic()
    try:
        with Progress(
            lambda: f"the last generation ends {open_work(shared, master.pid)}; Ctrl-C ends only the watching"
        ) as progress:
            while has_leaving(shared, master.pid) or time.monotonic() < begun + LEAVING_PATIENCE:
                if master.ends_within(LOOK_EVERY) or time.monotonic() > begun + LEAVING_WATCH:
                    break
                progress.tell()
    except KeyboardInterrupt:
        pass
    rest = open_work(shared, master.pid)
    if rest:
        say(f"the last generation goes on with {rest}")


def reopen(pid_path: str) -> int:
    """Open the logs again by their names; return when the master and all its workers write to the new files."""
    try:
        with Running(pid_path) as master:
            reasons = _reopen(master)
            return fail(reasons) if reasons else say("logs reopened")
    except CannotControl as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return 130


def _reopen(master: Running) -> str:
    """Have the logs reopened; return "" when no process writes to the old ones, else the reason. Raises CannotControl."""
    # A reopening under way may have begun before the files were renamed; the next one is ours.
    ours = max(master.head(HEAD_REOPENS_BEGUN), master.head(HEAD_REOPENED)) + 1
    master.send(signal.SIGUSR1)
    if master.reaches(HEAD_REOPENED, ours, REOPEN_TIMEOUT):
        failed = master.head(HEAD_REOPEN_FAILED) >= ours
        return "a log could not be reopened and its old file is still in use; the error log says which one" if failed else ""
    late = [slot for slot in master.memory.shared.workers() if slot.get(WORKER_MASTER) == master.pid]
    late = [slot for slot in late if slot.get(WORKER_REOPENED) < ours]
    names = " ".join(str(slot.get(WORKER_PID)) for slot in late)
    who = f"worker process {names}" if len(late) == 1 else f"worker processes {names}" if late else "the master process"
    return f"the logs were not reopened within {REOPEN_TIMEOUT:.0f} seconds by {who}"


# `-s`: the words of nginx's command line.
SIGNALS = {
    "stop": signal.SIGTERM,
    "quit": signal.SIGQUIT,
    "reload": signal.SIGHUP,
    "reopen": signal.SIGUSR1,
}


def signal_master(word: str, pid_path: str, log: StartLog) -> int:
    """Run `-s WORD`: signal the master and do no more, as nginx does; return the exit code (nginx: ngx_signal_process).

    Only `reopen` waits for its effect, if the master is ours: a rotation compresses or removes the old files next.

    The command signals only a master of ours, or a process that calls itself a master of the name that we run under: a user who
    puts us in the place of a real nginx may still have to stop that one.
    """
    number = SIGNALS[word]
    log.tell("notice", "signal process started")
    try:
        pid = read_pid_file(pid_path)
    except PidFileError as error:
        log.tell("error", str(error))
        return 1
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        log.tell("alert", f"kill({pid}, {number.value}) failed ({error.errno}: {error.strerror})")
        return 1
    try:
        if not (is_master(pid) or has_title_of_master(pid, log.identity.name)):
            log.tell("error", f'"{pid_path}" is stale: process {pid} is not a master process')
            return 1
        if word == "reopen" and (code := _signal_reopen(pid_path, log)) is not None:
            return code
        signal.pidfd_send_signal(pidfd, number)
    except OSError as error:
        log.tell("alert", f"kill({pid}, {number.value}) failed ({error.errno}: {error.strerror})")
        return 1
    finally:
        os.close(pidfd)
    return 0


def _signal_reopen(pid_path: str, log: StartLog) -> int | None:
    """Return the exit code, or None if completion cannot be checked: a real nginx, another version, another user's master."""
    try:
        master = Running(pid_path)
    except CannotControl:
        return None
    try:
        with master:
            reasons = _reopen(master)
    except CannotControl as error:
        reasons = str(error)
    except KeyboardInterrupt:
        return 130
    if reasons:
        log.tell("error", reasons)
    return int(bool(reasons))


def say(text: str) -> int:
    """Print the result of a command; return its exit code."""
    sys.stdout.write(f"wproxy: {text}\n")
    sys.stdout.flush()
    return 0


def fail(text: str) -> int:
    """Print why a command failed, a line for each reason; return the exit code."""
    for line in text.splitlines():
        sys.stderr.write(f"wproxy: [error] {line}\n")
    return 1
