"""Bodies that come in given pieces, read through a change as a connection would read them, without a loop."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from worker.filters.bodies import Change, ChangedBody
from worker.loop import READ, park
from wproxy.http import Response

PAUSE = None


class _Awaited:
    """What is waited for: it comes when whoever reads has been asked to wait for it, and not before."""

    has_come = False


_STREAM = _Awaited()


class Pieces:
    """A source with these pieces; PAUSE stands for having to wait for the next one."""

    def __init__(self, pieces: Iterable[bytes | None]) -> None:
        self._pieces: Iterator[bytes | None] = iter(pieces)
        self.is_closed = False

    async def read(self) -> bytes:
        while True:
            piece = next(self._pieces, b"")
            if piece is not PAUSE:
                return piece
            _STREAM.has_come = False
            while not _STREAM.has_come:
                await park(_STREAM, READ, 1.0)  # type: ignore[arg-type]

    def close(self) -> None:
        self.is_closed = True


class Reading:
    """Reads a source piece by piece. waits, turns: how often it waited for something, and how often it let others go first."""

    def __init__(self, source: ChangedBody) -> None:
        self.source = source
        self.waits = self.turns = 0

    def next(self, error: BaseException | None = None) -> bytes | None:
        """The next piece; None where it has to wait. The error is what ends such a wait."""
        if not hasattr(self, "_begun"):
            self._begun = self.source.read()
        else:
            _STREAM.has_come = True
        try:
            wanted = self._begun.throw(error) if error is not None else self._begun.send(None)
            while wanted[0] is None:
                self.turns += 1
                wanted = self._begun.send(None)
        except StopIteration as end:
            del self._begun
            piece: bytes = end.value
            return piece
        self.waits += 1
        return None

    def all(self) -> Iterator[bytes]:
        """All pieces, whatever there is to wait for."""
        while (piece := self.next()) != b"":
            if piece is not None:
                yield piece


def changed(change: Change, pieces: Iterable[bytes | None], at_hand: bytes = b"") -> bytes:
    """A body that comes in these pieces, changed."""
    return b"".join(Reading(ChangedBody(at_hand, Pieces(pieces), change)).all())


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data cut at these places, without empty pieces."""
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(bounds) if begin < end]


def whole(response: Response) -> bytes:
    """The body of a response that is at hand."""
    assert response.source is None
    return response.body
