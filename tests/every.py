"""One test of hundreds of things: pytest takes longer for each test than it takes to look at a thing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

SHOWN = 10


def for_every(things: Iterable[Any], called: Callable[[Any], str] = str) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Run a test for each thing, all in one; it fails with those that failed, each by its name."""

    def of_all(test: Callable[[Any], None]) -> Callable[[], None]:
        def run() -> None:
            failures: list[Exception] = []
            for thing in things:
                try:
                    test(thing)
                except Exception as failure:
                    failure.add_note(f"with {called(thing)}")
                    failures.append(failure)
            if failures:
                raise ExceptionGroup(f"{len(failures)} of them", failures[:SHOWN])

        run.__name__, run.__qualname__, run.__doc__, run.__module__ = (
            test.__name__,
            test.__qualname__,
            test.__doc__,
            test.__module__,
        )
        return run

    return of_all
