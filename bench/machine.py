"""The machine and the programs behind the figures: without them a table is gossip."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from typing import Any

from bench.contestants import Contestant


def cpu_model() -> str:
    """Return the processor's name as the kernel reports it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = re.search(r"^model name\s*:\s*(.+)$", file.read(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def version_of(command: list[str]) -> str:
    """Return the first `1.2.3` in the output of a command (nginx and wrk print theirs to either stream)."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else "?"


def describe(contestants: Sequence[Contestant], rounds: int, seconds: int) -> dict[str, Any]:
    """Return everything that a reader needs to judge the figures."""
    return {
        "date": datetime.date.today().isoformat(),
        "processor": f"{cpu_model()}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "wrk": version_of(["wrk", "-v"]),
        "h2load": version_of(["h2load", "--version"]),
        "contestants": {contestant.name: contestant.identity() for contestant in contestants},
        "rounds": rounds,
        "seconds": seconds,
    }
