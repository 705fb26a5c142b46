"""Named memory that all workers share, with a size: `zone=NAME:SIZE`, `shared:NAME:SIZE`.

One line makes a zone and others use it, in any order, so a value only says what it makes or uses; `wproxy.config.zones` connects
them when everything has been read (nginx: ngx_shared_memory_add in src/core/ngx_cycle.c).
"""

from __future__ import annotations

from typing import NamedTuple

from wproxy.directives.http_core import memory

# nginx's allocator needs eight pages for itself.
LEAST = 8 * 4096


class Zone(NamedTuple):
    """A zone that a line makes, or uses when the size is None. kind: its purpose; a name has only one."""

    kind: str
    name: str
    size: int | None = None


def zone_size(text: str) -> int:
    """Return bytes; 0 for anything that is not a size."""
    try:
        return memory(text)
    except ValueError:
        return 0


def made_zone(kind: str, text: str, written: str) -> Zone | None:
    """Return the zone of `NAME:SIZE`, or None without a name. written: the text that a message shows. Raises ValueError."""
    name, colon, size = text.partition(":")
    if colon and not name:
        return None
    if not colon or not zone_size(size):
        raise ValueError(f'invalid zone size "{written}"')
    if zone_size(size) < LEAST:
        raise ValueError(f'zone "{written}" is too small')
    return Zone(kind, name, zone_size(size))
