"""The application for uploads and upgraded connections, and the clients of the latter, with each other."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from bench import echo
from bench.configurations import SMALL_BODY
from bench.ports import free_port
from bench.servers import TREE
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
    count, size, seconds = echo.run(port, "/streams/echo", 4, 0.2)
    assert count > 100
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
