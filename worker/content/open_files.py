"""Opening files, and telling what is there (nginx: src/core/ngx_open_file_cache.c).

`access_of(location)` is how a location does both: `open` and `look`. Whoever opens a file gives it back with `close`, and nobody
else looks at descriptors. Three settings lie behind it: `open_file_cache` keeps what was found for a while, `disable_symlinks`
walks paths name by name, and without both of them it is two system calls.

What a cache keeps is believed for `open_file_cache_valid`, then looked at again. A file that leaves the cache while it is being
sent is closed by the last who sends it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable

from worker.content.symlinks import open_walking
from wproxy.config.model import Location
from wproxy.directives.open_file_cache import FileCache, SymlinkPolicy
from wproxy.http import Request
from wproxy.template import Template

# Not to hang on a FIFO; nothing that a worker opens is left to a program it starts.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_CLOEXEC

_KIND = 0o170000  # the bits of a mode that tell files, directories and others apart
_FILE = stat.S_IFREG
_DIRECTORY = stat.S_IFDIR

NOT_FOUND = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG))
FORBIDDEN = frozenset((errno.EACCES, errno.ELOOP))


class OpenFile:
    """A file that is open for reading. modified: unix seconds."""

    __slots__ = ("fd", "is_directory", "is_file", "modified", "path", "size")

    def __init__(self, path: bytes, fd: int = -1) -> None:
        """Open, unless it is open already; raises OSError."""
        if fd < 0:
            try:
                fd = os.open(path, _FLAGS)
            except ValueError:  # a zero byte in the path: no file has such a name
                raise _no_such_file() from None
        self.fd = fd
        self.path = path
        self.learn(os.fstat(fd))

    def learn(self, facts: os.stat_result) -> None:
        """Take down what is known of it."""
        kind = facts.st_mode & _KIND
        self.is_file = kind == _FILE
        self.is_directory = kind == _DIRECTORY
        self.size = facts.st_size
        self.modified = int(facts[8])  # stat.ST_MTIME: whole seconds

    def close(self) -> None:
        """Give it back; doing so twice is allowed."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __repr__(self) -> str:
        return f"<open file {self.path!r} {self.size}>"


class KeptFile(OpenFile):
    """A file, a directory or an error in a cache. fd: -1 where nothing is kept open.

    checked, asked: when it was last looked at and asked for. uses: how often it was asked for. users: how many hold the open
    file. error: why there is none, or 0. identity: device and inode.
    """

    __slots__ = ("asked", "checked", "error", "identity", "is_dropped", "users", "uses")

    def __init__(self, path: bytes, now: float) -> None:
        self.path = path
        self.fd = -1
        self.is_file = self.is_directory = self.is_dropped = False
        self.size = self.modified = self.users = self.uses = self.error = 0
        self.identity = (0, 0)
        self.asked = self.checked = now

    def learn(self, facts: os.stat_result) -> None:
        """Take down what is known of it."""
        super().learn(facts)
        self.identity = facts.st_dev, facts.st_ino
        self.error = 0

    def close(self) -> None:
        """One user less."""
        self.users -= 1
        if self.is_dropped and self.users <= 0:
            self.close_now()

    def drop(self) -> None:
        """It has left the cache."""
        self.is_dropped = True
        if self.users <= 0:
            self.close_now()

    def close_now(self) -> None:
        """Close what is open of it."""
        super().close()


class FileStore:
    """What is kept of one `open_file_cache`: files by path and policy, the one asked for last at the end."""

    __slots__ = ("inactive", "kept", "most", "next_sweep")

    def __init__(self, settings: FileCache) -> None:
        self.most = settings.most
        self.inactive = settings.inactive
        self.kept: OrderedDict[object, KeptFile] = OrderedDict()
        self.next_sweep = 0.0

    def add(self, key: object, file: KeptFile) -> None:
        """Take a file in; the one that was asked for least recently makes room."""
        while len(self.kept) >= self.most:
            self.kept.popitem(last=False)[1].drop()
        self.kept[key] = file

    def forget(self, key: object) -> None:
        """Let go of what is kept under the key."""
        file = self.kept.pop(key, None)
        if file is not None:
            file.drop()

    def sweep(self, now: float) -> None:
        """Once a second: forget what nobody has asked for."""
        self.next_sweep = now + 1.0
        while self.kept:
            key, oldest = next(iter(self.kept.items()))
            if now - oldest.asked < self.inactive:
                break
            self.forget(key)

    def __repr__(self) -> str:
        return f"<file store {len(self.kept)} of {self.most}>"


Open = Callable[[Request, bytes], OpenFile]
Look = Callable[[Request, bytes], bool]


class Access:
    """How a location opens files.

    open: the file of a path, to be closed. look: whether what is there is a directory. Both raise OSError. call, looking: the
    system calls that errors of the two are blamed on.
    """

    __slots__ = ("call", "look", "looking", "open")

    def __init__(self, open_file: Open, look: Look, call: str = "open", looking: str = "stat") -> None:
        self.open = open_file
        self.look = look
        self.call = call
        self.looking = looking


