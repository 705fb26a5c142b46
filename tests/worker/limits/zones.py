"""Zones for tests: in memory of their own, and nginx's counting of requests as a model."""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Callable

from tests.made_requests import make_request
from worker.limits.connection_zone import SharedConnectionZone
from worker.limits.request_zone import SharedRequestZone
from wproxy.http import Request
from wproxy.shared import WORKER_PID, WORKER_WORDS, WORKERS_OFFSET
from wproxy.zone_memory import CONNECTION_WORDS, REQUEST_WORDS, ZoneMemory

_MADE = make_request()


def request_memory(size: int = 1 << 20) -> ZoneMemory:
    return ZoneMemory(mmap.mmap(-1, size), REQUEST_WORDS)


def request_zone(rate: int = 1000, memory: ZoneMemory | None = None, told: list[str] | None = None) -> SharedRequestZone:
    """rate: thousandths of a request per second."""
    said = told if told is not None else []
    return SharedRequestZone("zone", rate, memory or request_memory(), lambda: said.append("full"))


class Slots:
    """The part of the shared memory that says which workers are alive."""

    def __init__(self) -> None:
        self.words = memoryview(bytearray((WORKERS_OFFSET + 512 * WORKER_WORDS) * 8)).cast("Q")

    def live(self, slot: int, pid: int) -> None:
        """pid 0: nobody."""
        self.words[WORKERS_OFFSET + slot * WORKER_WORDS + WORKER_PID] = pid


def connection_memory(size: int = 1 << 20) -> ZoneMemory:
    return ZoneMemory(mmap.mmap(-1, size), CONNECTION_WORDS)


def connection_zone(
    slots: Slots,
    slot: int = 0,
    memory: ZoneMemory | None = None,
    told: list[str] | None = None,
    pid: int = 0,
    generation: int = 1,
    workers: int = 4,
) -> SharedConnectionZone:
    """The zone as the worker of that slot uses it, which lives from now on."""
    said = told if told is not None else []
    pid = pid or 1000 + slot
    slots.live(slot, pid)
    owner = generation, slot, pid
    return SharedConnectionZone("zone", memory or connection_memory(), slots.words, owner, workers, lambda: said.append("full"))


class Asking:
    """A request as zones see it, and the way that it goes: let through by the short one, or decided about by the long one."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.request = Request(_MADE.client, _MADE.line, _MADE.fields, 0.0)
        self.request.path = key
        self.way = ""

    def go(self, way: Callable[[Request], str]) -> str:
        """Go this way, made by `passing` of these functions; return which of the two it was."""
        self.way = way(self.request)
        return self.way

    @staticmethod
    def read(request: Request) -> bytes:
        return request.path

    @staticmethod
    def answer(request: Request) -> str:
        return "short"

    @staticmethod
    def decide(request: Request) -> str:
        return "long"


class Nginx:
    """ngx_http_limit_req_lookup with its numbers as they are."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.nodes: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def count(self, key: bytes, now: int, burst: int) -> int:
        if key not in self.nodes:
            self.nodes[key] = (0, now)
            return 0
        before, last = self.nodes[key]
        elapsed = now - last
        if elapsed < -60000:
            elapsed = 1
        elif elapsed < 0:
            elapsed = 0
        excess = max(0, before - self.rate * elapsed // 1000 + 1000)
        if excess <= burst:
            self.nodes[key] = (excess, now if elapsed else last)
        return excess
