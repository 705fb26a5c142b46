"""Processes beside the workers, such as a cache manager: forked, watched, replaced and ended as workers are."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
from running_master import ask, connect, is_gone, running_master, until

from wproxy.shared import ROLE_NAMES, WORKER_PID, WORKER_ROLE

pytestmark = pytest.mark.whole


def managers(master):
    """The pids of the cache managers that the shared memory knows."""
    with master.memory() as memory:
        slots = [slot for slot in memory.shared.workers() if slot.get(WORKER_PID)]
        return [slot.get(WORKER_PID) for slot in slots if ROLE_NAMES[slot.get(WORKER_ROLE)] == "cache manager"]


def test_a_helper_runs_beside_the_workers_under_its_own_title(tmp_path):
    with running_master(tmp_path, manager=True) as master:
        (manager,) = managers(master)
        assert psutil.Process(manager).cmdline()[0] == "wproxy: cache manager process"
        assert f"start cache manager process {manager}" in master.log()
        assert manager not in {ask(connect(master.address)).pid for _ in range(20)}


def test_a_helper_that_dies_is_followed(tmp_path):
    with running_master(tmp_path, manager=True) as master:
        (first,) = managers(master)
        os.kill(first, signal.SIGKILL)
        until(lambda: managers(master) not in ([first], []))
        assert f"cache manager process {first} exited on signal 9" in master.log()


def test_a_reload_starts_and_ends_helpers_as_the_configuration_says(tmp_path):
    with running_master(tmp_path) as master:
        assert managers(master) == []
        master.write(manager=True)
        os.kill(master.pid, signal.SIGHUP)
        (manager,) = until(lambda: managers(master))
        master.write(manager=False)
        os.kill(master.pid, signal.SIGHUP)
        until(lambda: is_gone(manager))


def test_a_master_that_quits_ends_its_helpers(tmp_path):
    with running_master(tmp_path, manager=True) as master:
        (manager,) = managers(master)
        os.kill(master.pid, signal.SIGQUIT)
        until(lambda: is_gone(manager))
        assert master.process.wait(10) == 0
