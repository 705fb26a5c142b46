"""What a rotation waits for, and logs that nobody reads."""

import os
import signal

import pytest
from running_master import running_master, until

from wproxy.log_files import open_for_appending
from wproxy.shared import HEAD_REOPENED, HEAD_REOPENS_BEGUN

pytestmark = pytest.mark.whole


def test_logs_are_reopened_when_the_last_worker_has_followed(tmp_path):
    with running_master(tmp_path) as master:
        late, _ = master.workers()
        os.kill(late, signal.SIGSTOP)
        master.signal(signal.SIGUSR1)
        until(lambda: master.head(HEAD_REOPENS_BEGUN) == 1)
        master.signal(signal.SIGUSR1)
        until(lambda: master.head(HEAD_REOPENS_BEGUN) == 2)
        assert master.head(HEAD_REOPENED) == 0
        os.kill(late, signal.SIGCONT)
        until(lambda: master.head(HEAD_REOPENED) == 2)


def test_a_worker_that_dies_over_it_is_not_waited_for(tmp_path):
    with running_master(tmp_path) as master:
        late, _ = master.workers()
        os.kill(late, signal.SIGSTOP)
        master.signal(signal.SIGUSR1)
        until(lambda: master.head(HEAD_REOPENS_BEGUN) == 1)
        os.kill(late, signal.SIGKILL)
        until(lambda: master.head(HEAD_REOPENED) == 1)


def test_a_worker_that_is_ended_before_it_serves_is_no_fault_of_the_server(tmp_path):
    with running_master(tmp_path) as master:
        master.write(bad_worker=[0, "never serves"])
        master.signal(signal.SIGHUP)
        until(lambda: len(master.workers(state=None)) == 4)
        master.signal(signal.SIGQUIT)
        assert master.exit_code() == 0
        assert "exited on signal 9" in master.log()
        # In a checkout that other users cannot read, an alert of its own says so.
        assert not [line for line in master.log().splitlines() if "[alert]" in line and "may not read" not in line]


def test_a_fifo_that_nobody_reads_is_refused_and_one_with_a_reader_is_written_to(tmp_path):
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device or address"):
        open_for_appending(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = open_for_appending(path)
    assert os.get_blocking(writer)
    os.write(writer, b"line\n")
    assert os.read(reader, 100) == b"line\n"
    os.close(writer)
    os.close(reader)
