"""The result of a load, whatever made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that were answered, in this time; bytes_read has the few digits that the program prints.

    p50, p99: seconds from a request to the end of its answer, for half and for all but one in a hundred; None where not measured.
    late: the share of requests that a generator at fixed times sent late by itself.
    """

    requests: int
    seconds: float
    bytes_read: float
    p50: float | None = None
    p99: float | None = None
    late: float = 0.0


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest of sorted values that this share of them does not exceed; None of none."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else None


def report(requests: int, seconds: float, size: int, latencies: list[float]) -> str:
    """Return what wrk would print, for clients of our own: totals, and latencies in seconds."""
    latencies.sort()
    lines = [f"  {requests} requests in {seconds:.2f}s, {size}B read"]
    for percent in (50, 99):
        if (value := quantile(latencies, percent / 100)) is not None:
            lines.append(f"     {percent}%  {value * 1e6:.2f}us")
    return "\n".join(lines)
