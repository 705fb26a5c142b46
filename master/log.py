"""Log files as the master opens them: it makes those that are missing and gives them to the user of the workers."""

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
from wproxy.log_files import open_for_appending
from wproxy.syslog import Syslog


def open_error_log(targets: Iterable[tuple[str | Syslog, str]], owner: Identity | None = None, name: str = "wproxy") -> ErrorLog:
    """The master's log to (path, "stderr" or Syslog, level) pairs; raises ConfigurationError.

    owner: whom files belong to, so that workers who reopen them after a rotation may (nginx: ngx_reopen_files). name: the tag
    of syslog lines.
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
    """Create the logs that are missing and give them to the workers, who open them by name as themselves.

    Raises ConfigurationError (nginx: ngx_reopen_files).
    """
    for path in sorted({*configuration.error_log_files, *configuration.access_log_files}):
        try:
            os.close(open_log_file(path, owner))
        except OSError as error:
            raise cannot_open(error) from None


def open_log_file(path: str, owner: Identity | None) -> int:
    """Open for appending, making the file when it is missing; it is given to the owner. Raises OSError.

    owner: the user of the workers, who may have been broken into: where it could have made the name a link, root does not follow.
    """
    fileno = open_for_appending(path, distrusted(owner))
    if owner is not None and os.geteuid() == 0 and _is_plain_file(path, fileno):  # not a worker's reopening
        os.fchown(fileno, owner.uid, -1)
    return fileno


def _is_plain_file(path: str, fileno: int) -> bool:
    """Whether this is a regular file of one name, and that name no symbolic link.

    Anything else must not change hands: /dev/stdout, or what root's own link stands for.
    """
    opened = os.fstat(fileno)
    try:
        named = os.lstat(path)
    except FileNotFoundError:  # it was renamed in this moment: the next rotation is already under way
        return False
    is_same = (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)
    return is_same and stat.S_ISREG(opened.st_mode) and opened.st_nlink == 1


def cannot_open(error: OSError) -> ConfigurationError:
    """nginx's words for a log file that does not open."""
    return ConfigurationError(Problem(f'open() "{error.filename}" failed ({error.errno}: {error.strerror})'))
