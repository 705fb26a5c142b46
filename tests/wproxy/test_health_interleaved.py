"""Passive health when workers are interrupted by each other, and killed, between any two loads and stores.

Each example is a few workers with a few things to do, an order in which they touch the memory, and perhaps a death. What must
hold is compared with nginx's accounting done by one worker after the other (`Model`), in every order that is consistent with
what came before what.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stepping import Interrupted, Stage, SteppingLocks, SteppingWords, Worker

from wproxy.health import Health
from wproxy.shared import HEAD_SLOTS, PEERS_OFFSET, ROW_CHECKED, ROW_FAILED, ROWS_OFFSET, SLOT_ROWS_WORDS

SLOTS = 3
FAIL_TIMEOUT = 10
FIRST_SECOND = Stage().now

State = tuple[int, int, int]  # fails, accessed, checked


@dataclass
class Deed:
    """What a worker did. began, ended: in touches of all workers; ended is None when it was killed on the way."""

    name: str
    now: int
    began: int
    ended: int | None = None


@dataclass
class History:
    """What all did. claims: the seconds at which somebody was given the probe, with the worker."""

    stage: Stage = field(default_factory=Stage)
    deeds: list[list[Deed]] = field(default_factory=list)
    claims: list[int] = field(default_factory=list)
    healths: list[tuple[Health, SteppingWords]] = field(default_factory=list)  # as the workers had them in the end

    def count_fails(self, max_fails: int) -> int:
        """What a worker that comes new sees when all is quiet."""
        seen = []

        def look(worker: Worker) -> None:
            health = make_health(worker, SLOTS - 1, max_fails)
            health.may_serve(worker.stage.now)
            seen.append(health.fails)

        self.stage.play([(look, None)], [(0, 1, 0)])
        return seen[0]

    def carry_out(self, worker: Worker | Interrupted, slot: int, names: list[str], max_fails: int) -> None:
        """Be the worker of that slot and do these things."""
        stage = self.stage
        health = make_health(worker, slot, max_fails)
        self.healths.append((health, health._words))  # type: ignore[arg-type]
        for name in names:
            deed = Deed(name, stage.now, stage.steps)
            self.deeds[slot].append(deed)
            if name == "fail":
                health.count_failure(deed.now)
            elif name == "succeed":
                health.count_success()
            else:
                checked = ROWS_OFFSET + slot * SLOT_ROWS_WORDS + ROW_CHECKED
                old = stage.words.get(checked, 0)
                if not health.may_serve(deed.now):
                    deed.name = "refused"
                else:
                    is_failed = max_fails and health._fails >= max_fails
                    if not health.choose(deed.now):
                        deed.name = "refused"
                    elif is_failed and stage.words.get(checked, 0) == deed.now != old:
                        self.claims.append(deed.now)
            deed.ended = stage.steps

    @property
    def failures(self) -> int:
        """How many are in the rows."""
        return sum(self.stage.words.get(ROWS_OFFSET + slot * SLOT_ROWS_WORDS + ROW_FAILED, 0) for slot in range(SLOTS))


def make_health(worker: Worker | Interrupted, slot: int, max_fails: int) -> Health:
    return Health(
        SteppingWords(worker),  # type: ignore[arg-type]
        PEERS_OFFSET,
        max_fails,
        FAIL_TIMEOUT,
        slot,
        SteppingLocks(worker),  # type: ignore[arg-type]
    )


def play(
    plans: list[tuple[list[str], int | None]],
    order: list[tuple[int, int, int]],
    max_fails: int,
    fails_before: int = 0,
    is_probed: bool = False,
) -> History:
    """Let workers carry out their plans (names of deeds, dies_at) in this order of touches.

    Before that there were so many failures, and fail_timeout passed. is_probed: and then one request was sent.
    """
    history = History()
    history.stage.words[HEAD_SLOTS] = SLOTS

    def before(worker: Worker) -> None:
        health = make_health(worker, 0, max_fails)
        for _ in range(fails_before):
            health.count_failure(worker.stage.now)

        if is_probed:
            worker.stage.now += FAIL_TIMEOUT + 1
            assert health.choose(worker.stage.now)

    history.stage.play([(before, None)], [(0, 1, 0)])
    if not is_probed:
        history.stage.now += FAIL_TIMEOUT + 1

    works = [
        (lambda worker, slot=slot, names=names: history.carry_out(worker, slot, names, max_fails), dies_at)
        for slot, (names, dies_at) in enumerate(plans)
    ]
    history.deeds = [[] for _ in plans]
    history.stage.play(works, order)
    return history


class Model:
    """nginx's accounting, one deed after the other."""

    @staticmethod
    def after(state: State, deed: Deed, max_fails: int) -> set[State]:
        """The states that a deed may lead to; several when its worker was killed on the way."""
        fails, accessed, checked = state
        outcomes = set()
        if deed.name == "fail":
            outcomes.add((fails + 1, max(accessed, deed.now), max(checked, deed.now)))
            if deed.ended is None:
                outcomes.add((fails, max(accessed, deed.now), checked))
                outcomes.add((fails, max(accessed, deed.now), max(checked, deed.now)))
        elif deed.name == "succeed":
            outcomes.add((0 if accessed < checked else fails, accessed, checked))
        elif deed.name == "choose":
            outcomes.add((fails, accessed, deed.now if fails and deed.now - checked > FAIL_TIMEOUT else checked))
        if deed.ended is None or deed.name == "refused":
            outcomes.add(state)
        return outcomes


