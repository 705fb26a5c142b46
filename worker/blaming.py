"""The reason why a worker cannot begin: any exception while it sets up a configuration names the directive it was working on."""

from __future__ import annotations

from types import TracebackType

from wproxy.config.model import Location, Settings, Upstream
from wproxy.failures import CannotBegin, is_bug, reason_of


class blaming:
    """A context that raises CannotBegin for any failure inside, blaming the first of these directives that is present, else the
    whole block.

    A class, because a start enters it twenty times for each location: a generator takes four times as long.
    """

    __slots__ = ("directives", "settings")

    def __init__(self, settings: Settings, *directives: str) -> None:
        self.settings = settings
        self.directives = directives

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, Exception) and not isinstance(error, CannotBegin):
            text = f"{reason_of(error)}, for {_blamed(self.settings, self.directives)}"
            raise CannotBegin(text, is_bug(error)) from error


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
