"""h2load, of the package nghttp2-client: its command line for a workload over HTTP/2, and what it prints."""

from __future__ import annotations

import os
import re

from bench.failure import BenchFailure
from bench.load import Load, quantile
from bench.workloads import LUA, Workload

_FINISHED = re.compile(r"^finished in ([\d.]+)(us|ms|s), ", re.MULTILINE)
_REQUESTS = re.compile(
    r"^requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, \d+ failed, \d+ errored, (\d+) timeout$", re.MULTILINE
)
_STATUSES = re.compile(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx$", re.MULTILINE)
_TRAFFIC = re.compile(r"^traffic: \S+ \((\d+)\) total, ", re.MULTILINE)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def command(workload: Workload, port: int, seconds: int, log: str = "") -> list[str]:
    """Return the command line; one thread, because the load has one core. log: a file for each request's time."""
    line = ["h2load", "-t", "1", "-D", str(seconds), "-c", str(workload.connections), "-m", str(workload.streams)]
    if log:
        line.append(f"--log-file={log}")
    if workload.body:
        line += ["-d", os.path.join(LUA, f"body-{workload.body}")]
    for header in workload.headers:
        line += ["-H", header]
    scheme = "http" if workload.listen == "h2c" else "https"
    server = f"{scheme}://127.0.0.1:{port}"
    if workload.paths:
        return [*line, "-B", server, "-i", os.path.join(LUA, workload.paths)]
    return [*line, f"{server}{workload.path}"]


def parse_output(output: str, log: str = "") -> Load:
    """Read the report, and the times in the log's text; raises BenchFailure if the report contains errors.

    At its end h2load gives up the requests that are under way and counts them as failed: no more than that may have failed.
    """
    finished, requests = _FINISHED.search(output), _REQUESTS.search(output)
    statuses, traffic = _STATUSES.search(output), _TRAFFIC.search(output)
    if not (finished and requests and statuses and traffic):
        raise BenchFailure(f"h2load printed no totals:\n{output.strip()}")
    good, moved, bad, broken = map(int, statuses.groups())
    if bad or broken or moved:
        raise BenchFailure(f"h2load got {moved + bad + broken} responses other than 2xx")
    if int(requests[3]):
        raise BenchFailure(f"h2load waited too long for {requests[3]} responses")
    if "Process Request Failure" in output:
        raise BenchFailure("h2load lost a connection before its end")
    times = parse_log(log)
    return Load(good, float(finished[1]) * _SECONDS[finished[2]], float(traffic[1]), quantile(times, 0.5), quantile(times, 0.99))


def parse_log(text: str) -> list[float]:
    """Return the seconds of each answered request, sorted: lines of its beginning, its status and its microseconds."""
    rows = (line.split("\t") for line in text.splitlines())
    return sorted(int(row[2]) / 1e6 for row in rows if len(row) >= 3 and row[1] == "200")
