"""A play for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_redis import Play


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Callable[..., Play]]:
    made: list[Play] = []

    def make(*arguments: str) -> Play:
        made.append(Play(str(tmp_path), *arguments))
        return made[-1]

    yield make
    for one in made:
        one.close()
