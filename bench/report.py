"""The tables: for the terminal, in Markdown for pages, and all samples as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.measure import Sample
from bench.ratios import Result, Side, result_of
from bench.rounds import Round
from bench.workloads import WORKLOADS

# A core that is idle for more than this share waits for the load or the backend: then only the processor time means anything.
IDLE_TOO_LONG = 0.15
# Above this share of foreign work on the proxy's core, its caches are no longer its own.
QUIET_ENOUGH = 0.05
# Above this share of requests that were sent late for lack of time, latencies are also the generator's.
FEW_LATE = 0.05
# Where a contestant cannot do what is asked.
NOTHING = "-"

Table = list[list[str]]

# What stands in the JSON even if it is zero.
_ALWAYS = ("work", "seconds", "cpu", "foreign")


def cost(side: Side) -> str:
    """Return microseconds for small requests, milliseconds for large ones, kilobytes for connections."""
    if side.is_memory:
        return f"{side.cost:.1f} KB"
    return f"{side.cost * 1e3:.2f} ms" if side.cost >= 1e-3 else f"{side.cost * 1e6:.1f} us"


def rate(requests_per_second: float) -> str:
    """Return requests per second, with a decimal only for few."""
    return f"{requests_per_second:,.0f}" if requests_per_second >= 1000 else f"{requests_per_second:.1f}"


def latency(side: Side) -> str:
    """Return the latency of half and of all but one in a hundred, in milliseconds."""
    if side.p50 is None or side.p99 is None:
        return NOTHING
    return f"{side.p50 * 1e3:.2f} / {side.p99 * 1e3:.2f} ms"


def cost_table(names: Sequence[str], baseline: str, results: Mapping[str, Result]) -> Table:
    """Return what a request costs with each, and the ratios to the baseline."""
    title = ["workload"]
    for name in names:
        title += [name] if name == baseline else [name, "ratio"]
    table = [title]
    for workload, result in results.items():
        row = [workload]
        for name in names:
            side = result.sides.get(name)
            row.append(cost(side) if side else NOTHING)
            if name != baseline:
                row.append(str(result.cost[name]) if name in result.cost else NOTHING)
        table.append(row)
    return table


def other_table(names: Sequence[str], results: Mapping[str, Result], figure: Callable[[Side], str]) -> Table:
    """Return a figure of each contestant."""
    rows = [[workload, *(figure(result.sides[name]) if name in result.sides else NOTHING for name in names)]
            for workload, result in results.items()]  # fmt: skip
    return [["workload", *names], *rows]


def of_time(results: Mapping[str, Result]) -> dict[str, Result]:
    """Return the workloads that took time."""
    return {name: result for name, result in results.items() if not is_memory(result)}


def of_memory(results: Mapping[str, Result]) -> dict[str, Result]:
    """Return the workloads that took memory."""
    return {name: result for name, result in results.items() if is_memory(result)}


def is_memory(result: Result) -> bool:
    """Whether a workload asked for memory."""
    return any(side.is_memory for side in result.sides.values())


def remarks(results: Mapping[str, Result]) -> list[str]:
    """Return what weakens the figures: a proxy that was not the bottleneck, a core that was not the proxy's own."""
    found = []
    for workload, result in of_time(results).items():
        for name, side in result.sides.items():
            if side.idle > IDLE_TOO_LONG and WORKLOADS[workload].driver != "openloop":
                found.append(
                    f"{workload}: {name} used only {side.busy:.0%} of its core: its req/s is the limit of the load or the backend"
                )
            if side.late > FEW_LATE:
                found.append(f"{workload}: the generator itself was late for {side.late:.0%} of the requests to {name}")
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
    """Return the same for a page."""
    title, *rows = lines
    rule = ["---"] + ["---:"] * (len(title) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (title, rule, *rows))


def provenance(machine: Mapping[str, Any]) -> str:
    """Return the origin of the figures and how to read them."""
    contestants = "; ".join(f"{name}: {identity}" for name, identity in machine["contestants"].items())
    return (
        f"{machine['date']}, {machine['processor']}, Linux {machine['kernel']}, wrk {machine['wrk']}, h2load {machine['h2load']};"
        f" {machine['rounds']} rounds, in each 2 x {machine['seconds']} s per contestant in turns. {contestants}."
        " Ratios: median (smallest-largest) of the rounds' ratios."
    )


def full_report(names: Sequence[str], baseline: str, results: Mapping[str, Result], machine: Mapping[str, Any]) -> str:
    """Return everything for the terminal, with its first table in Markdown at the end."""
    times, memories = of_time(results), of_memory(results)
    parts = [provenance(machine)]
    if times:
        parts.append("Processor time of a request:\n" + text_table(cost_table(names, baseline, times)))
        parts.append("Requests per second:\n" + text_table(other_table(names, times, lambda side: rate(side.rate))))
        parts.append("Latency, half / all but one in a hundred:\n" + text_table(other_table(names, times, latency)))
    if memories:
        parts.append("Memory of a connection or stream:\n" + text_table(cost_table(names, baseline, memories)))
    parts.append("\n".join(remarks(results)))
    parts.append("\n".join(f"{name}: {WORKLOADS[name].question}" for name in results))
    parts.append(f"Markdown:\n\n{markdown_table(cost_table(names, baseline, results))}")
    return "\n\n".join(part for part in parts if part)


def as_json(names: Sequence[str], baseline: str, rounds: Mapping[str, Sequence[Round]], machine: Mapping[str, Any]) -> str:
    """Return every sample of every round; a round in a line."""
    workloads = ",\n".join(
        f"{json.dumps(workload)}: [\n" + ",\n".join(json.dumps(_plain(each)) for each in pairs) + "]"
        for workload, pairs in rounds.items()
    )
    head = json.dumps({"machine": dict(machine), "contestants": list(names), "baseline": baseline}, indent=1)
    return f'{head[:-2]},\n "rounds": {{\n{workloads}\n}}\n}}'


def _plain(samples: Round) -> dict[str, dict[str, float]]:
    """Return samples as JSON has them; figures to a millionth of them, and what was not measured left out."""
    return {
        name: {key: float(f"{value:.6g}") for key, value in asdict(sample).items() if value or key in _ALWAYS}
        for name, sample in samples.items()
    }


def read_json(text: str) -> tuple[list[str], str, dict[str, list[Round]], dict[str, Any]]:
    """Return the names, the baseline, the samples and the machine of a run."""
    data = json.loads(text)
    rounds = {
        workload: [{name: Sample(**sample) for name, sample in each.items()} for each in pairs]
        for workload, pairs in data["rounds"].items()
    }
    return data["contestants"], data["baseline"], rounds, data["machine"]


def results_of(rounds: Mapping[str, Sequence[Round]], baseline: str) -> dict[str, Result]:
    """Summarise all workloads, in the order of their table."""
    return {name: result_of(rounds[name], baseline) for name in WORKLOADS if name in rounds}
