"""What a service manager is told, on a real datagram socket."""

import os
import socket
import time

import pytest

from master.notify import Notifier


@pytest.fixture(params=("file", "abstract"))
def manager(request, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        path = f"{tmp_path}/notify" if request.param == "file" else f"@wproxy-test-{os.getpid()}"
        one.bind(path if request.param == "file" else "\0" + path[1:])
        one.setblocking(False)
        yield one, Notifier(path)


def told(one):
    return dict(line.split("=", 1) for line in one.recv(1000).decode().splitlines())


def test_it_is_told_that_the_service_is_ready_and_whose_process_it_is(manager):
    one, notifier = manager
    assert notifier.has_listener
    notifier.ready(42, "generation 1 serves")
    assert told(one) == {"READY": "1", "MAINPID": "42", "STATUS": "generation 1 serves"}


def test_it_is_told_of_a_reload_with_the_monotonic_time(manager):
    one, notifier = manager
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    said = told(one)
    assert said["RELOADING"] == "1"
    assert before <= int(said["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_it_is_told_of_the_end_and_of_a_successor(manager):
    one, notifier = manager
    notifier.stopping("finishing requests")
    assert told(one) == {"STOPPING": "1", "STATUS": "finishing requests"}
    notifier.hand_over(7)
    assert told(one)["MAINPID"] == "7"


def test_without_a_service_manager_nothing_is_said():
    notifier = Notifier("")
    assert not notifier.has_listener
    notifier.ready(1, "")


def test_a_service_manager_that_is_gone_or_does_not_read_stops_nobody(tmp_path):
    Notifier(f"{tmp_path}/nobody").ready(1, "")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(f"{tmp_path}/full")
        notifier = Notifier(f"{tmp_path}/full")
        for _ in range(2000):  # more than any queue takes
            notifier.reloading()
