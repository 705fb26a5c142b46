"""Where and with what the figures were made: without it a table is gossip."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess


def cpu_model() -> str:
    """The processor's name as the kernel tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = re.search(r"^model name\s*:\s*(.+)$", file.read(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def version_of(command: list[str]) -> str:
    """The first `1.2.3` in what a command prints (nginx and wrk print theirs to either stream)."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else "?"


def describe() -> dict[str, str]:
    """Everything a reader needs to judge the figures."""
    return {
        "date": datetime.date.today().isoformat(),
        "processor": f"{cpu_model()}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "nginx": version_of(["nginx", "-v"]),
        "wrk": version_of(["wrk", "-v"]),
    }
