"""What tests of all rooms share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A new directory that every user can reach. Those of `tmp_path` are closed to strangers, and opening them does not last:
    each run of pytest that begins on this machine closes the directory that all have in common."""
    with tempfile.TemporaryDirectory(prefix="wproxy-test-", dir="/tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
