"""Lines of an access log in memory that the master sees."""

import os

import pytest
from made_requests import make_request

from worker.logs.access import AccessLogs
from wproxy.config.load import load_text
from wproxy.http import Clock, Request
from wproxy.unwritten import CAPACITY, region, size_of_regions, take_lines

TEXT = """
error_log = "stderr"
[http]
access_log = %s
log_format.plain = "$arg_line"
[[http.server]]
listen = "127.0.0.1:8080"
"""


def asking_for(line: bytes) -> Request:
    """A request with this line in the log."""
    request = make_request()
    request.args = b"line=" + line
    return request


@pytest.fixture
def memory():
    return memoryview(bytearray(size_of_regions(1)))


@pytest.fixture
def log(tmp_path, memory):
    """The writer of a log and its logs: what is given to the one is a line of the other."""
    made = []

    def make(access_log='[["access.log", "plain"]]'):
        configuration = load_text((TEXT % access_log).encode(), "t.toml", f"{tmp_path}/", lambda host, port: [])
        logs = AccessLogs(configuration, Clock(1000.0, 0.0), unwritten=memory)
        (server,) = configuration.servers
        write = logs.writer(server.locations.fallback)
        made.append(logs)
        return logs, lambda text: write(asking_for(text.removesuffix(b"\n")))

    yield make
    for logs in made:
        logs.close()
        for file in logs._files.values():
            os.close(file.fileno)


def written(tmp_path):
    return (tmp_path / "access.log").read_bytes()


def test_a_line_is_there_for_the_master_until_it_is_written(log, memory, tmp_path):
    logs, write = log()
    write(b"one\n")
    write(b"two\n")
    assert written(tmp_path) == b""
    word, data = region(memory, 0)
    assert bytes(data[: word[0]]) == b"one\ntwo\n"
    logs.flush()
    assert written(tmp_path) == b"one\ntwo\n"
    assert take_lines(memory, 0) == b""


def test_a_full_memory_is_written_out(log, memory, tmp_path):
    logs, write = log()
    line = b"x" * 999 + b"\n"
    for _ in range(100):
        write(line)
    assert written(tmp_path) + take_lines(memory, 0) == line * 100
    assert len(written(tmp_path)) == CAPACITY // 1000 * 1000
    logs.flush()
    assert written(tmp_path) == line * 100


def test_a_line_that_is_longer_than_the_memory_keeps_its_place(log, memory, tmp_path):
    logs, write = log()
    write(b"before\n")
    write(b"y" * CAPACITY + b"\n")
    write(b"after\n")
    assert written(tmp_path) == b"before\n" + b"y" * CAPACITY + b"\n"
    logs.flush()
    assert written(tmp_path).endswith(b"y\nafter\n")


def test_with_a_buffer_of_its_own_lines_stay_in_the_worker(log, memory, tmp_path):
    logs, write = log('[["access.log", "plain", "buffer=1k"]]')
    write(b"one\n")
    assert take_lines(memory, 0) == b""
    logs.flush()
    assert written(tmp_path) == b"one\n"
