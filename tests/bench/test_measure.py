"""Reading processor time out of /proc."""

from __future__ import annotations

import os
import time

import pytest

from bench.failure import BenchFailure
from bench.measure import cpu_of_processes, parse_core, parse_schedstat, parse_stat, sample_of
from bench.workloads import TEN_MB, WORKLOADS
from bench.wrk import Load

STAT = "4211 (nginx: (worker) 1) S 4210 4210 4210 0 -1 4194624 229 0 0 0 150 250 0 0 20 0 1 0 9921 9 9 18446744073709551615"
PROC_STAT = """\
cpu  3799 0 2340 241657 345 0 31 26 0 0
cpu0 600 10 900 122474 7 5 6 11 0 0
cpu1 3175 0 1450 119183 337 0 25 14 0 0
cpu10 1 1 1 1 1 1 1 1 0 0
"""


def test_schedstat_counts_nanoseconds():
    assert parse_schedstat("821664000 94812 2\n") == pytest.approx(0.821664)


def test_stat_counts_ticks_whatever_the_process_is_called():
    assert parse_stat(STAT, 100) == 4.0


def test_a_core_is_busy_with_everything_but_idle_and_iowait():
    assert parse_core(PROC_STAT, 0, 100) == pytest.approx(15.32)
    assert parse_core(PROC_STAT, 1, 100) == pytest.approx(46.64)


def test_a_core_that_is_not_there_is_told():
    with pytest.raises(BenchFailure, match="core 7"):
        parse_core(PROC_STAT, 7, 100)


def test_our_own_time_grows_when_we_work():
    pid = os.getpid()
    before = cpu_of_processes([pid])[pid]
    end = time.process_time() + 0.02
    while time.process_time() < end:
        pass
    assert 0.01 < cpu_of_processes([pid])[pid] - before < 5


def test_small_requests_are_counted_and_large_ones_weighed():
    load = Load(requests=2, seconds=1.0, bytes_read=2.5 * TEN_MB)
    assert sample_of(load, 0.5, 0.5, WORKLOADS["small"]).work == 2
    assert sample_of(load, 0.5, 0.5, WORKLOADS["10m"]).work == pytest.approx(2.5)


def test_foreign_time_is_never_negative():
    load = Load(requests=2, seconds=1.0, bytes_read=0.0)
    assert sample_of(load, 0.505, 0.50, WORKLOADS["small"]).foreign == 0
    assert sample_of(load, 0.50, 0.75, WORKLOADS["small"]).disturbance == pytest.approx(0.25)
