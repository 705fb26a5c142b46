"""The stage for tests that talk to one worker; see conversation.py."""

from collections.abc import Callable, Iterator

import pytest
from conversation import Stage


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Iterator[Callable[..., Stage]]:
    """Makes stages: `stage(peers=2, location='proxy_read_timeout = "5s"')`; each is swept at the end of the test."""
    made: list[Stage] = []

    def make(**settings: object) -> Stage:
        directory = f"{tmp_path}/{len(made)}"
        import os

        os.mkdir(directory)
        made.append(Stage(monkeypatch, directory, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()
