"""A zone of the cache: a `*_cache_path` of a configuration, with its memory."""

from __future__ import annotations

from hashlib import md5
from typing import Any, NamedTuple

from wproxy.cache.key import file_path
from wproxy.cache.memory import COUNTERS_SIZE, LOADED_WORD, CacheCounters, CacheMemory
from wproxy.directives.cache import CachePath
from wproxy.directives.zones import LEAST
from wproxy.lasting import LASTING


class CacheZone(NamedTuple):
    """A zone.

    kind: the directive that makes it. path: the directory, absolute. size: that of the index. max_size: None: no limit.
    inactive and the rest in seconds, files in numbers: see the manual of nginx.
    """

    kind: str
    name: str
    path: str
    levels: tuple[int, ...]
    size: int
    memory: CacheMemory
    counters: CacheCounters
    max_size: int | None = None
    min_free: int = 0
    inactive: float = 600.0
    manager_files: int = 100
    manager_sleep: float = 0.05
    manager_threshold: float = 0.2
    loader_files: int = 100
    loader_sleep: float = 0.05
    loader_threshold: float = 0.2

    def file(self, digest: bytes) -> str:
        """Return the path of the file of a digest."""
        return file_path(self.path, self.levels, digest)


_DIGEST = 16
_memory: dict[tuple[str, ...], tuple[CacheMemory, CacheCounters]] = {}


def cache_zone(value: CachePath, path: str) -> CacheZone:
    """Return a zone with its memory: the same for the same name, directory, levels and size while the process lives.

    A zone with others is another one: its index would be of other files. path: the directory, absolute.
    """
    kind, name, size = value.zone.kind, value.zone.name, value.zone.size or 0
    definition = (kind, name, path, ":".join(map(str, value.levels)), str(size))
    label = "\0".join(("cache, third layout", *definition))
    if definition not in _memory:
        index = CacheMemory(LASTING.region(label, max(size, LEAST)))
        _memory[definition] = index, CacheCounters(LASTING.region(f"{label}\0counters", COUNTERS_SIZE))
    _note_index_of(path, label, _memory[definition][0])
    zone = CacheZone(kind, name, path, value.levels, size, *_memory[definition])
    # Not used: bodies are always written where they will stay, under no name, so that nothing has to be copied.
    parameters: dict[str, Any] = {word: setting for word, setting in value.parameters if word != "use_temp_path"}
    return zone._replace(**parameters)


def _note_index_of(path: str, label: str, index: CacheMemory) -> None:
    """Note which index a directory has; one that has not been that for a while does not know all of its files any more."""
    known = memoryview(LASTING.region(f"index of the cache in\0{path}", _DIGEST))
    digest = md5(label.encode("utf-8", "surrogateescape"), usedforsecurity=False).digest()
    if known != digest:
        index.words[LOADED_WORD] = 0
        known[:] = digest
