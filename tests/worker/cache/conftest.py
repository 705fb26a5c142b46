"""A zone for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import TIME, Place


@pytest.fixture(autouse=True)
def _moved_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "stage" not in request.fixturenames:  # whole workers have the time of the day
        monkeypatch.setattr("worker.loop.time", TIME.wall)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "cache")
    yield made
    made.close()
