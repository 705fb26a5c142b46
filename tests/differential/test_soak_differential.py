"""The same for as long as WPROXY_SOAK_SECONDS says, by default an hour, with seeds that are new in every run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from differential.pair import Finding, Pair, report

pytestmark = [pytest.mark.whole, pytest.mark.soak]

SECONDS_EACH = float(os.environ.get("WPROXY_SOAK_SECONDS", "3600")) / 3


def test_generated_configurations_act_as_under_nginx_for_long(pair: Pair) -> None:
    examine_for(SECONDS_EACH, pair, pair.examine)


def test_generated_configurations_act_as_under_the_nginx_of_debian_for_long(old_pair: Pair) -> None:
    examine_for(SECONDS_EACH, old_pair, lambda seed: old_pair.examine(seed, is_old=True))


def test_raw_requests_are_answered_as_by_nginx_for_long(pair: Pair) -> None:
    examine_for(SECONDS_EACH, pair, pair.examine_raw)


def examine_for(seconds: float, pair: Pair, examine: Callable[[int], list[Finding]]) -> None:
    seed, limit = time.time_ns() // 1_000_000, time.monotonic() + seconds
    while time.monotonic() < limit:
        found = examine(seed)
        assert not found, f"seed {seed}: {report(pair.site, found)}"
        seed += 1
