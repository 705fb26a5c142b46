"""The same for as long as WPROXY_SOAK_SECONDS says, by default an hour, with configurations that are new in every run."""

from __future__ import annotations

import os
import time

import pytest

from differential.pair import Pair, report

pytestmark = [pytest.mark.whole, pytest.mark.soak]

SOAK_SECONDS = float(os.environ.get("WPROXY_SOAK_SECONDS", "3600"))


def test_generated_configurations_act_as_under_nginx_for_an_hour(pair: Pair) -> None:
    seed, limit = time.time_ns() // 1_000_000, time.monotonic() + SOAK_SECONDS
    while time.monotonic() < limit:
        found = pair.examine(seed)
        assert not found, f"seed {seed}: {report(pair.site, found)}"
        seed += 1
