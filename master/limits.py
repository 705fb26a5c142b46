"""Limits and placement of a worker: set in the child, some before it gives up root's rights and some after (nginx:
ngx_worker_process_init).

If the system refuses one, that is logged at level alert and left unchanged, as in nginx; only a directory that cannot be entered
ends the worker.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable

from master.environment import confine_environment
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError, Problem
from wproxy.error_log import ErrorLog

_PR_SET_DUMPABLE = 4


def take_limits(configuration: Configuration, log: ErrorLog) -> None:
    """Set environment, niceness and resource limits, which root may raise and others may not."""
    confine_environment(configuration.env)
    if configuration.worker_priority is not None:
        niceness = configuration.worker_priority
        _try(log, f"setpriority({niceness})", lambda: os.setpriority(os.PRIO_PROCESS, 0, niceness))
    _limit(log, "RLIMIT_NOFILE", resource.RLIMIT_NOFILE, configuration.worker_rlimit_nofile)
    _limit(log, "RLIMIT_CORE", resource.RLIMIT_CORE, configuration.worker_rlimit_core)
    if configuration.working_directory and not configuration.prefix.startswith("/"):
        # Logs are reopened by their names, after the working directory has changed.
        configuration.prefix = os.path.join(os.getcwd(), configuration.prefix)


def settle_in(configuration: Configuration, index: int, log: ErrorLog) -> None:
    """Set CPUs, core files and directory of worker `index`, as its own user. Raises SystemExit when it cannot enter the
    directory.
    """
    affinity = configuration.worker_cpu_affinity
    if affinity is not None:
        cpus = affinity.of(index, frozenset(os.sched_getaffinity(0)))
        _try(log, "sched_setaffinity()", lambda: os.sched_setaffinity(0, cpus))
    if configuration.worker_rlimit_core:
        _allow_core_files(log)
    if configuration.working_directory:
        try:
            os.chdir(configuration.working_directory)
        except OSError as error:
            log.write("alert", f'chdir("{configuration.working_directory}") failed ({error.errno}: {error.strerror})')
            raise SystemExit(2) from None


def refuse_missing_directory(configuration: Configuration) -> None:
    """Raise ConfigurationError for a missing working_directory: every worker would end at its start."""
    directory = configuration.working_directory
    if directory:
        try:
            os.listdir(directory)
        except PermissionError:
            pass  # workers may have another user
        except OSError as error:
            text = f'chdir("{directory}") failed ({error.errno}: {error.strerror}) in {configuration.origin("working_directory")}'
            raise ConfigurationError(Problem(text)) from None


def process_warnings(configuration: Configuration) -> list[Problem]:
    """Return warnings, in nginx's words, about process settings without effect, or in conflict with each other or the system."""
    found = []
    if configuration.user and os.geteuid() != 0:
        text = 'the "user" directive makes sense only if the master process runs with super-user privileges, ignored'
        found.append(Problem(text, configuration.origins.get("user")))
    affinity, workers = configuration.worker_cpu_affinity, configuration.worker_processes
    if affinity is not None and not affinity.is_auto and len(affinity) not in (1, len(affinity) if workers is None else workers):
        text = (
            'the number of "worker_processes" is not equal to the number of "worker_cpu_affinity" masks, '
            "using last mask for remaining worker processes"
        )
        found.append(Problem(text))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    connections = configuration.worker_connections
    if connections > limit and connections > (configuration.worker_rlimit_nofile or 0):
        found.append(Problem(f"{connections} worker_connections exceed open file resource limit: {limit}"))
    return found


def _allow_core_files(log: ErrorLog) -> None:
    """Allow core files: after setuid the kernel writes none unless told so."""
    import ctypes  # needed only on request

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0) < 0:
        number = ctypes.get_errno()
        log.write("alert", f"prctl(PR_SET_DUMPABLE) failed ({number}: {os.strerror(number)})")


def _limit(log: ErrorLog, name: str, kind: int, limit: int | None) -> None:
    if limit is not None:
        _try(log, f"setrlimit({name}, {limit})", lambda: resource.setrlimit(kind, (limit, limit)))


def _try(log: ErrorLog, what: str, deed: Callable[[], object]) -> None:
    try:
        deed()
    except OSError as error:
        log.write("alert", f"{what} failed ({error.errno}: {error.strerror})")
    except ValueError as error:  # Python's form of EINVAL and EPERM from setrlimit
        log.write("alert", f"{what} failed ({error})")
