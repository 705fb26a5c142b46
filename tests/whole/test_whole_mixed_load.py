"""Reloads and killed workers under a load of everything at once; the long version is in test_soak_operations.py."""

import os
import signal

import psutil
import pytest
from harness import accepts, until
from load import DOWNLOAD, UPGRADE, MixedLoad, clients_of, mixed_backend, mixed_site, repeated
from wire import Wire, request_bytes

from bench.ports import free_port

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    with mixed_backend(tmp_path_factory.mktemp("mixed")) as port:
        yield port


def test_reloads_with_other_numbers_of_workers_and_listeners_fail_nothing_and_lose_no_line_of_the_log(start, backend):
    front = start(mixed_site(backend), workers=4)
    other = free_port()
    with MixedLoad(front.port, clients=16) as load:
        load.wait_for(100)
        front.workers = 2
        assert front.reload(mixed_site(backend, listen=("127.0.0.1:{port}", f"127.0.0.1:{other}"))).code == 0
        with Wire(other) as down, Wire(other) as socket:
            down.send(request_bytes("GET", f"/download/{DOWNLOAD}/other"))
            assert socket.request("GET", "/websocket/other", UPGRADE).status == 101
            down.sock.recv(1)
            load.wait_for(100)
            front.workers = 6
            assert front.reload(mixed_site(backend)).code == 0
            until(lambda: not accepts(other), "nobody listens on the address that is gone")
            socket.send(b"still there")
            assert socket._exactly(11) == b"still there"
            down.buffer = b"H"
            assert len(down.answer().body) == DOWNLOAD
        load.wait_for(100)
        front.workers = 3
        assert front.reload().code == 0
        load.wait_for(100)
    load.expect_no_failures()
    load.expect_each_in(front)


def kill_holding(worker, port):
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
            held |= kill_holding(victim, front.port)
            until(lambda gone=victim: len(front.worker_pids() - {gone}) == 2, "a successor", 2)
            load.wait_for(50)
    load.forgive(held, killed=len(victims))
    load.expect_no_failures()
    load.expect_each_in(front)


def test_lines_that_came_before_are_found_in_pieces():
    assert repeated("abc") == []
    assert repeated("abcbcda") == [["b", "c"], ["a"]]