def access_of(location: Location) -> Access:
    """How this location opens files."""
    policy = location.disable_symlinks
    access = PLAIN if policy is None else _checked_access(policy)
    cache = location.open_file_cache
    if cache is None or (policy is not None and policy.trusted is not None and policy.trusted.constant is None):
        return access  # what a variable says of a path today it may not say tomorrow
    return _kept_access(location, cache, access)


def _open(request: Request, path: bytes) -> OpenFile:
    return OpenFile(path)


def _look(request: Request, path: bytes) -> bool:
    return is_directory(path)


PLAIN = Access(_open, _look)


def is_directory(path: bytes) -> bool:
    """Whether a directory is there, False for anything else that is. Raises OSError when there is nothing to be seen."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except ValueError:
        raise _no_such_file() from None


def _checked_access(policy: SymlinkPolicy) -> Access:
    """With an eye on symbolic links."""
    by_owner = policy.by_owner
    trusted: Template | None = policy.trusted

    def walk(request: Request, path: bytes, flags: int) -> int:
        begin = b"" if trusted is None else trusted.evaluate(request)
        try:
            return open_walking(path, begin, by_owner, flags)
        except ValueError:
            raise _no_such_file() from None

    def open_file(request: Request, path: bytes) -> OpenFile:
        return OpenFile(path, walk(request, path, _FLAGS))

    def look(request: Request, path: bytes) -> bool:
        fd = walk(request, path, _LOOK)
        try:
            return stat.S_ISDIR(os.fstat(fd).st_mode)
        finally:
            os.close(fd)

    return Access(open_file, look, "openat", "openat")


def _kept_access(location: Location, cache: FileCache, anew: Access) -> Access:
    """With `open_file_cache`: what was found is kept. anew: how it is found."""
    if cache.store is None:
        cache.store = FileStore(cache)
    store: FileStore = cache.store
    policy = location.disable_symlinks
    valid, least, keeps_errors = (
        location.open_file_cache_valid,
        location.open_file_cache_min_uses,
        location.open_file_cache_errors,
    )
    kept = store.kept

    def find(request: Request, path: bytes, now: float) -> KeptFile | None:
        """What is kept of a path and may be believed; it has been asked for once more."""
        if now >= store.next_sweep:
            store.sweep(now)
        key = path if policy is None else (path, policy)
        file = kept.get(key)
        if file is None:
            return None
        file.uses += 1
        file.asked = now
        kept.move_to_end(key)
        if now - file.checked >= valid and not check(file, now):
            uses = file.uses
            store.forget(key)
            renewed = KeptFile(path, now)
            renewed.uses = uses
            renewed.checked = -1e9  # nothing is known of it yet
            store.add(key, renewed)
            return renewed
        if file.error:
            raise OSError(file.error, os.strerror(file.error))
        return file

    def check(file: KeptFile, now: float) -> bool:
        """Look again at what is kept; False when it is something else now."""
        if file.fd < 0 or policy is not None:
            return False
        try:
            facts = os.stat(file.path)
        except OSError:
            return False
        if (facts.st_dev, facts.st_ino) != file.identity:
            return False
        file.learn(facts)
        file.checked = now
        return True

    def enter(path: bytes, now: float) -> KeptFile:
        """A file that is new to the store."""
        file = KeptFile(path, now)
        file.uses = 1
        store.add(path if policy is None else (path, policy), file)
        return file

    def note(path: bytes, file: KeptFile, error: OSError, now: float) -> None:
        """Keep an error, or nothing."""
        if keeps_errors and error.errno:
            file.error, file.checked = error.errno, now
        else:
            store.forget(path if policy is None else (path, policy))

    def open_file(request: Request, path: bytes) -> OpenFile:
        now = request.client.clock.now
        file = find(request, path, now)
        if file is not None and file.fd >= 0:
            file.users += 1
            return file
        if file is None:
            file = enter(path, now)
        try:
            opened = anew.open(request, path)
        except OSError as error:
            note(path, file, error, now)
            raise
        file.learn(os.fstat(opened.fd))
        file.checked = now
        if not opened.is_file or file.uses < least:
            return opened
        file.fd = opened.fd
        file.users += 1
        return file

    def look(request: Request, path: bytes) -> bool:
        now = request.client.clock.now
        file = find(request, path, now)
        if file is None:
            file = enter(path, now)
        elif now - file.checked < valid:
            return file.is_directory
        try:
            file.is_directory = anew.look(request, path)
        except OSError as error:
            note(path, file, error, now)
            raise
        file.checked = now
        return file.is_directory

    return Access(open_file, look, anew.call, anew.looking)


def _no_such_file() -> OSError:
    return OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def failed(call: str, path: str, error: OSError) -> str:
    """`open() "/a" failed (2: No such file or directory)`."""
    return f'{call}() "{path}" failed ({error.errno}: {error.strerror})'
