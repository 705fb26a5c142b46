"""What a worker may have and where it runs."""

import os
import resource
from types import SimpleNamespace

import psutil
import pytest
from running_master import RunningMaster, connect, running_master, until

from master.limits import process_warnings
from wproxy.directives.processes import cpu_affinity, cpu_mask, environment_variable, priority, watchdog

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root raises limits")
CPUS = frozenset(os.sched_getaffinity(0))


@pytest.mark.parametrize("mask, cpus", [("0101", {0, 2}), ("1", {0}), ("10", {1}), ("1000 0000", {7}), ("", set())])
def test_the_last_bit_of_a_mask_is_the_first_cpu(mask, cpus):
    assert cpu_mask(mask) == cpus


@pytest.mark.parametrize(
    "masks, complaint",
    [
        (("1x",), 'invalid character "x" in "worker_cpu_affinity"'),
        (("auto", "01", "10"), "invalid number of arguments"),
        (("auto", "auto"), "invalid character"),
    ],
)
def test_a_mask_that_is_none_is_refused_in_nginx_s_words(masks, complaint):
    with pytest.raises(ValueError, match=complaint):
        cpu_affinity(*masks)


def test_each_worker_has_its_mask_and_the_last_serves_the_rest():
    affinity = cpu_affinity("0001", "0010", "1100")
    assert [affinity.of(index, CPUS) for index in range(5)] == [{0}, {1}, {2, 3}, {2, 3}, {2, 3}]


def test_auto_deals_out_the_cpus_that_there_are():
    assert [cpu_affinity("auto").of(index, frozenset({2, 5})) for index in range(3)] == [{2}, {5}, {2}]


def test_auto_with_a_mask_deals_out_those_of_the_mask():
    assert [cpu_affinity("auto", "1010").of(index, CPUS) for index in range(3)] == [{1}, {3}, {1}]


@pytest.mark.parametrize("value, niceness", [("-5", -5), ("7", 7), ("0", 0)])
def test_a_priority(value, niceness):
    assert priority(value) == niceness


@pytest.mark.parametrize("value", ["x", "-x", "--5", "", "1.5"])
def test_a_priority_that_is_no_number(value):
    with pytest.raises(ValueError, match="invalid number"):
        priority(value)


@pytest.mark.parametrize("value, seconds", [("off", 0), ("30s", 30), ("2m", 120)])
def test_a_watchdog(value, seconds):
    assert watchdog(value) == seconds


@pytest.mark.parametrize("value", ["500ms", "0", "999ms"])
def test_a_watchdog_below_the_pulse_of_a_worker_is_refused(value):
    with pytest.raises(ValueError, match="at least 1s"):
        watchdog(value)


@pytest.mark.parametrize("value, variable", [("A=b=c", ("A", "b=c")), ("A", ("A", None)), ("A=", ("A", ""))])
def test_an_environment_variable(value, variable):
    assert environment_variable(value) == variable


# A real master.


def limit(pid, name):
    """Soft and hard limit of a process."""
    with open(f"/proc/{pid}/limits") as file:
        return next(line[26:].split()[:2] for line in file if line.startswith(name))


@pytest.mark.whole
def test_workers_have_the_limits_the_niceness_the_cpus_and_the_place_that_are_configured(tmp_path):
    cpu = max(CPUS)
    with running_master(
        tmp_path,
        worker_rlimit_nofile=123,
        worker_rlimit_core=5000,
        worker_priority=3,
        worker_cpu_affinity=[format(1 << cpu, "b")],
        working_directory="/var/tmp",
        env=[("TZ", "EST5"), ("HOME", None)],
    ) as master:
        for pid in master.workers():
            worker = psutil.Process(pid)
            assert limit(pid, "Max open files") == ["123", "123"]
            assert limit(pid, "Max core file size") == ["5000", "5000"]
            assert worker.nice() == 3
            assert worker.cpu_affinity() == [cpu]
        with connect(master.address) as client:
            client.sendall(b"where\n")
            assert client.recv(1000) == b"/var/tmp EST5 EST"
        assert "failed" not in master.log()
        assert psutil.Process(master.pid).nice() == os.nice(0)


@pytest.mark.whole
def test_with_auto_each_worker_has_a_cpu_of_its_own(tmp_path):
    with running_master(tmp_path, worker_cpu_affinity=["auto"], workers=len(CPUS)) as master:
        found = [psutil.Process(pid).cpu_affinity() for pid in master.workers()]
    assert sorted(found) == [[cpu] for cpu in sorted(CPUS)]


@pytest.mark.whole
def test_what_the_system_refuses_is_told_and_the_workers_serve(tmp_path):
    with running_master(tmp_path, worker_cpu_affinity=["1" + "0" * 900], worker_rlimit_nofile=1 << 40) as master:
        assert master.ask()
        log = master.log()
    assert "sched_setaffinity() failed (22: Invalid argument)" in log
    assert f"setrlimit(RLIMIT_NOFILE, {1 << 40}) failed" in log


@pytest.mark.whole
def test_a_working_directory_that_is_not_there_prevents_the_start(tmp_path):
    master = RunningMaster(str(tmp_path), working_directory="/nowhere/at/all")
    try:
        assert master.launch().communicate(timeout=15)[1] == (
            'wproxy: [emerg] chdir("/nowhere/at/all") failed (2: No such file or directory) in default\n'
        )
    finally:
        master.end()


@pytest.mark.whole
def test_a_reload_changes_the_limits_of_new_workers(tmp_path):
    with running_master(tmp_path, worker_rlimit_nofile=200) as master:
        master.write(worker_rlimit_nofile=100)
        before = set(master.workers())
        master.signal(1)
        until(lambda: len(set(master.workers()) - before) == 2)
        for pid in set(master.workers()) - before:
            assert limit(pid, "Max open files") == ["100", "100"]


# Warnings.


def warnings(**changes):
    """What is said of a configuration, as text."""
    values = {
        "user": None,
        "worker_cpu_affinity": None,
        "worker_processes": 3,
        "worker_connections": 1,
        "worker_rlimit_nofile": None,
    }
    return [str(problem) for problem in process_warnings(SimpleNamespace(origins={}, **{**values, **changes}))]


def test_what_agrees_with_itself_is_not_warned_of():
    assert warnings() == []
    assert warnings(worker_cpu_affinity=cpu_affinity("1", "1", "1")) == []
    assert warnings(worker_cpu_affinity=cpu_affinity("1")) == []
    assert warnings(worker_cpu_affinity=cpu_affinity("auto", "1")) == []


def test_masks_of_another_number_than_workers_are_warned_of():
    assert warnings(worker_cpu_affinity=cpu_affinity("1", "1")) == [
        'the number of "worker_processes" is not equal to the number of "worker_cpu_affinity" masks, '
        "using last mask for remaining worker processes"
    ]


def test_more_connections_than_descriptors_are_warned_of_unless_the_limit_is_raised():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert warnings(worker_connections=limit + 1) == [f"{limit + 1} worker_connections exceed open file resource limit: {limit}"]
    assert warnings(worker_connections=limit + 1, worker_rlimit_nofile=limit + 1) == []


def test_user_is_for_root(monkeypatch):
    text = 'the "user" directive makes sense only if the master process runs with super-user privileges, ignored'
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert warnings(user=("nobody", "")) == [text]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert warnings(user=("nobody", "")) == []
