"""wrk: run it, and read what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass

from bench.cores import confined_to
from bench.failure import BenchFailure
from bench.workloads import LUA, Workload

# wrk counts in steps of 1024 (units.c): "55.65MB read" is 55.65 * 1024 * 1024 bytes.
_BYTES = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

_TOTALS = re.compile(r"^\s*(\d+) requests in ([\d.]+)(us|ms|s|m|h), ([\d.]+)(B|KB|MB|GB|TB) read$", re.MULTILINE)
_SOCKET_ERRORS = re.compile(r"^\s*Socket errors: (.*)$", re.MULTILINE)
_BAD_STATUS = re.compile(r"^\s*Non-2xx or 3xx responses: (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """The result of wrk; bytes_read has the three digits that wrk prints."""

    requests: int
    seconds: float
    bytes_read: float


def parse_output(output: str) -> Load:
    """Read wrk's report; raises BenchFailure if it contains errors, because then the two sides did not do the same work."""
    totals = _TOTALS.search(output)
    if not totals:
        raise BenchFailure(f"wrk printed no totals:\n{output.strip()}")
    if bad := _BAD_STATUS.search(output):
        raise BenchFailure(f"wrk got {bad[1]} responses other than 2xx and 3xx")
    if errors := _SOCKET_ERRORS.search(output):
        raise BenchFailure(f"wrk met socket errors: {errors[1]}")
    requests, seconds, unit, size, size_unit = totals.groups()
    if int(requests) == 0:
        raise BenchFailure("wrk completed no request")
    return Load(int(requests), float(seconds) * _SECONDS[unit], float(size) * _BYTES[size_unit])


def command(workload: Workload, port: int, seconds: int) -> list[str]:
    """Return the command line; one thread, because the load has one core."""
    if workload.driver == "websocket":
        return [sys.executable, "-m", "bench.echo", str(port), workload.path, str(workload.connections), str(seconds)]
    line = ["wrk", "-t", "1", "-c", str(workload.connections), "-d", f"{seconds}s", "--timeout", "10s"]
    for header in workload.headers:
        line += ["-H", header]
    if workload.script:
        line += ["-s", os.path.join(LUA, workload.script)]
    return [*line, f"http://127.0.0.1:{port}{workload.path}"]


def run_load(workload: Workload, port: int, seconds: int, core: int) -> Load:
    """Load the server at this port for this long."""
    try:
        with confined_to(core):
            done = subprocess.run(
                command(workload, port, seconds),
                cwd=os.path.dirname(os.path.dirname(LUA)),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds + 20,
            )
    except FileNotFoundError:
        raise BenchFailure("wrk is not installed: apt-get install wrk") from None
    except subprocess.TimeoutExpired:
        raise BenchFailure(f"wrk did not end {seconds + 20} s after its start") from None
    if done.returncode != 0:
        raise BenchFailure(f"wrk failed: {(done.stderr or done.stdout).strip()}")
    return parse_output(done.stdout)
