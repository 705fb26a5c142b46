"""Reading of files that are not in memory: by threads, or past the page cache (nginx: src/core/ngx_thread_pool.c and
ngx_http_core_module.c).
"""

from __future__ import annotations

from typing import NamedTuple

from wproxy.config.registry import HTTP, LOCATION, MAIN, OWN_GATHER, SERVER, directive
from wproxy.directives.values import size

DEFAULT_POOL = "default"


class ThreadPoolSettings(NamedTuple):
    """One `thread_pool`. most_waiting: the most tasks that may wait for a thread."""

    name: str
    threads: int = 32
    most_waiting: int = 65536


def thread_pool(name: str, *parameters: str) -> ThreadPoolSettings:
    """Read `NAME threads=NUMBER [max_queue=NUMBER]`."""
    found: dict[str, int] = {}
    for parameter in parameters:
        word, equals, value = parameter.partition("=")
        if word not in ("threads", "max_queue") or not equals:
            raise ValueError(f'invalid parameter "{parameter}"')
        if not (value.isascii() and value.isdigit() and len(value) < 10) or (word == "threads" and not int(value)):
            raise ValueError(f'invalid {word} value "{parameter}"')
        found[word] = int(value)
    if "threads" not in found:
        raise ValueError('"thread_pool" must have the "threads" parameter')
    return ThreadPoolSettings(name, found["threads"], found.get("max_queue", 65536))


def aio(way: str) -> str:
    """Return the name of a thread pool; empty for `off`. `on` is what nginx can do without threads: here it is the same."""
    if way == "off":
        return ""
    if way in ("on", "threads"):
        return DEFAULT_POOL
    name = way.removeprefix("threads=")
    if name == way or not name:
        raise ValueError(f'invalid value "{way}"')
    return name


def directio(least: str) -> int:
    """Return bytes; 0 for `off`."""
    return 0 if least == "off" else max(1, size(least))


class AioDirectives:
    """Files that are read from the disk."""

    aio: str = directive(
        aio,
        HTTP | SERVER | LOCATION,
        default="off",
        doc="How files that are not in memory are read: by the worker (off), or by threads (`threads`, `threads=POOL`, `on`).",
    )
    directio: int = directive(
        directio,
        HTTP | SERVER | LOCATION,
        default="off",
        doc="Keep files of at least this size out of the page cache, and send them without sendfile.",
    )


class ThreadPoolDirectives:
    """Threads that read files."""

    thread_pool: tuple[ThreadPoolSettings, ...] = directive(
        thread_pool,
        MAIN,
        arity=(2, 3),
        inherit=OWN_GATHER,
        doc="A pool for `aio threads=NAME`: its threads, and the most tasks that may wait (65536). `default` has 32 threads.",
    )