def possible_fails(history: History, first: State, max_fails: int) -> set[int]:
    """The numbers of fails that are left at the end of any order in which no deed comes before one that it came after."""
    infinity = 1 << 60
    found: set[int] = set()
    seen: set[tuple[tuple[int, ...], State]] = set()

    def go(done: tuple[int, ...], state: State) -> None:
        if (done, state) in seen:
            return
        seen.add((done, state))
        waiting = [deeds[count] for deeds, count in zip(history.deeds, done, strict=True) if count < len(deeds)]
        if not waiting:
            found.add(state[0])
            return
        first_end = min(infinity if deed.ended is None else deed.ended for deed in waiting)
        for slot, (deeds, count) in enumerate(zip(history.deeds, done, strict=True)):
            if count < len(deeds) and deeds[count].began < first_end:
                for after in Model.after(state, deeds[count], max_fails):
                    go((*done[:slot], count + 1, *done[slot + 1 :]), after)

    go((0,) * len(history.deeds), first)
    return found


names = st.lists(st.sampled_from(["fail", "fail", "succeed", "choose"]), min_size=1, max_size=3)
orders = st.lists(
    st.tuples(st.integers(0, SLOTS - 1), st.integers(1, 25), st.sampled_from([0, 0, 0, 1, 11])), min_size=1, max_size=12
)
plans = st.lists(st.tuples(names, st.none()), min_size=2, max_size=SLOTS)
deadly_plans = st.lists(st.tuples(names, st.none() | st.integers(0, 60)), min_size=2, max_size=SLOTS)


