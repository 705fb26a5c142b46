"""From rounds to figures: medians of each side, and ratios paired round by round with their spread."""

from __future__ import annotations

from collections.abc import Sequence
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
    """One contestant over all rounds."""

    cpu_each: float
    rate: float
    busy: float
    idle: float
    disturbance: float  # the worst round's


@dataclass(frozen=True, slots=True)
class Result:
    """One workload: each side, and first / second for processor time and for throughput."""

    first: Side
    second: Side
    cpu: Ratio
    rate: Ratio


def paired_ratio(first: Sequence[float], second: Sequence[float]) -> Ratio:
    """Return the ratio of first[i] / second[i]: a disturbance of the machine in round i affects both."""
    ratios = [a / b for a, b in zip(first, second, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios))


def side_of(samples: Sequence[Sample]) -> Side:
    """Return the median of each figure by itself."""
    return Side(
        median(sample.cpu_each for sample in samples),
        median(sample.rate for sample in samples),
        median(sample.busy for sample in samples),
        median(1.0 - sample.busy - sample.disturbance for sample in samples),
        max(sample.disturbance for sample in samples),
    )


def result_of(rounds: Sequence[Round]) -> Result:
    """Summarise the rounds of one workload."""
    first = [pair.first for pair in rounds]
    second = [pair.second for pair in rounds]
    return Result(
        side_of(first),
        side_of(second),
        paired_ratio([sample.cpu_each for sample in first], [sample.cpu_each for sample in second]),
        paired_ratio([sample.rate for sample in first], [sample.rate for sample in second]),
    )
