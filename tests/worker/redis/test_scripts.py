"""The scripts, in a real Redis and a real Valkey: what they count, what they refuse, and how long it lasts there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.real_redis import SERVERS, RealRedis
from worker.redis.keys import key_at_server
from worker.redis.scripts import COUNT_REQUEST, GIVE_BACK, HOLD, TAKE, Script


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRedis]:
    redis = RealRedis(tmp_path_factory.mktemp("redis"), name=request.param)
    yield redis
    redis.end()


@pytest.fixture
def redis(server: RealRedis) -> RealRedis:
    server.call("FLUSHALL")
    return server


def run(redis: RealRedis, script: Script, keys: list[str], *arguments: str | int) -> Any:
    return redis.call("EVAL", script.source, len(keys), *keys, *arguments)


SLOW = 1  # a thousandth of a request per second: nothing is forgiven while a test runs


def test_the_first_requests_pass_up_to_the_burst_and_a_refused_one_is_not_counted(redis):
    excesses = [run(redis, COUNT_REQUEST, ["k"], SLOW, 2000)[0] for _ in range(5)]
    assert excesses == [0, 1000, 2000, 3000, 3000]


def now_of(redis: RealRedis) -> int:
    seconds, microseconds = redis.call("TIME")
    return int(seconds) * 1000 + int(microseconds) // 1000


@pytest.mark.parametrize(
    ("rate", "before", "milliseconds", "least", "most"),
    [
        (1000, 5000, 2000, 3500, 4000),  # nginx: 5.000 less 2.000, one more; up to half a second may pass before the question
        (1000, 5000, 100_000, 0, 0),
        (1000, 0, 300, 200, 700),
        (1_000_000, 900, 1, 0, 900),
        (SLOW, 5000, -30_000, 6000, 6000),  # another machine's clock was ahead of this server's, before a failover
        (SLOW, 5000, -100_000, 6000, 6000),
    ],
)
def test_excess_runs_out_at_the_rate(redis, rate, before, milliseconds, least, most):
    redis.call("SET", "k", f"{before} {now_of(redis) - milliseconds}")
    [excess] = run(redis, COUNT_REQUEST, ["k"], rate, 1 << 29)
    assert least <= excess <= most
    kept = redis.call("GET", "k")
    if kept is None and rate == 1_000_000:
        return  # what runs out in two milliseconds may have gone
    state, moment = kept.split()
    assert int(state) == excess
    if milliseconds == -30_000:
        assert int(moment) - now_of(redis) > 20_000, "the later time stays"
    else:
        assert abs(int(moment) - now_of(redis)) < 10_000


def test_a_state_lives_until_it_says_the_same_as_none(redis):
    run(redis, COUNT_REQUEST, ["k"], 500, 5000)
    run(redis, COUNT_REQUEST, ["k"], 500, 5000)
    assert 3000 < redis.call("PTTL", "k") <= 4001  # 2 requests at one in two seconds


def test_one_limit_that_refuses_leaves_the_others_uncounted(redis):
    assert run(redis, COUNT_REQUEST, ["a", "b"], SLOW, 0, SLOW, 5000) == [0, 0]
    assert run(redis, COUNT_REQUEST, ["a", "b"], SLOW, 0, SLOW, 5000) == [1000, 1000]
    assert run(redis, COUNT_REQUEST, ["b"], SLOW, 5000) == [1000]


def test_a_state_that_makes_no_sense_is_none(redis):
    redis.call("SET", "k", "what is this")
    assert run(redis, COUNT_REQUEST, ["k"], SLOW, 0) == [0]


def lease(redis: RealRedis, *workers: str) -> None:
    for worker in workers:
        redis.call("SET", f"lease:{worker}", 1)


def take(redis: RealRedis, worker: str, *limits: tuple[str, int]) -> list[int]:
    return run(redis, TAKE, [key for key, _ in limits], worker, "lease:", 60_000, *[most for _, most in limits])


def test_workers_count_together_and_a_refused_request_does_not_count(redis):
    lease(redis, "a", "b")
    assert [take(redis, worker, ("k", 3)) for worker in "abaab"] == [[0], [1], [2], [3], [3]]
    run(redis, GIVE_BACK, ["k"], "b")
    assert take(redis, "a", ("k", 3)) == [2]
    assert 0 < redis.call("PTTL", "k") <= 60_000


def test_a_worker_without_a_lease_counts_no_more(redis):
    lease(redis, "a", "b")
    for worker in "abb":
        take(redis, worker, ("k", 9))
    redis.call("DEL", "lease:b")
    assert take(redis, "a", ("k", 9)) == [1]
    assert redis.call("HKEYS", "k") == [b"a"]


def test_a_worker_does_not_forget_itself_when_its_lease_has_run_out(redis):
    assert [take(redis, "a", ("k", 9)) for _ in range(3)] == [[0], [1], [2]]


def test_a_request_counts_for_all_of_its_keys_or_for_none(redis):
    lease(redis, "a")
    take(redis, "a", ("full", 1))
    assert take(redis, "a", ("free", 5), ("full", 1)) == [0, 1]
    assert take(redis, "a", ("free", 5)) == [0]


def test_what_is_given_back_leaves_nothing(redis):
    lease(redis, "a")
    take(redis, "a", ("k", 9), ("l", 9))
    run(redis, GIVE_BACK, ["k", "l"], "a")
    run(redis, GIVE_BACK, ["k"], "a")
    assert redis.call("EXISTS", "k", "l") == 0


def test_a_new_worker_brings_what_it_has(redis):
    lease(redis, "a", "b")
    run(redis, HOLD, ["k", "l"], "b", 60_000, 4, 2)
    assert take(redis, "a", ("k", 9), ("l", 9)) == [4, 2]


def test_a_long_key_takes_little_memory():
    assert key_at_server(b"limit_req", "one", b"1.2.3.4") == b"wproxy:limit_req:one:1.2.3.4"
    long = [key_at_server(b"limit_req", "one", byte * 65535) for byte in (b"a", b"b")]
    assert len(long[0]) < 80 and long[0] != long[1]


def test_every_script_is_known_by_the_hash_that_the_server_computes(redis):
    for script in (COUNT_REQUEST, TAKE, GIVE_BACK, HOLD):
        assert redis.call("SCRIPT", "LOAD", script.source) == script.sha
