"""Log files as the master opens them: it makes what is missing and gives it to the user of the workers."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable

from master.user import Identity
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.error_log import ErrorLog, open_for_appending

NO_FILES = ("off", "stdout", "stderr")  # what an access_log may name instead of a path


def open_error_log(targets: Iterable[tuple[str, str]], owner: Identity | None = None) -> ErrorLog:
    """The master's log to (path or "stderr", level) pairs; raises ConfigurationError.

    owner: whom files belong to, so that workers who reopen them after a rotation may (nginx: ngx_reopen_files).
    """
    try:
        return ErrorLog(targets, time.time, lambda path: open_log_file(path, owner))
    except OSError as error:
        raise cannot_open(error) from None


def reopen_error_log(log: ErrorLog) -> None:
    """Open its files by their names again; raises ConfigurationError and keeps the old ones."""
    try:
        log.reopen()
    except OSError as error:
        raise cannot_open(error) from None


def provide_access_logs(configuration: Configuration, owner: Identity | None) -> None:
    """Create the access logs that are missing and give them to the workers, who open them by name as themselves.

    Raises ConfigurationError (nginx: ngx_reopen_files).
    """
    paths = {
        configuration.path(log.path)
        for server in configuration.servers
        for location in server.each_location()
        for log in location.access_log
        if log.path not in NO_FILES
    }
    for path in sorted(paths):
        try:
            os.close(open_log_file(path, owner))
        except OSError as error:
            raise cannot_open(error) from None


def open_log_file(path: str, owner: Identity | None) -> int:
    """Open for appending, making the file and its directory when missing; it is given to the owner. Raises OSError."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    fileno = open_for_appending(path)
    if owner is not None and _is_plain_file(path, fileno):
        os.fchown(fileno, owner.uid, -1)
    return fileno


def _is_plain_file(path: str, fileno: int) -> bool:
    """Whether this is a regular file of one name, and that name no symbolic link.

    Anything else must not change hands: /dev/stdout, or what a worker that was broken into made the name point to.
    """
    opened, named = os.fstat(fileno), os.lstat(path)
    is_same = (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)
    return is_same and stat.S_ISREG(opened.st_mode) and opened.st_nlink == 1


def cannot_open(error: OSError) -> ConfigurationError:
    """nginx's words for a log file that does not open."""
    return ConfigurationError(Problem(f'open() "{error.filename}" failed ({error.errno}: {error.strerror})'))
