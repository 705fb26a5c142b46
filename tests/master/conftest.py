"""A process that becomes the masters of these tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import running_master

from tests.prepared import Prepared, adopt_orphans

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="package", autouse=True)
def prepared_process() -> Iterator[None]:
    """Becomes most of the masters that tests start."""
    adopt_orphans(True)
    running_master.prepared = Prepared({**os.environ, "PYTHONPATH": str(ROOT)}, ROOT)
    yield
    running_master.prepared.end()
    running_master.prepared = None
    adopt_orphans(False)
