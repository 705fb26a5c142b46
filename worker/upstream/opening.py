"""Opening a connection that several requests will share (proxy_max_streams, grpc_max_streams).

Requests that come while a connection is opened wait for that one, as many as it may carry, instead of opening one each. The
opening has a task of its own: a request that is given up meanwhile does not take the connection from the others. If it fails, it
fails for all of them, and each goes on by its own rules.

The number is that of the configuration: the upstream's own limit is not known before it has spoken. Requests that exceed it then
are refused by the upstream, which says that they had no effect, and are sent once more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from worker.loop import Loop
from worker.upstream.connect import CannotConnect
from worker.upstream.failing import CONNECTING
from worker.upstream.live_peer import LivePeer
from worker.upstream.manner import Manner
from worker.upstream.pooled import Opening, SharedPooled
from wproxy.failures import UpstreamFailure


async def shared_connection(
    loop: Loop, peer: LivePeer, manner: Manner, open_one: Callable[[], Awaitable[SharedPooled]]
) -> SharedPooled:
    """Return a connection that is open now, for one more request to join. Raises UpstreamFailure, CannotConnect.

    open_one: opens a connection, if none is on its way.
    """
    while True:
        opening = find_opening(peer.openings, manner)
        if opening is None:
            opening = Opening(loop, manner, manner.max_streams)
            peer.openings.append(opening)
            loop.spawn(_open(opening, peer.openings, open_one), f"connection to {peer.name}")
        opening.waiting += 1
        try:
            await opening.over.wait()
        except BaseException:
            opening.waiting -= 1
            _settle(opening)
            raise
        opening.waiting -= 1
        connection = opening.connection
        if connection is None:
            raise _own(opening.failure)
        if connection.room or not connection.most:
            return connection
        # The upstream has said meanwhile that it allows for fewer.


def find_opening(openings: list[Opening], manner: Manner) -> Opening | None:
    """Return a connection on its way in this manner that one more request may wait for."""
    return next((opening for opening in openings if opening.manner == manner and opening.waiting < opening.most), None)


async def _open(opening: Opening, openings: list[Opening], open_one: Callable[[], Awaitable[SharedPooled]]) -> None:
    """Open a connection, and tell those that wait for it."""
    try:
        opening.connection = await open_one()
    except (UpstreamFailure, CannotConnect) as failure:
        opening.failure = failure
    finally:
        openings.remove(opening)
        opening.over.set()
        _settle(opening)


def _settle(opening: Opening) -> None:
    """Leave a connection to the pool that none of those wants who have waited for it."""
    if opening.connection is not None and not opening.waiting:
        opening.connection.count_room()


def _own(failure: Exception | None) -> Exception:
    """Return a failure for one of several requests: each notes down its own circumstances in it."""
    if isinstance(failure, UpstreamFailure):
        own = UpstreamFailure(failure.kind, failure.reason, failure.doing, failure.code)
        own.sent, own.limit, own.level = failure.sent, failure.limit, failure.level
        return own
    # None: a bug, which is reported where it happened.
    return failure or UpstreamFailure("error", "the connection could not be opened", CONNECTING)
