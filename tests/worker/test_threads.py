"""`aio threads`: a disk that is slow holds up nobody but those who wait for it."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conversation import Stage, get

from worker.content.file_body import is_in_memory
from worker.loop import Loop
from worker.threads import ThreadPool, thread_pools
from wproxy.directives.aio import ThreadPoolSettings

PATIENCE = 10.0


class Yard:
    """A loop with a pool, and what its tasks came to."""

    def __init__(self, **settings: int) -> None:
        self.loop = Loop()
        self.said: list[tuple[str, str]] = []
        self.pool = ThreadPool(
            self.loop, ThreadPoolSettings("yard", **settings), lambda level, text: self.said.append((level, text))
        )
        self.ended: list[Any] = []

    def run(self, call: Callable[[], Any]) -> Any:
        async def task() -> None:
            try:
                self.ended.append(await self.pool.run(call))
            except Exception as error:
                self.ended.append(error)

        return self.loop.spawn(task())

    def until(self, condition: Callable[[], Any]) -> None:
        limit = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < limit, (self.ended, self.pool)
            self.loop.turn(0.01)


@pytest.fixture
def yard() -> Iterator[Callable[..., Yard]]:
    made: list[Yard] = []

    def make(**settings: int) -> Yard:
        made.append(Yard(**settings))
        return made[-1]

    yield make
    for one in made:
        one.loop.close()


def test_what_a_thread_finds_is_what_the_task_gets(yard):
    y = yard(threads=2)
    for number in range(20):
        y.run(lambda number=number: number)
    y.until(lambda: len(y.ended) == 20)
    assert sorted(y.ended) == list(range(20))
    assert y.pool.threads == 2


def test_the_loop_turns_while_threads_wait(yard):
    y = yard(threads=1)
    gate = threading.Event()
    y.run(gate.wait)
    y.run(lambda: "after")
    for _ in range(100):
        y.loop.turn(0)
    assert y.ended == []
    gate.set()
    y.until(lambda: len(y.ended) == 2)
    assert y.ended == [True, "after"]


def test_an_error_of_the_system_is_the_tasks(yard):
    y = yard(threads=1)
    y.run(lambda: os.pread(-1, 1, 0))
    y.until(lambda: y.ended)
    assert y.ended[0].errno == errno.EBADF


def test_whoever_leaves_is_not_told_and_the_thread_serves_on(yard):
    y = yard(threads=1)
    gate = threading.Event()
    task = y.run(gate.wait)
    y.loop.turn(0)
    y.loop.interrupt(task, ValueError("gone"))
    y.loop.turn(0)
    assert [str(error) for error in y.ended] == ["gone"]
    gate.set()
    y.run(lambda: "next")
    y.until(lambda: len(y.ended) == 2)
    assert y.ended[1] == "next"


def test_nothing_stays_in_the_loop_when_all_is_done(yard):
    y = yard(threads=3)
    for _ in range(2):
        y.ended.clear()
        y.run(lambda: 1)
        y.until(lambda: y.ended)
        y.until(lambda: not y.loop.tasks)
        assert not y.loop._streams


def test_a_queue_that_is_full_takes_no_more(yard):
    y = yard(threads=1, most_waiting=1)
    gate = threading.Event()
    for _ in range(3):
        y.run(gate.wait)
    y.until(lambda: y.ended)
    assert y.ended[0].errno == errno.EAGAIN
    assert y.said == [("error", 'thread pool "yard" queue overflow: 1 tasks waiting')]
    gate.set()
    y.until(lambda: len(y.ended) == 3)


def test_default_is_always_there_and_may_be_written_anew():
    loop = Loop()
    pools = thread_pools([ThreadPoolSettings("a", 2), ThreadPoolSettings("default", 3)], loop, lambda level, text: None)
    assert {name: pool.settings.threads for name, pool in pools.items()} == {"default": 3, "a": 2}
    assert thread_pools([], loop, lambda level, text: None)["default"].settings == ("default", 32, 65536)
    loop.close()


# Files.

CONTENT = bytes(range(256)) * 4096


def evict(path: Path) -> None:
    """Take a file out of memory, where that can be done. (Looking whether it worked would read it ahead again.)"""
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def is_kept(path: Path) -> bool:
    """Whether the beginning of a file is in memory."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return is_in_memory(fd, 0, min(4096, path.stat().st_size))
    finally:
        os.close(fd)


