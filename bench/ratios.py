"""From rounds to figures: medians of each contestant, and ratios to the baseline, paired round by round, with their spread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.measure import Sample
from bench.rounds import Round


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the paired ratios, and the smallest and the largest."""

    middle: float
    smallest: float
    largest: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.smallest:.2f}-{self.largest:.2f})"


@dataclass(frozen=True, slots=True)
class Side:
    """One contestant over all rounds. cost: seconds of processor time for one request, or kilobytes of a connection."""

    cost: float
    rate: float
    busy: float
    idle: float
    disturbance: float  # the worst round's
    p50: float | None
    p99: float | None
    late: float  # the share of requests that the generator itself sent late
    is_memory: bool


@dataclass(frozen=True, slots=True)
class Result:
    """One workload: each contestant, and its cost and its throughput divided by those of the baseline."""

    sides: dict[str, Side]
    baseline: str
    cost: dict[str, Ratio]
    rate: dict[str, Ratio]


def paired_ratio(first: Sequence[float], second: Sequence[float]) -> Ratio:
    """Return the ratio of first[i] / second[i]: a disturbance of the machine in round i affects both."""
    ratios = [a / b for a, b in zip(first, second, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios))


def cost_of(sample: Sample) -> float:
    """Return what one request or one connection costs. Less than nothing counts as a trace: memory may have been there before."""
    return sample.cpu_each if sample.kilobytes is None else max(sample.kilobytes, 0.01)


def _median_of(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def side_of(samples: Sequence[Sample]) -> Side:
    """Return the median of each figure by itself."""
    return Side(
        median(map(cost_of, samples)),
        median(sample.rate for sample in samples),
        median(sample.busy for sample in samples),
        median(1.0 - sample.busy - sample.disturbance for sample in samples),
        max(sample.disturbance for sample in samples),
        _median_of(sample.p50 for sample in samples),
        _median_of(sample.p99 for sample in samples),
        median(sample.late for sample in samples),
        samples[0].kilobytes is not None,
    )


def result_of(rounds: Sequence[Round], baseline: str) -> Result:
    """Summarise the rounds of one workload."""
    columns = {name: [each[name] for each in rounds] for name in rounds[0]}
    others = [name for name in columns if name != baseline and baseline in columns]

    def ratios(figure: Callable[[Sample], float]) -> dict[str, Ratio]:
        return {name: paired_ratio(list(map(figure, columns[name])), list(map(figure, columns[baseline]))) for name in others}

    sides = {name: side_of(samples) for name, samples in columns.items()}
    return Result(sides, baseline, ratios(cost_of), ratios(lambda sample: sample.rate))
