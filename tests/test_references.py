"""A reference to a page of the documentation, such as `proxy.md §4.1`, leads to a page and a section that exist."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

HOUSE = Path(__file__).parent.parent
# Copies of other people's configurations, whose comments speak of other people's pages.
FOREIGN = ("tests/examples/",)
TEXTS = {".py", ".md", ".toml", ".cfg", ".sh", ".conf", ".service", ""}
PAGE = re.compile(r"(?<![\w/.-])([A-Za-z0-9][\w-]*\.md)\b((?:[,;]?(?: and)? §\s?\d+(?:\.\d+)*)*)")
SECTION = re.compile(r"§\s?(\d+(?:\.\d+)*)")
HEADING = re.compile(r"^#+ (\d+(?:\.\d+)*)\.?\s", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(#[\w-]+)?\)")


def files() -> list[Path]:
    """Return the files of the project, without copies of foreign ones."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=HOUSE, capture_output=True, text=True, check=True
    )
    names = [name for name in listed.stdout.splitlines() if not name.startswith(FOREIGN)]
    return [HOUSE / name for name in names if Path(name).suffix in TEXTS and (HOUSE / name).is_file()]


@cache
def pages() -> dict[str, Path]:
    """Return every Markdown page by its file name."""
    return {file.name: file for file in reversed(files()) if file.suffix == ".md"}


@cache
def sections(page: Path) -> frozenset[str]:
    """Return the numbers of the headings of a page."""
    return frozenset(HEADING.findall(page.read_text()))


def references(file: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Yield each reference in a file: its line, the name of the page, the sections."""
    for number, line in enumerate(file.read_text().splitlines(), 1):
        for match in PAGE.finditer(line):
            yield number, match[1], SECTION.findall(match[2])


def test_every_reference_leads_to_a_page_and_a_section() -> None:
    wrong = []
    found = 0
    for file in files():
        for number, name, wanted in references(file):
            found += len(wanted)
            place = f"{file.relative_to(HOUSE)}:{number}"
            if name not in pages():
                wrong.append(f"{place}: there is no page {name}")
                continue
            wrong += [f"{place}: {name} has no section {each}" for each in wanted if each not in sections(pages()[name])]
    assert not wrong, "\n".join(wrong)
    assert found > 100, "the references are no longer recognised"


def test_every_link_between_pages_leads_to_a_file() -> None:
    wrong = []
    for page in pages().values():
        for target, _ in LINK.findall(page.read_text()):
            if not target.startswith(("http://", "https://", "mailto:")) and not (page.parent / target).exists():
                wrong.append(f"{page.relative_to(HOUSE)}: {target}")
    assert not wrong, "\n".join(wrong)