@pytest.fixture
def told(tmp_path: Path) -> None:
    """Skips a test where the file system does not tell what is in memory."""
    (tmp_path / "told").write_bytes(b"x")
    if not is_kept(tmp_path / "told"):
        pytest.skip("this file system does not tell what is in memory")


def serve(stage: Callable[..., Stage], directory: Path, settings: str) -> Stage:
    return stage(
        peers=0,
        text=f"""
        error_log = [["{{directory}}/error.log", "info"]]
        thread_pool = [["disks", "threads=2"]]
        [http]
        access_log = [["{{directory}}/access.log", "test"]]
        [http.log_format]
        test = '{{log_format}}'
        [[http.server]]
        listen = "127.0.0.1:8080"
        [http.server.location."/"]
        root = "{directory}"
        {settings}
        """,
    )


def fetch(front: Stage, target: bytes, *fields: bytes) -> bytes:
    client = front.client(tcp=True).send(get(target, b"Connection: close", *fields))
    assert client.is_closed()
    data = bytes(client.received)
    client.received.clear()
    return data.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("more", ["", "sendfile = false", "directio = 4096", "sendfile_max_chunk = '64k'"])
@pytest.mark.parametrize("size", [1, 65537, len(CONTENT)])
def test_files_arrive_whole_whether_they_were_in_memory_or_not(stage, tmp_path, more, size):
    path = tmp_path / "file"
    path.write_bytes(CONTENT[:size])
    front = serve(stage, tmp_path, f'aio = "threads=disks"\n{more}')
    for _ in range(2):
        evict(path)
        assert fetch(front, b"/file") == CONTENT[:size]


@pytest.mark.usefixtures("told")
def test_what_is_not_in_memory_is_read_by_threads(stage, tmp_path):
    front = serve(stage, tmp_path, 'aio = "threads=disks"')
    for name, size in (("large", len(CONTENT)), ("small", 1000)):
        (tmp_path / name).write_bytes(CONTENT[:size])
        evict(tmp_path / name)
        assert fetch(front, b"/" + name.encode()) == CONTENT[:size]
    assert front.worker.thread_pools["disks"].threads > 0
    assert front.worker.thread_pools["default"].threads == 0


@pytest.mark.usefixtures("told")
def test_what_is_in_memory_needs_no_thread(stage, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    front = serve(stage, tmp_path, 'aio = "threads"')
    assert fetch(front, b"/file") == CONTENT
    assert front.worker.thread_pools["default"].threads == 0


@pytest.mark.usefixtures("told")
def test_directio_leaves_nothing_of_large_files_in_memory(stage, tmp_path):
    for name, size in (("large", len(CONTENT)), ("small", 1000)):
        (tmp_path / name).write_bytes(CONTENT[:size])
        evict(tmp_path / name)
    front = serve(stage, tmp_path, "directio = '4k'")
    for name, stays in (("large", False), ("small", True)):
        fetch(front, b"/" + name.encode())
        assert is_kept(tmp_path / name) == stays


def test_a_file_that_shrinks_while_it_is_sent_cuts_the_response(stage, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT * 8)
    front = serve(stage, tmp_path, 'aio = "threads"')
    client = front.client(tcp=True, receive_buffer=4096, send_buffer=4096).send(get(b"/file"))
    os.truncate(path, 70000)
    assert client.is_closed()
    assert len(client.received) < len(CONTENT) * 8
    client.received.clear()
    assert "was truncated at" in front.error_log()[-1]
