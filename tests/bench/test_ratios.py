"""Ratios are paired round by round; their middle is the median."""

from __future__ import annotations

import pytest

from bench.measure import Sample
from bench.ratios import paired_ratio, result_of
from bench.rounds import turns


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


def test_a_result_is_divided_by_the_baseline_round_by_round():
    rounds = [
        {"nginx": sample(200, 0.9), "wproxy": sample(100, 0.9), "haproxy": sample(300, 0.9)},
        {"nginx": sample(200, 0.9), "wproxy": sample(100, 0.9, foreign=0.4), "haproxy": sample(300, 0.9)},
    ]
    result = result_of(rounds, "nginx")
    assert result.cost.keys() == {"wproxy", "haproxy"}
    assert result.cost["wproxy"].middle == pytest.approx(2.0)
    assert result.rate["wproxy"].middle == pytest.approx(0.5)
    assert result.cost["haproxy"].middle == pytest.approx(2 / 3)
    assert result.sides["wproxy"].disturbance == pytest.approx(0.4)
    assert result.sides["nginx"].disturbance == 0


def test_memory_is_compared_as_kilobytes():
    rounds = [{name: Sample(4000, 2.0, 0.0, 0.0, kilobytes=size) for name, size in (("nginx", 2.0), ("wproxy", 3.0))}]
    result = result_of(rounds, "nginx")
    assert result.cost["wproxy"].middle == pytest.approx(1.5)
    assert result.sides["wproxy"].is_memory and result.sides["wproxy"].p50 is None


def test_latencies_are_medians_of_what_was_measured():
    rounds = [{"nginx": Sample(1, 1.0, 1.0, 0.0, p50=value, p99=None)} for value in (0.001, 0.005, 0.002)]
    side = result_of(rounds, "nginx").sides["nginx"]
    assert (side.p50, side.p99) == (0.002, None)


@pytest.mark.parametrize("contestants", [2, 3, 5])
def test_every_round_gives_each_two_turns_and_begins_with_another(contestants):
    for number in range(contestants):
        order = turns(number, contestants)
        assert sorted(order) == sorted([*range(contestants)] * 2)
        assert order == tuple(reversed(order)) and order[0] == number
