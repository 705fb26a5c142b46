"""The requests that this worker has under way in zones that machines share (`limit_conn_zone … sync=`), as the server knows them.

At the server a worker is a name, with a lease that it renews: the requests of one that is killed or cut off count until the lease
has run out (`worker.redis.scripts`). Each time that the link comes up the worker is new: it lets go of its old lease, and with it
of whatever the server counted under the old name, and brings the counts that it has now. So nothing is counted twice or for ever,
whatever got lost in between; and what was decided without the server counts there from then on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from worker.loop import Loop, sleep
from worker.redis.link import Link
from worker.redis.scripts import GIVE_BACK, HOLD, TAKE

LEASES = b"wproxy:worker:"
# Seconds: the life of a lease, and how often it is renewed.
LEASE, RENEW_EVERY = 10, 3.0
# The life of the counts of a key that nobody asks about, in seconds: requests that take longer are told again before its end.
LIFE, TELL_AGAIN_EVERY = 3600, 1200.0
# How many keys go into one command.
_PORTION = 200


class CommonConnections:
    """Our requests under way by key, at one server."""

    def __init__(self, link: Link, loop: Loop) -> None:
        self.link = link
        self.held: dict[bytes, int] = {}
        self._loop = loop
        self._identity = f"{os.uname().nodename}:{os.getpid()}:{os.urandom(6).hex()}"
        self._beginnings = 0
        self._is_renewing = False
        link.keepers.append(self)

    @property
    def name(self) -> bytes:
        """The name that the server knows us by at present."""
        return f"{self._identity}:{self._beginnings}".encode()

    def begin(self) -> None:
        """Be a new worker for the server, with the requests that we have now."""
        link = self.link
        link.tell(b"DEL", LEASES + self.name)
        self._beginnings += 1
        link.tell(b"SET", LEASES + self.name, 1, b"EX", LEASE)
        held = list(self.held.items())
        for at in range(0, len(held), _PORTION):
            keys, counts = zip(*held[at : at + _PORTION])
            link.run(HOLD, keys, (self.name, LIFE * 1000, *counts))
        if not self._is_renewing:
            self._is_renewing = True
            self._loop.spawn(self._renew(), f"lease at {link.server.shown}")

    async def take(self, keys: tuple[bytes, ...], most: Iterable[int]) -> list[int] | None:
        """Ask for a request of all of these keys, which `hold` has counted here; return how many each has already.

        The request counts unless one has its most. None: the server says nothing.
        """
        name = self.name

        def give_back(totals: Any) -> None:
            # It counts there, unless it was refused; if the link has been down since, the name counts no more.
            if name == self.name and all(total < limit for total, limit in zip(totals, limits)):
                self.link.run(GIVE_BACK, keys, (name,))

        limits = tuple(most)
        reply = await self.link.ask(TAKE, keys, (name, LEASES, LIFE * 1000, *limits), give_back)
        return reply if isinstance(reply, list) else None

    def hold(self, keys: Iterable[bytes]) -> None:
        """Count a request here."""
        for key in keys:
            self.held[key] = self.held.get(key, 0) + 1

    def drop(self, keys: Iterable[bytes]) -> None:
        """Count one less here: the server does not know of it."""
        for key in keys:
            left = self.held[key] - 1
            if left:
                self.held[key] = left
            else:
                del self.held[key]

    def give_back(self, keys: tuple[bytes, ...]) -> None:
        """Count one less, here and there."""
        self.drop(keys)
        self.link.run(GIVE_BACK, keys, (self.name,))

    async def _renew(self) -> None:
        """Renew the lease, and the lives of what we count."""
        told = self._loop.clock.now
        while True:
            await sleep(RENEW_EVERY)
            if not self.link.is_up:
                continue
            self.link.renew(LEASES + self.name, LEASE * 1000)
            if self._loop.clock.now - told > TELL_AGAIN_EVERY:
                told = self._loop.clock.now
                for key in self.held:
                    self.link.tell(b"PEXPIRE", key, LIFE * 1000)

    def __repr__(self) -> str:
        return f"<{self._identity}: requests of {len(self.held)} keys>"
