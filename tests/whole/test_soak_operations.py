"""Long runs, by `make soak`: reloads and killed workers under 64 clients of all kinds, and what two hundred reloads leave behind.

The short version is test_whole_mixed_load.py.
"""

from __future__ import annotations

import gc
import os

import psutil
import pytest
from harness import Wproxy, until
from load import MixedLoad, mixed_backend, mixed_site
from test_whole_mixed_load import kill_holding
from wire import ask

pytestmark = [pytest.mark.whole, pytest.mark.soak]


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    with mixed_backend(tmp_path_factory.mktemp("mixed")) as port:
        yield port


class Household:
    """What a family of processes has: to be compared before and after."""

    def __init__(self, front: Wproxy) -> None:
        front.command("status")
        self.processes = len(front.family())
        self.descriptors = front.master.num_fds()
        self.files = {os.readlink(f"/proc/{front.master.pid}/fd/{name}") for name in os.listdir(f"/proc/{front.master.pid}/fd")}
        self.of_workers = sorted(psutil.Process(pid).num_fds() for pid in front.worker_pids())
        self.rss = front.master.memory_info().rss
        self.rss_of_workers = max(psutil.Process(pid).memory_info().rss for pid in front.worker_pids())

    def __repr__(self) -> str:
        return (
            f"{self.processes} processes, descriptors {self.descriptors} and {self.of_workers}, "
            f"resident {self.rss >> 10} KB and {self.rss_of_workers >> 10} KB"
        )


def settled(front: Wproxy, workers: int) -> Household:
    """What it has when all who are to leave have left."""
    until(lambda: len(front.family()) == workers + 1, lambda: f"{workers} workers, but there are {front.family()}", 60)
    return Household(front)


def test_twenty_reloads_and_the_death_of_every_worker_under_64_clients(start, backend):
    # As many as there will ever be: the sockets of six are kept for as long as the address is configured.
    front = start(mixed_site(backend), workers=6)
    front.workers = 4
    assert front.reload().code == 0
    before = settled(front, 4)
    forgiven = 0
    with MixedLoad(front.port, clients=64) as load:
        load.wait_for(500)
        for number in range(20):
            front.workers = (4, 2, 6)[number % 3]
            assert front.reload().code == 0
            load.wait_for(100)
        front.workers = 4
        assert front.reload().code == 0
        load.expect_no_failures()
        held = set()
        for victim in front.worker_pids():
            held |= kill_holding(victim, front.port)
            until(lambda gone=victim: len(front.worker_pids() - {gone}) == 4, "a successor", 3)
            load.wait_for(200)
        forgiven = len(load.forgive(held, killed=4))
        load.expect_no_failures()
    load.expect_no_failures()
    load.expect_each_in(front)
    after = settled(front, 4)
    print(f"{load.count} answers, {forgiven} cut by a death, {load.again} asked again\nbefore {before}\nafter  {after}")
    assert after.descriptors == before.descriptors, after.files ^ before.files
    assert max(after.of_workers) < before.of_workers[-1] + 80, "connections to the backend are kept"
    assert after.rss < before.rss * 1.1


def test_two_hundred_reloads_leave_nothing_behind(start, backend):
    front = start(mixed_site(backend), workers=2)
    assert front.reload().code == 0
    gc.collect()
    before = settled(front, 2)
    middle = before
    for number in range(200):
        assert front.reload().code == 0
        assert ask(front.port, f"/ask/{number}").status == 200
        if number == 100:
            middle = settled(front, 2)
    after = settled(front, 2)
    print(f"before {before}\nmiddle {middle}\nafter  {after}")
    assert after.rss < before.rss * 1.1
    assert after.rss_of_workers < before.rss_of_workers * 1.1
    assert after.descriptors == before.descriptors, after.files ^ before.files
