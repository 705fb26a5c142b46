"""`open_file_cache`: results of opening files are kept for a while (nginx: src/core/ngx_open_file_cache.c).

A result is trusted for `open_file_cache_valid`, then checked again. A file that leaves the cache while it is being sent is closed
by its last user.
"""

from __future__ import annotations

import os
from collections import OrderedDict

from worker.content.open_files import Access, OpenFile
from wproxy.config.model import Location
from wproxy.directives.open_file_cache import FileCache
from wproxy.http import Request


class KeptFile(OpenFile):
    """A file, a directory or an error in a cache. fd: -1 if nothing is kept open.

    checked, asked: the times of the last check and the last request. uses: the number of requests. users: the number of holders
    of the open file. error: the reason why there is none, or 0. identity: device and inode.
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
        """Record the facts of the file."""
        super().learn(facts)
        self.identity = facts.st_dev, facts.st_ino
        self.error = 0

    def close(self) -> None:
        """Count one user less."""
        self.users -= 1
        if self.is_dropped and self.users <= 0:
            self.close_now()

    def drop(self) -> None:
        """Note that it has left the cache."""
        self.is_dropped = True
        if self.users <= 0:
            self.close_now()

    def close_now(self) -> None:
        """Close its descriptor."""
        super().close()


class FileStore:
    """The entries of one `open_file_cache`: files by path and policy, the last requested at the end."""

    __slots__ = ("inactive", "kept", "most", "next_sweep")

    def __init__(self, settings: FileCache) -> None:
        self.most = settings.most
        self.inactive = settings.inactive
        self.kept: OrderedDict[object, KeptFile] = OrderedDict()
        self.next_sweep = 0.0

    def add(self, key: object, file: KeptFile) -> None:
        """Add a file; the least recently requested one makes room."""
        while len(self.kept) >= self.most:
            self.kept.popitem(last=False)[1].drop()
        self.kept[key] = file

    def forget(self, key: object) -> None:
        """Drop the entry of a key."""
        file = self.kept.pop(key, None)
        if file is not None:
            file.drop()

    def sweep(self, now: float) -> None:
        """Drop the entries that were not requested for a while; to be called once a second."""
        self.next_sweep = now + 1.0
        while self.kept:
            key, oldest = next(iter(self.kept.items()))
            if now - oldest.asked < self.inactive:
                break
            self.forget(key)

    def __repr__(self) -> str:
        return f"<file store {len(self.kept)} of {self.most}>"


class KeptAccess:
    """Opens files for a location with `open_file_cache`: keeps results by path, and with disable_symlinks by policy.

    anew: the access that finds a file. valid: the seconds that a result is trusted. least: the number of requests after which a
    file stays open.
    """

    __slots__ = ("_anew", "_keeps_errors", "_least", "_policy", "_store", "_valid")

    def __init__(self, location: Location, cache: FileCache, anew: Access) -> None:
        if cache.store is None:
            cache.store = FileStore(cache)
        self._store: FileStore = cache.store
        self._anew = anew
        self._policy = location.disable_symlinks
        self._valid = location.open_file_cache_valid
        self._least = location.open_file_cache_min_uses
        self._keeps_errors = location.open_file_cache_errors

    def open(self, request: Request, path: bytes) -> OpenFile:
        """Return the file of a path; the caller closes it. Raises OSError."""
        now = request.client.clock.now
        file = self._find(path, now)
        if file is not None and file.fd >= 0:
            file.users += 1
            return file
        if file is None:
            file = self._enter(path, now)
        try:
            opened = self._anew.open(request, path)
        except OSError as error:
            self._note(path, file, error, now)
            raise
        file.learn(os.fstat(opened.fd))
        file.checked = now
        if not opened.is_file or file.uses < self._least:
            return opened
        file.fd = opened.fd
        file.users += 1
        return file

    def look(self, request: Request, path: bytes) -> bool:
        """Whether the path is a directory. Raises OSError."""
        now = request.client.clock.now
        file = self._find(path, now)
        if file is None:
            file = self._enter(path, now)
        elif now - file.checked < self._valid:
            return file.is_directory
        try:
            file.is_directory = self._anew.look(request, path)
        except OSError as error:
            self._note(path, file, error, now)
            raise
        file.checked = now
        return file.is_directory

    def _key(self, path: bytes) -> object:
        return path if self._policy is None else (path, self._policy)

    def _find(self, path: bytes, now: float) -> KeptFile | None:
        """Return the trusted entry of a path, and count the request. Raises an OSError that is kept."""
        store = self._store
        if now >= store.next_sweep:
            store.sweep(now)
        key = self._key(path)
        file = store.kept.get(key)
        if file is None:
            return None
        file.uses += 1
        file.asked = now
        store.kept.move_to_end(key)
        if now - file.checked >= self._valid and not self._still_holds(file, now):
            store.forget(key)
            renewed = KeptFile(path, now)
            renewed.uses = file.uses
            renewed.checked = -1e9  # nothing is known of it yet
            store.add(key, renewed)
            return renewed
        if file.error:
            raise OSError(file.error, os.strerror(file.error))
        return file

    def _still_holds(self, file: KeptFile, now: float) -> bool:
        """Check an entry again; return False when the path is something else now."""
        if file.fd < 0 or self._policy is not None:
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

    def _enter(self, path: bytes, now: float) -> KeptFile:
        """Add a file that is new to the store."""
        file = KeptFile(path, now)
        file.uses = 1
        self._store.add(self._key(path), file)
        return file

    def _note(self, path: bytes, file: KeptFile, error: OSError, now: float) -> None:
        """Keep an error, or nothing."""
        if self._keeps_errors and error.errno:
            file.error, file.checked = error.errno, now
        else:
            self._store.forget(self._key(path))
