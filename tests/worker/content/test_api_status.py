"""The read side of the API: the shapes of nginx Plus, by what one worker has counted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from conversation import Stage, ok

from worker.upstream.report_counts import downtime_json, history_json
from wproxy.counters.totals import Transition
from wproxy.http import Clock

API = """
[http.server.location."/api"]
api = []
[http.server.location."/w"]
api = "write=on"
[http.server.location."/shop/"]
status_zone = "shop"
limit_req = [["zone=z"]]
empty_gif = true
[http.server.location."/close"]
status_zone = "shop"
return = [444]
"""
LIMIT = 'limit_req_zone = [["$uri", "zone=z:1m", "rate=1r/s"]]'


@pytest.fixture
def asked(stage: Callable[..., Stage]) -> Callable[..., Any]:
    made = stage(is_shared=True, locations=API, server='status_zone = "site"', http=LIMIT, peers=2)

    def ask(path: str, host: str = "x") -> Any:
        client = made.client()
        client.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        made.until(lambda: client.pull_all() is not None and client.saw_end, "the connection stays")
        data = bytes(client.received).partition(b"\r\n\r\n")[2]
        client.close()
        return json.loads(data) if path.startswith("/api") else None

    ask.stage = made  # type: ignore[attr-defined]
    return ask


def test_zones_of_requests(asked):
    for path in ("/shop/", "/shop/", "/close"):
        asked(path)
    zone = asked("/api/9/http/location_zones/shop")
    assert {**zone, "received": 0, "sent": 0} == {
        "requests": 3,
        "responses": {"1xx": 0, "2xx": 1, "3xx": 0, "4xx": 0, "5xx": 1, "codes": {"200": 1, "503": 1}, "total": 2},
        "discarded": 1,
        "received": 0,
        "sent": 0,
    }
    assert zone["received"] == sum(
        len(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") for path in ("/shop/",) * 2 + ("/close",)
    )
    site = asked("/api/9/http/server_zones/site")
    assert list(site) == ["processing", "requests", "responses", "discarded", "received", "sent", "ssl"]
    assert (site["processing"], site["requests"]) == (1, 3 + 2), "this request is under way"
    assert site["ssl"]["handshakes"] == 0
    assert asked("/api/9/http/server_zones?fields=requests,discarded") == {"site": {"requests": 6, "discarded": 1}}
    assert asked("/api/9/http/location_zones?fields=") == ["shop"]
    assert asked("/api/9/http/limit_reqs/z") == {
        "passed": 1, "delayed": 0, "rejected": 1, "delayed_dry_run": 0, "rejected_dry_run": 0,
    }  # fmt: skip
    assert asked("/api/9/http/limit_conns") == {}


def test_the_server_and_its_workers(asked):
    about = asked("/api/9/nginx")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", about["timestamp"])
    assert about["address"] == "127.0.0.1"
    (worker,) = asked("/api/9/workers/")
    assert worker["pid"] == about["pid"]
    assert worker["connections"]["active"] == 1 and worker["http"]["requests"]["current"] == 1
    assert asked("/api/9/workers/0?fields=id") == {"id": 0}
    assert asked("/api/9/http/requests")["current"] == 1
    assert asked("/api/9/connections") == {"accepted": 0, "dropped": 0, "active": 1, "idle": 0}, "the stage accepts by itself"
    assert asked("/api/9/processes") == {"respawned": 0}
    for empty in ("slabs", "resolvers", "http/keyvals", "http/caches"):
        assert asked(f"/api/9/{empty}") == {}


def test_a_peer_and_why_it_is_down(asked):
    stage = asked.stage
    dead, alive = stage.peers
    client = stage.client()
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    dead.accept().reset()
    stage.advance(0.2)
    upstream = alive.accept()
    stage.advance(0.02)
    upstream.take()
    upstream.send(ok())
    client.close()
    first, second = asked("/api/9/http/upstreams/app")["peers"]
    assert (first["state"], first["unavail"], first["reason"]) == ("unavail", 1, "up_reset")
    assert [(change["from"], change["to"], change["worker"]) for change in first["history"]] == [("up", "unavail", 0)]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["downstart"])
    assert first["downtime"] >= 220 and first["selected"] and second["selected"]
    assert second["responses"] == {"1xx": 0, "2xx": 1, "3xx": 0, "4xx": 0, "5xx": 0, "codes": {"200": 1}, "total": 1}
    times = second["response_time_hist"]
    assert times["count"] == sum(times["buckets"].values()) == 1
    assert list(times["buckets"]) == [
        "5",
        "10",
        "25",
        "50",
        "75",
        "100",
        "250",
        "500",
        "750",
        "1000",
        "2500",
        "5000",
        "7500",
        "10000",
        "inf",
    ]
    assert second["downtime"] == 0 and "downstart" not in second and second["history"] == []
    whole = asked("/api/9/http/upstreams/app")
    assert (whole["keepalive"], whole["zombies"]) == (1, 0)


def deleted(asked: Any, path: str) -> int:
    """The status of a DELETE."""
    client = asked.stage.client()
    client.send(f"DELETE {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    asked.stage.until(lambda: client.pull_all() is not None and client.saw_end, "the connection stays")
    status = int(bytes(client.received).split(b" ")[1])
    client.close()
    return status


def test_zones_begin_anew_each_for_itself(asked):
    for path in ("/shop/", "/shop/", "/close"):
        asked(path)
    assert deleted(asked, "/w/9/http/location_zones/shop") == 204
    zone = asked("/api/9/http/location_zones/shop")
    assert (zone["requests"], zone["discarded"], zone["sent"], zone["responses"]["total"]) == (0, 0, 0, 0)
    assert asked("/api/9/http/server_zones/site")["discarded"] == 1, "the server's zone goes on"
    asked("/close")
    assert asked("/api/9/http/location_zones/shop")["discarded"] == 1
    assert deleted(asked, "/w/9/http/server_zones/site") == 204
    assert asked("/api/9/http/server_zones/site")["discarded"] == 0
    assert asked("/api/9/http/location_zones/shop")["discarded"] == 1
    reader = asked.stage.worker.counting.reader
    before = dict(reader.limits())["z"]
    assert before.passed + before.rejected == 2
    assert deleted(asked, "/w/9/http/limit_reqs/z") == 204
    assert set(asked("/api/9/http/limit_reqs/z").values()) == {0}
    assert sum(totals.discarded for _, totals in reader.requests()) == 2, "/metrics goes on"
    assert dict(reader.limits())["z"] == before


def test_an_upstream_and_its_peers_begin_anew(asked):
    stage = asked.stage
    dead, alive = stage.peers
    client = stage.client()
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    dead.accept().reset()
    alive.accept().send(ok())
    client.close()
    stage.settle()
    assert deleted(asked, "/w/9/http/upstreams/app") == 204
    first, second = asked("/api/9/http/upstreams/app")["peers"]
    assert (first["requests"], first["fails"], first["unavail"], first["state"]) == (0, 0, 0, "unavail")
    assert (second["requests"], second["received"], second["responses"]["total"]) == (0, 0, 0)
    assert second["response_time_hist"]["count"] == 0
    assert sum(stage.worker.counting.reader.peer(record).responses[1] for record in range(2)) == 1, "/metrics goes on"


def test_the_server_begins_anew(asked):
    for path in ("/shop/", "/shop/"):
        asked(path)
    before = asked("/api/9/http/requests")["total"]
    assert before > 2
    for path in ("http/requests", "connections", "ssl", "processes"):
        assert deleted(asked, f"/w/9/{path}") == 204
    assert asked("/api/9/http/requests")["total"] == 4, "the other three, and this one"
    assert asked("/api/9/processes") == {"respawned": 0}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/9/http/server_zones/site", 405),
        ("/w/9/http/server_zones/none", 404),
        ("/w/9/http/location_zones/none", 404),
        ("/w/9/http/limit_conns/none", 404),
        ("/w/9/http/upstreams/none", 404),
        ("/w/9/resolvers/none", 404),
        ("/w/9/http/server_zones", 405),
        ("/w/9/nginx", 405),
        ("/w/9/nothing", 404),
    ],
)
def test_what_cannot_begin_anew(asked, path, status):
    assert deleted(asked, path) == status


def test_a_mistake_says_which_request_it_was(asked):
    assert re.fullmatch("[0-9a-f]{32}", asked("/api/9/nothing")["request_id"])


def test_why_a_peer_is_down_is_the_last_change_of_its_state():
    def change(at: float, after: str, cause: str) -> Transition:
        return Transition(at, 3, "up" if after != "up" else "unavail", after, cause, 1, 0)

    changes = [change(10.0, "unavail", "up_reset"), change(12.5, "up", "rested"), change(20.0, "unavail", "up_refused")]
    assert history_json(changes, "unavail")["reason"] == "up_refused"
    assert "reason" not in history_json(changes[:2], "up")
    assert history_json([], "down") == {"history": []}


def test_how_long_a_peer_has_been_down_altogether(asked):
    clock = Clock(100.0, 1000.0)
    measures = asked.stage.worker.counting.reader.peer(0)._replace(downtime=2.5, down_since=96.0)
    assert downtime_json(measures, "unhealthy", clock) == {"downtime": 2500 + 4000, "downstart": "1970-01-01T00:18:16.000Z"}
    assert downtime_json(measures, "up", clock) == {"downtime": 6500}, "it may be tried again, and nobody has"
    assert downtime_json(measures._replace(down_since=0.0), "up", clock) == {"downtime": 2500}
