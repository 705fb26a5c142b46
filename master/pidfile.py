"""The pid file: how an operator's command finds the master.

It is written whole or not at all (a new file renamed over the old), 0644 whatever the umask, and removed only while
it still holds our number: a second master may have taken the path over.
"""

from __future__ import annotations

import os

from master.memory import NoMaster, open_memory_of
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.identity import NGINX, WPROXY

# Linux never gives out more than 2**22 (proc(5), pid_max).
GREATEST_PID = 1 << 22


class PidFileError(Exception):
    """The pid file cannot be read, in nginx's words (nginx: ngx_signal_process)."""


def write_pid_file(path: str, pid: int) -> None:
    """Write the number of the master; makes the directory when it is missing. Raises ConfigurationError."""
    fresh = f"{path}.{pid}"
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        fileno = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(fileno, 0o644)
            os.write(fileno, b"%d\n" % pid)
        finally:
            os.close(fileno)
        os.replace(fresh, path)
    except OSError as error:
        raise ConfigurationError(Problem(f'open() "{path}" failed ({error.errno}: {error.strerror})')) from None


def read_pid_file(path: str) -> int:
    """The number in the file; raises PidFileError."""
    try:
        with open(path, "rb") as file:
            data = file.read(32)
    except OSError as error:
        raise PidFileError(f'open() "{path}" failed ({error.errno}: {error.strerror})') from None
    number = data.strip()
    if not number.isdigit() or len(number) > 10 or not 0 < int(number) <= GREATEST_PID:
        raise PidFileError(f'invalid PID number "{number.decode("utf-8", "replace")}" in "{path}"')
    return int(number)


def rename_pid_file(path: str, to: str) -> None:
    """Give it another name, over whatever has that name; raises ConfigurationError with nginx's words."""
    try:
        os.replace(path, to)
    except OSError as error:
        text = f"rename() {path} to {to} failed before executing new binary process ({error.errno}: {error.strerror})"
        raise ConfigurationError(Problem(text)) from None


def remove_pid_file(path: str, pid: int) -> None:
    """Remove it if it is still ours. Never raises: it happens on the way out."""
    try:
        if read_pid_file(path) == pid:
            os.unlink(path)
    except (PidFileError, OSError):
        pass


def refuse_second_master(path: str) -> None:
    """Raises ConfigurationError when the file names a master that is alive; a stale or broken file is no obstacle."""
    try:
        pid = read_pid_file(path)
    except PidFileError:
        return
    if pid != os.getpid() and is_master(pid):
        raise ConfigurationError(Problem(f'wproxy is already running as process {pid}, says "{path}"'))


def is_master(pid: int) -> bool:
    """Whether that process is a running master of wproxy's; a number that another program got since is not."""
    try:
        open_memory_of(pid).close()
    except NoMaster:
        return False
    except PermissionError:  # somebody else's process: its title still tells
        return has_title_of_master(pid, WPROXY.name) or has_title_of_master(pid, NGINX.name)
    return True


def has_title_of_master(pid: int, name: str) -> bool:
    """Whether the process calls itself a master of that name, as nginx's own do too."""
    return _title(pid).startswith(f"{name}: master process")


def _title(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(200).decode("utf-8", "replace")
    except OSError:
        return ""