def check(history: History, max_fails: int, fails_before: int, is_probed: bool = False) -> None:
    """All that must hold, whatever happened."""
    failures = [deed for deeds in history.deeds for deed in deeds if deed.name == "fail"]
    certain = sum(deed.ended is not None for deed in failures)
    assert fails_before + certain <= history.failures <= fails_before + len(failures), "every failure is counted, and once"
    claims = sorted(history.claims)
    assert all(later - earlier > FAIL_TIMEOUT for earlier, later in itertools.pairwise(claims)), claims
    fails = history.count_fails(max_fails)
    failed = FIRST_SECOND if fails_before else 0
    first = (fails_before, failed, failed + (FAIL_TIMEOUT + 1 if is_probed else 0))
    possible = possible_fails(history, first, max_fails)
    # Between, because time passes while somebody adds up: it may forgive some of several failures that nginx, which adds
    # up in no time, forgives all or none of.
    assert min(possible) <= fails <= max(possible), (fails, possible, history.deeds)
    assert not history.stage.locked
    is_all_told = not any(deed.ended is None for deeds in history.deeds for deed in deeds)
    for health, words in history.healths:
        words.worker = None
        if not is_all_told:
            health.may_serve(history.stage.now + 1)
        assert health.fails == fails, "all see the same: at once, or in the next second if somebody was killed"

    def recover(worker: Worker) -> None:
        healths = [make_health(worker, slot, max_fails) for slot in range(SLOTS)]
        now = worker.stage.now + FAIL_TIMEOUT + 1
        assert all(health.may_serve(now) for health in healths), "available again after fail_timeout"
        assert healths[1].choose(now)
        healths[1].count_success()
        assert [health.fails for health in healths] == [0] * SLOTS, "and a success forgives everything, everywhere"

    history.stage.play([(recover, None)], [(0, 1000, 0)])


@given(plans, orders, st.integers(0, 3), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_however_workers_interrupt_each_other_the_accounting_is_nginxs(plans, order, max_fails, fails_before):
    check(play(plans, order, max_fails, fails_before), max_fails, fails_before)


@given(deadly_plans, orders, st.integers(0, 3), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_wherever_workers_are_killed_nothing_is_lost_or_stuck(plans, order, max_fails, fails_before):
    check(play(plans, order, max_fails, fails_before), max_fails, fails_before)


@given(orders, st.lists(st.none() | st.integers(0, 60), min_size=SLOTS, max_size=SLOTS))
@settings(deadline=None, max_examples=60)
def test_when_the_rest_ends_at_most_one_probes_and_exactly_one_if_nobody_is_killed(order, deaths):
    order = [(worker, touches, 0) for worker, touches, _ in order]  # all in the same second
    history = play([(["choose"], dies_at) for dies_at in deaths], order, 1, 1)
    assert len(history.claims) <= 1
    if not any(history.deeds[slot][0].ended is None for slot in range(SLOTS)):
        assert len(history.claims) == 1


DEEDS = ("fail", "succeed", "choose")


@pytest.mark.parametrize("is_probed", [False, True], ids=["the rest is over", "the probe is out"])
@pytest.mark.parametrize("other", [(name,) for name in DEEDS] + [("choose", "succeed"), ("fail", "succeed")], ids=" ".join)
@pytest.mark.parametrize("one", [(name,) for name in DEEDS] + [("choose", "succeed"), ("fail", "succeed")], ids=" ".join)
def test_one_worker_interrupted_at_any_touch_by_another(one, other, is_probed):
    at = 0
    while True:
        history = play([], [], 1, 1, is_probed)
        history.deeds = [[], []]

        def interrupt(history: History = history) -> None:
            history.carry_out(Interrupted(history.stage, -1, lambda: None), 1, list(other), 1)

        worker = Interrupted(history.stage, at, interrupt)
        history.carry_out(worker, 0, list(one), 1)
        if not history.deeds[1]:
            break
        check(history, 1, 1, is_probed)
        at += 1
    assert at > 8, "every touch of what the one does"


def test_a_worker_killed_at_any_touch_of_its_probe_leaves_the_lock_to_others():
    deaths = 0
    while True:
        history = play([(["choose"], deaths), (["choose"], None)], [(0, 1000, 0), (1, 1000, 0)], 1, 1)
        (first,), (second,) = history.deeds
        if first.ended is not None:
            break
        has_stamped = history.stage.words.get(ROWS_OFFSET + ROW_CHECKED, 0) == first.now
        assert len(history.claims) == (0 if has_stamped else 1)
        assert second.ended is not None
        check(history, 1, 1)
        deaths += 1
    assert deaths > 20, "a look at all rows, a lock, another look, a stamp"
