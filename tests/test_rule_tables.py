"""The tables of rules (`rules.py` in a directory of tests) name tests that exist."""

from __future__ import annotations

import ast
import runpy
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
Rules = dict[str, dict[str, tuple[str, ...]]]
# FILES and RULES of each table. They are run and not imported: all have the same name.
TABLES = {str(path.parent.relative_to(TESTS)): runpy.run_path(str(path)) for path in sorted(TESTS.rglob("rules.py"))}


@cache
def names_in(file: str) -> frozenset[str]:
    """The names of the tests in a file below tests/."""
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))


def test_the_tables_are_found():
    assert {"worker/content", "worker/upstream"} <= TABLES.keys()


@pytest.mark.parametrize(("room", "section"), [(room, section) for room in TABLES for section in TABLES[room]["RULES"]])
def test_every_rule_has_tests(room, section):
    files: dict[str, str] = TABLES[room]["FILES"]
    for rule, places in TABLES[room]["RULES"][section].items():
        assert places, rule
        for place in places:
            file, _, names = place.partition(": ")
            missing = set(names.split()) - names_in(files[file])
            assert names and not missing, f"{rule}: no {missing} in {files[file]}"


@pytest.mark.parametrize("room", TABLES)
def test_every_file_is_used(room):
    rules: Rules = TABLES[room]["RULES"]
    used = {place.partition(": ")[0] for each in rules.values() for places in each.values() for place in places}
    assert used == TABLES[room]["FILES"].keys()
