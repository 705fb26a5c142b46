"""docs/performance.md: the page's tables, its plot and its samples, written from the JSON of a run (`--write-docs`).

The README gets a short table of the same run.

What stands outside the two marks is written by hand.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from bench.contestants import TREE
from bench.failure import BenchFailure
from bench.goals import GOALS, MEMORY_GOALS, SERVERS_GOAL
from bench.plot import plot
from bench.ratios import Result
from bench.report import (
    as_json,
    cost,
    cost_table,
    latency,
    markdown_table,
    of_memory,
    of_time,
    other_table,
    provenance,
    rate,
    read_json,
    remarks,
    results_of,
)
from bench.rounds import Round
from bench.workloads import WORKLOADS

# The workloads that the README shows.
SHORT = (
    "small", "browser", "varied", "post", "connect", "c1000", "static1k", "10m", "upload16m", "websocket", "tls", "tls-connect",
    "h2", "grpc-unary", "fastcgi", "cache-hit-1k",
)  # fmt: skip
BEGIN = "<!-- figures: written by `python -m bench --write-docs` -->"
END = "<!-- end of figures -->"


def write_documents(files: Sequence[str], tree: str = TREE) -> list[str]:
    """Write the pages, the plot and the samples; return their paths. Of a workload in several files the last one counts."""
    folder = os.path.join(tree, "docs")
    names: list[str] = []
    baseline = ""
    rounds: dict[str, list[Round]] = {}
    machine: dict[str, Any] = {}
    for file in files:
        with open(file, encoding="utf-8") as opened:
            more, baseline, some, machine = read_json(opened.read())
        names += [name for name in more if name not in names]
        rounds.update(some)
    counts = sorted({len(pairs) for pairs in rounds.values()})
    if len(counts) > 1:  # files of runs of different lengths
        machine = {**machine, "rounds": f"{counts[0]} to {counts[-1]}"}
    results = results_of(rounds, baseline)
    page, picture, samples = (os.path.join(folder, f"performance.{ending}") for ending in ("md", "svg", "json"))
    readme = os.path.join(tree, "README.md")
    for path, write in ((page, figures), (readme, short_figures)):
        with open(path, encoding="utf-8") as opened:
            text = opened.read()
        _write(path, with_figures(path, text, write(names, baseline, results, machine)))
    ratios = {workload: {name: ratio.middle for name, ratio in result.cost.items()} for workload, result in results.items()}
    losing = dict(sorted(ratios.items(), key=lambda pair: -max(pair[1].values(), default=0.0)))
    shown = [name for name in names if name != baseline]
    _write(picture, plot("Cost in units of nginx: processor time of a request, memory of a connection", losing, shown, baseline))
    _write(samples, as_json(names, baseline, rounds, machine) + "\n")
    return [page, readme, picture, samples]


def with_figures(path: str, page: str, text: str) -> str:
    """Return the page with these figures between its marks; path: its place, for a message."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchFailure(f"{path} lacks its marks: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def figures(names: Sequence[str], baseline: str, results: Mapping[str, Result], machine: Mapping[str, Any]) -> str:
    """Return all that is between the marks."""
    times, memories = of_time(results), of_memory(results)
    parts = [
        provenance(machine),
        "![Cost in units of nginx](performance.svg)",
        "### Where we lose first\n\n" + losses(results),
        "### Processor time of a request\n\n" + markdown_table(cost_table(names, baseline, times)),
    ]
    if memories:
        parts.append("### Memory of a connection or stream\n\n" + markdown_table(cost_table(names, baseline, memories)))
    if table := goals(results):
        parts.append("### Beside the goals\n\n" + table)
    parts += [
        "### Requests per second\n\n" + markdown_table(other_table(names, times, lambda side: rate(side.rate))),
        "### Latency, of half / of all but one in a hundred\n\n" + markdown_table(other_table(names, times, latency)),
        "### The workloads\n\n" + "\n".join(f"- `{name}`: {WORKLOADS[name].question}" for name in results),
    ]
    if told := remarks(results):
        parts.append("### Remarks on this run\n\n" + "\n".join(f"- {line}" for line in told))
    return "\n\n".join(parts)


def short_figures(names: Sequence[str], baseline: str, results: Mapping[str, Result], machine: Mapping[str, Any]) -> str:
    """Return what the README shows, first where we lose most."""
    some = {name: results[name] for name in SHORT if name in results}
    ours = {name: result.cost["wproxy"].middle for name, result in some.items() if "wproxy" in result.cost}
    some = dict(sorted(some.items(), key=lambda pair: -ours.get(pair[0], 0.0)))
    return f"{markdown_table(cost_table(names, baseline, some))}\n\n{provenance(machine)}"


def losses(results: Mapping[str, Result], name: str = "wproxy") -> str:
    """Return the workloads that cost us more than the baseline, the worst first."""
    found = [(result.cost[name].middle, workload, result) for workload, result in results.items() if name in result.cost]
    lost = [row for row in sorted(found, key=lambda row: -row[0]) if row[0] > 1]
    if not lost:
        return "Nowhere."
    return "\n".join(
        f"{number}. `{workload}`: {ratio:.2f} times ({cost(result.sides[name])} against {cost(result.sides[result.baseline])})"
        for number, (ratio, workload, result) in enumerate(lost, 1)
    )


def goals(results: Mapping[str, Result]) -> str:
    """Return each goal beside what was measured; nothing where none was measured."""
    rows = [["workload", "wproxy", "goal", "compiled", "goal"]]

    def ratio(result: Result, name: str) -> str:
        return f"{result.cost[name].middle:.2f}" if name in result.cost else "-"

    for workload, (interpreted, compiled) in GOALS.items():
        if workload in results:
            result = results[workload]
            rows.append([workload, ratio(result, "wproxy"), f"{interpreted:g}", ratio(result, "compiled"), f"{compiled:g}"])
    for workload, limit in MEMORY_GOALS.items():
        if workload in results:
            sides = results[workload].sides
            ours = [cost(sides[name]) if name in sides else "-" for name in ("wproxy", "compiled")]
            rows.append([workload, ours[0], f"{limit:g} KB", ours[1], f"{limit:g} KB"])
    if "servers1000" in results and "small" in results:
        row = ["servers1000 / small"]
        for name in ("wproxy", "compiled"):
            many, one = results["servers1000"].sides.get(name), results["small"].sides.get(name)
            row += [f"{many.cost / one.cost:.2f}" if many and one else "-", f"{SERVERS_GOAL:g}"]
        rows.append(row)
    return markdown_table(rows) if len(rows) > 1 else ""


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
