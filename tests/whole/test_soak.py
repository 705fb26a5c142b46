"""Long runs, by `make soak`: what goes wrong once in ten thousand requests, and what grows."""

from __future__ import annotations

import random
import signal
import time

import psutil
import pytest
from harness import until
from test_whole_pool import names, pool  # noqa: F401 (a fixture)
from wire import Load

pytestmark = [pytest.mark.whole, pytest.mark.soak]

SECONDS = 40.0


def test_reloads_and_killed_backends_under_load_cost_nothing(start, pool):  # noqa: F811
    front = start(pool.http(), workers=2)
    chance = random.Random(20261122)
    began = time.monotonic()
    with Load(front.port, clients=16) as load:
        load.wait_for(500)
        first = resident(front)
        while time.monotonic() - began < SECONDS:
            deed = chance.choice(("reload", "kill a backend", "nothing"))
            if deed == "reload":
                assert front.reload().code == 0
            elif deed == "kill a backend":
                victim = chance.randrange(3)
                pool.signal(victim, signal.SIGKILL)
                load.wait_for(200)
                pool.programs[victim].wait()
                pool.restart(victim)
                # The next one is killed when this one serves again: a pool of which nobody is left has no answer to give.
                before = names(load)["abc"[victim]]
                until(lambda: names(load)["abc"[victim]] > before + 10, "requests at the backend that came back")
            load.wait_for(200)
        until(lambda: len(front.worker_pids()) == 2, "old workers gone")
        last = resident(front)
    assert load.failures == []
    assert last < first * 1.3, f"{first >> 20} MB before, {last >> 20} MB after"


def resident(front) -> int:
    """Bytes that the family has resident."""
    return sum(process.memory_info().rss for process in front.family() if psutil.pid_exists(process.pid))
