"""A stored response as an operator sees it: its key and facts, read from the file."""

from __future__ import annotations

import os
from typing import NamedTuple

from worker.cache.stored import read_beginning
from wproxy.cache.header import BadFile, Header, key_text
from wproxy.cache.zone import CacheZone

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Entry(NamedTuple):
    """A stored response. head: as the upstream sent it. length: of the file; size: on the disk. used: unix time."""

    digest: bytes
    key: bytes
    header: Header
    head: bytes
    length: int
    size: int = 0
    used: float = 0.0


def read_entry(zone: CacheZone, digest: bytes) -> Entry | None:
    """Read what the file of a digest says of itself; None without a readable one."""
    try:
        fileno = os.open(zone.file(digest), _FLAGS)
    except OSError:
        return None
    try:
        data, header, length = read_beginning(fileno)
        return Entry(digest, key_text(header, data), header, data[header.header_start : header.body_start], length)
    except (OSError, BadFile):
        return None
    finally:
        os.close(fileno)
