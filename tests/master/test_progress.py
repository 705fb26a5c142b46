"""The line that tells a person what a command waits for."""

from __future__ import annotations

import io

from master.progress import EVERY, PATIENCE, Progress, has_leaving, open_work
from wproxy.shared import (
    DRAINING,
    PRIVATE_BYTES,
    SERVING,
    WORKER_ACTIVE,
    WORKER_MASTER,
    WORKER_PID,
    WORKER_STATE,
    WORKER_TUNNELS,
    WORKER_WAITING,
    SharedWords,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_said_where_nobody_looks():
    clock, script = Clock(), io.StringIO()
    with Progress(lambda: "waiting", script, clock) as progress:
        clock.now += 60
        progress.tell()
    assert script.getvalue() == ""


def test_the_line_appears_after_a_while_and_is_removed():
    clock, terminal = Clock(), Terminal()
    with Progress(lambda: "waiting for 1 request", terminal, clock) as progress:
        progress.tell()
        assert terminal.getvalue() == "", "most commands are over at once"
        clock.now += PATIENCE
        progress.tell()
        progress.tell()
        assert terminal.getvalue() == "\r\x1b[Kwproxy: waiting for 1 request, 0 s"
        clock.now += EVERY + 1
        progress.tell()
    assert terminal.getvalue().endswith("waiting for 1 request, 2 s\r\x1b[K")


def shared_with(*workers: dict[int, int]) -> SharedWords:
    words = SharedWords(memoryview(bytearray(PRIVATE_BYTES)).cast("Q"))
    for index, each in enumerate(workers):
        words.worker(index).set(WORKER_PID, 100 + index)
        words.worker(index).set(WORKER_MASTER, 7)
        for word, value in each.items():
            words.worker(index).set(word, value)
    return words


def test_the_work_of_workers_that_leave():
    leaving = {WORKER_STATE: DRAINING, WORKER_ACTIVE: 5, WORKER_WAITING: 1, WORKER_TUNNELS: 1}
    shared = shared_with(
        leaving,
        {WORKER_STATE: DRAINING, WORKER_ACTIVE: 1, WORKER_TUNNELS: 1},
        {WORKER_STATE: DRAINING},
        {WORKER_STATE: SERVING, WORKER_ACTIVE: 100},
        leaving | {WORKER_MASTER: 8},
    )
    assert open_work(shared, 7) == "3 requests and 2 tunnels in 2 workers"
    assert open_work(shared, 8) == "3 requests and 1 tunnel in 1 worker"
    assert open_work(shared, 9) == ""
    assert has_leaving(shared, 7)
    assert not has_leaving(shared, 9)
