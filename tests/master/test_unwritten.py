"""Lines of access logs that a worker was killed with."""

import os
from pathlib import Path

import pytest

from master.unwritten import Unwritten
from master.user import Identity
from wproxy.unwritten import CAPACITY, region, size_of_regions, take_lines


def keep(unwritten, index, lines, length=None):
    """As a worker does: the lines first, then how many bytes."""
    word, data = region(unwritten.memory, index)
    data[: len(lines)] = lines
    word[0] = len(lines) if length is None else length


@pytest.fixture
def paths(tmp_path):
    return [str(tmp_path / "a.log"), str(tmp_path / "b.log")]


@pytest.fixture
def unwritten(paths):
    made = Unwritten(paths)
    yield made
    made.close()


def contents(paths):
    return [Path(path).read_bytes() if os.path.exists(path) else None for path in paths]


def test_what_is_left_is_appended_to_its_file_once(unwritten, paths):
    Path(paths[0]).write_bytes(b"before\n")
    keep(unwritten, 0, b"one\ntwo\n")
    assert unwritten.write_out(None) == 8
    assert unwritten.write_out(None) == 0
    assert contents(paths) == [b"before\none\ntwo\n", None]


def test_each_file_has_its_own(unwritten, paths):
    keep(unwritten, 0, b"a\n")
    keep(unwritten, 1, b"b\n")
    unwritten.write_out(None)
    assert contents(paths) == [b"a\n", b"b\n"]


@pytest.mark.parametrize("length", [6, 1 << 40, (1 << 64) - 1])
def test_half_a_line_and_a_wild_length_do_no_harm(unwritten, paths, length):
    keep(unwritten, 0, b"whole\nhalf", length)
    unwritten.write_out(None)
    assert contents(paths) == [b"whole\n", None]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has somebody to distrust")
def test_lines_of_a_worker_are_not_written_through_its_links(paths, tmp_path):
    os.chown(tmp_path, 7001, 7001)
    (tmp_path / "secret").write_bytes(b"root's")
    os.symlink(tmp_path / "secret", paths[0])
    os.chown(paths[0], 7001, 7001, follow_symlinks=False)
    unwritten = Unwritten(paths)
    keep(unwritten, 0, b"* * * * * root evil\n")
    keep(unwritten, 1, b"b\n")
    with pytest.raises(OSError, match="symbolic link"):
        unwritten.write_out(Identity("joe", 7001, 7001))
    assert ((tmp_path / "secret").read_bytes(), Path(paths[1]).read_bytes()) == (b"root's", b"b\n")
    unwritten.close()


def test_a_file_that_cannot_be_opened_does_not_keep_the_others_from_theirs(paths):
    unwritten = Unwritten(["/proc/none/a.log", paths[1]])
    keep(unwritten, 0, b"a\n")
    keep(unwritten, 1, b"b\n")
    with pytest.raises(OSError) as failure:
        unwritten.write_out(None)
    assert failure.value.filename == "/proc/none/a.log"
    assert contents(paths)[1] == b"b\n"
    unwritten.close()


def test_a_child_writes_where_its_parent_reads(unwritten, paths):
    pid = os.fork()
    if pid == 0:
        keep(unwritten, 1, b"from the child\n")
        os._exit(0)
    os.waitpid(pid, 0)
    unwritten.write_out(None)
    assert contents(paths) == [None, b"from the child\n"]


def test_regions_do_not_touch():
    memory = memoryview(bytearray(size_of_regions(3)))
    for index in range(3):
        word, data = region(memory, index)
        data[:] = bytes([65 + index]) * (CAPACITY - 1) + b"\n"
        word[0] = CAPACITY
    assert [take_lines(memory, index)[:1] for index in range(3)] == [b"A", b"B", b"C"]
    assert all(len(take_lines(memory, index)) == 0 for index in range(3))


def test_without_any_log_there_is_nothing_to_do():
    unwritten = Unwritten([])
    assert unwritten.write_out(None) == 0
    unwritten.close()
    unwritten.close()
