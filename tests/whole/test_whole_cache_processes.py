"""The processes of the cache: the loader finds what was there, the manager keeps the limits, and both outlive being killed."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from harness import title, until

from wproxy.cache.header import Header, header_bytes, place, with_checksum
from wproxy.cache.key import cache_key, file_path

pytestmark = pytest.mark.whole

HTTP = """
proxy_cache_path = [["cache", "levels=1:2", "keys_zone=one:1m", "max_size={size}", "manager_files=1000"]]

[[http.server]]
listen = "127.0.0.1:{{port}}"
location."/" = {{ return = [200, "here"] }}
"""
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


def fill(directory: Path, count: int) -> None:
    """Store responses as wproxy does."""
    for number in range(count):
        key = cache_key(b"/%d" % number)
        header = Header(valid_sec=1 << 40)
        place(header, key, len(HEAD))
        data = header_bytes(header, key) + HEAD + b"body"
        at, mark = with_checksum(data, header.body_start, len(data))
        path = Path(file_path(str(directory), (1, 2), key.digest))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data[:at] + mark + data[at + 4 :])


def files(front) -> list[Path]:
    return [path for path in (front.directory / "cache").rglob("*") if path.is_file()]


def beside(front, name: str) -> list[psutil.Process]:
    """The processes of that name beside the workers."""
    return [process for process in front.family() if f"cache {name} process" in title(process)]


def test_the_loader_and_the_manager_at_work(start, tmp_path):
    fill(tmp_path / "wproxy0" / "cache", 40)
    front = start(HTTP.format(size="80k"))
    front.error_logged("http file cache: ")
    assert "0.156M" in front.error_log
    until(lambda: len(files(front)) == 20, lambda: f"20 files, not {len(files(front))}")
    (manager,) = beside(front, "manager")
    assert title(manager) == "wproxy: cache manager process"
    until(lambda: not beside(front, "loader"), "the loader has done its work")

    manager.send_signal(signal.SIGKILL)
    front.error_logged(f"cache manager process {manager.pid} exited on signal 9")
    (second,) = until(lambda: [each for each in beside(front, "manager") if each.pid != manager.pid], "another manager")
    assert front.reload(HTTP.format(size="40k")).code == 0
    until(lambda: len(files(front)) == 10, lambda: f"10 files, not {len(files(front))}")
    until(lambda: not second.is_running(), "the old manager leaves")
    assert front.error_log.count("start cache loader process") == 1, "the index outlives a reload"

    # Each command is a program of its own: what else they say is in tests/wproxy/test_cache_command.py.
    kept = json.loads(front.command("cache", "list", "one", "--json").output)
    assert len(kept) == 10 and {each["body"] for each in kept} == {4}
    shown = json.loads(front.command("cache", "stat", "--json").output)["one"]
    assert (shown["size"], shown["max_size"], shown["cold"], shown["hit"]) == (40960, 40960, False, {"responses": 0, "bytes": 0})
    assert front.command("cache", "purge", "one", kept[0]["key"]).output == "wproxy: 1 purged from one\n"
    assert len(files(front)) == 9
    assert f'"{kept[0]["key"]}" is not in the cache one' in front.command("cache", "purge", "one", kept[0]["key"]).errors

    os.kill(front.master.pid, signal.SIGUSR1)
    front.error_logged("reopening logs")
    assert "[alert] a bug" not in front.error_log
    front.signal(signal.SIGQUIT)
    front.program.wait()
