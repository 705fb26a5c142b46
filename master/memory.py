"""The shared memory: made by the master, inherited by every worker, found again by the operator's commands.

It is a memfd, an anonymous file that lives while a process has it open or mapped: it survives fork by nature and exec by its
descriptor number, and is gone with the last process, however that ended. It is sealed against changes
of size, because a process that reads past the end of a shrunk mapping dies of SIGBUS. `wproxy.shared` defines the words in it.

The operator's commands find it as /proc/PID/fd/N -> "/memfd:wproxy (deleted)", so no name in the file system has to
be agreed upon, created or cleaned up.

An upgrade of the program hands the descriptor to the new master, which continues with its contents if it has the same layout, and
begins with an empty one of its own otherwise. Then two masters share it, each with a head of its own.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct

from wproxy.address_space import map_file
from wproxy.shared import (
    FAMILY_BITS,
    HEAD_ACCEPTED,
    HEAD_CONNECTIONS,
    HEAD_EXITS_ASKED,
    HEAD_EXITS_CRASHED,
    HEAD_EXITS_HUNG,
    HEAD_EXITS_KILLED,
    HEAD_GENERATION,
    HEAD_MAGIC,
    HEAD_MASTER_PID,
    HEAD_RECORDS,
    HEAD_REFUSED,
    HEAD_RELOADS,
    HEAD_RELOADS_FAILED,
    HEAD_REQUESTS,
    HEAD_RESPAWNED,
    HEAD_SLOTS,
    HEAD_WORDS,
    MAGIC,
    MASTERS,
    TOTAL_BYTES,
    SharedWords,
)

MEMFD_NAME = "wproxy"


class NoMaster(Exception):
    """The process is gone, or is not a wproxy master."""


class OtherLayout(NoMaster):
    """It is a wproxy master of a version whose memory we cannot read."""


class Memory:
    """The mapped memory by its descriptor, which it owns. `shared`: the words in it."""

    def __init__(self, fileno: int, *, writable: bool = True) -> None:
        """Map a descriptor of TOTAL_BYTES bytes; raises OSError or ValueError.

        is_inherited: whether it came from another master.
        """
        self.fileno = fileno
        self.is_inherited = False
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self._mapping = map_file(fileno, TOTAL_BYTES, "what workers share", access=access)
        self._bytes = memoryview(self._mapping)
        self.shared = SharedWords(self._bytes.cast("Q"))

    def close(self) -> None:
        """Unmap and close. Every view of the words is unusable afterwards."""
        self.shared.words.release()
        self._bytes.release()
        self._mapping.close()
        os.close(self.fileno)

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<memory of master {self.shared.head(HEAD_MASTER_PID)} on descriptor {self.fileno}>"


def create_memory() -> Memory:
    """Make new zeroed memory with our process as its master; raises OSError."""
    fileno = os.memfd_create(MEMFD_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fileno, TOTAL_BYTES)
    fcntl.fcntl(fileno, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    memory = Memory(fileno)
    memory.shared.set_head(HEAD_MASTER_PID, os.getpid())
    memory.shared.words[HEAD_MAGIC] = MAGIC  # last: a reader that sees it finds the rest in place
    return memory


# The words of a head that survive a change of master, and the words that the first head has for both.
_KEPT = {
    *(HEAD_CONNECTIONS, HEAD_REQUESTS, HEAD_ACCEPTED, HEAD_RESPAWNED, HEAD_RELOADS, HEAD_RELOADS_FAILED),
    *(HEAD_REFUSED, HEAD_EXITS_ASKED, HEAD_EXITS_CRASHED, HEAD_EXITS_KILLED, HEAD_EXITS_HUNG),
}
_COMMON = {HEAD_MAGIC, HEAD_SLOTS, HEAD_RECORDS}


def adopt_memory(fileno: int, predecessor: int) -> Memory:
    """Continue with the memory of the master that started us, in the head that it does not use.

    Takes over the descriptor. Raises OtherLayout, OSError or ValueError, with the descriptor closed.
    """
    memory = _take_memory(fileno, predecessor)
    shared = memory.shared
    shared.master = 1 - shared.masters().index(predecessor)
    generation = max(shared.words[master * HEAD_WORDS + HEAD_GENERATION] for master in range(MASTERS))
    kept = _KEPT if shared.master else _KEPT | _COMMON
    for word in range(HEAD_WORDS):
        if word not in kept:
            shared.set_head(word, 0)
    shared.set_head(HEAD_GENERATION, generation)  # numbers continue, so that no two in the memory are alike
    shared.set_head(HEAD_MASTER_PID, os.getpid())
    return memory


def resume_memory(fileno: int) -> Memory:
    """Continue with our own memory after we have executed the program anew, in the same head; raises like `adopt_memory`."""
    memory = _take_memory(fileno, os.getpid())
    memory.shared.master = memory.shared.masters().index(os.getpid())
    return memory


def _take_memory(fileno: int, master: int) -> Memory:
    """Return the inherited memory in which that master has a head."""
    try:
        if os.fstat(fileno).st_size != TOTAL_BYTES or os.pread(fileno, 8, HEAD_MAGIC * 8) != struct.pack("=Q", MAGIC):
            raise OtherLayout("the shared memory of the old master has another layout")
        memory = Memory(fileno)
    except BaseException:
        _close(fileno)
        raise
    os.set_inheritable(fileno, False)
    memory.is_inherited = True
    if master not in memory.shared.masters():
        memory.close()
        raise OtherLayout(f"the shared memory is not that of process {master}")
    return memory


def _close(fileno: int) -> None:
    try:
        os.close(fileno)
    except OSError:  # the descriptor that we were given was wrong
        pass


def open_memory_of(pid: int) -> Memory:
    """Map the memory of a running master for reading, with its head as the one that is read.

    Raises NoMaster when the process is gone or is not a wproxy master, OtherLayout for a version with another memory layout, and
    PermissionError when it belongs to another user and we are not root.
    """
    directory = f"/proc/{pid}/fd"
    is_other = False
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, ProcessLookupError):
        raise NoMaster(f"process {pid} does not exist") from None
    except PermissionError:
        # The system shows nobody but root the descriptors of a process that has ended and is not waited for yet.
        if _has_ended(pid):
            raise NoMaster(f"process {pid} has ended") from None
        raise
    for name in names:
        path = f"{directory}/{name}"
        try:
            if os.readlink(path).split(" ")[0] != f"/memfd:{MEMFD_NAME}":
                continue
            fileno = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):  # closed, or ended, while we looked
            continue
        # Workers have the memory open as well; only one process is the master in a head.
        magic, masters = _stable_words(fileno)
        if pid not in masters or magic >> FAMILY_BITS != MAGIC >> FAMILY_BITS:
            os.close(fileno)
        elif magic == MAGIC and os.fstat(fileno).st_size >= TOTAL_BYTES:
            memory = Memory(fileno, writable=False)
            memory.shared.master = masters.index(pid)
            return memory
        else:
            os.close(fileno)
            is_other = True
    if is_other:
        raise OtherLayout(f"process {pid} is a master of another version of wproxy")
    raise NoMaster(f"process {pid} is not a wproxy master")


def _has_ended(pid: int) -> bool:
    """Whether a process is a zombie, or gone altogether."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] in b"ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _stable_words(fileno: int) -> tuple[int, list[int]]:
    """Return the words that every layout has in the same place: the magic number, and the masters in the heads."""
    data = os.pread(fileno, MASTERS * HEAD_WORDS * 8, 0)
    words = memoryview(data[: len(data) // 8 * 8]).cast("Q")
    if len(words) < MASTERS * HEAD_WORDS:
        return 0, []
    return words[HEAD_MAGIC], [words[master * HEAD_WORDS + HEAD_MASTER_PID] for master in range(MASTERS)]
