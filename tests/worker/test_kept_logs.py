"""`open_log_file_cache`: logs whose names have variables stay open, for as long as it says."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from worker.logs.kept import KeptLogs
from wproxy.directives.log import LogFileCache, open_log_file_cache


@pytest.fixture
def clock():
    return SimpleNamespace(now=1000.0, wall=1000.0)


def write(logs: KeptLogs, path: object, line: bytes = b"x") -> None:
    log = logs.take(str(path))
    os.write(log.fileno, line)
    logs.give_back(log)


def open_logs(directory: object) -> int:
    names = (
        os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")
    )
    return sum(name.startswith(str(directory)) for name in names)


def test_without_a_cache_each_line_opens_its_file(clock, tmp_path):
    logs = KeptLogs(None, clock)
    write(logs, tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "old")
    write(logs, tmp_path / "a")
    assert ((tmp_path / "old").read_bytes(), (tmp_path / "a").read_bytes()) == (b"x", b"x")
    assert open_logs(tmp_path) == 0


def test_a_kept_log_goes_on_when_its_directory_is_renamed_until_it_is_looked_at(clock, tmp_path):
    logs = KeptLogs(LogFileCache(10, valid=60.0, inactive=1000.0), clock)
    (tmp_path / "logs").mkdir()
    write(logs, tmp_path / "logs" / "a")
    (tmp_path / "logs").rename(tmp_path / "old")
    write(logs, tmp_path / "logs" / "a")
    assert (tmp_path / "old" / "a").read_bytes() == b"xx"
    clock.now += 60
    with pytest.raises(FileNotFoundError):
        write(logs, tmp_path / "logs" / "a")
    (tmp_path / "logs").mkdir()
    write(logs, tmp_path / "logs" / "a")
    assert (tmp_path / "logs" / "a").read_bytes() == b"x"
    logs.close()
    assert open_logs(tmp_path) == 0


def test_it_is_bounded_and_forgets_what_nobody_asks_for(clock, tmp_path):
    logs = KeptLogs(LogFileCache(3, inactive=10.0), clock)
    for number in range(20):
        write(logs, tmp_path / str(number))
    assert open_logs(tmp_path) == 3
    clock.now += 9
    write(logs, tmp_path / "19")
    clock.now += 9
    write(logs, tmp_path / "new")
    assert open_logs(tmp_path) == 2
    logs.close()


def test_a_log_stays_open_from_so_many_uses_on(clock, tmp_path):
    logs = KeptLogs(LogFileCache(3, least=3), clock)
    opened = []
    for _ in range(4):
        write(logs, tmp_path / "a")
        opened.append(open_logs(tmp_path))
    assert opened == [0, 0, 1, 1]
    logs.close()


def test_its_parameters():
    assert open_log_file_cache("off") is None
    assert open_log_file_cache("max=10") == LogFileCache(10, 10.0, 60.0, 1)
    assert open_log_file_cache("max=10", "inactive=20s", "valid=1m", "min_uses=2") == LogFileCache(10, 20.0, 60.0, 2)
    for words, text in (
        (("inactive=20s",), '"open_log_file_cache" must have "max" parameter'),
        (("max=0",), '"open_log_file_cache" must have "max" parameter'),
        (("max=1", "min_uses=x"), 'invalid "open_log_file_cache" parameter "min_uses=x"'),
        (("max=1", "deep=1"), 'invalid "open_log_file_cache" parameter "deep=1"'),
    ):
        with pytest.raises(ValueError) as error:
            open_log_file_cache(*words)
        assert str(error.value) == text
