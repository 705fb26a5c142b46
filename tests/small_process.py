"""A test in a process of its own, which is small.

The process of all tests has hundreds of megabytes, and a fork copies the tables of all its pages: a test that forks a hundred times
takes ten times as long there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

PATIENCE = 300


def in_a_small_process(test: Callable[..., None]) -> Callable[..., None]:
    """Have a test run in a new process. Its arguments must be what `repr` writes down: paths, numbers, texts."""
    call = f"from pathlib import *; import {test.__module__} as module; module.{test.__name__}.__wrapped__"

    @wraps(test)
    def run(**arguments: Any) -> None:
        words = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        command = [sys.executable, "-W", "error", "-c", f"{call}({words})"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return run
