"""The application for uploads and upgraded connections, and the clients of the latter, with each other."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest

from bench import echo, openloop
from bench.configurations import SMALL_BODY
from bench.contestants import TREE
from bench.memory import measure_memory
from bench.ports import free_port
from bench.workloads import WORKLOADS
from bench.wrk import parse_output


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    chosen = free_port()
    application = subprocess.Popen([sys.executable, "-m", "bench.streams", str(chosen)], cwd=TREE)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", chosen), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline and application.poll() is None
        yield chosen
    finally:
        application.kill()
        application.wait()


@pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_000])
def test_a_body_is_taken_whole_and_answered(port, size):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        for _ in range(2):  # the second would be misread, had a byte of the first been left
            connection.request("POST", "/streams/upload", body=b"x" * size)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, SMALL_BODY.encode())
    finally:
        connection.close()


def test_messages_come_back(port):
    count, size, seconds, latencies = echo.run(port, "/streams/echo", 4, 0.2)
    assert count == len(latencies) > 100
    assert size == count * len(echo.masked_message(b"m" * echo.PAYLOAD))
    assert seconds >= 0.2


def test_a_connection_that_is_not_upgraded_is_an_error(port, monkeypatch):
    monkeypatch.setattr(echo, "UPGRADE", "Connection: close\r\n")
    with pytest.raises(OSError, match="not upgraded"):
        echo.open_websocket(port, "/streams/echo")


def test_its_report_reads_like_that_of_wrk(port):
    done = subprocess.run(
        [sys.executable, "-m", "bench.echo", str(port), "/streams/echo", "2", "0.1"],
        cwd=TREE, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert parse_output(done.stdout).requests > 10


def test_requests_come_at_their_times_and_the_ones_that_wait_count_from_theirs(port):
    report = openloop.run(port, "/", 4, 0.3, 200.0)
    load = parse_output(report.rpartition("\n")[0])  # how late the generator itself was is the machine's matter
    assert load.requests == 60
    assert load.p50 is not None and load.p99 is not None and 0 < load.p50 <= load.p99


def test_a_request_that_is_never_answered_is_counted_as_waiting_to_the_end(port, monkeypatch):
    monkeypatch.setattr(openloop, "END_PATIENCE", 0.1)
    report = openloop.run(port, "/streams/hold", 2, 0.2, 50.0)
    assert report.startswith("  0 requests in ")
    assert parse_output(report.rpartition("\n")[0]).p50 > 0.1


def test_memory_of_connections_is_that_of_the_server(port):
    me = psutil.Process()
    server = SimpleNamespace(name="this", port=port, processes=lambda: [me], last_words=lambda: "")
    sample = measure_memory(server, WORKLOADS["idle"], 8)
    assert sample.work == 8 and sample.kilobytes is not None
