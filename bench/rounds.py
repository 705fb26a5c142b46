"""The interleaving. A round starts all contestants afresh and loads them in turns: first, ..., last, and back to the first.

The turn-about cancels a drift of the machine within the round, and each round begins with another. A fresh start in each round
lets differences between two starts of one program (memory layout, hash seed) show up in the spread rather than as a constant
error. The contestants whose turn it is not are idle, which costs their neighbour nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from operator import add

from bench.contestants import Contestant
from bench.cores import Cores
from bench.measure import Sample, measure
from bench.memory import measure_memory
from bench.servers import RunningServer, proxy
from bench.workloads import WORKLOADS, Workload

WARM_UP_SECONDS = 1
# Memory hardly differs from one start to the next, and thousands of handshakes take their time.
MEMORY_ROUNDS = 3
# Requests at fixed times come at this share of what the slowest contestant can do.
OPEN_LOOP_SHARE = 0.5

# The samples of one round, by contestant.
Round = dict[str, Sample]


@dataclass(frozen=True, slots=True)
class Setting:
    """The conditions of a measurement: the place and the duration. thin: whether only to look whether it works."""

    folder: str
    backend_port: int
    streams_port: int
    cores: Cores
    rounds: int
    seconds: int
    thin: bool = False


def turns(number: int, contestants: int = 2) -> tuple[int, ...]:
    """Return the order of turns in a round, as indices of contestants."""
    order = [(number + index) % contestants for index in range(contestants)]
    return (*order, *reversed(order))


def run_round(contestants: Sequence[Contestant], workloads: Sequence[Workload], setting: Setting, number: int) -> Round:
    """Run one round; the workload of each contestant may be another, over the same kind of connection."""
    folder = os.path.join(setting.folder, f"{workloads[0].name}-{number}")
    os.mkdir(folder)
    ports = setting.backend_port, setting.streams_port
    with ExitStack() as stack:
        servers = [
            stack.enter_context(proxy(contestant, os.path.join(folder, str(index)), *ports, setting.cores.proxy, workload))
            for index, (contestant, workload) in enumerate(zip(contestants, workloads))
        ]
        samples = measure_in_turns(servers, workloads, setting, number)
    shutil.rmtree(folder)  # logs of a million lines, and files of ten megabytes
    return dict(zip((contestant.name for contestant in contestants), samples))


def measure_in_turns(
    servers: Sequence[RunningServer], workloads: Sequence[Workload], setting: Setting, number: int
) -> list[Sample]:
    """Warm all of them up, and measure each twice; memory is asked for once."""
    if workloads[0].driver == "memory":
        count = workloads[0].connections // 8 if setting.thin else workloads[0].connections
        return [measure_memory(server, each, count) for server, each in zip(servers, workloads)]
    rate = 0.0
    if workloads[0].driver == "openloop":
        rate = OPEN_LOOP_SHARE * min(
            measure(server, WORKLOADS["small"], WARM_UP_SECONDS, setting.cores).rate for server in servers
        )
    for server, each in zip(servers, workloads):
        measure(server, each, WARM_UP_SECONDS, setting.cores, rate)
    samples: list[list[Sample]] = [[] for _ in servers]
    for which in turns(number, len(servers)):
        samples[which].append(measure(servers[which], workloads[which], setting.seconds, setting.cores, rate))
    return [reduce(add, each) for each in samples]


def run_rounds(
    contestants: Sequence[Contestant], workloads: Sequence[Workload], setting: Setting, tell: Callable[[str], None]
) -> list[Round]:
    """Run all rounds of one workload, or of one beside another."""
    rounds: list[Round] = []
    count = min(setting.rounds, MEMORY_ROUNDS) if workloads[0].driver == "memory" else setting.rounds
    for number in range(count):
        rounds.append(run_round(contestants, workloads, setting, number))
        told = "; ".join(f"{name} {in_short(sample)}" for name, sample in rounds[-1].items())
        tell(f"{workloads[0].name} {number + 1}/{count}: {told}")
    return rounds


def in_short(sample: Sample) -> str:
    """Return a sample in a few words."""
    if sample.kilobytes is not None:
        return f"{sample.kilobytes:.1f} KB each"
    return f"{sample.rate:.0f} req/s, {sample.cpu_each * 1e6:.1f} us each, core {sample.busy:.0%}"
