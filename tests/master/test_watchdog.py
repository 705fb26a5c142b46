"""Workers that hang or crash: noticed, made to tell where they are, replaced."""

import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
from running_master import ask, connect, is_gone, running_master, until

from master import last_words
from master.watchdog import Watchdog
from wproxy.shared import WORKER_TURNS

PAUSE = 0.125  # between two looks, for a worker that may stand still for one second


class Words(dict):
    """The slot of a worker."""

    def get(self, word):
        return self[word]


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()


def a_worker(pid, limit=1.0):
    configuration = SimpleNamespace(worker_watchdog=limit)
    return SimpleNamespace(
        pid=pid,
        generation=SimpleNamespace(configuration=configuration),
        slot=Words({WORKER_TURNS: 1}),
        turns_seen=-1,
        still_for=0.0,
        is_hung=False,
        kill_at=float("inf"),
    )


def looks(watchdog, worker, times, begin=100.0, pause=PAUSE):
    """Look so many times; the number of the look that found it hung, or None."""
    return next((number for number in range(times) if list(watchdog.look([worker], begin + number * pause))), None)


def test_a_loop_that_stands_still_for_so_long_hangs(child):
    worker = a_worker(child.pid)
    assert looks(Watchdog(), worker, 20) == 8
    assert worker.is_hung
    assert worker.kill_at < 110
    assert child.wait() == -signal.SIGABRT


def test_it_is_told_once(child):
    worker = a_worker(child.pid)
    watchdog = Watchdog()
    looks(watchdog, worker, 20)
    assert looks(watchdog, worker, 20, begin=200.0) is None


def test_a_loop_that_turns_does_not_hang(child):
    worker, watchdog = a_worker(child.pid), Watchdog()
    for number in range(100):
        worker.slot[WORKER_TURNS] = number // 6
        assert not list(watchdog.look([worker], 100 + number * PAUSE))
    assert child.poll() is None


def test_time_that_we_were_stopped_ourselves_is_not_held_against_it(child):
    worker, watchdog = a_worker(child.pid), Watchdog()
    assert looks(watchdog, worker, 3) is None
    assert not list(watchdog.look([worker], 10_000.0))
    assert not list(watchdog.look([worker], 10_000.0 + PAUSE))
    assert looks(watchdog, worker, 20, begin=10_000.0 + 2 * PAUSE) is not None


def test_a_worker_that_somebody_has_stopped_does_not_hang(child):
    worker, watchdog = a_worker(child.pid), Watchdog()
    child.send_signal(signal.SIGSTOP)
    until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
    assert looks(watchdog, worker, 100) is None
    child.send_signal(signal.SIGCONT)
    until(lambda: psutil.Process(child.pid).status() != psutil.STATUS_STOPPED)
    assert looks(watchdog, worker, 20, begin=100 + 100 * PAUSE) is not None


def test_off_means_that_nobody_is_watched(child):
    worker, watchdog = a_worker(child.pid, limit=0.0), Watchdog()
    assert looks(watchdog, worker, 100, pause=10.0) is None
    assert watchdog.next_look > 100, "and that nobody looks often"


def test_a_stack_is_taken_once_and_its_file_is_closed():
    fileno = last_words.make_file()
    os.write(fileno, b"File one\nFile two\n\n")
    assert last_words.take(fileno) == ("", "File one\nFile two")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fileno)


# A real master.


@pytest.fixture
def master(tmp_path):
    with running_master(tmp_path, worker_watchdog=1.0, bad_worker=["all", "turns"]) as master:
        yield master


@pytest.mark.whole
@pytest.mark.parametrize("line, place", [(b"hang\n", "hang_in_python"), (b"hang in c\n", "hang_in_c")])
def test_a_worker_that_hangs_is_replaced_and_the_log_tells_where_it_was(master, line, place):
    before = set(master.workers())
    with connect(master.address) as client:
        client.sendall(line)
        (victim,) = until(lambda: before - set(master.workers()), 20)
    until(lambda: len(master.workers()) == 2)
    assert is_gone(victim)
    assert len(before & set(master.workers())) == 1, "the other one goes on"
    log = master.log()
    assert f"worker process {victim} hangs: its loop has not turned for 1 seconds (worker_watchdog: default), ending it" in log
    assert f"worker process {victim} exited on signal 6" in log
    assert re.search(rf"\[alert\].*worker process {victim} was in:\n\tFatal Python error: Aborted\n(.*\n)*?.* in {place}\n", log)
    assert ask(connect(master.address)).pid != victim


@pytest.mark.whole
def test_a_worker_that_crashes_leaves_its_stack(master):
    before = set(master.workers())
    with connect(master.address) as client:
        client.sendall(b"crash\n")
        (victim,) = until(lambda: before - set(master.workers()))
    until(lambda: len(master.workers()) == 2)
    assert re.search(
        rf"worker process {victim} was in:\n\tFatal Python error: Segmentation fault\n(.*\n)*?.* in work\n", master.log()
    )


@pytest.mark.whole
def test_a_successor_that_hangs_before_it_serves_is_replaced_too(tmp_path):
    armed = tmp_path / "armed"
    with running_master(tmp_path, worker_watchdog=1.0, bad_worker=[0, "hangs when armed"], workers=1) as master:
        armed.touch()
        (first,) = master.workers()
        os.kill(first, signal.SIGKILL)
        (second,) = until(lambda: [pid for pid in master.workers(None) if pid not in (0, first)])  # 0: not forked yet
        armed.unlink()
        until(lambda: master.workers() not in ([first], [second], []), 20)
        assert f"worker process {second} hangs" in master.log()


@pytest.mark.whole
def test_a_master_keeps_no_descriptor_of_workers_that_are_gone(master):
    descriptors = psutil.Process(master.pid).num_fds()
    for _ in range(2):
        victim = master.workers()[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda gone=victim: gone not in master.workers(None) and len(master.workers()) == 2, 20)
    assert psutil.Process(master.pid).num_fds() == descriptors


@pytest.mark.whole
def test_a_worker_has_no_descriptor_of_another_s_stack(master):
    def stacks(pid):
        names = (os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd"))
        return sum("last-words-of-a-worker" in name for name in names)

    assert [stacks(pid) for pid in master.workers()] == [1, 1]
    assert stacks(master.pid) == 2
