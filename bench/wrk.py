"""wrk: run it, or the client of another protocol in its place, and read what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile

from bench import h2load
from bench.cores import confined_to
from bench.failure import BenchFailure
from bench.load import Load
from bench.workloads import LUA, Workload

# wrk counts in steps of 1024 (units.c): "55.65MB read" is 55.65 * 1024 * 1024 bytes.
_BYTES = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

_TOTALS = re.compile(r"^\s*(\d+) requests in ([\d.]+)(us|ms|s|m|h), ([\d.]+)(B|KB|MB|GB|TB) read$", re.MULTILINE)
_SOCKET_ERRORS = re.compile(r"^\s*Socket errors: (.*)$", re.MULTILINE)
_BAD_STATUS = re.compile(r"^\s*Non-2xx or 3xx responses: (\d+)$", re.MULTILINE)


_LATENCY = re.compile(r"^\s*(50|99)%\s+([\d.]+)(us|ms|s|m|h)$", re.MULTILINE)
_LATE = re.compile(r"^\s*Late: ([\d.]+)$", re.MULTILINE)

_PACKAGES = {"h2load": "nghttp2-client"}


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
    latency = {percent: float(value) * _SECONDS[each] for percent, value, each in _LATENCY.findall(output)}
    return Load(
        int(requests),
        float(seconds) * _SECONDS[unit],
        float(size) * _BYTES[size_unit],
        latency.get("50"),
        latency.get("99"),
        float(late[1]) if (late := _LATE.search(output)) else 0.0,
    )


def command(workload: Workload, port: int, seconds: int, log: str = "", rate: float = 0.0) -> list[str]:
    """Return the command line; one thread, because the load has one core.

    log: a file for what h2load tells of each request. rate: for fixed times, the requests per second.
    """
    if workload.driver == "h2load":
        return h2load.command(workload, port, seconds, log)
    if workload.driver != "wrk":
        words = [port, workload.path, workload.connections, seconds, *([rate] if workload.driver == "openloop" else [])]
        return [sys.executable, "-m", f"bench.{workload.driver}", *map(str, words)]
    line = ["wrk", "-t", "1", "-c", str(workload.connections), "-d", f"{seconds}s", "--timeout", "10s", "--latency"]
    for header in workload.headers:
        line += ["-H", header]
    if workload.script:
        line += ["-s", os.path.join(LUA, workload.script)]
    scheme = "http" if workload.listen == "http" else "https"
    return [*line, f"{scheme}://127.0.0.1:{port}{workload.path}"]


def run_load(workload: Workload, port: int, seconds: int, core: int, rate: float = 0.0) -> Load:
    """Load the server at this port for this long."""
    program = "h2load" if workload.driver == "h2load" else "wrk"
    try:
        with confined_to(core), tempfile.NamedTemporaryFile("r", prefix="wproxy-bench-") as log:
            done = subprocess.run(
                command(workload, port, seconds, log.name, rate),
                cwd=os.path.dirname(os.path.dirname(LUA)),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds + 20,
            )
            times = log.read()
    except FileNotFoundError:
        raise BenchFailure(f"{program} is not installed: apt-get install {_PACKAGES.get(program, program)}") from None
    except subprocess.TimeoutExpired:
        raise BenchFailure(f"{program} did not end {seconds + 20} s after its start") from None
    if done.returncode != 0:
        raise BenchFailure(f"{program} failed: {(done.stderr or done.stdout).strip()}")
    load = h2load.parse_output(done.stdout, times) if workload.driver == "h2load" else parse_output(done.stdout)
    return checked(load, workload)


def checked(load: Load, workload: Workload) -> Load:
    """Return a load with which something can be counted; raises BenchFailure otherwise.

    On a busy machine no large response may be complete in time: its bytes count all the same.
    """
    if not (load.bytes_read if workload.response_bytes else load.requests):
        raise BenchFailure("no request was completed")
    return load
