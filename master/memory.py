"""The shared memory: made by the master, inherited by every worker, found again by the operator's commands.

It is a memfd, an anonymous file that lives while somebody has it open or mapped: it survives fork by nature and
exec by its descriptor number, and is gone with the last process, whatever killed it. It is sealed against changes
of size, because a process that reads past the end of a shrunk mapping dies of SIGBUS. What the words in it mean is
in `wproxy.shared`.

The operator's commands find it as /proc/PID/fd/N -> "/memfd:wproxy (deleted)", so no name in the file system has to
be agreed upon, created or cleaned up.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from wproxy.shared import HEAD_MAGIC, HEAD_MASTER_PID, MAGIC, TOTAL_BYTES, SharedWords

MEMFD_NAME = "wproxy"


class NoMaster(Exception):
    """The process is gone, or is no master of wproxy's."""


class Memory:
    """The mapped memory by its descriptor, which it owns. `shared` are the words in it."""

    def __init__(self, fileno: int, *, writable: bool = True) -> None:
        """Map a descriptor of TOTAL_BYTES bytes; raises OSError or ValueError."""
        self.fileno = fileno
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self._mapping = mmap.mmap(fileno, TOTAL_BYTES, access=access)
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
    """New zeroed memory with our process as its master; raises OSError."""
    fileno = os.memfd_create(MEMFD_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fileno, TOTAL_BYTES)
    fcntl.fcntl(fileno, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    memory = Memory(fileno)
    memory.shared.set_head(HEAD_MASTER_PID, os.getpid())
    memory.shared.set_head(HEAD_MAGIC, MAGIC)  # last: who sees it finds the rest in place
    return memory


def open_memory_of(pid: int) -> Memory:
    """Map the memory of a running master for reading.

    Raises NoMaster when the process is gone, is none of wproxy's masters or is one with another layout, and
    PermissionError when it belongs to somebody else and we are not root.
    """
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, ProcessLookupError):
        raise NoMaster(f"process {pid} does not exist") from None
    for name in names:
        path = f"{directory}/{name}"
        try:
            if os.readlink(path).split(" ")[0] != f"/memfd:{MEMFD_NAME}":
                continue
            memory = Memory(os.open(path, os.O_RDONLY | os.O_CLOEXEC), writable=False)
        except (FileNotFoundError, ProcessLookupError):  # closed, or ended, while we looked
            continue
        except ValueError:  # smaller than our layout: another version's
            continue
        # Workers have the memory open as well; only one process is the master it names.
        if memory.shared.head(HEAD_MAGIC) == MAGIC and memory.shared.head(HEAD_MASTER_PID) == pid:
            return memory
        memory.close()
    raise NoMaster(f"process {pid} is not a wproxy master")
