"""What the harness reads in wrk's report, and what it refuses to build a figure on."""

from __future__ import annotations

import pytest

from bench.failure import BenchFailure
from bench.workloads import WORKLOADS
from bench.wrk import checked, command, parse_output

GOOD = """\
Running 1s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.91ms  265.71us  10.01ms   94.51%
    Req/Sec    70.70k     3.04k   74.87k    80.00%
  70325 requests in 1.00s, 12.68MB read
Requests/sec:  70298.97
Transfer/sec:     12.67MB
"""


def test_the_totals_are_read():
    load = parse_output(GOOD)
    assert load.requests == 70325
    assert load.seconds == 1.0
    assert load.bytes_read == pytest.approx(12.68 * 1024 * 1024)
    assert (load.p50, load.p99) == (None, None)


def test_latencies_are_read_where_they_are_printed():
    lines = "  Latency Distribution\n     50%  813.00us\n     75%    1.01ms\n     90%    1.20ms\n     99%    2.37ms\n"
    load = parse_output(GOOD.replace("  70325", lines + "  70325"))
    assert load.p50 == pytest.approx(813e-6) and load.p99 == pytest.approx(2.37e-3)


def test_how_late_a_generator_was_itself_is_read():
    assert parse_output(GOOD).late == 0
    assert parse_output(GOOD + "  Late: 0.1200\n").late == pytest.approx(0.12)


@pytest.mark.parametrize(
    ("line", "seconds", "size"),
    [
        ("  12 requests in 950.12ms, 4.88GB read", 0.95012, 4.88 * 1024**3),
        ("  12 requests in 1.50m, 512.00B read", 90.0, 512.0),
        ("  12 requests in 10.01s, 1.00KB read", 10.01, 1024.0),
    ],
)
def test_units_are_understood(line, seconds, size):
    load = parse_output(line + "\n")
    assert load.seconds == pytest.approx(seconds)
    assert load.bytes_read == pytest.approx(size)


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ("  Non-2xx or 3xx responses: 17\n", "17 responses other than 2xx"),
        ("  Socket errors: connect 0, read 3, write 0, timeout 1\n", "read 3, write 0, timeout 1"),
    ],
)
def test_errors_fail_the_run(extra, told):
    with pytest.raises(BenchFailure, match=told):
        parse_output(GOOD.replace("Requests/sec", extra + "Requests/sec"))


def test_no_totals_is_a_failure_with_what_wrk_said():
    with pytest.raises(BenchFailure, match="unable to connect"):
        parse_output("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_no_request_at_all_is_a_failure():
    for workload in (WORKLOADS["small"], WORKLOADS["10m"]):
        with pytest.raises(BenchFailure, match="no request"):
            checked(parse_output("  0 requests in 1.00s, 0.00B read\n"), workload)
    begun = parse_output("  0 requests in 1.00s, 5.00MB read\n")
    assert checked(begun, WORKLOADS["10m"]) is begun
    with pytest.raises(BenchFailure, match="no request"):
        checked(begun, WORKLOADS["small"])


@pytest.mark.parametrize("name", [name for name in WORKLOADS if WORKLOADS[name].driver == "wrk"])
def test_each_workload_has_a_command_line(name):
    line = command(WORKLOADS[name], 8080, 3)
    assert line[0] == "wrk"
    assert line[line.index("-d") + 1] == "3s"
    assert line[-1].startswith(("http://127.0.0.1:8080/", "https://127.0.0.1:8080/"))
    assert line[-1].startswith("https") is (WORKLOADS[name].listen == "tls")
