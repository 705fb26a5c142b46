"""`-t`: whether a start would succeed, found out by doing everything that a start does, short of serving (nginx: ngx_init_cycle
under ngx_test_config).

It leaves behind what nginx leaves: missing logs, if their directory exists. Directories that a start would make are made and
removed again, the pid file is tried beside its place (nginx makes an empty one, which later programs take for a broken one), and
an address in use is not a problem: mostly our own running master uses it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable
from functools import partial

from master.directories import own_files, try_directories
from master.generation import worker_count
from master.limits import process_warnings, refuse_missing_directory
from master.log import cannot_open
from master.peer_records import TOO_MANY_PEERS
from master.sockets import probe
from master.start_log import StartLog
from master.tls_files import load_tls
from master.upstream_contexts import upstream_contexts
from master.user import distrusted, worker_identity
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.log_files import open_for_appending
from wproxy.safe_open import Distrusted, reach
from wproxy.shared import FIRST_LATE_PEER, MAX_WORKERS

Load = Callable[[], Configuration]


def check_configuration(load: Load, file: str, log: StartLog, quiet: bool = False) -> int:
    """Load and try a configuration and report the result; return the exit code, 0 or 1.

    load: reads the configuration; raises ConfigurationError. file: the name of the main file in messages. quiet: whether to say
    nothing about success.
    """
    try:
        configuration = load()
        # Reasons for a start to refuse are among these: the text is right, and programs that only edit it must be able to go on.
        log.tell_all("warn", (*configuration.warnings, *process_warnings(configuration)))
        if not quiet:
            log.say(f"the configuration file {file} syntax is ok")
        problems = obstacles(configuration, partial(log.tell_all, "warn"))
    except ConfigurationError as error:
        problems = list(error.problems)
    log.tell_all("emerg", problems)
    if problems:
        log.say(f"configuration file {file} test failed")
        return 1
    if not quiet:
        log.say(f"configuration file {file} test is successful")
    return 0


def obstacles(configuration: Configuration, warn: Callable[[list[Problem]], object] = list) -> list[Problem]:
    """Find everything outside of the configuration's text that would keep a master from starting on it.

    warn: gets what would only be without effect.
    """
    problems: list[Problem] = []
    if worker_count(configuration) > MAX_WORKERS:
        problems.append(Problem(f"too many workers: there is room for {MAX_WORKERS}"))
    if sum(len(upstream.peers) for upstream in configuration.upstreams) >= FIRST_LATE_PEER:
        problems.append(TOO_MANY_PEERS)
    identity = None
    try:
        identity = worker_identity(configuration.user)
    except ConfigurationError as error:
        problems.extend(error.problems)
    try:
        refuse_missing_directory(configuration)
    except ConfigurationError as error:
        problems.extend(error.problems)
    own = own_files(configuration)
    problems.extend(_unopenable(_log_paths(configuration), own, distrusted(identity)))
    problems.extend(try_directories(configuration))
    problems.extend(unusable_tls(configuration, warn))
    if configuration.pid:
        problems.extend(_unwritable(configuration.path(configuration.pid), own, distrusted(identity)))
    problems.extend(probe(configuration.listeners))
    return problems


def unusable_tls(configuration: Configuration, warn: Callable[[list[Problem]], object] = list) -> list[Problem]:
    """Find the certificates, keys and other settings of TLS that cannot be used. warn: gets settings that have no effect."""
    contexts, problems = load_tls(configuration)
    if contexts is not None:
        warn(contexts.warnings)
    return problems or upstream_contexts(configuration)[1]


def _log_paths(configuration: Configuration) -> list[str]:
    """Return the files that a start would open for appending, each once."""
    return list(dict.fromkeys([*configuration.error_log_files, *configuration.access_log_files]))


def _unopenable(paths: Iterable[str], own: Container[str], user: Distrusted | None) -> list[Problem]:
    problems: list[Problem] = []
    for path in paths:
        try:
            if path not in own or not _may_make_directory(path):
                os.close(open_for_appending(path, user))
        except OSError as error:
            error.filename = path
            problems.extend(cannot_open(error).problems)
    return problems


def _unwritable(path: str, own: Container[str], user: Distrusted | None) -> list[Problem]:
    try:
        if path not in own or not _may_make_directory(path):
            with reach(f"{path}.{os.getpid()}", user) as place:
                os.close(place.open(os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                os.unlink(place.name, dir_fd=place.directory)
    except OSError as error:
        error.filename = path
        return list(cannot_open(error).problems)
    return []


def _may_make_directory(path: str) -> bool:
    """Whether the directory of this file is missing and can be made: it is made, and removed again. Raises OSError otherwise."""
    missing = []
    directory = os.path.dirname(path) or "."
    while not os.path.lexists(directory):
        missing.append(directory)
        directory = os.path.dirname(directory) or "."
    made: list[str] = []
    try:
        for directory in reversed(missing):
            os.mkdir(directory)
            made.append(directory)
    finally:
        for directory in reversed(made):
            os.rmdir(directory)
    return bool(missing)
