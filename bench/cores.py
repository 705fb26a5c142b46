"""Two cores: one for the proxy alone, one for the load and the backend."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.failure import BenchFailure


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of each side."""

    proxy: int
    load: int


def choose_cores() -> Cores:
    """Return the first two cores that we may use."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchFailure("the benchmark needs two processor cores: one for the proxy, one for the load")
    return Cores(cores[0], cores[1])


@contextmanager
def confined_to(core: int) -> Iterator[None]:
    """Keep everything started inside on this core: children and threads inherit the affinity."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
