"""The pid file."""

import os

import pytest

from master.memory import create_memory
from master.pidfile import (
    PidFileError,
    is_master,
    read_pid_file,
    refuse_second_master,
    remove_pid_file,
    rename_pid_file,
    write_pid_file,
)
from wproxy.config.tree import ConfigurationError
from wproxy.safe_open import Distrusted


@pytest.fixture
def path(tmp_path):
    (tmp_path / "run").mkdir()
    return str(tmp_path / "run" / "wproxy.pid")


def a_pid_that_is_gone():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    return pid


def test_it_holds_the_number_and_a_newline_for_all_to_read_whatever_the_umask(path):
    umask = os.umask(0o077)
    try:
        write_pid_file(path, 4711)
    finally:
        os.umask(umask)
    with open(path) as file:
        assert file.read() == "4711\n"
    assert os.stat(path).st_mode & 0o777 == 0o644
    assert os.listdir(os.path.dirname(path)) == ["wproxy.pid"]
    assert read_pid_file(path) == 4711


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has somebody to distrust")
def test_nothing_is_written_removed_or_renamed_through_links_of_who_may_write_there(tmp_path):
    worker = Distrusted(7001, frozenset((7001,)))
    theirs, etc = tmp_path / "theirs", tmp_path / "etc"
    for directory in (theirs, etc):
        directory.mkdir()
    os.chown(theirs, 7001, 7001)
    (etc / "secret").write_text("root's")
    path = theirs / "wproxy.pid"
    # The name that it is written under first is easily guessed.
    os.link(etc / "secret", f"{path}.4711")
    write_pid_file(str(path), 4711, worker)
    assert ((etc / "secret").read_text(), path.read_text()) == ("root's", "4711\n")
    (theirs / "sub").symlink_to(etc)
    os.chown(theirs / "sub", 7001, 7001, follow_symlinks=False)
    (etc / "wproxy.pid").write_text("4711")
    within = str(theirs / "sub" / "wproxy.pid")
    with pytest.raises(ConfigurationError, match="symbolic link"):
        write_pid_file(within, 4711, worker)
    with pytest.raises(ConfigurationError, match="symbolic link"):
        rename_pid_file(within, within + ".oldbin", worker)
    remove_pid_file(within, 4711, worker)
    assert sorted(os.listdir(etc)) == ["secret", "wproxy.pid"]
    remove_pid_file(str(path), 4711, worker)
    assert not path.exists()


def test_a_fifo_instead_of_a_pid_file_keeps_nobody(tmp_path):
    os.mkfifo(tmp_path / "wproxy.pid")
    with pytest.raises(PidFileError, match="invalid PID number"):
        read_pid_file(str(tmp_path / "wproxy.pid"))


def test_a_place_that_cannot_be_written_is_an_error_of_the_configuration():
    with pytest.raises(ConfigurationError, match=r'open\(\) "/proc/none/wproxy.pid" failed \(2: No such file'):
        write_pid_file("/proc/none/wproxy.pid", 1)


def test_a_missing_file_is_told_in_nginx_s_words(path):
    with pytest.raises(PidFileError) as error:
        read_pid_file(path)
    assert str(error.value) == f'open() "{path}" failed (2: No such file or directory)'


@pytest.mark.parametrize(
    ("data", "shown"), [(b"abc\n", "abc"), (b"", ""), (b"0\n", "0"), (b"-1\n", "-1"), (b"12345678901\n", "12345678901")]
)
def test_what_is_no_number_is_told_in_nginx_s_words(tmp_path, data, shown):
    path = tmp_path / "wproxy.pid"
    path.write_bytes(data)
    with pytest.raises(PidFileError) as error:
        read_pid_file(str(path))
    assert str(error.value) == f'invalid PID number "{shown}" in "{path}"'


def test_it_is_removed_only_while_it_is_ours(path):
    write_pid_file(path, 4711)
    remove_pid_file(path, 4712)
    assert os.path.exists(path)
    remove_pid_file(path, 4711)
    assert not os.path.exists(path)
    remove_pid_file(path, 4711)


def test_a_stale_file_is_no_obstacle(path):
    refuse_second_master(path)
    write_pid_file(path, a_pid_that_is_gone())
    refuse_second_master(path)


def test_the_number_of_a_process_that_is_no_master_is_no_obstacle(path):
    write_pid_file(path, os.getppid())
    refuse_second_master(path)


def test_a_process_with_the_memory_of_a_master_is_a_master():
    assert not is_master(os.getpid())
    memory = create_memory()
    assert is_master(os.getpid())
    memory.close()
