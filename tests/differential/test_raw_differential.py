"""Bytes that are nearly requests are answered as nginx answers them, or refused where nginx is too kind (`stricter`)."""

from __future__ import annotations

import pytest

from differential.pair import Pair, report

pytestmark = pytest.mark.whole


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_raw_requests_are_answered_as_by_nginx(pair: Pair, seed: int) -> None:
    found = pair.examine_raw(seed)
    assert not found, report(pair.site, found)
