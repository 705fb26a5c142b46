"""What the harness reads in h2load's report, and what it refuses to build a figure on."""

from __future__ import annotations

import os

import pytest

from bench import wrk
from bench.failure import BenchFailure
from bench.h2load import parse_output
from bench.workloads import WORKLOADS

GOOD = """\
Main benchmark duration is over for thread #0. Stopping all clients.
Stopped all clients for thread #0

finished in 1.01s, 8000.00 req/s, 945.83KB/s
requests: 8026 total, 8056 started, 8026 done, 8000 succeeded, 26 failed, 26 errored, 0 timeout
status codes: 8000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 945.83KB (968528) total, 390.63KB (400000) headers (space savings 49.49%), 312.50KB (320000) data
                     min         max         mean         sd        +/- sd
time for request:       94us     28.32ms      4.10ms      5.36ms    86.54%
"""


def test_the_totals_are_read():
    load = parse_output(GOOD)
    assert (load.requests, load.seconds, load.bytes_read) == (8000, 1.01, 968528)


def test_latencies_are_read_from_the_log():
    log = "".join(f"17990000000000{number}\t200\t{number * 1000}\n" for number in range(1, 101)) + "1799\t-1\t5\n"
    load = parse_output(GOOD, log)
    assert load.p50 == pytest.approx(0.051) and load.p99 == pytest.approx(0.1)


@pytest.mark.parametrize(("text", "seconds"), [("950.12ms", 0.95012), ("10.00s", 10.0)])
def test_units_are_understood(text, seconds):
    assert parse_output(GOOD.replace("1.01s", text)).seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("8000 2xx, 0 3xx", "7990 2xx, 10 3xx", "10 responses other than 2xx"),
        ("0 4xx, 0 5xx", "1 4xx, 2 5xx", "3 responses other than 2xx"),
        ("0 timeout", "3 timeout", "waited too long for 3"),
        ("Stopped all", "Process Request Failure:2\nStopped all", "lost a connection"),
        ("finished in", "could not", "no totals"),
    ],
)
def test_errors_fail_the_run(good, bad, told):
    with pytest.raises(BenchFailure, match=told):
        parse_output(GOOD.replace(good, bad))


@pytest.mark.parametrize("name", [name for name in WORKLOADS if WORKLOADS[name].driver == "h2load"])
def test_each_workload_has_a_command_line(name):
    workload = WORKLOADS[name]
    line = wrk.command(workload, 8080, 3)
    assert line[0] == "h2load"
    assert line[line.index("-D") + 1] == "3"
    server = ("https" if workload.listen == "h2" else "http") + "://127.0.0.1:8080"
    assert line[-1] == server + workload.path or (line[-4:-1] == ["-B", server, "-i"] and os.path.exists(line[-1]))
    assert [line[at + 1] for at, word in enumerate(line) if word == "-H"] == list(workload.headers)
    if workload.body:
        assert os.path.getsize(line[line.index("-d") + 1]) == workload.body
