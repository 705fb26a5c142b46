"""The table of rules names tests that exist."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from rules import FILES, RULES

TESTS = Path(__file__).parents[2]


def names_in(file: str) -> set[str]:
    """The names of the tests in a file below tests/."""
    tree = ast.parse((TESTS / FILES[file]).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("section", RULES)
def test_every_rule_has_tests(section):
    known: dict[str, set[str]] = {}
    for rule, places in RULES[section].items():
        assert places, rule
        for place in places:
            file, _, names = place.partition(": ")
            missing = set(names.split()) - known.setdefault(file, names_in(file))
            assert names and not missing, f"{rule}: no {missing} in {FILES[file]}"


def test_every_file_is_used():
    used = {place.partition(": ")[0] for rules in RULES.values() for places in rules.values() for place in places}
    assert used <= FILES.keys()
    for name in FILES.keys() - used:
        raise AssertionError(f"{name} stands for nothing")
