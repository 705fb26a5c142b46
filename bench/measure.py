"""One measurement: the processor time a server spends under one load.

The time comes from /proc/PID/task/TID/schedstat, whose first field counts nanoseconds on the processor, of every thread
of every process of the server; where the kernel lacks it, from utime + stime of /proc/PID/stat, which counts in steps
of 10 ms. Both include the loopback's network work, which the kernel does in the sender's time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from bench.cores import Cores
from bench.failure import BenchFailure
from bench.load import Load
from bench.servers import RunningServer
from bench.workloads import Workload
from bench.wrk import run_load


def _mean(one: float | None, two: float | None) -> float | None:
    return None if one is None or two is None else (one + two) / 2


@dataclass(frozen=True, slots=True)
class Sample:
    """The work of one server under one load."""

    work: float  # requests, or responses' worth of bytes
    seconds: float
    cpu: float  # seconds of processor time of all its processes
    foreign: float  # seconds in which other processes were on its core
    p50: float | None = None  # seconds of a request, for half of them
    p99: float | None = None  # and for all but one in a hundred
    late: float = 0.0  # the share of requests that the generator itself sent late
    kilobytes: float | None = None  # memory for each connection or request under way

    def __add__(self, other: Sample) -> Sample:
        """Join two measurements of the same server into one."""
        return Sample(
            self.work + other.work,
            self.seconds + other.seconds,
            self.cpu + other.cpu,
            self.foreign + other.foreign,
            _mean(self.p50, other.p50),
            _mean(self.p99, other.p99),
            (self.late + other.late) / 2,
            _mean(self.kilobytes, other.kilobytes),
        )

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.work / self.seconds

    @property
    def cpu_each(self) -> float:
        """Seconds of processor time for one request."""
        return self.cpu / self.work

    @property
    def busy(self) -> float:
        """The share of its core that the server used."""
        return self.cpu / self.seconds

    @property
    def disturbance(self) -> float:
        """The share of its core that other processes used."""
        return self.foreign / self.seconds


def parse_schedstat(text: str) -> float:
    """Return seconds on the processor: the first field, in nanoseconds."""
    return int(text.split(None, 1)[0]) / 1e9


def parse_stat(text: str, ticks: int) -> float:
    """Return seconds of utime + stime, fields 14 and 15; the name in field 2 may hold spaces and parentheses."""
    fields = text[text.rindex(")") + 1 :].split()
    return (int(fields[11]) + int(fields[12])) / ticks


def parse_core(text: str, core: int, ticks: int) -> float:
    """Return seconds this core was busy, from /proc/stat: user nice system - - irq softirq steal."""
    found = re.search(rf"^cpu{core} (.+)$", text, re.MULTILINE)
    if not found:
        raise BenchFailure(f"/proc/stat tells nothing of core {core}")
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, found[1].split())
    return (user + nice + system + irq + softirq + steal) / ticks


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _cpu_of_process(pid: int, ticks: int) -> float:
    threads = f"/proc/{pid}/task"
    try:
        total = sum(parse_schedstat(_read(f"{threads}/{thread}/schedstat")) for thread in os.listdir(threads))
    except FileNotFoundError:
        total = 0.0
    return total or parse_stat(_read(f"/proc/{pid}/stat"), ticks)


def cpu_of_processes(pids: Iterable[int]) -> dict[int, float]:
    """Return seconds each of these processes has used so far, with all its threads."""
    ticks = os.sysconf("SC_CLK_TCK")
    return {pid: _cpu_of_process(pid, ticks) for pid in pids}


def cpu_of_core(core: int) -> float:
    """Return seconds this core has been busy so far."""
    return parse_core(_read("/proc/stat"), core, os.sysconf("SC_CLK_TCK"))


def sample_of(load: Load, cpu: float, core_busy: float, workload: Workload) -> Sample:
    """Return the figures of one run; the core's clock is coarse, so a little foreign time may come out negative."""
    work = load.bytes_read / workload.response_bytes if workload.response_bytes else load.requests
    return Sample(work, load.seconds, cpu, max(0.0, core_busy - cpu), load.p50, load.p99, load.late)


def measure(server: RunningServer, workload: Workload, seconds: int, cores: Cores, rate: float = 0.0) -> Sample:
    """Load the server and account for its processor time. rate: for requests at fixed times."""
    core_before = cpu_of_core(cores.proxy)
    before = cpu_of_processes(server.pids())
    try:
        load = run_load(workload, server.port, seconds, cores.load, rate)
        after = cpu_of_processes(server.pids())
    except (BenchFailure, OSError) as failure:
        raise BenchFailure(f"{server.name}, workload {workload.name}: {failure}{server.last_words()}") from None
    core_after = cpu_of_core(cores.proxy)
    if after.keys() != before.keys():
        raise BenchFailure(f"{server.name}, workload {workload.name}: a process ended or came{server.last_words()}")
    return sample_of(load, sum(after.values()) - sum(before.values()), core_after - core_before, workload)
