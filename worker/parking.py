"""The one `yield` of the worker.

It is never compiled: compiled coroutines can wait for an interpreted generator, and so can interpreted ones.
"""

from __future__ import annotations

import types
from collections.abc import Generator
from typing import Any


@types.coroutine
def wait_for_turn(stream: object, events: int, seconds: float) -> Generator[Any, None, None]:
    """Hand the loop what the running task waits for; return when it resumes the task. (`worker.loop.park` has the types.)"""
    yield stream, events, seconds
