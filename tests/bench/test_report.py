"""The tables and the remarks below them, the samples as JSON, and the page that is written from them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from bench.__main__ import choose_baseline, choose_contestants, parse_arguments
from bench.documents import BEGIN, END, losses, with_figures, write_documents
from bench.failure import BenchFailure
from bench.goals import GOALS, MEMORY_GOALS
from bench.measure import Sample
from bench.plot import plot
from bench.ratios import result_of
from bench.report import NOTHING, as_json, cost_table, full_report, markdown_table, read_json, remarks, results_of, text_table
from bench.workloads import ALIASES, WORKLOADS

NAMES = ("nginx", "wproxy", "haproxy")
MACHINE = {
    "date": "2026-01-02",
    "processor": "Abacus, 2 cores",
    "kernel": "6",
    "wrk": "4.1.0",
    "h2load": "1.52.0",
    "contestants": {"nginx": "nginx 1.22.1", "wproxy": "wproxy interpreted, CPython 3.11.7 (without PGO)"},
    "rounds": 7,
    "seconds": 1,
}
BUSY = {"nginx": Sample(50_000, 1.0, 0.99, 0.0, 0.001, 0.004), "wproxy": Sample(40_000, 1.0, 0.99, 0.0, 0.002, 0.003)}
IDLE = {"nginx": Sample(50, 1.0, 0.99, 0.0), "wproxy": Sample(200, 1.0, 0.50, 0.2)}
HELD = {name: Sample(4000, 1.0, 0.0, 0.0, kilobytes=size) for name, size in (("nginx", 1.5), ("wproxy", 3.0), ("haproxy", 0.5))}


def results(**rounds):
    return results_of({name.replace("_", "-"): [pair] for name, pair in rounds.items()}, "nginx")


def test_a_row_shows_all_and_the_ratios_to_the_baseline():
    title, small, idle = cost_table(NAMES, "nginx", results(small=BUSY, idle=HELD))
    assert title == ["workload", "nginx", "wproxy", "ratio", "haproxy", "ratio"]
    assert small == ["small", "19.8 us", "24.8 us", "1.25 (1.25-1.25)", NOTHING, NOTHING]
    assert idle == ["idle", "1.5 KB", "3.0 KB", "2.00 (2.00-2.00)", "0.5 KB", "0.33 (0.33-0.33)"]


def test_an_idle_proxy_and_a_disturbed_core_are_remarked():
    assert remarks(results(small=BUSY, idle=HELD)) == []
    idle, disturbed = remarks({"10m": result_of([IDLE], "nginx")})
    assert "wproxy used only 50% of its core" in idle
    assert "others used up to 20%" in disturbed


def test_a_generator_that_was_late_itself_is_remarked():
    late = {"nginx": Sample(100, 1.0, 0.99, 0.0, 0.1, 0.2, late=0.12)}
    assert remarks({"latency": result_of([late], "nginx")}) == [
        "latency: the generator itself was late for 12% of the requests to nginx"
    ]


def test_columns_line_up():
    table = text_table([["workload", "CPU"], ["10m", "1.00 ms"]])
    assert table.splitlines() == ["workload      CPU", "10m       1.00 ms"]


def test_markdown_has_a_rule_below_its_title():
    assert markdown_table([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"


def test_the_report_names_its_machine_and_shows_every_figure():
    report = full_report(NAMES, "nginx", results(small=BUSY, idle=HELD), MACHINE)
    assert "2026-01-02, Abacus, 2 cores, Linux 6" in report and "CPython 3.11.7 (without PGO)" in report
    assert "\n| small | 19.8 us | 24.8 us |" in report
    assert "2.00 / 3.00 ms" in report and "40,000" in report and "3.0 KB" in report


def test_every_sample_is_in_the_json_and_comes_back():
    rounds = {"small": [BUSY, BUSY], "idle": [HELD]}
    text = as_json(NAMES, "nginx", rounds, MACHINE)
    assert json.loads(text)["machine"]["kernel"] == "6"
    assert read_json(text) == (list(NAMES), "nginx", rounds, MACHINE)


def test_what_loses_most_stands_first():
    found = losses(results(small=BUSY, idle=HELD, c1=IDLE)).splitlines()
    assert [line.split("`")[1] for line in found] == ["idle", "small"]


def test_the_page_is_written_from_a_run_and_keeps_what_was_written_by_hand(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (tmp_path / "README.md").write_text(f"# Us\n{BEGIN}\n{END}\n")
    (docs / "performance.md").write_text(f"# By hand\n\n{BEGIN}\nold\n{END}\n\nMore by hand.\n")
    (tmp_path / "run.json").write_text(as_json(NAMES, "nginx", {"small": [BUSY], "idle": [IDLE | HELD]}, MACHINE))
    (tmp_path / "later.json").write_text(as_json(NAMES, "nginx", {"idle": [HELD]}, MACHINE))
    for _ in range(2):  # again, over its own page
        write_documents([str(tmp_path / "run.json"), str(tmp_path / "later.json")], str(tmp_path))
    page = (docs / "performance.md").read_text()
    assert page.startswith("# By hand\n") and page.endswith("\nMore by hand.\n") and "old" not in page
    assert page.count("| small | 19.8 us | 24.8 us | 1.25 (1.25-1.25) |") == 1
    assert "| small | 1.25 | 1.2 | - | 1.05 |" in page, "beside its goal"
    assert "| small | 19.8 us |" in (tmp_path / "README.md").read_text()
    ElementTree.parse(docs / "performance.svg")
    assert read_json((docs / "performance.json").read_text())[2] == {"small": [BUSY], "idle": [HELD]}


def test_a_page_without_marks_is_left_alone():
    with pytest.raises(BenchFailure, match="lacks its marks"):
        with_figures("page", "# By hand\n", "figures")


def test_a_plot_has_a_bar_for_each_ratio():
    picture = ElementTree.fromstring(plot("A <title>", {"small": {"a": 2.0, "b": 0.5}, "h2": {"a": 4.0}}, ["a", "b"], "nginx"))
    bars = [element for element in picture.iter("{http://www.w3.org/2000/svg}rect") if element.get("height") == "8"]
    half, double = float(bars[1].get("width", 0)), float(bars[0].get("width", 0))
    assert len(bars) == 3 and half == pytest.approx(double, abs=0.2)


def test_goals_and_other_names_are_those_of_workloads():
    assert {*GOALS, *MEMORY_GOALS, *ALIASES.values()} <= WORKLOADS.keys()
    assert not ALIASES.keys() & WORKLOADS.keys()


def test_the_contestants_follow_the_options():
    kinds = [contestant.kind for contestant in choose_contestants(parse_arguments(["--no-haproxy"]))]
    assert kinds == ["nginx", "wproxy"]
    assert [c.kind for c in choose_contestants(parse_arguments(["--noise"]))] == ["nginx", "nginx"]
    ours, theirs = choose_contestants(parse_arguments(["--against", "/elsewhere", "small"]))
    assert (ours.kind, theirs.kind, theirs.tree) == ("wproxy", "wproxy", "/elsewhere")
    assert choose_baseline(parse_arguments([]), [theirs, ours]) == "wproxy"
    with pytest.raises(BenchFailure, match="no contestant 'x'"):
        choose_baseline(parse_arguments(["--baseline", "x"]), [ours])


def test_other_names_of_workloads_are_understood():
    assert parse_arguments(["close", "connect", "small"]).workload == ["connect", "small"]
