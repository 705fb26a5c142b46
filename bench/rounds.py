"""The interleaving. A round starts both contestants afresh and loads them in turns: first, second, second, first.

The turn-about cancels a drift of the machine within the round, and every other round begins with the second. A fresh start in
each round lets differences between two starts of one program (memory layout, hash seed) show up in the spread rather than as a
constant error. The contestant whose turn it is not is idle, which costs its neighbour nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add

from bench.cores import Cores
from bench.measure import Sample, measure
from bench.servers import Contestant, proxy
from bench.workloads import Workload

WARM_UP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Round:
    """Both contestants, measured in turns."""

    first: Sample
    second: Sample


@dataclass(frozen=True, slots=True)
class Setting:
    """The conditions of a measurement: the place and the duration."""

    folder: str
    backend_port: int
    streams_port: int
    cores: Cores
    rounds: int
    seconds: int


def turns(number: int) -> tuple[int, ...]:
    """Return the order of turns in a round, as contestants 0 and 1."""
    return (0, 1, 1, 0) if number % 2 == 0 else (1, 0, 0, 1)


def run_round(
    contestants: tuple[Contestant, Contestant], workloads: tuple[Workload, Workload], setting: Setting, number: int
) -> Round:
    """Run one round; the workload of each contestant may be another, over the same kind of connection."""
    workload = workloads[0]
    folder = os.path.join(setting.folder, f"{workload.name}-{number}")
    os.mkdir(folder)
    ports = setting.backend_port, setting.streams_port
    with (
        proxy(contestants[0], os.path.join(folder, "0"), *ports, setting.cores.proxy, workload.listen) as first,
        proxy(contestants[1], os.path.join(folder, "1"), *ports, setting.cores.proxy, workload.listen) as second,
    ):
        servers = (first, second)
        for server, each in zip(servers, workloads):
            measure(server, each, WARM_UP_SECONDS, setting.cores)
        samples: tuple[list[Sample], list[Sample]] = ([], [])
        for which in turns(number):
            samples[which].append(measure(servers[which], workloads[which], setting.seconds, setting.cores))
    return Round(reduce(add, samples[0]), reduce(add, samples[1]))


def run_rounds(
    contestants: tuple[Contestant, Contestant],
    workloads: tuple[Workload, Workload],
    setting: Setting,
    tell: Callable[[str], None],
) -> list[Round]:
    """Run all rounds of one workload, or of one beside another."""
    rounds = []
    for number in range(setting.rounds):
        done = run_round(contestants, workloads, setting, number)
        rounds.append(done)
        sides = [
            f"{contestant.name} {sample.rate:.0f} req/s, {sample.cpu_each * 1e6:.1f} us each, core {sample.busy:.0%}"
            for contestant, sample in zip(contestants, (done.first, done.second))
        ]
        tell(f"{workloads[0].name} {number + 1}/{setting.rounds}: {'; '.join(sides)}")
    return rounds
