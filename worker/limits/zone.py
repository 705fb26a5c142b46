"""A zone: what `limit_req` and `limit_conn` ask, whoever keeps the counts.

The workers of one machine keep them in shared memory (`request_zone.py`, `connection_zone.py`). Machines that share a zone keep
them at a server (`sync=`, `worker/redis/`), and each has such a memory besides, which answers the same questions for itself while
the server does not: `synced_requests.py` and `synced_connections.py` ask one, then the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from wproxy.http import Clock, Request
from wproxy.route import Answer
from wproxy.variables.registry import Reader

Outcome = TypeVar("Outcome")

# Answers in place of an excess: there is no room for a further key, or its state cannot be had now.
NO_ROOM = -1
# The greatest excess that is kept, in thousandths of a request.
MOST_EXCESS = (1 << 30) - 1

# What a limit decided about a request that it lets pass at once, for its variable.
PASSED = b"PASSED"


class RequestZone(Protocol):
    """The requests of each key, as nginx counts them: in thousandths, less `rate` for each second that passes.

    name: as the configuration calls it. rate: thousandths of a request per second.
    """

    name: str
    rate: int

    def count(self, key: bytes, now: int, most: int = MOST_EXCESS) -> int:
        """Count a request unless that would exceed `most`; return the excess with it, or NO_ROOM. now: in milliseconds."""

    def passing(
        self,
        read: Reader,
        clock: Clock,
        most: int,
        answer: Callable[[Request], Outcome],
        decide: Callable[[Request], Outcome],
        others: Callable[[Request], bool] | None = None,
        is_within: bool = False,
    ) -> Callable[[Request], Outcome]:
        """Return what does as `decide` does, but is quicker for most requests that pass at once.

        It counts those whose excess is at most `most`, and lets `answer` have them. read: returns the key of a request. others:
        counts a request in further zones, and returns whether it has: only then it is counted here. is_within: whether this is
        called by another zone's, as its `others`.
        """

    def excess(self, key: bytes, now: int) -> int:
        """Return the excess that a request would have, without counting it; NO_ROOM when it cannot be known."""

    def note(self, key: bytes, now: int, excess: int) -> None:
        """Make this the excess of a key that has been counted elsewhere."""


class ConnectionZone(Protocol):
    """The requests under way for each key. name: as the configuration calls it."""

    name: str

    def passing(self, read: Reader, most: int, answer: Answer, decide: Answer) -> Answer:
        """Return what does as `decide` does, but is quicker for most requests of which there are far less than `most`.

        It counts them and lets `answer` have them. read: returns the key of a request.
        """

    def take(self, key: bytes, most: int) -> Callable[[], None] | bool:
        """Count a request, and return what gives it back; True when there are `most` already, False without room for the key."""


def passes(request: Request) -> bool:
    """Answer for a zone that has counted a request, where the question was whether it has."""
    return True


def fails(request: Request) -> bool:
    """Answer for a zone that has not."""
    return False
