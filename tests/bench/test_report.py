"""The tables and the remarks below them."""

from __future__ import annotations

import json

from bench.__main__ import choose_contestants, parse_arguments
from bench.measure import Sample
from bench.ratios import result_of
from bench.report import as_json, full_report, header, markdown_table, remarks, row, text_table
from bench.rounds import Round

NAMES = ("wproxy", "nginx")
MACHINE = {
    "date": "2026-01-02",
    "processor": "Abacus, 2 cores",
    "kernel": "6",
    "python": "3.11.7",
    "nginx": "1.22.1",
    "wrk": "4.1.0",
}
BUSY = Round(Sample(40_000, 1.0, 0.99, 0.0), Sample(50_000, 1.0, 0.99, 0.0))
IDLE = Round(Sample(200, 1.0, 0.50, 0.2), Sample(50, 1.0, 0.99, 0.0))


def test_a_row_shows_both_sides_and_the_ratios():
    assert row("small", result_of([BUSY])) == [
        "small", "24.8 us", "19.8 us", "1.25 (1.25-1.25)", "40,000", "50,000", "0.80 (0.80-0.80)",
    ]  # fmt: skip
    assert row("10m", result_of([IDLE]))[1:3] == ["2.50 ms", "19.80 ms"]
    assert len(header(NAMES)) == len(row("small", result_of([BUSY])))


def test_an_idle_proxy_and_a_disturbed_core_are_remarked():
    assert remarks(NAMES, {"small": result_of([BUSY])}) == []
    idle, disturbed = remarks(NAMES, {"10m": result_of([IDLE])})
    assert "wproxy used only 50% of its core" in idle
    assert "others used up to 20%" in disturbed


def test_columns_line_up():
    table = text_table([["workload", "CPU"], ["10m", "1.00 ms"]])
    assert table.splitlines() == ["workload      CPU", "10m       1.00 ms"]


def test_markdown_has_a_rule_below_its_title():
    assert markdown_table([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"


def test_the_report_names_its_machine():
    report = full_report(NAMES, {"small": result_of([BUSY])}, MACHINE, 7, 1)
    assert "2026-01-02, Abacus, 2 cores, Linux 6, Python 3.11.7, nginx 1.22.1" in report
    assert "\n| small | 24.8 us |" in report


def test_every_sample_is_in_the_json():
    data = json.loads(as_json(NAMES, {"small": [BUSY, BUSY]}, MACHINE))
    assert data["machine"]["nginx"] == "1.22.1"
    assert [pair["nginx"]["work"] for pair in data["rounds"]["small"]] == [50_000, 50_000]


def test_the_contestants_follow_the_options():
    assert [c.kind for c in choose_contestants(parse_arguments([]))] == ["wproxy", "nginx"]
    assert [c.kind for c in choose_contestants(parse_arguments(["--noise"]))] == ["nginx", "nginx"]
    ours, theirs = choose_contestants(parse_arguments(["--against", "/elsewhere", "small"]))
    assert (ours.kind, theirs.kind, theirs.tree) == ("wproxy", "wproxy", "/elsewhere")
