"""Directories that a start makes: those for temporary files and caches that the configuration names (nginx: ngx_create_paths; not
the directories they are in), and the default ones of our own files. All others must exist: a misspelt path must not go unnoticed.
"""

from __future__ import annotations

import os
import stat

from master.user import Identity, distrusted
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.safe_open import reach


def provide_own_directories(configuration: Configuration, owner: Identity | None) -> None:
    """Make the missing directories of our own files; raises ConfigurationError."""
    for path in own_files(configuration):
        try:
            reach(path, distrusted(owner), makes=True).close()
        except OSError as error:
            text = f'mkdir() "{os.path.dirname(path)}" failed ({error.errno}: {error.strerror})'
            raise ConfigurationError(Problem(text)) from None


def own_files(configuration: Configuration) -> list[str]:
    """Return the log and pid files of a configuration that are in our default places."""
    paths = [*configuration.error_log_files, *configuration.access_log_files]
    if configuration.pid:
        paths.append(configuration.path(configuration.pid))
    return [path for path in paths if os.path.dirname(path) in configuration.own_directories]


def provide_directories(configuration: Configuration, owner: Identity | None) -> None:
    """Make the directories for temporary files and caches, and give them to the workers; raises ConfigurationError."""
    for path, position in configuration.made_directories.items():
        try:
            _provide(path, owner)
        except OSError as error:
            raise ConfigurationError(Problem(f'mkdir() "{path}" failed ({error.errno}: {error.strerror})', position)) from None


def _provide(path: str, owner: Identity | None) -> None:
    with reach(path, distrusted(owner)) as place:
        try:
            os.mkdir(place.name, 0o700, dir_fd=place.directory)
        except FileExistsError:
            pass
        if owner is None:
            return
        fileno = os.open(place.name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place.directory)
        try:
            if os.fstat(fileno).st_uid != owner.uid:
                os.fchown(fileno, owner.uid, -1)
            os.fchmod(fileno, stat.S_IMODE(os.fstat(fileno).st_mode) | 0o700)
        finally:
            os.close(fileno)


def try_directories(configuration: Configuration) -> list[Problem]:
    """Find out whether these directories can be made, and leave nothing behind; return the problems."""
    problems = []
    for path, position in configuration.made_directories.items():
        try:
            if not os.path.isdir(path):
                os.mkdir(path)
                os.rmdir(path)
        except OSError as error:
            problems.append(Problem(f'mkdir() "{path}" failed ({error.errno}: {error.strerror})', position))
    return problems
