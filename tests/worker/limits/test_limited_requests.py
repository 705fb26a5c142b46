"""Limits in the life of a request: waiting, leaving meanwhile, and giving back however it ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conversation import End, Stage, get, ok, to_client


def limited(stage: Callable[..., Stage], zone: str, limit: str, more: str = "", **options: object) -> Stage:
    """A stage with `limit_req` or `limit_conn` on every request; each test has a zone of its own."""
    http = (
        f'limit_req_zone = [["$arg_k", "zone={zone}r:32k", "rate=10r/s"]]\nlimit_conn_zone = [["$arg_k", "zone={zone}c:32k"]]\n'
    )
    return stage(http=http, location=f"{limit}\n{more}", **options)


def serve(s: Stage, upstream: End | None = None) -> End:
    """The upstream answers the request that has come, on this connection or on a new one."""
    upstream = upstream or s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok())
    return upstream


def test_a_request_that_comes_too_early_waits_for_its_time(stage: Callable[..., Stage]):
    s = limited(stage, "early", 'limit_req = [["zone=earlyr", "burst=2"]]')
    first, second, third, fourth = s.client(), s.client(), s.client(), s.client()
    for client in (first, second, third, fourth):
        client.send(get(b"/?k=k"))
    upstream = serve(s)
    first.receives(to_client())
    assert fourth.receives_head().startswith(b"HTTP/1.1 503")
    second.receives_nothing()
    s.advance(0.09)  # and 30 ms, for the sweep
    serve(s, upstream)
    second.receives(to_client())
    third.receives_nothing()
    s.advance(0.08)
    serve(s, upstream)
    third.receives(to_client())
    log = [line.partition(": ")[2].partition(", client")[0].partition(" ")[2] for line in s.error_log() if "[" in line]
    assert log == [
        'delaying request, excess: 1.000, by zone "earlyr"',
        'delaying request, excess: 2.000, by zone "earlyr"',
        'limiting requests, excess: 3.000 by zone "earlyr"',
    ]


def test_the_longest_of_several_delays_counts(stage: Callable[..., Stage]):
    s = stage(
        http='limit_req_zone = [["$arg_k", "zone=slow1:32k", "rate=1r/s"], ["$arg_j", "zone=fast1:32k", "rate=100r/s"]]',
        location='limit_req = [["zone=slow1", "burst=5"], ["zone=fast1", "burst=5"]]',
    )
    one, other = s.client(), s.client()
    one.send(get(b"/?k=k&j=j"))
    upstream = serve(s)
    other.send(get(b"/?k=k&j=j"))
    s.advance(0.5)
    other.receives_nothing()
    s.advance(0.5)
    serve(s, upstream)
    other.receives(to_client())
    assert 'excess: 1.000, by zone "slow1"' in s.error_log()[-1]


def test_a_delayed_request_that_jumps_waits_once(stage: Callable[..., Stage]):
    s = limited(
        stage,
        "jump",
        'limit_req = [["zone=jumpr", "burst=5"]]\nproxy_intercept_errors = true\nerror_page = [["404", "/other"]]',
    )
    upstream = None
    for _ in range(2):
        client = s.client()
        client.send(get(b"/?k=k"))
        s.advance(0.1 if upstream else 0)
        upstream = upstream or s.peers[0].accept()
        upstream.receives_head()
        upstream.send(ok(status=b"404 Not Found"))
        upstream = s.peers[0].accept()  # the answer was not wanted, so its connection is gone
        upstream.receives_head()
        upstream.send(ok())
        client.receives_head()


def test_a_client_that_leaves_while_it_waits_is_not_served(stage: Callable[..., Stage]):
    s = limited(stage, "left", 'limit_req = [["zone=leftr", "burst=5"]]')
    first, second = s.client(), s.client()
    first.send(get(b"/?k=k"))
    upstream = serve(s)
    second.send(get(b"/?k=k"))
    second.close()
    s.settle()
    s.advance(1)
    upstream.receives_nothing()
    assert s.last_access()["status"] == "499"


@pytest.mark.parametrize("end", ["answer", "client leaves", "upstream breaks off", "connection is kept", "refused"])
def test_a_request_under_way_is_given_back_however_it_ends(stage: Callable[..., Stage], end: str):
    zone = end.replace(" ", "")
    s = limited(stage, zone, f'limit_conn = [["{zone}c", "1"]]')
    client = s.client()
    client.send(get(b"/?k=k"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    other = s.client()
    other.send(get(b"/?k=k"))
    assert other.receives_head().startswith(b"HTTP/1.1 503")
    other.pull_all()
    other.received.clear()
    if end == "client leaves":
        client.close()
        s.settle()
    elif end == "upstream breaks off":
        upstream.send(ok(b"x" * 100)[:-50])
        upstream.close()
        assert client.is_closed()
    else:
        upstream.send(ok())
        client.receives(to_client())
        if end == "answer":
            client.close()
    s.settle()
    other.send(get(b"/?k=k"))
    upstream = s.peers[0].accept() if end not in ("answer", "connection is kept", "refused") else upstream
    upstream.receives_head()
    upstream.send(ok())
    other.receives(to_client())


def test_what_a_limit_took_is_given_back_when_the_next_one_refuses(stage: Callable[..., Stage]):
    s = stage(
        http='limit_conn_zone = [["$arg_k", "zone=one2:32k"], ["$arg_j", "zone=other2:32k"]]',
        location='limit_conn = [["one2", "1"], ["other2", "1"]]',
    )
    client, other = s.client(), s.client()
    client.send(get(b"/?j=j"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    for _ in range(3):
        other.send(get(b"/?j=j&k=k"))
        assert other.receives_head().startswith(b"HTTP/1.1 503")
        other.pull_all()
        other.received.clear()
    upstream.send(ok())
    client.receives(to_client())
    other.send(get(b"/?j=j&k=k"))
    upstream.receives_head()
    upstream.send(ok())
    other.receives(to_client())


def test_what_the_short_way_took_is_given_back_when_the_next_zone_is_near_its_limit(stage: Callable[..., Stage]):
    """Of the first zone many more may be under way; the second one refuses the third request."""
    s = stage(
        http='limit_conn_zone = [["$arg_k", "zone=far:32k"], ["$arg_j", "zone=near:32k"]]',
        location='limit_conn = [["far", "1000"], ["near", "2"]]',
    )
    clients = [s.client() for _ in range(4)]
    upstream = []
    for client in clients[:2]:
        client.send(get(b"/?j=j&k=k"))
        upstream.append(s.peers[0].accept())
        upstream[-1].receives_head()
    (counted,) = s.worker._services.limit_zones.connections["far"]._keys.values()
    assert counted.held == 2
    for _ in range(3):
        clients[2].send(get(b"/?j=j&k=k"))
        assert clients[2].receives_head().startswith(b"HTTP/1.1 503")
        clients[2].pull_all()
        clients[2].received.clear()
        assert counted.held == 2
    clients[3].send(get(b"/?k=k"))
    upstream.append(s.peers[0].accept())
    upstream[-1].receives_head()
    assert counted.held == 3
    for client, peer in zip((*clients[:2], clients[3]), upstream):
        peer.send(ok())
        client.receives(to_client())
    assert counted.held == 0


def test_both_kinds_in_one_location_and_the_end_cause(stage: Callable[..., Stage]):
    s = limited(stage, "both", 'limit_req = [["zone=bothr"]]\nlimit_conn = [["bothc", "1"]]\nlimit_req_status = 429')
    client = s.client()
    client.send(get(b"/?k=k"))
    serve(s)
    client.receives(to_client())
    client.send(get(b"/?k=k"))
    assert client.receives_head().startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert s.last_access()["wproxy_end_code"] == "limit_req"
    cause = s.last_access()["wproxy_end_cause"]
    assert cause.startswith("limit: too many requests by zone bothr (limit_req zone=bothr: test.toml:")
