"""Log files as the master opens them: it creates missing ones and gives them to the workers' user."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable

from master.syslog import connect_to_syslog
from master.user import Identity, distrusted
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.error_log import ErrorLog
from wproxy.log_files import Place, open_for_appending


def open_error_log(targets: Iterable[tuple[Place, str]], owner: Identity | None = None, name: str = "wproxy") -> ErrorLog:
    """Return the master's log to (place, level) pairs; raises ConfigurationError.

    owner: the owner of the files, so that workers may reopen them after a rotation (nginx: ngx_reopen_files). name: the tag of
    syslog lines.
    """
    try:
        return ErrorLog(targets, time.time, lambda path: open_log_file(path, owner), connect_to_syslog, name)
    except OSError as error:
        raise cannot_open(error) from None


def reopen_error_log(log: ErrorLog) -> None:
    """Open its files by their names again; raises ConfigurationError and keeps the old ones."""
    try:
        log.reopen()
    except OSError as error:
        raise cannot_open(error) from None


def provide_logs(configuration: Configuration, owner: Identity | None) -> None:
    """Create missing logs and give them to the workers, which open them by name as themselves.

    Raises ConfigurationError (nginx: ngx_reopen_files).
    """
    for path in sorted({*configuration.error_log_files, *configuration.access_log_files}):
        try:
            os.close(open_log_file(path, owner))
        except OSError as error:
            raise cannot_open(error) from None


def open_log_file(path: str, owner: Identity | None) -> int:
    """Open for appending; a missing file is created and given to the owner. Raises OSError.

    owner: the user of the workers, which may have been broken into: root does not follow a name that it could have made a link.
    """
    fileno = open_for_appending(path, distrusted(owner))
    if owner is not None and os.geteuid() == 0 and _is_plain_file(path, fileno):  # not when a worker reopens it
        os.fchown(fileno, owner.uid, -1)
    return fileno


def _is_plain_file(path: str, fileno: int) -> bool:
    """Whether this is a regular file with one name, and that name is not a symbolic link.

    The owner of anything else must not change: /dev/stdout, or the target of root's own link.
    """
    opened = os.fstat(fileno)
    try:
        named = os.lstat(path)
    except FileNotFoundError:  # it has just been renamed: the next rotation is already under way
        return False
    is_same = (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)
    return is_same and stat.S_ISREG(opened.st_mode) and opened.st_nlink == 1


def cannot_open(error: OSError) -> ConfigurationError:
    """Return nginx's words for a log file that cannot be opened."""
    return ConfigurationError(Problem(f'open() "{error.filename}" failed ({error.errno}: {error.strerror})'))
