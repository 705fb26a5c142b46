"""The reason why a worker cannot begin: any exception while it sets up a configuration names the directive it was working on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wproxy.config.model import Location, Settings, Upstream
from wproxy.failures import CannotBegin, is_bug, reason_of


@contextmanager
def blaming(settings: Settings, *directives: str) -> Iterator[None]:
    """Raise CannotBegin for any failure inside, blaming the first of these directives that is present, else the whole block."""
    try:
        yield
    except CannotBegin:
        raise
    except Exception as error:
        raise CannotBegin(f"{reason_of(error)}, for {_blamed(settings, directives)}", is_bug(error)) from error


def _blamed(settings: Settings, directives: tuple[str, ...]) -> str:
    """Return the directive or the block to blame, and its position."""
    for name in directives:
        if settings.written.get(name):
            return f'"{name}" in {settings.origin(name)}'
    if isinstance(settings, Location):
        return f'"{settings.kind}" in {settings.position}'
    if isinstance(settings, Upstream):
        return f'"upstream" in {settings.position}'
    return " ".join((*(f'"{name}"' for name in directives[:1]), "of the main level"))
