"""The work of the cache loader: it enters the files that were there before the start (nginx: ngx_http_file_cache_loader).

It reads the header of each, so many files or for so long at a time, with pauses. Until it has finished the zone is cold: a worker
that finds no entry looks for a file itself.

Files that are no stored responses although they are called so are deleted. So are those of writers that were killed before they
gave them their names, when they are old. Everything else is not ours, and stays: somebody may have named the wrong directory.
"""

from __future__ import annotations

import os
import re
from time import monotonic

from worker.cache.index import Stuck, unlink
from worker.cache.store import CacheStore
from worker.loop import sleep
from wproxy.cache.header import HEADER_SIZE, BadFile, read_header
from wproxy.cache.memory import LOADED_WORD, SIZE

_NAME = re.compile(r"[0-9a-f]{32}")
_DIRECTORY = re.compile(r"[0-9a-f]{1,2}")
# Files that have not got their names yet: ours and nginx's.
_UNNAMED = re.compile(r"(?:[0-9a-f]{32}\.)?\d{10}")
# Age, in seconds, at which the writer of such a file cannot be alive any more.
OLD = 3600
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY


class Loader:
    """The loader of one zone. entered, foreign: the numbers of files."""

    def __init__(self, store: CacheStore) -> None:
        self._store = store
        self._zone = store.zone
        self._files = 0
        self._since = 0.0
        self.entered = 0
        self.foreign = 0

    async def run(self) -> None:
        """Enter all files, unless that has been done."""
        zone, store = self._zone, self._store
        if not zone.memory.is_cold:
            return
        self._files, self._since = 0, monotonic()
        try:
            await self._walk(zone.path, len(zone.levels))
        except OSError as error:
            store.log("crit", f'opendir() "{error.filename}" failed ({error.errno}: {error.strerror})')
            return
        zone.memory.words[LOADED_WORD] = 1
        total = sum(record[SIZE] for _, record in zone.memory.records()) / (1 << 20)
        block = os.statvfs(zone.path).f_bsize
        store.log("notice", f"http file cache: {zone.path} {total:.3f}M, bsize: {block}")
        if self.foreign:
            store.log("warn", f'"{zone.path}" has {self.foreign} files that do not belong to the cache; they are left alone')
        if store.index.is_too_large():
            store.bell.ring()  # the manager may have looked before we had entered everything

    async def _walk(self, directory: str, levels: int) -> None:
        """Enter the files below a directory. Raises OSError if it is that of the zone."""
        try:
            with os.scandir(directory) as found:
                entries = list(found)
        except OSError:
            if directory == self._zone.path:
                raise
            return
        for entry in entries:
            try:
                is_directory = entry.is_dir(follow_symlinks=False)
            except OSError:
                continue
            if is_directory:
                if levels and _DIRECTORY.fullmatch(entry.name):
                    await self._walk(entry.path, levels - 1)
                else:
                    self.foreign += 1
                continue
            self._file(entry, levels)
            await self._pace()

    def _file(self, entry: os.DirEntry[str], levels: int) -> None:
        """Enter a file, or delete it if it is broken."""
        zone, store = self._zone, self._store
        self._files += 1
        if _UNNAMED.fullmatch(entry.name):
            self._unnamed(entry)
            return
        if not _NAME.fullmatch(entry.name) or levels or zone.file(digest := bytes.fromhex(entry.name)) != entry.path:
            self.foreign += 1
            return
        place = store.index.place(digest)
        try:
            body_start = body_start_of(entry.path)
            self.entered += bool(store.index.adopt(place, store.now, entry.path, body_start))
        except BadFile as reason:
            store.log("crit", f'cache file "{entry.path}" {reason}')
            self._remove(entry.path)
        except Stuck:
            pass
        except OSError as error:
            store.log("crit", f'open() "{entry.path}" failed ({error.errno}: {error.strerror})')

    def _unnamed(self, entry: os.DirEntry[str]) -> None:
        try:
            modified = entry.stat(follow_symlinks=False).st_mtime
        except OSError:
            return
        if modified < self._store.now / 1000 - OLD:
            self._remove(entry.path)

    def _remove(self, path: str) -> None:
        try:
            unlink(path)
        except OSError as error:
            self._store.log("crit", f'unlink() "{path}" failed ({error.errno}: {error.strerror})')

    async def _pace(self) -> None:
        """Pause after so many files, or so much time."""
        zone = self._zone
        if self._files >= zone.loader_files or monotonic() - self._since >= zone.loader_threshold:
            await sleep(zone.loader_sleep)
            self._files, self._since = 0, monotonic()

    def __repr__(self) -> str:
        return f"<loader of {self._zone.name}: {self.entered} entered>"


def body_start_of(path: str) -> int:
    """Return where the body begins in a file. Raises BadFile if it is too short for what it says, and OSError."""
    fileno = os.open(path, _FLAGS)
    try:
        header = read_header(os.pread(fileno, HEADER_SIZE, 0))
        if os.fstat(fileno).st_size < header.body_start:
            raise BadFile("is too small")
        return header.body_start
    finally:
        os.close(fileno)
