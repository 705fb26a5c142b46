"""Memory under a long mixed load, by `make soak`: a worker has at the end what it had soon after the beginning.

For as long as WPROXY_SOAK_SECONDS says, by default an hour, in rounds: varied requests, new connections, bodies of 10 MB and
uploads, WebSockets, HTTP/2 in clear; then TLS with new handshakes and HTTP/2 over TLS. Resident memory is read between rounds, when
no connection is open; what an idle connection and a stream need is measured once, at the beginning.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from statistics import median

import psutil
import pytest

from bench.contestants import SYSTEM_PATH, wproxy
from bench.cores import choose_cores
from bench.memory import measure_memory
from bench.servers import RunningServer, backend, proxy, streams
from bench.workloads import WORKLOADS
from bench.wrk import run_load

pytestmark = [pytest.mark.whole, pytest.mark.soak]

SECONDS = float(os.environ.get("WPROXY_SOAK_SECONDS", "3600"))
ROUND_SECONDS = 5
CONNECTIONS = 1000
# By the way of listening: what runs at the same time in a round, and what is measured before and after.
LOADS = {
    "h2c": (("h2", "h2-varied", "h2-post", "h2-10m"), ("idle-h2", "streams-h2")),
    "http": (("varied", "connect", "10m", "upload16m", "websocket", "static1k", "gzip"), ("idle",)),
    "tls": (("tls", "tls-connect", "tls-10m"), ("idle-tls",)),
    "h2": (("h2-tls",), ("idle-h2-tls",)),
}
# What may be more at the end: heaps settle late, and never by the size of what leaks with each request.
MORE = 1.05, 1 << 20


@contextmanager
def fronts(folder: str) -> Iterator[dict[str, RunningServer]]:
    """A wproxy for each way of listening, and the applications behind them."""
    cores = choose_cores()
    with ExitStack() as stack:
        application = stack.enter_context(backend(f"{folder}/backend", cores.load))
        streaming = stack.enter_context(streams(f"{folder}/streams", cores.load))
        ours = wproxy("wproxy", sys.executable)
        yield {
            listen: stack.enter_context(
                proxy(ours, f"{folder}/fronts/{listen}", application.port, streaming.port, cores.proxy, WORKLOADS[loads[0]])
            )
            for listen, (loads, _) in LOADS.items()
        }


def worker_of(server: RunningServer) -> psutil.Process:
    """Its only worker: the process with the most memory that is not the master."""
    return max(psutil.Process(server.process.pid).children(), key=lambda process: process.memory_info().rss)


def test_memory_is_flat_under_mixed_load(tmp_path):
    for program in ("nginx", "wrk", "h2load"):
        if not shutil.which(program, path=SYSTEM_PATH):
            pytest.skip(f"{program} is not installed")
    core = choose_cores().load
    with fronts(str(tmp_path)) as servers, ThreadPoolExecutor(8) as pool:
        workers = {listen: worker_of(server) for listen, server in servers.items()}

        def measured() -> dict[str, float]:
            return {
                name: measure_memory(servers[listen], WORKLOADS[name], CONNECTIONS).kilobytes or 0.0
                for listen, (_, memories) in LOADS.items()
                for name in memories
            }

        def load(server: RunningServer, name: str) -> int:
            return run_load(WORKLOADS[name], server.port, ROUND_SECONDS, core).requests

        def go(listen: str) -> int:
            loads, _ = LOADS[listen]
            return sum(pool.map(lambda name: load(servers[listen], name), loads))

        count = sum(map(go, LOADS))  # once, for what is made once
        first = measured()
        resident: dict[str, list[int]] = {listen: [] for listen in LOADS}
        began = time.monotonic()
        while time.monotonic() - began < SECONDS or len(resident["h2"]) < 6:
            for listen in LOADS:
                count += go(listen)
                resident[listen].append(workers[listen].memory_info().rss)
        assert all(worker.is_running() for worker in workers.values()), "no worker was replaced"
    print(f"\n{count:,} requests in {time.monotonic() - began:.0f} s")
    for listen, sizes in resident.items():
        third = max(len(sizes) // 3, 1)
        early, late = median(sizes[third : 2 * third]), median(sizes[-third:])
        print(
            f"{listen}: resident {sizes[0] >> 10} KB after one round, {early / 1024:.0f} KB in the middle, {late / 1024:.0f} at the end"
        )
        assert late < early * MORE[0] + MORE[1], f"{listen} grows: {[size >> 10 for size in sizes]} KB"
    print("KB of a connection or stream:", ", ".join(f"{name} {size:.1f}" for name, size in first.items()))
