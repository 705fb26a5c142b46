"""The budgets of a connection: each flood is stopped, and honest use is not."""

from __future__ import annotations

from worker.http2.abuse import (
    LEAST_RATE,
    PING_COST,
    PRIORITY_COST,
    RATE_SECONDS,
    ControlBudget,
    JunkBudget,
    Progress,
    RefusalBudget,
    ResetBudget,
)
from worker.http2.errors import ENHANCE_YOUR_CALM, NO_ERROR, ConnectionFault


def times_until_fault(act, most: int = 100_000) -> tuple[int, ConnectionFault]:
    for count in range(1, most):
        try:
            act()
        except ConnectionFault as fault:
            return count, fault
    raise AssertionError("it was never too much")


def test_pings_are_counted():
    budget = ControlBudget(0.0)
    count, fault = times_until_fault(lambda: budget.spend(PING_COST, 0.0, "PING"))
    assert (count, fault.code, fault.reason) == (1001, ENHANCE_YOUR_CALM, "client sent too many PING frames")


def test_settings_cost_more_and_long_ones_still_more():
    budget = ControlBudget(0.0, "upstream")
    count, fault = times_until_fault(lambda: budget.spend_settings(32, 0.0))
    assert (count, fault.reason) == (201, "upstream sent too many SETTINGS frames")
    budget = ControlBudget(0.0)
    assert times_until_fault(lambda: budget.spend_settings(300, 0.0))[0] == 4


def test_twenty_frames_a_second_may_go_on_for_ever():
    budget = ControlBudget(0.0)
    for step in range(20_000):
        budget.spend(PRIORITY_COST, step / 20, "PRIORITY")
    assert times_until_fault(lambda: budget.spend(PRIORITY_COST, 1000.0, "PRIORITY"))[0] > 900


def test_tokens_are_not_saved_beyond_the_bound():
    budget = ControlBudget(0.0)
    budget.spend(1, 1e6, "PING")
    assert times_until_fault(lambda: budget.spend(1, 1e6, "PING"))[0] == 1000


def test_junk_is_allowed_in_proportion_to_what_is_useful():
    budget = JunkBudget()
    count, fault = times_until_fault(budget.junk_frame)
    assert (count, fault.code) == (10001, ENHANCE_YOUR_CALM)
    assert fault.reason == "client sent too many frames that bring nothing: 10001"
    budget = JunkBudget()
    for _ in range(30_000):
        budget.useful_frame()
        budget.junk_frame()
        budget.junk_frame()


def test_a_rapid_reset_is_stopped_soon():
    budget = ResetBudget()

    def request_and_reset() -> None:
        budget.opened()
        budget.wasted()

    count, fault = times_until_fault(request_and_reset)
    assert (count, fault.code) == (201, ENHANCE_YOUR_CALM)
    assert fault.reason == "client reset or broke too many streams: 201 of 201"


def test_many_resets_among_more_answers_are_honest():
    budget = ResetBudget()
    for _ in range(5000):
        budget.opened()
        budget.opened()
        budget.wasted()
    for _ in range(201):
        budget.opened()
    budget.wasted()


def test_a_client_that_does_not_heed_refusals_is_left():
    budget = RefusalBudget(128)
    count, fault = times_until_fault(budget.refused)
    assert (count, fault.code) == (130, NO_ERROR)
    assert fault.reason == "client opened too many concurrent streams: 130 were refused"
    assert times_until_fault(RefusalBudget(1000).refused)[0] == 1002
    assert times_until_fault(RefusalBudget(1).refused)[0] == 102
    heeds = RefusalBudget(1)
    for _ in range(100):
        heeds.refused()
        heeds.refused()
        heeds.served()


def test_one_byte_now_and_then_is_too_slow():
    progress = Progress()
    for second in range(60):
        progress.waits(float(second))
        assert not progress.is_too_slow(float(second))
        progress.moves(1, second + 1.0)
    assert progress.is_too_slow(60.0)


def test_the_least_rate_is_fast_enough():
    progress = Progress()
    for second in range(600):
        progress.waits(float(second))
        progress.moves(LEAST_RATE, second + 1.0)
        assert not progress.is_too_slow(second + 1.0)


def test_silence_is_too_slow_and_our_own_silence_is_not():
    progress = Progress()
    assert not progress.is_too_slow(1e6)
    progress.waits(0.0)
    progress.waits(30.0)
    assert not progress.is_too_slow(59.0)
    assert progress.is_too_slow(RATE_SECONDS)
    progress = Progress()
    for second in range(0, 10_000, 100):
        progress.waits(float(second))
        progress.moves(1, second + 0.5)
    assert not progress.is_too_slow(10_000.0)
