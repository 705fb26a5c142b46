"""Reloads and killed workers under a load of everything at once; the long version is in test_soak_operations.py."""

import os
import signal

import psutil
import pytest
from harness import until
from load import MixedLoad, clients_of, mixed_backend, mixed_site

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    with mixed_backend(tmp_path_factory.mktemp("mixed")) as port:
        yield port


def test_reloads_with_other_numbers_of_workers_fail_nothing_and_lose_no_line_of_the_log(start, backend):
    front = start(mixed_site(backend), workers=4)
    with MixedLoad(front.port, clients=16) as load:
        load.wait_for(100)
        for workers in (2, 6, 3):
            front.workers = workers
            assert front.reload().code == 0
            load.wait_for(100)
    load.expect_no_failures()
    load.expect_each_in(front)


def kill_gracelessly(worker, port):
    """Kill a worker; returns the ports of the clients whose connections it held."""
    os.kill(worker, signal.SIGSTOP)
    until(lambda: psutil.Process(worker).status() == psutil.STATUS_STOPPED, "a worker that stands still")
    held = clients_of(worker, port)
    os.kill(worker, signal.SIGKILL)
    return held


def test_a_killed_worker_fails_what_it_was_serving_and_nothing_else(start, backend):
    front = start(mixed_site(backend), workers=2)
    with MixedLoad(front.port, clients=16) as load:
        load.wait_for(50)
        victims = front.worker_pids()
        held = set()
        for victim in victims:
            held |= kill_gracelessly(victim, front.port)
            until(lambda gone=victim: len(front.worker_pids() - {gone}) == 2, "a successor", 2)
            load.wait_for(50)
    load.forgive(held)
    load.expect_no_failures()
