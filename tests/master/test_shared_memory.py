"""The memory that master, workers and the operator's commands share."""

import fcntl
import mmap
import os

import pytest

from master.memory import NoMaster, create_memory, open_memory_of
from wproxy.shared import HEAD_GENERATION, HEAD_MAGIC, HEAD_MASTER_PID, TOTAL_BYTES


@pytest.fixture
def memory():
    memory = create_memory()
    yield memory
    memory.close()


def test_a_new_memory_names_its_master_and_is_empty(memory):
    assert memory.shared.head(HEAD_MASTER_PID) == os.getpid()
    assert memory.shared.head(HEAD_GENERATION) == 0
    assert memory.shared.workers() == []


def test_nobody_can_change_its_size(memory):
    seals = fcntl.fcntl(memory.fileno, fcntl.F_GET_SEALS)
    assert seals & fcntl.F_SEAL_SHRINK and seals & fcntl.F_SEAL_GROW
    for size in (0, TOTAL_BYTES + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(memory.fileno, size)


def test_an_operator_finds_it_by_the_pid_and_sees_what_the_master_writes(memory):
    with open_memory_of(os.getpid()) as found:
        memory.shared.set_head(HEAD_GENERATION, 7)
        assert found.shared.head(HEAD_GENERATION) == 7


def test_an_operator_cannot_write_to_it(memory):
    with open_memory_of(os.getpid()) as found, pytest.raises(TypeError):
        found.shared.set_head(HEAD_GENERATION, 7)


def test_a_process_without_one_is_no_master():
    with pytest.raises(NoMaster, match=f"process {os.getpid()} is not a wproxy master"):
        open_memory_of(os.getpid())


def test_a_process_that_is_gone_is_no_master():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    with pytest.raises(NoMaster, match="does not exist"):
        open_memory_of(pid)


def test_a_master_that_has_ended_and_is_not_waited_for_is_none():
    """An ordinary user is refused its descriptors then, as if it were somebody else's."""
    pid = os.fork()
    if not pid:
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        ended = os.fork()
        if not ended:
            os._exit(0)
        os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT)
        try:
            open_memory_of(ended)
        except NoMaster as error:
            os._exit(0 if "has ended" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_who_has_the_memory_of_another_is_no_master(memory):
    memory.shared.set_head(HEAD_MASTER_PID, 1)
    with pytest.raises(NoMaster):
        open_memory_of(os.getpid())


def test_another_layout_is_not_read(memory):
    memory.shared.set_head(HEAD_MAGIC, 1)
    with pytest.raises(NoMaster):
        open_memory_of(os.getpid())


def test_a_memory_of_another_size_is_not_read():
    fileno = os.memfd_create("wproxy")
    os.ftruncate(fileno, mmap.PAGESIZE)
    with pytest.raises(NoMaster):
        open_memory_of(os.getpid())
    os.close(fileno)


def test_looking_for_it_leaves_no_descriptor_open(memory):
    before = len(os.listdir("/proc/self/fd"))
    open_memory_of(os.getpid()).close()
    assert len(os.listdir("/proc/self/fd")) == before
