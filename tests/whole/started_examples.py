"""The test of test_whole_started_nginx.py and test_whole_started_toml.py: two files, so that they run side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
from documented import PAGES, tree_of_directives, tree_of_page, tree_of_rules, whole_ones
from local_copies import Local
from recorder import Recorder
from started import start_and_ask, write_copy

from tests.example_copies import DEPLOYMENTS, LESSON, copy_deployment, copy_lesson
from wproxy.config.convert import read_document
from wproxy.config.load import load_document
from wproxy.config.tree import Node

# No question is answered by a cache that the one before it has filled.
NOT_STORED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\n\r\nok"

# What becomes of a copy: its directory, and the tree of the configuration.
Source = Callable[[Path], "tuple[Path, Node]"]


def deployment(name: str) -> Source:
    """A directory of tests/examples."""

    def copy(directory: Path) -> tuple[Path, Node]:
        file = copy_deployment(name, directory)
        return file.parent, load_document(str(file)).root

    return copy


def lesson(name: str) -> Source:
    """A configuration of the lesson."""

    def copy(directory: Path) -> tuple[Path, Node]:
        apps = {f"app{number}": f"127.0.0.1:{9000 + number}" for number in range(1, 5)}
        file = copy_lesson(name, directory / "lesson", listen="127.0.0.1:8080", root="html", **apps)
        return file.parent, load_document(str(file)).root

    return copy


def page(name: str) -> Source:
    """A configuration that is shown as a whole."""

    def copy(directory: Path) -> tuple[Path, Node]:
        syntax, text = whole_ones()[name]
        return directory, read_document(text.encode(), f"wproxy.{syntax}", syntax).root

    return copy


def reference(tree: Callable[[], Node]) -> Source:
    """The many small ones of a page."""
    return lambda directory: (directory, tree())


# Configurations of hundreds of servers are started in so many parts.
PARTS = {"docs/check.md": 4, "docs/directives.md": 8}

SOURCES: dict[str, Source] = {
    **{name: deployment(name) for name in DEPLOYMENTS},
    **{f"lesson {name}": lesson(name) for name in LESSON},
    **{name: page(name) for name in whole_ones()},
    "docs/check.md": reference(tree_of_rules),
    "docs/directives.md": reference(tree_of_directives),
    **{f"docs/{name}": reference(partial(tree_of_page, name)) for name in PAGES},
}


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recorder, str]]:
    """A backend that listens on a port, and on the unix socket whose path comes with it."""
    path = str(tmp_path_factory.mktemp("b") / "s")
    with Recorder() as recorder, Recorder(path) as beside:
        beside.requests = recorder.requests
        for each in (recorder, beside):
            each.answer_with(NOT_STORED)
        yield recorder, path


def shared_out(tree: Node, parts: int) -> Iterator[Node]:
    """Share the servers of a configuration out among several; each has all that is beside the servers.

    To explain a question a worker is made anew, with all servers: ten times as many take a hundred times as long.
    """
    for part in range(parts):
        copy = deepcopy(tree)
        for http in copy.named("http"):
            others = {id(server) for number, server in enumerate(http.named("server")) if number % parts != part}
            http.children = [child for child in http.children or () if id(child) not in others]
        yield copy


@pytest.mark.parametrize("name", SOURCES)
def test_every_server_answers_and_every_location_is_what_explain_says(
    name: str, syntax: str, backends: tuple[Recorder, str], tmp_path: Path
) -> None:
    recorder, path = backends
    directory, tree = SOURCES[name](tmp_path)
    for number, part in enumerate(shared_out(tree, PARTS.get(name, 1))):
        here = directory / f"part{number}" if name in PARTS else directory
        here.mkdir(exist_ok=True)
        found = start_and_ask(write_copy(part, Local(here, recorder.port, path), syntax), recorder)
        assert [str(compared) for compared in found if compared.differences] == []
        # A copy that could not reach its backend would agree with nobody, and prove little.
        assert found and not [str(compared) for compared in found if compared.status in (502, 503, 504)]
