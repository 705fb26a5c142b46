"""Active health in the shared memory: what decides whether a peer gets requests, over checks, reloads and kills."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from master.memory import create_memory
from wproxy.checked_health import (
    CHECKING,
    HEALTHY,
    UNHEALTHY,
    CheckedHealth,
    CheckPlan,
    CheckRecord,
    Streak,
    checker_word,
    health_of,
    judge,
    plan_of,
)
from wproxy.config.load import load_text
from wproxy.config.model import Check
from wproxy.health import Health
from wproxy.record_locks import RecordLocks
from wproxy.shared import PEER_IDENTITY, PEER_UNHEALTHY, PRIVATE_BYTES, SharedWords

RECORD = 7


def checks_of(*parameters: str, port: int = 81) -> tuple[Check, ...]:
    """The checks that these `health_check` make of one upstream."""
    locations = "".join(
        f"location /{number} {{ proxy_pass http://u; health_check {text}; }}\n" for number, text in enumerate(parameters)
    )
    text = f"events {{ }} http {{ upstream u {{ server 127.0.0.1:{port}; }} server {{ listen 1;\n{locations} }} }}"
    return load_text(text.encode(), "test.conf", "/", None).upstreams[0].checks  # type: ignore[arg-type]


class Scene:
    """One record, and whoever looks at it."""

    def __init__(self) -> None:
        self.shared = SharedWords(memoryview(bytearray(PRIVATE_BYTES)).cast("Q"))
        self.base = self.shared.peer_offset(RECORD)

    def plan(self, *parameters: str, generation: int = 1) -> CheckPlan:
        plan = plan_of(checks_of(*parameters), generation)
        assert plan is not None
        return plan

    def record(self, plan: CheckPlan) -> CheckRecord:
        return CheckRecord(self.shared.words, self.base, plan)

    def neighbours(self) -> list[int]:
        """The words of the record that are not of checks, and those of the records beside it."""
        words = self.shared.words
        mine = range(self.base + PEER_UNHEALTHY, self.base + PEER_UNHEALTHY + 5)
        return [words[place] for place in range(self.base - 16, self.base + 32) if place not in mine]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def outcomes(record: CheckRecord, check: Check, results: str, now: float = 100.0) -> list[str]:
    """What becomes of the peer after each check: "+" passes, "-" fails."""
    streak = Streak()
    return [judge(record, check, streak, result == "+", now) or record.state for result in results]


def test_a_peer_is_healthy_until_a_check_fails_and_then_until_one_passes(scene):
    [check] = checks_of("")
    record = scene.record(scene.plan(""))
    record.take_over()
    assert record.state == HEALTHY
    assert outcomes(record, check, "++-+-") == [HEALTHY, HEALTHY, UNHEALTHY, HEALTHY, UNHEALTHY]


def test_fails_and_passes_are_counted_in_a_row(scene):
    [check] = checks_of("fails=3 passes=2")
    record = scene.record(scene.plan("fails=3 passes=2"))
    record.take_over()
    healthy, unhealthy = [HEALTHY], [UNHEALTHY]
    assert outcomes(record, check, "--+--+---") == healthy * 8 + unhealthy
    assert outcomes(record, check, "+-+-++") == unhealthy * 5 + healthy


def test_only_a_change_is_told(scene):
    [check] = checks_of("")
    record = scene.record(scene.plan(""))
    record.take_over()
    streak = Streak()
    assert [judge(record, check, streak, passed, 1.0) for passed in (True, False, False, True, True)] == [
        "",
        UNHEALTHY,
        "",
        HEALTHY,
        "",
    ]
    assert (record.checks, record.failed) == (5, 2)


def test_a_mandatory_check_has_to_be_passed_before_the_first_request(scene):
    [check] = checks_of("mandatory fails=5 passes=3")
    plan = scene.plan("mandatory fails=5 passes=3")
    record = scene.record(plan)
    assert record.state == CHECKING, "before anybody checks"
    record.take_over()
    assert record.state == CHECKING
    assert outcomes(record, check, "+") == [HEALTHY], "the first one decides"


def test_a_mandatory_check_that_fails_the_first_time_makes_the_peer_unhealthy(scene):
    [check] = checks_of("mandatory fails=5 passes=2")
    record = scene.record(scene.plan("mandatory fails=5 passes=2"))
    record.take_over()
    assert outcomes(record, check, "-++") == [UNHEALTHY, UNHEALTHY, HEALTHY]


def test_one_check_of_several_that_fails_is_enough_and_each_has_to_pass_again(scene):
    texts = ("", "uri=/b", "mandatory uri=/c")
    first, second, third = checks_of(*texts)
    record = scene.record(scene.plan(*texts))
    record.take_over()
    assert record.state == CHECKING
    outcomes(record, third, "+")
    assert record.state == HEALTHY
    outcomes(record, first, "-")
    outcomes(record, second, "-")
    outcomes(record, first, "+")
    assert record.state == UNHEALTHY
    outcomes(record, second, "+")
    assert record.state == HEALTHY


def test_words_of_others_are_left_alone(scene):
    for place in range(scene.base - 16, scene.base + 32):
        scene.shared.words[place] = place
    for place in range(scene.base + PEER_UNHEALTHY, scene.base + PEER_UNHEALTHY + 5):
        scene.shared.words[place] = 0
    before = scene.neighbours()
    [check] = checks_of("mandatory")
    record = scene.record(scene.plan("mandatory"))
    record.take_over()
    record.begin(12.5)
    outcomes(record, check, "+-+-")
    assert scene.neighbours() == before
    assert scene.shared.words[scene.base + PEER_IDENTITY] == scene.base + PEER_IDENTITY


def test_when_the_last_check_began_and_how_it_ended_is_known(scene):
    [check] = checks_of("")
    record = scene.record(scene.plan(""))
    record.take_over()
    assert (record.last_check, record.last_passed) == (0.0, False)
    record.begin(1234.567)
    outcomes(record, check, "+")
    assert (record.last_check, record.last_passed) == (1234.567, True)
    record.begin(1235.0)
    assert (record.last_check, record.last_passed) == (1235.0, True), "until it has ended"
    outcomes(record, check, "-")
    assert record.last_passed is False


def test_when_a_peer_became_healthy_is_known_from_the_moment_that_all_checks_agree(scene):
    first, second = checks_of("", "uri=/b")
    record = scene.record(scene.plan("", "uri=/b"))
    record.take_over()
    outcomes(record, first, "+", 1.0)
    assert record.healthy_since == 0.0, "it was never anything else"
    outcomes(record, first, "-", 2.0)
    outcomes(record, second, "-", 2.0)
    outcomes(record, first, "+", 3.0)
    assert record.healthy_since == 0.0
    outcomes(record, second, "+", 4.5)
    assert record.healthy_since == 4.5


# Reloads.


def test_what_is_unhealthy_stays_so_after_a_reload_and_what_is_healthy_too(scene):
    [check] = checks_of("")
    old = scene.record(scene.plan("", generation=1))
    old.take_over()
    new = scene.record(scene.plan("", generation=2))
    assert new.state == HEALTHY
    outcomes(old, check, "-")
    assert new.state == UNHEALTHY
    assert new.take_over() is True
    assert new.state == old.state == UNHEALTHY
    outcomes(new, check, "+")
    assert new.state == old.state == HEALTHY, "old workers obey too"


def test_a_mandatory_check_has_to_be_passed_again_after_a_reload_but_not_after_a_change_of_the_worker(scene):
    [check] = checks_of("mandatory")
    old = scene.record(scene.plan("mandatory", generation=1))
    old.take_over()
    outcomes(old, check, "+")
    successor = scene.record(scene.plan("mandatory", generation=1))
    successor.take_over()
    assert successor.state == HEALTHY
    new = scene.record(scene.plan("mandatory", generation=2))
    assert new.state == CHECKING, "before anybody of its generation checks"
    new.take_over()
    assert new.state == CHECKING
    assert old.state == HEALTHY, "what ends there is not cut off"
    outcomes(new, check, "+")
    assert new.state == HEALTHY


@pytest.mark.parametrize(("results", "state"), [("+", HEALTHY), ("", CHECKING), ("-", UNHEALTHY), ("+-", UNHEALTHY)])
def test_with_persistent_only_a_peer_that_was_not_healthy_has_to_pass_again(scene, results, state):
    text = "mandatory persistent"
    [check] = checks_of(text)
    old = scene.record(scene.plan(text, generation=1))
    old.take_over()
    outcomes(old, check, results)
    new = scene.record(scene.plan(text, generation=2))
    assert new.state == state
    new.take_over()
    assert new.state == state
    outcomes(new, check, "+")
    assert new.state == HEALTHY


def test_a_new_peer_has_to_pass_a_persistent_check_too(scene):
    record = scene.record(scene.plan("mandatory persistent", generation=5))
    assert record.state == CHECKING


def test_a_worker_of_the_old_generation_does_not_take_back_what_the_new_one_has_written(scene):
    [check] = checks_of("mandatory")
    new = scene.record(scene.plan("mandatory", generation=2))
    new.take_over()
    outcomes(new, check, "+")
    old = scene.record(scene.plan("mandatory", generation=1))
    old.take_over()
    outcomes(old, check, "-+")
    assert new.state == HEALTHY
    assert new.pending == 0


def test_when_the_checks_have_changed_an_unhealthy_peer_has_to_pass_all_of_the_new_ones(scene):
    [check] = checks_of("uri=/old")
    old = scene.record(scene.plan("uri=/old", generation=1))
    old.take_over()
    outcomes(old, check, "-")
    first, second = checks_of("uri=/a", "uri=/b")
    new = scene.record(scene.plan("uri=/a", "uri=/b", generation=2))
    assert new.unhealthy == 0b11
    assert new.take_over() is False, "nobody has made these checks"
    assert new.unhealthy == 0b11
    outcomes(new, second, "+")
    assert new.state == UNHEALTHY
    outcomes(new, first, "+")
    assert new.state == HEALTHY


def test_when_the_checks_have_changed_a_healthy_peer_stays_healthy(scene):
    old = scene.record(scene.plan("uri=/old", generation=1))
    old.take_over()
    new = scene.record(scene.plan("uri=/a", "uri=/b", generation=2))
    new.take_over()
    assert new.state == HEALTHY


def test_killed_between_two_stores_a_worker_leaves_no_unhealthy_peer_healthy(scene):
    """Every prefix of the stores of a change leaves the peer without requests."""
    [check] = checks_of("mandatory")
    plan = scene.plan("mandatory")

    class Killed(BaseException):
        pass

    class Words:
        """The memory of a process that dies after so many stores."""

        def __init__(self, words: memoryview, stores: int) -> None:
            self.words, self.stores = words, stores

        def __getitem__(self, place: int) -> int:
            return self.words[place]

        def __setitem__(self, place: int, value: int) -> None:
            if not self.stores:
                raise Killed
            self.stores -= 1
            self.words[place] = value

    scene.record(plan).take_over()
    fresh = bytes(scene.shared.words[scene.base : scene.base + 16])
    states = []
    for stores in range(6):
        scene.shared.words[scene.base : scene.base + 16] = memoryview(fresh).cast("Q")
        dying = CheckRecord(Words(scene.shared.words, stores), scene.base, plan)  # type: ignore[arg-type]
        try:
            judge(dying, check, Streak(), False, 9.0)
        except Killed:
            states.append(scene.record(plan).state)
            successor = scene.record(plan)
            successor.take_over()
            outcomes(successor, check, "+")
            assert successor.state == HEALTHY
        else:
            states.append(scene.record(plan).state)
    assert states[0] == CHECKING
    assert HEALTHY not in states
    assert states[-1] == UNHEALTHY


# Health.


def test_a_peer_without_checks_has_the_health_that_it_always_had(scene):
    assert type(health_of(peer(), scene.shared, RECORD, None)) is Health
    assert plan_of((), 1) is None


def peer() -> Any:
    """What health asks of a peer."""
    return SimpleNamespace(max_fails=1, fail_timeout=10.0)


def test_a_checked_peer_serves_while_checks_and_passive_health_agree(scene):
    [check] = checks_of("")
    plan = scene.plan("")
    health = health_of(peer(), scene.shared, RECORD, plan)
    assert isinstance(health, CheckedHealth)
    record = scene.record(plan)
    record.take_over()
    assert health.is_healthy
    assert health.may_serve(100)
    outcomes(record, check, "-")
    assert not health.is_healthy
    assert not health.may_serve(100)
    assert "unhealthy" in repr(health)
    outcomes(record, check, "+", 105.0)
    assert health.may_serve(105)
    assert health.healthy_since == 105.0
    health.count_failure(106)
    assert health.is_healthy
    assert not health.may_serve(107), "a request has failed there since"
    assert health.may_serve(117)


# The checker.


def test_the_office_is_the_same_for_a_name_and_another_for_another():
    assert checker_word("u") == checker_word("u")
    assert len({checker_word(name) for name in ("u", "v", "127.0.0.1:80", "127.0.0.1:81")}) == 4


def test_of_two_processes_one_has_the_office_until_it_dies():
    memory = create_memory()
    try:
        locks, word = RecordLocks(memory.fileno), checker_word("u")
        told, tell = os.pipe()
        child = os.fork()
        if not child:
            os.write(tell, b"y" if RecordLocks(memory.fileno).try_lock(word) else b"n")
            signal.pause()
        assert os.read(told, 1) == b"y"
        assert not locks.try_lock(word)
        assert locks.try_lock(checker_word("v"))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert locks.try_lock(word)
        os.close(told)
        os.close(tell)
    finally:
        memory.close()
