"""Configurations that nobody thought of act under wproxy as they do under nginx."""

from __future__ import annotations

import pytest

from differential import trees, values
from differential.pair import Pair, report
from differential.values import Names
from wproxy.config.registry import (
    EVENTS,
    HTTP,
    LIMIT_EXCEPT,
    LOCATION,
    LOCATION_IF,
    MAIN,
    REGISTRY,
    SERVER,
    SERVER_IF,
    UPSTREAM,
)

pytestmark = pytest.mark.whole

SEEDS = range(12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_generated_configuration_acts_as_under_nginx(pair: Pair, seed: int) -> None:
    found = pair.examine(seed)
    assert not found, report(pair.site, found)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_generated_configuration_acts_as_under_the_nginx_of_debian(old_pair: Pair, seed: int) -> None:
    found = old_pair.examine(seed, is_old=True)
    assert not found, report(old_pair.site, found)


def test_values_are_known_for_every_directive_that_is_carried_out() -> None:
    for context in (MAIN, EVENTS, HTTP, UPSTREAM, SERVER, SERVER_IF, LOCATION, LOCATION_IF, LIMIT_EXCEPT):
        for row in [*trees.rows(context, False), *trees.rows(context, True)]:
            assert values.words_for(row, Names()), row.name


def test_what_is_left_out_is_a_directive() -> None:
    assert not [name for name in (*trees.LEFT_OUT, *trees.FRAME, *trees.MASKING, *trees.OLD_ONLY) if name not in REGISTRY]
