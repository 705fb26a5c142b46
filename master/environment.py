"""`env`: which variables reach workers and a new binary (nginx: ngx_set_environment).

As in nginx, a worker has TZ and what `env` names, and nothing else of what the master was started with. A new binary
gets the same, and beyond that what a Python program cannot be started without as it was started before, which nginx's
never needs: KEPT. Where it is, NOTIFY_SOCKET goes along, or a service manager would not hear of the new master.

VIRTUAL_ENV is not among them: an interpreter finds its virtual environment by its own path.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping

# A name, and the value that it is given; None: the one that the master has.
Variable = tuple[str, str | None]

ALWAYS: tuple[Variable, ...] = (("TZ", None),)

KEPT = (
    "PATH",  # `#!/usr/bin/env python3`
    "HOME",  # packages installed for one user
    "LD_LIBRARY_PATH",  # interpreters with a shared library of their own
    "LANG",  # how names of files and words of the command line are decoded
    "LC_ALL",
    "LC_CTYPE",
    "NOTIFY_SOCKET",
)
KEPT_PREFIX = "PYTHON"  # PYTHONPATH, PYTHONHOME and the like: the same command must find the same modules


def worker_environment(variables: Iterable[Variable], inherited: Mapping[str, str]) -> dict[str, str]:
    """What a worker's environment consists of; the first line about a name holds, as with getenv."""
    found: dict[str, str] = {}
    for name, value in (*variables, *ALWAYS):
        if value is None:
            value = inherited.get(name)
        if value is not None:
            found.setdefault(name, value)
    return found


def new_binary_environment(variables: Iterable[Variable], inherited: Mapping[str, str]) -> dict[str, str]:
    """What a new master's environment consists of, but for what is handed over to it."""
    kept = {name: value for name, value in inherited.items() if name in KEPT or name.startswith(KEPT_PREFIX)}
    return kept | worker_environment(variables, inherited)


def confine_environment(variables: Iterable[Variable]) -> None:
    """In a new worker: leave in the environment what it may have."""
    wanted = worker_environment(variables, os.environ)
    changes_zone = wanted.get("TZ") != os.environ.get("TZ")
    for name in list(os.environ):
        if name not in wanted:
            del os.environ[name]
    os.environ.update(wanted)
    if changes_zone:
        time.tzset()
