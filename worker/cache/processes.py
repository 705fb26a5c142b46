"""The processes that look after the cache: the manager, and the loader, which ends when it has done its work."""

from __future__ import annotations

from worker.beside import Beside
from worker.cache.cache import Cache, make_caches
from worker.cache.loader import Loader
from worker.cache.manager import Manager
from worker.loop import Event, Loop
from wproxy.assignment import Assignment


def manage(assignment: Assignment) -> None:
    """Be the cache manager. Raises OSError or CannotBegin when it cannot begin."""
    beside = Beside(assignment)
    caches = make_caches(assignment, beside.loop, beside.log, beside.bell)

    async def work() -> None:
        for cache in caches.values():
            beside.loop.spawn(Manager(cache.store).run(), f"manager of {cache.zone.name}")
        await Event(beside.loop).wait()

    beside.run(work)


def load(assignment: Assignment) -> None:
    """Be the cache loader. Raises OSError or CannotBegin when it cannot begin."""
    beside = Beside(assignment)
    caches = make_caches(assignment, beside.loop, beside.log, beside.bell)

    async def work() -> None:
        for cache in caches.values():
            await Loader(cache.store).run()

    beside.run(work)


def manage_alone(caches: dict[str, Cache], loop: Loop) -> None:
    """Do the work of both in a worker that has no master."""
    for cache in caches.values():
        loop.spawn(Loader(cache.store).run(), f"loader of {cache.zone.name}")
        loop.spawn(Manager(cache.store).run(), f"manager of {cache.zone.name}")
