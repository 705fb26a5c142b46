"""The copies that test_whole_started_*.py start: they leave out no more than they must, and the pages show nothing that is not started."""

import pytest
from documented import PAGES, blocks_of, examples_of_directives, examples_of_rules, parts_of_page, whole_ones
from harness import ROOT
from local_copies import NOT_YET
from questions import matching

from wproxy.config.registry import REGISTRY
from wproxy.regex import compile_regex


@pytest.mark.parametrize("name", NOT_YET)
def test_what_a_copy_leaves_out_is_still_refused_by_a_start(name):
    assert all(row.guards for row in REGISTRY[name]), f"{name} is carried out now: take it out of NOT_YET"


def test_every_configuration_of_the_pages_is_started():
    started = {text for _, text in whole_ones().values()} | set(examples_of_directives())
    started |= {f"{text}\n" for text, _ in examples_of_rules()}
    started |= {text for name in PAGES for text in parts_of_page(name)}
    # What `-t` refuses is shown once, as a bad example.
    refused = ["ip_hash;\n    server 127.0.0.1:3000;\n    server 127.0.0.1:3001 backup;"]
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    shown = [text for page in pages for text in blocks_of(page) if not any(part in text for part in refused)]
    assert len(shown) > 400
    assert [text for text in shown if text not in started] == []


@pytest.mark.parametrize(
    "pattern",
    [
        r"\.php$",
        r"^/(?<lang>de|fr)/docs/(.*)$",
        r"^/static/[0-9a-fA-F]{8}\/(.*)$",
        r"[^/]+\.(?:css|js)$",
        r"(.git/git-receive-pack$|.git/info/refs\?service=x)",
        r"^/a++\d{3}\s?\w*[^a-z/]$",
        r"^~(?>ab|c)*(?=d)d",
    ],
)
def test_a_text_is_found_for_a_regex(pattern):
    assert compile_regex(pattern).pattern.search(matching(pattern).encode())
