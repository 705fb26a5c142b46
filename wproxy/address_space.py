"""Mapping shared memory: large files that are sparse, so that what is in the way may be a limit of address space alone."""

from __future__ import annotations

import errno
import mmap
import os
import resource

_MEGABYTE = 1 << 20


class CannotMap(OSError):
    """The system does not map memory; the message says how much of it, and what to do."""

    def __init__(self, error: OSError, size: int, purpose: str) -> None:
        super().__init__(error.errno, error.strerror)
        self._text = (
            f"mmap() of {size // _MEGABYTE} MB of address space for {purpose} failed "
            f"({error.errno}: {os.strerror(error.errno or errno.ENOMEM)}){_advice()}"
        )

    def __str__(self) -> str:
        return self._text


def _advice() -> str:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return ": only a small part of it is ever used, so look at vm.overcommit_memory and vm.max_map_count"
    return (
        f": raise the limit of address space, {limit // _MEGABYTE} MB now (ulimit -v, LimitAS=): only a small part is ever used"
    )


def map_file(fileno: int, size: int, purpose: str, *, access: int = mmap.ACCESS_WRITE, offset: int = 0) -> mmap.mmap:
    """Map a file, or with -1 anonymous memory that is inherited; raises CannotMap. purpose: what is in it."""
    try:
        return mmap.mmap(fileno, size, access=access, offset=offset)
    except OSError as error:
        raise CannotMap(error, size, purpose) from None
