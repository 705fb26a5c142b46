"""`env`: the variables that reach workers and a new binary (nginx: ngx_set_environment).

As in nginx, a worker has TZ and the variables that `env` names, and nothing else of the master's environment. A new binary gets
the same, and also the variables that a Python program needs to be started as before, which nginx never needs: KEPT. NOTIFY_SOCKET
goes along if it is set, or a service manager would not hear from the new master.

VIRTUAL_ENV is not among them: an interpreter finds its virtual environment by its own path.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping

# A name, and the value that it is given; None: the master's own value.
Variable = tuple[str, str | None]

ALWAYS: tuple[Variable, ...] = (("TZ", None),)

KEPT = (
    "PATH",  # for `#!/usr/bin/env python3`
    "HOME",  # for packages installed for one user
    "LD_LIBRARY_PATH",  # for interpreters with a shared library of their own
    "LANG",  # for the decoding of file names and words of the command line
    "LC_ALL",
    "LC_CTYPE",
    "NOTIFY_SOCKET",
)
KEPT_PREFIX = "PYTHON"  # PYTHONPATH, PYTHONHOME and the like: the same command must find the same modules


def worker_environment(variables: Iterable[Variable], inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker; the first line about a name counts, as with getenv."""
    found: dict[str, str] = {}
    for name, value in (*variables, *ALWAYS):
        if value is None:
            value = inherited.get(name)
        if value is not None:
            found.setdefault(name, value)
    return found


def new_binary_environment(variables: Iterable[Variable], inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a new master, except for the variables of the handover."""
    kept = {name: value for name, value in inherited.items() if name in KEPT or name.startswith(KEPT_PREFIX)}
    return kept | worker_environment(variables, inherited)


def confine_environment(variables: Iterable[Variable]) -> None:
    """Leave only the allowed variables in the environment of a new worker."""
    wanted = worker_environment(variables, os.environ)
    changes_zone = wanted.get("TZ") != os.environ.get("TZ")
    for name in list(os.environ):
        if name not in wanted:
            del os.environ[name]
    os.environ.update(wanted)
    if changes_zone:
        time.tzset()
