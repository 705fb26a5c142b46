"""The pid file, by which an operator's command finds the master.

It is written whole or not at all (a new file renamed over the old), with mode 0644 whatever the umask, and removed only while it
still holds our number: a second master may have taken the path over. The user of the workers is `distrusted` with names where it
may write (`wproxy.safe_open`).
"""

from __future__ import annotations

import os

from master.memory import NoMaster, open_memory_of
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.identity import NGINX, WPROXY
from wproxy.safe_open import Distrusted, reach

# Linux never assigns a pid above 2**22 (proc(5), pid_max).
GREATEST_PID = 1 << 22


class PidFileError(Exception):
    """The pid file cannot be read, in nginx's words (nginx: ngx_signal_process)."""


def write_pid_file(path: str, pid: int, distrusted: Distrusted | None = None) -> None:
    """Write the number of the master. Raises ConfigurationError."""
    try:
        with reach(path, distrusted) as place:
            fresh, directory = f"{place.name}.{pid}", place.directory
            try:
                os.unlink(
                    fresh, dir_fd=directory
                )  # left by a process that had our number; never written through: it may be a link
            except FileNotFoundError:
                pass
            fileno = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=directory)
            try:
                os.fchmod(fileno, 0o644)
                os.write(fileno, b"%d\n" % pid)
            finally:
                os.close(fileno)
            os.replace(fresh, place.name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        raise ConfigurationError(Problem(f'open() "{path}" failed ({error.errno}: {error.strerror})')) from None


def read_pid_file(path: str) -> int:
    """Return the number in the file; raises PidFileError."""
    try:
        fileno = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not block us
        try:
            data = os.read(fileno, 32)
        finally:
            os.close(fileno)
    except OSError as error:
        raise PidFileError(f'open() "{path}" failed ({error.errno}: {error.strerror})') from None
    return _number_in(data, path)


def _number_in(data: bytes, path: str) -> int:
    """Return the number at the beginning of a pid file; raises PidFileError."""
    number = data.strip()
    if not number.isdigit() or len(number) > 10 or not 0 < int(number) <= GREATEST_PID:
        raise PidFileError(f'invalid PID number "{number.decode("utf-8", "replace")}" in "{path}"')
    return int(number)


def rename_pid_file(path: str, to: str, distrusted: Distrusted | None = None) -> None:
    """Rename it in its directory, over any file with that name; raises ConfigurationError with nginx's words."""
    try:
        with reach(path, distrusted) as old, reach(to, distrusted) as new:
            os.replace(old.name, new.name, src_dir_fd=old.directory, dst_dir_fd=new.directory)
    except OSError as error:
        text = f"rename() {path} to {to} failed before executing new binary process ({error.errno}: {error.strerror})"
        raise ConfigurationError(Problem(text)) from None


def remove_pid_file(path: str, pid: int, distrusted: Distrusted | None = None) -> None:
    """Remove it if it is still ours. Never raises: it is called on the way out."""
    try:
        with reach(path, distrusted) as place:
            fileno = place.open(os.O_RDONLY | os.O_NONBLOCK)
            try:
                data = os.read(fileno, 32)
            finally:
                os.close(fileno)
            if _number_in(data, path) == pid:
                os.unlink(place.name, dir_fd=place.directory)
    except (PidFileError, OSError):
        pass


def refuse_second_master(path: str) -> None:
    """Raise ConfigurationError when the file names a master that is alive; a stale or broken file is no obstacle."""
    try:
        pid = read_pid_file(path)
    except PidFileError:
        return
    if pid != os.getpid() and is_master(pid):
        raise ConfigurationError(Problem(f'wproxy is already running as process {pid}, says "{path}"'))


def is_master(pid: int) -> bool:
    """Whether that process is a running wproxy master; another program may have got its number since."""
    try:
        open_memory_of(pid).close()
    except NoMaster:
        return False
    except PermissionError:  # another user's process: its title still tells
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
