"""How much processor time something takes: of the best of a few tries, because the machine may be busy with something else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def quickest(limit: float, action: Callable[[], Result], tries: int = 5) -> tuple[float, Result]:
    """Return the processor seconds of the quickest try, and what the action returned; the first one within the limit is enough."""
    spent = []
    for _ in range(tries):
        began = time.process_time()
        result = action()
        spent.append(time.process_time() - began)
        if spent[-1] < limit:
            break
    return min(spent), result
