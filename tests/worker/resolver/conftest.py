"""A bench for each test; see resolving.py."""

from collections.abc import Iterator

import pytest
from resolving import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A loop with a clock in the test's hand."""
    bench = Bench()
    yield bench
    bench.close()
