"""The one `yield` of the worker.

It is never compiled: compiled coroutines can wait for an interpreted generator, and so can interpreted ones.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Generator
from typing import Any


@types.coroutine
def wait_for_turn(stream: object, events: int, seconds: float) -> Generator[Any, None, None]:
    """Hand the loop what the running task waits for; return when it resumes the task. (`worker.loop.park` has the types.)"""
    yield stream, events, seconds


class RepeatedWait(tuple[tuple[object, int, float]]):
    """A wait that a task can repeat: it takes 690 instructions less than a coroutine for each time.

    (An iterator of a tuple yields its one element, and ends.)
    """

    __slots__ = ()
    __await__ = tuple.__iter__


def repeated_wait(stream: object, events: int, seconds: float) -> Awaitable[None]:
    """Return something to await for the same wait as often as it comes."""
    return RepeatedWait(((stream, events, seconds),))  # type: ignore[return-value]
