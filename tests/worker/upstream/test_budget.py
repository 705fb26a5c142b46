"""`proxy_next_upstream_budget`: retries are a share of requests, and a few a second besides."""

from __future__ import annotations

import pytest
from conversation import error_page, get, ok, to_client

from worker.upstream.budget import WINDOW, RetryCount
from wproxy.directives.retries import RetryBudget, retry_budget

# The arithmetic.


def test_retries_are_a_share_of_the_requests():
    count, budget = RetryCount(), RetryBudget(0.2, 0)
    assert not count.allows(budget, 100), "without requests there is nothing to have a share of"
    for _ in range(9):
        count.count_request(100)
    assert count.allows(budget, 100)
    count.count_retry(100)
    assert not count.allows(budget, 100), "9 requests allow one retry"
    count.count_request(100)
    assert count.allows(budget, 100), "and 10 allow two"


def test_what_is_longer_ago_than_the_window_does_not_count():
    count, budget = RetryCount(), RetryBudget(0.5, 0)
    for _ in range(4):
        count.count_request(100)
    count.count_retry(105)
    assert count.allows(budget, 100 + WINDOW - 1)
    assert not count.allows(budget, 100 + WINDOW), "the requests are forgotten, the retry is not"
    count.count_request(110)
    count.count_request(110)
    assert not count.allows(budget, 114)
    assert count.allows(budget, 105 + WINDOW), "now the retry is forgotten too"
    assert (count.requests, count.retries) == (2, 0)


def test_a_quiet_server_has_some_retries_a_second_and_every_worker_its_part_of_them():
    for workers, allowed in ((1, 20), (4, 5)):
        count, budget = RetryCount(workers), RetryBudget(0.2, 2)
        made = 0
        while count.allows(budget, 100):
            count.count_retry(100)
            made += 1
        assert made == allowed == 2 * WINDOW // workers


@pytest.mark.parametrize(
    ("arguments", "budget"),
    [
        (("off",), None),
        (("20%",), RetryBudget(0.2, 10)),
        (("12.5%", "min=0"), RetryBudget(0.125, 0)),
        (("0%", "min=3"), RetryBudget(0.0, 3)),
        (("100%",), RetryBudget(1.0, 10)),
    ],
)
def test_how_it_is_written(arguments, budget):
    assert retry_budget(*arguments) == budget


@pytest.mark.parametrize(
    "arguments",
    [("on",), ("20",), ("-1%",), ("1001%",), ("%",), ("20%", "10"), ("20%", "min="), ("20%", "max=1"), ("off", "min=1")],
)
def test_what_makes_no_sense_is_refused(arguments):
    with pytest.raises(ValueError, match="invalid"):
        retry_budget(*arguments)


# With peers.


def fail_once(s, client, peers) -> None:
    """A request to which each of these peers says no."""
    client.send(get())
    for number in peers:
        upstream = s.peers[number].accept()
        upstream.receives_head()
        upstream.close()


def test_without_a_budget_nothing_is_counted(stage):
    s = stage(peers=2)
    assert s.group().retries is None
    assert s.group().released is None
    assert s.group().is_simple


def test_when_the_budget_is_spent_the_failure_is_returned_and_the_log_says_by_what(stage):
    s = stage(peers=2, peer_parameters=("max_fails = 0",) * 2, location='proxy_next_upstream_budget = ["50%", "min=0"]')
    client = s.client()
    fail_once(s, client, [0])
    where = f"proxy_next_upstream_budget 50% min=0: {s.position('proxy_next_upstream_budget')}"
    client.receives(error_page(502))
    spent = f"the retries of upstream app are used up ({where})"
    first, second = s.error_log()
    assert "upstream prematurely closed connection while reading response header from upstream" in first
    assert "[error]" in second
    assert f"no other peer is tried, {spent}, client: 127.0.0.1" in second
    assert s.last_access()["wproxy_end_cause"] == (
        f"upstream: upstream prematurely closed connection while reading response header from upstream, and {spent}"
    )
    # The second request and the first together may be retried once.
    fail_once(s, client, [1])
    answering = s.peers[0].accept()
    answering.receives_head()
    answering.send(ok())
    client.receives(to_client())
    assert (s.group().retries.requests, s.group().retries.retries) == (2, 1)
    assert s.last_access()["upstream_status"] == "502, 200"
    s.advance(WINDOW + 1)
    client.send(get())
    answering.receives_head()
    answering.close()
    s.peers[0].accept().close()
    client.receives(error_page(502))


def test_a_peers_own_answer_is_relayed_when_the_budget_is_spent(stage):
    s = stage(
        peers=2,
        location='proxy_next_upstream = "http_503"\nproxy_next_upstream_budget = ["0%", "min=0"]',
    )
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok(b"busy", status=b"503 Busy"))
    client.receives(to_client(b"busy", status=b"503 Busy"))
    s.peers[1].is_unvisited()
    (line,) = s.error_log()
    assert "no other peer is tried" in line
    assert "are used up (proxy_next_upstream_budget 0% min=0: " in s.last_access()["wproxy_end_cause"]
    assert s.last_access()["wproxy_end_code"] == "up_said"
    assert s.group().peers[0].health.fails == 0, "an answer that was passed on speaks against nobody"


def test_a_fresh_connection_in_place_of_a_dead_one_is_no_retry(stage):
    s = stage(peers=2, peer_parameters=("weight = 100",), location='proxy_next_upstream_budget = ["0%", "min=0"]')
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok())
    client.receives(to_client())
    client.send(get(b"/again"))
    upstream.receives_head()
    upstream.close()
    fresh = s.peers[0].accept()
    fresh.receives_head()
    fresh.send(ok())
    client.receives(to_client())
    assert (s.group().retries.requests, s.group().retries.retries) == (2, 0)


def test_one_budget_for_the_upstream_whichever_location_leads_there(stage):
    s = stage(
        peers=2,
        peer_parameters=("max_fails = 0",) * 2,
        location='proxy_next_upstream_budget = ["0%", "min=0"]',
        locations='[http.server.location."/free"]\nproxy_pass = "http://app"',
    )
    client = s.client()
    client.send(get(b"/free"))
    s.peers[0].accept().close()
    second = s.peers[1].accept()
    second.receives_head()
    second.send(ok())
    client.receives(to_client())
    assert (s.group().retries.requests, s.group().retries.retries) == (1, 1), "counted, and not bounded"
    assert s.error_log()[1:] == []
