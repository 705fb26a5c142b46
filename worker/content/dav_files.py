"""Changes to files and directories on behalf of clients: each step gives other tasks their turn, since trees may be large.

A file gets its name only when all of it is there (`TemporaryFile.place`), and replaces another one at once: nobody sees a half.
"""

from __future__ import annotations

import errno
import os
import stat

from worker.loop import give_way
from worker.temporary_files import LATER, DiskTrouble, TemporaryFile
from wproxy.directives.temporary_path import TemporaryPath

# The bytes that are copied in one step.
STEP = 4 << 20


def directory_mode(mode: int) -> int:
    """Return the mode of directories for that of files: who may read one may search it."""
    return mode | (mode & 0o444) >> 2


def begin_file(path: bytes) -> TemporaryFile:
    """Return a file that can be given this path later. Raises DiskTrouble."""
    return TemporaryFile(TemporaryPath(os.fsdecode(os.path.dirname(path) or b".")), LATER)


def make_parents(path: bytes, mode: int) -> None:
    """Make the missing directories above a path. Raises OSError."""
    missing = []
    parent = os.path.dirname(path.rstrip(b"/"))
    while parent and not os.path.isdir(parent):
        missing.append(parent)
        parent = os.path.dirname(parent)
    for each in reversed(missing):
        try:
            make_directory(each, mode)
        except FileExistsError:
            pass  # another worker has made it; a file in its place shows when the next one is made


def make_directory(path: bytes, mode: int) -> None:
    """Make one directory, with the mode for files of its kind, regardless of the umask. Raises OSError."""
    os.mkdir(path, 0o700)
    os.chmod(path, directory_mode(mode))


async def delete(path: bytes) -> None:
    """Remove a file, a link, or a directory with all that is in it. Raises OSError."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path.rstrip(b"/"))
        return
    with os.scandir(path) as entries:
        inner = [entry.path for entry in entries]
    for each in inner:
        await give_way()
        await delete(each)
    os.rmdir(path)


async def copy_file(source: bytes, target: bytes) -> None:
    """Copy a file with its mode and time, replacing another one. Raises OSError."""
    reading = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(reading)
        file = begin_file(target)
        try:
            while piece := os.pread(reading, STEP, file.size):
                file.write(piece)
                await give_way()
            file.place(os.fsdecode(target), stat.S_IMODE(facts.st_mode), int(facts.st_mtime))
        finally:
            file.close()
    except DiskTrouble as trouble:
        raise trouble.reason from None
    finally:
        os.close(reading)


async def copy_tree(source: bytes, target: bytes) -> None:
    """Copy a directory with all that is in it to a place where there is none. Raises OSError."""
    facts = os.stat(source)
    os.mkdir(target, 0o700)
    with os.scandir(source) as entries:
        inner = list(entries)
    for entry in inner:
        await give_way()
        place = os.path.join(target, entry.name)
        if entry.is_dir(follow_symlinks=False):
            await copy_tree(entry.path, place)
        elif entry.is_file():
            await copy_file(entry.path, place)
    os.chmod(target, stat.S_IMODE(facts.st_mode))
    os.utime(target, (facts.st_mtime, facts.st_mtime))


async def move(source: bytes, target: bytes) -> None:
    """Give a file or directory another path, also in another file system. Raises OSError."""
    try:
        os.rename(source.rstrip(b"/"), target.rstrip(b"/"))
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    if os.path.isdir(source):
        await copy_tree(source, target)
    else:
        await copy_file(source, target)
    await delete(source)
