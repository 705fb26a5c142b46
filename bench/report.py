"""The tables: one for the terminal, one in Markdown for the README, and all samples as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from bench.ratios import Result
from bench.rounds import Round
from bench.workloads import WORKLOADS

# A core that is idle for more than this share waits for the load or the backend: then only the processor time means anything.
IDLE_TOO_LONG = 0.15
# Above this share of foreign work on the proxy's core, its caches are no longer its own.
QUIET_ENOUGH = 0.05


def cpu_time(seconds: float) -> str:
    """Return microseconds for small requests, milliseconds for large ones."""
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"


def rate(requests_per_second: float) -> str:
    """Return requests per second, with a decimal only for few."""
    return f"{requests_per_second:,.0f}" if requests_per_second >= 1000 else f"{requests_per_second:.1f}"


def header(names: tuple[str, str]) -> list[str]:
    """Return the column titles."""
    one, two = names
    return ["workload", f"{one} CPU", f"{two} CPU", "CPU ratio", f"{one} req/s", f"{two} req/s", "req/s ratio"]


def row(workload: str, result: Result) -> list[str]:
    """Return the row of one workload."""
    return [
        workload,
        cpu_time(result.first.cpu_each),
        cpu_time(result.second.cpu_each),
        str(result.cpu),
        rate(result.first.rate),
        rate(result.second.rate),
        str(result.rate),
    ]


def remarks(names: tuple[str, str], results: Mapping[str, Result]) -> list[str]:
    """Return what weakens the figures: a proxy that was not the bottleneck, a core that was not the proxy's own."""
    found = []
    for workload, result in results.items():
        for name, side in zip(names, (result.first, result.second)):
            if side.idle > IDLE_TOO_LONG:
                found.append(
                    f"{workload}: {name} used only {side.busy:.0%} of its core: its req/s is the limit of the load or the backend"
                )
            if side.disturbance > QUIET_ENOUGH:
                found.append(
                    f"{workload}: others used up to {side.disturbance:.0%} of the core of {name}: run it again on a quiet machine"
                )
    return found


def text_table(lines: Sequence[Sequence[str]]) -> str:
    """Return columns as wide as their widest cell; the first one to the left, figures to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]) for line in lines
    )


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Return the same for the README."""
    title, *rows = lines
    rule = ["---"] + ["---:"] * (len(title) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (title, rule, *rows))


def provenance(machine: Mapping[str, str], rounds: int, seconds: int) -> str:
    """Return the origin of the figures and how to read them."""
    return (
        f"{machine['date']}, {machine['processor']}, Linux {machine['kernel']}, Python {machine['python']},"
        f" nginx {machine['nginx']}, wrk {machine['wrk']}; {rounds} rounds, in each 2 x {seconds} s per side in turns."
        " CPU: processor time of one request. Ratios: median (smallest-largest) of the rounds' ratios."
    )


def full_report(
    names: tuple[str, str], results: Mapping[str, Result], machine: Mapping[str, str], rounds: int, seconds: int
) -> str:
    """Return everything for the terminal, with the README's part at the end."""
    lines = [header(names), *(row(workload, result) for workload, result in results.items())]
    legend = "\n".join(f"{name}: {WORKLOADS[name].question}" for name in results)
    readme = f"Markdown:\n\n{markdown_table(lines)}\n\n{provenance(machine, rounds, seconds)}"
    return "\n\n".join(part for part in (text_table(lines), "\n".join(remarks(names, results)), legend, readme) if part)


def as_json(names: tuple[str, str], rounds: Mapping[str, Sequence[Round]], machine: Mapping[str, str]) -> str:
    """Return every sample of every round."""
    one, two = names
    return json.dumps(
        {
            "machine": dict(machine),
            "contestants": list(names),
            "rounds": {
                workload: [{one: asdict(pair.first), two: asdict(pair.second)} for pair in pairs]
                for workload, pairs in rounds.items()
            },
        },
        indent=1,
    )
