"""Ratios are paired round by round; their middle is the median."""

from __future__ import annotations

import pytest

from bench.measure import Sample
from bench.ratios import paired_ratio, result_of
from bench.rounds import Round, turns


def sample(work: float, cpu: float, foreign: float = 0.0) -> Sample:
    return Sample(work=work, seconds=1.0, cpu=cpu, foreign=foreign)


def test_a_machine_that_slows_down_for_both_leaves_the_ratio_alone():
    ratio = paired_ratio([20.0, 40.0, 10.0], [10.0, 20.0, 5.0])
    assert (ratio.middle, ratio.smallest, ratio.largest) == (2.0, 2.0, 2.0)


def test_the_spread_is_the_smallest_and_the_largest():
    ratio = paired_ratio([9.0, 10.0, 30.0], [10.0, 10.0, 10.0])
    assert (ratio.middle, ratio.smallest, ratio.largest) == (1.0, 0.9, 3.0)
    assert str(ratio) == "1.00 (0.90-3.00)"


def test_sides_of_unequal_length_are_a_mistake():
    with pytest.raises(ValueError):
        paired_ratio([1.0], [1.0, 2.0])


def test_two_turns_count_as_one_measurement():
    both = sample(100, 0.9) + sample(300, 0.7)
    assert both.rate == 200
    assert both.cpu_each == pytest.approx(1.6 / 400)
    assert both.busy == pytest.approx(0.8)


def test_a_result_is_first_over_second():
    rounds = [Round(sample(100, 0.9), sample(200, 0.9)), Round(sample(100, 0.9, foreign=0.4), sample(200, 0.9))]
    result = result_of(rounds)
    assert result.cpu.middle == pytest.approx(2.0)
    assert result.rate.middle == pytest.approx(0.5)
    assert result.first.disturbance == pytest.approx(0.4)
    assert result.second.disturbance == 0


def test_every_round_gives_both_two_turns_and_the_start_alternates():
    assert sorted(turns(0)) == sorted(turns(1)) == [0, 0, 1, 1]
    assert turns(0)[0] != turns(1)[0]
    assert turns(0) == tuple(reversed(turns(0)))
