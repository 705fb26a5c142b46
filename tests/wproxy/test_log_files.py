"""Appending lines: whole, also by several processes, on a full disk and into a pipe."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys

import pytest

from wproxy.log_files import append_lines, append_whole, may_take_back, open_for_appending


@pytest.fixture
def room():
    """A function that leaves room for so many bytes in any file, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def log(tmp_path):
    fileno = open_for_appending(str(tmp_path / "log"))
    yield fileno, tmp_path / "log"
    os.close(fileno)


def test_lines_are_appended(log):
    fileno, path = log
    assert append_lines(fileno, b"a\nb\n", True) == 4
    assert append_lines(fileno, b"c\n", True) == 2
    assert path.read_bytes() == b"a\nb\nc\n"


@pytest.mark.parametrize("size", range(13))
def test_a_full_disk_leaves_no_torn_line(log, room, size):
    fileno, path = log
    data = b"abc\nde\nfghi\n"
    room(size)
    kept = 0
    if size:
        kept = append_lines(fileno, data, True)
    else:
        with pytest.raises(OSError):
            append_lines(fileno, data, True)
    room(resource.RLIM_INFINITY)  # before the outcome of the test is printed into a file
    whole = max(end for end in (0, 4, 7, 12) if end <= size)
    assert kept == whole
    assert path.read_bytes() == data[:whole]


def test_what_follows_on_a_disk_that_has_room_again_begins_a_line(log, room):
    fileno, path = log
    room(6)
    append_lines(fileno, b"abc\ndef\n", True)
    room(resource.RLIM_INFINITY)
    append_lines(fileno, b"ghi\n", True)
    assert path.read_bytes() == b"abc\nghi\n"


def test_what_must_be_whole_is_taken_back_as_a_whole(log, room):
    fileno, path = log
    assert append_whole(fileno, b"first", True)
    room(8)
    kept = append_whole(fileno, b"second", True)
    room(resource.RLIM_INFINITY)
    assert not kept
    assert path.read_bytes() == b"first"


def test_what_another_process_wrote_behind_is_left_alone(log, tmp_path, room):
    """Only its own bytes, and only at the end: the one thing worse than a torn line is a lost one."""
    from wproxy.log_files import take_back

    fileno, path = log
    append_lines(fileno, b"abc\nde", True)
    other = open_for_appending(str(path))
    os.write(other, b"other\n")
    os.close(other)
    take_back(fileno, 2)
    assert path.read_bytes() == b"abc\ndeother\n"


def test_lines_of_several_processes_never_mix(tmp_path):
    path = str(tmp_path / "log")
    children = []
    for letter in b"abcd":
        pid = os.fork()
        if not pid:
            try:
                fileno = open_for_appending(path)
                for _ in range(50):
                    append_lines(fileno, (bytes([letter]) * 999 + b"\n") * 100, True)
            finally:
                os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")[:-1]
    assert len(lines) == 4 * 50 * 100
    assert all(line == line[:1] * 999 for line in lines)


def test_into_a_pipe_lines_go_in_pieces_that_are_whole():
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    assert not may_take_back(writer)
    data = b"".join(b"%d" % number * 500 + b"\n" for number in range(10, 40))
    assert len(data) < 65536
    assert append_lines(writer, data, False) == len(data)
    assert os.read(reader, 65536) == data
    os.close(reader)
    os.close(writer)


def test_a_pipe_that_is_full_loses_whole_lines():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = (b"x" * 99 + b"\n") * 1000
    kept = append_lines(writer, data, False)
    assert 0 < kept < len(data)
    assert kept % 100 == 0
    assert os.read(reader, 1 << 20) == data[:kept]
    os.close(reader)
    os.close(writer)


def test_a_line_longer_than_a_pipe_holds_whole_arrives():
    reader, writer = os.pipe()
    data = b"x" * 9000 + b"\ny\n"
    assert append_lines(writer, data, False) == len(data)
    assert os.read(reader, 65536) == data
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("path", ["/dev/null", "/dev/full"])
def test_a_device_is_no_file(path):
    fileno = open_for_appending(path)
    assert not may_take_back(fileno)
    os.close(fileno)


@pytest.mark.parametrize("path", ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"])
def test_our_own_output_is_a_log_even_where_it_cannot_be_opened_by_name(path):
    ours, theirs = socket.socketpair()  # as a service manager's journal: open() of it is ENXIO
    script = f"import os; from wproxy.log_files import open_for_appending; os.write(open_for_appending({path!r}), b'line\\n')"
    with ours, theirs:
        subprocess.run([sys.executable, "-c", script], stdout=theirs, check=True, timeout=20)
        assert ours.recv(100) == b"line\n"


def test_another_socket_is_no_log(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    with listener, pytest.raises(OSError, match="No such device"):
        open_for_appending(str(tmp_path / "socket"))
