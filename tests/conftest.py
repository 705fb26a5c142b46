"""What tests of all rooms share."""

from __future__ import annotations

import resource
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


DESCRIPTORS = 4096


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Room for thousands of descriptors, in this process and in those that it starts: an ordinary user begins with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        pytest.skip(f"this user may open {hard} descriptors (ulimit -Hn), and the test needs {DESCRIPTORS}")
    if soft == resource.RLIM_INFINITY or soft >= DESCRIPTORS:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
