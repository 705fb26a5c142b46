"""The page for people who come from nginx is current, and every directive is on it."""

import re
from pathlib import Path

import pytest

from wproxy.config import compatibility
from wproxy.config.compatibility import PAGE, compatibility_page
from wproxy.config.registry import REGISTRY
from wproxy.directives.accepted import ACCEPTED, HARMLESS

HOUSE = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def sections():
    """By heading, the names in code style."""
    parts = re.split(r"^## (.*)$", compatibility_page(), flags=re.MULTILINE)
    return {title: set(re.findall(r"`(\w+)`", text)) for title, text in zip(parts[1::2], parts[2::2])}


def test_the_page_is_current():
    assert (HOUSE / "docs" / PAGE).read_text("utf-8") == compatibility_page(), "run python -m wproxy.config.compatibility"


def test_it_is_written_where_the_other_pages_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compatibility, "DOCS", str(tmp_path))
    assert compatibility.main() == 0
    assert (tmp_path / PAGE).read_text("utf-8") == compatibility_page()
    assert capsys.readouterr().out == f"{tmp_path / PAGE}\n"


def test_every_directive_stands_where_it_belongs(sections):
    accepted = {(name, row.guards, row.effective) for name, rows in ACCEPTED.items() for row in rows}
    assert {name for name, guards, _ in accepted if guards} <= sections["Refused at a start"]
    assert {name for name, guards, effective in accepted if not guards and not effective} <= sections[
        "Accepted, without effect yet"
    ]
    assert sections["Accepted, with nothing to tune"] == HARMLESS
    assert {"proxy_pass", "map", "rewrite"} <= sections["Working"]
    assert not {name for name in sections["Working"] if name not in REGISTRY} - {"directives"}
    everywhere = set().union(*sections.values())
    assert set(REGISTRY) <= everywhere


def test_lines_are_not_long():
    assert max(map(len, compatibility_page().splitlines())) <= 130
