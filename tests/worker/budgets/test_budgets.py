"""What a request costs stays within what the table allows it. No clock is looked at, so that no busy machine can spoil a count.

Four counts, of the same conversations: calls and bytecodes of Python, which every machine can count; calls of the kernel, by strace;
machine instructions in user space, by valgrind. Each is the same from run to run, to a few in ten thousand. And what malloc has given
out for a connection, to a few in a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from budgets import (
    MEMORIES,
    TOLERANCE,
    WORKLOADS,
    WORKLOADS_OF_OURS,
    CannotCount,
    count_bytecodes,
    count_bytes,
    count_calls,
    count_instructions,
    count_system_calls,
    is_compiled,
    name_of_build,
    name_of_version,
    read_dump,
    read_table,
    read_trace,
)

HOW = "what it is worth stands in the commit, and `python tests/worker/budgets/budgets.py` writes the new number down"


@cache
def counted(count: Callable[[], dict[str, Any]]) -> dict[str, Any] | str:
    """The counts, or why there are none."""
    try:
        return count()
    except CannotCount as reason:
        return str(reason)


def of(count: Callable[[], dict[str, Any]], workload: str) -> Any:
    found = counted(count)
    if isinstance(found, str):
        pytest.skip(found)
    return found[workload]


def check(what: str, workload: str, cost: float, budget: float) -> None:
    told = f"{workload}: {cost:.1f} {what} for each, {cost / budget - 1:+.1%} of {budget:.1f}: less, or {HOW}"
    assert cost <= budget * TOLERANCE, told


def recorded(kind: str, python: str) -> dict[str, float]:
    """Return the budgets of this kind for this Python; skip the test when there are none."""
    budgets: dict[str, float] | None = read_table()[kind].get(python)
    if budgets is None:
        pytest.skip(f"no budget of {kind} is recorded for {python}")
    return budgets


@pytest.mark.parametrize("workload", WORKLOADS)
def test_calls(workload):
    check("calls of functions", workload, of(count_calls, workload), read_table()["calls"][workload])


@pytest.mark.parametrize("workload", WORKLOADS)
def test_bytecodes(workload):
    check("bytecodes", workload, of(count_bytecodes, workload), recorded("bytecodes", name_of_version())[workload])


@pytest.mark.parametrize("workload", WORKLOADS)
def test_system_calls(workload):
    cost, budget = of(count_system_calls, workload), read_table()["system_calls"][workload]
    more = {name: (count, budget.get(name, 0)) for name, count in cost.items() if count > budget.get(name, 0)}
    assert not more, f"{workload}: more system calls for a request than before, as (now, budget): {more}: less, or {HOW}"


@pytest.mark.slow
@pytest.mark.parametrize("workload", WORKLOADS_OF_OURS)
def test_machine_instructions(workload):
    budget = recorded("instructions", name_of_build()).get(workload)
    if budget is None:
        pytest.skip(f"no budget of {workload} is recorded for {name_of_build()}")
    check("machine instructions", workload, of(count_instructions, workload), budget)


@pytest.mark.parametrize("memory", MEMORIES)
def test_bytes_of_a_connection(memory):
    budget = recorded("bytes", name_of_build())[memory]
    check("bytes", memory, of(count_bytes, memory), budget)


def test_a_kept_proxied_request_is_two_reads_and_two_writes():
    """Beside whatever the table says: this is the design (design.md §3)."""
    assert of(count_system_calls, "small") == of(count_system_calls, "varied") == {"read": 2, "write": 2}


def test_what_differs_between_workloads_is_seen():
    """The counters count: a head that never repeats costs more than one that does, a new connection more than a kept one."""
    if is_compiled():
        pytest.skip("wproxy is compiled")
    for count in (count_calls, count_bytecodes):
        found = {workload: of(count, workload) for workload in WORKLOADS}
        assert found["return"] < found["small"] < found["varied"]
        assert found["small"] < found["connection"]


def test_a_trace_is_read_between_its_marks():
    trace = """\
access("/wproxy/name/small", F_OK) = -1 ENOENT (No such file or directory)
sendto(5, "GET", 3, 0, NULL, 0) = 3
access("/wproxy/begin", F_OK) = -1 ENOENT (No such file or directory)
epoll_wait(3, [], 1024, 0) = 0
recvfrom(4, "GET", 16384, 0, NULL, NULL) = 3
recvfrom(6, 0x55, 16384, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)
access("/wproxy/end", F_OK) = -1 ENOENT (No such file or directory)
recvfrom(5, "", 3, 0, NULL, NULL) = 0
faccessat2(AT_FDCWD, "/wproxy/name/h2", F_OK, 0) = -1 ENOENT (No such file or directory)
"""
    assert read_trace(trace, 2) == {"small": {"recvfrom": 1.0}, "h2": {}}


def test_a_dump_is_read():
    assert read_dump("desc: Timerange: x\ndesc: Trigger: Client Request: small\n\nevents: Ir\ntotals: 2312876\n") == (
        "small",
        2312876,
    )
