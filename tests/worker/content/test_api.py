"""The API of one worker: what it tells, what it changes, what it refuses, and with which words."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from conversation import Stage
from made_requests import make_request

from worker.upstream.peers import ANSWERED
from wproxy.address import Address
from wproxy.http import Client, FixedEndpoint
from wproxy.shared import EDITS_OFFSET, EDITS_TEXT_WORDS, HEAD_SLOTS, ROW_ACTIVE, SERVING, WORKER_EDITS, WORKER_PID, WORKER_STATE

API = """
[http.server.location."/api"]
api = "write=on"
[http.server.location."/read"]
api = []
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Front:
    """A stage, and JSON asked of it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def ask(
        self, method: str, path: str, body: Any = None, raw: bytes | None = None, host: str = "x", fields: str = ""
    ) -> tuple[int, Any]:
        client = self.stage.client()
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\nContent-Length: {len(data)}\r\n\r\n"
        client.send(head.encode() + data)
        assert client.is_closed()
        head_received, _, rest = bytes(client.received).partition(b"\r\n\r\n")
        client.close()
        assert b"Content-Type: application/json" in head_received or not rest, head_received
        return int(head_received[9:12]), json.loads(rest) if rest else None

    def change(self, method: str, path: str, body: Any = None) -> Any:
        status, value = self.ask(method, f"/api/9/http/upstreams/app/servers{path}", body)
        assert status in (200, 201), value
        return value

    def peers(self) -> list[dict[str, Any]]:
        status, value = self.ask("GET", "/api/9/http/upstreams/app")
        assert status == 200
        return value["peers"]


@pytest.fixture
def front(stage: Callable[..., Stage]) -> Callable[..., Front]:
    def front(**settings: Any) -> Front:
        return Front(stage(is_shared=True, **{"locations": API, **settings}))

    return front


def test_what_there_is(front):
    app = front(peers=2, peer_parameters=("weight = 3", "backup = true"))
    assert app.ask("GET", "/api") == (200, [8, 9])
    assert app.ask("GET", "/api/") == (200, [8, 9])
    assert app.ask("GET", "/api/9") == (
        200,
        ["nginx", "processes", "connections", "slabs", "http", "resolvers", "ssl", "workers"],
    )
    status, names = app.ask("GET", "/api/9/http/")
    assert status == 200 and {"upstreams", "server_zones", "limit_reqs"} <= set(names)
    first, second = app.peers()
    names = [peer.name for peer in app.stage.peers]
    assert (first["id"], first["server"], first["name"], first["weight"], first["backup"]) == (0, names[0], names[0], 3, False)
    assert (second["id"], second["state"], second["backup"]) == (1, "up", True)
    status, everything = app.ask("GET", "/api/9/http/upstreams/")
    assert (status, list(everything)) == (200, ["app"])
    assert everything["app"]["peers"] == [first, second]
    assert everything["app"]["method"] == "round_robin"
    status, servers = app.ask("GET", "/api/9/http/upstreams/app/servers/")
    assert [server["weight"] for server in servers] == [3, 1]
    assert app.ask("GET", "/api/9/http/upstreams/app/servers/1") == (200, servers[1])
    assert app.ask("HEAD", "/api/9/http/upstreams") == (200, None)


def test_what_is_counted_about_a_peer(front):
    app = front(peers=1)
    client = app.stage.client().send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    upstream = app.stage.peers[0].accept()
    upstream.receives_head()
    app.stage.advance(0.1)
    (busy,) = app.peers()
    assert (busy["active"], busy["requests"]) == (1, 0)
    upstream.send(OK)
    client.receives_head()
    (idle,) = app.peers()
    assert (idle["active"], idle["requests"], idle["fails"]) == (0, 1, 0)
    assert idle["received"] == len(OK)
    assert idle["sent"] > 20
    assert 100 <= idle["header_time"] < 200
    client.close()


def test_a_server_is_changed_added_and_removed(front):
    app = front(peers=2)
    assert app.change("PATCH", "/0", {"weight": 5})["weight"] == 5
    assert app.change("PATCH", "/1", {"drain": True})["drain"] is True
    added = app.change("POST", "", {"server": "127.0.0.1:9", "backup": True, "slow_start": "30s"})
    assert (added["id"], added["backup"], added["slow_start"]) == (2, True, "30s")
    assert [(peer["id"], peer["state"], peer["weight"]) for peer in app.peers()] == [
        (0, "up", 5),
        (1, "draining", 1),
        (2, "up", 1),
    ]
    assert [server["id"] for server in app.change("DELETE", "/0")] == [1, 2]
    assert app.change("PATCH", "/1", {"drain": False, "down": True})["down"] is True
    assert [(peer["id"], peer["state"]) for peer in app.peers()] == [(1, "down"), (2, "up")]


def test_a_name_is_followed_as_soon_as_it_is_added_and_no_more_when_it_is_removed(front):
    app = front(peers=1)
    status, added = app.ask("POST", "/api/9/http/upstreams/app/servers", {"server": "localhost:9"})
    assert status == 201
    app.stage.until(lambda: len(app.peers()) > 1, "an address of localhost")
    assert {peer["name"] for peer in app.peers()[1:]} == {"localhost:9"}
    assert {peer["id"] for peer in app.peers()[1:]} == {added["id"]}
    app.change("DELETE", f"/{added['id']}")
    assert len(app.peers()) == 1
    assert not [task for task in app.stage.loop.tasks if "localhost" in task.name]


def test_what_a_removed_peer_has_under_way_ends_and_its_idle_connections_close(front):
    app = front(peers=2)
    client = app.stage.client().send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    busy = app.stage.peers[0].accept()
    busy.receives_head()
    other = app.stage.client().send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    idle = app.stage.peers[1].accept()
    idle.receives_head()
    idle.send(OK)
    other.receives_head()
    app.change("DELETE", "/0")
    app.change("DELETE", "/1")
    assert idle.is_closed()
    busy.send(OK)
    assert client.receives_head().startswith(b"HTTP/1.1 200")
    assert busy.is_closed(), "nothing more comes on it"
    lost = app.stage.client().send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert lost.receives_head().startswith(b"HTTP/1.1 502")
    for one in (client, other, lost):
        one.close()


def test_a_drained_peer_takes_what_is_bound_to_it_and_nothing_else(front):
    app = front(peers=2, upstream='sticky = ["cookie", "srv"]', peer_parameters=('route = "a"', 'route = "b"'))
    app.change("PATCH", "/0", {"drain": True})

    def goes_to(cookie: str) -> int:
        client = app.stage.client().send(
            f"GET / HTTP/1.1\r\nHost: x\r\nCookie: srv={cookie}\r\nConnection: close\r\n\r\n".encode()
        )
        accepted = app.stage.until(
            lambda: next(((n, s) for n, peer in enumerate(app.stage.peers) if (s := peer._try_accept())), None), "a connection"
        )
        accepted[1].close()
        client.close()
        app.stage.settle()
        return accepted[0]

    assert goes_to("a") == 0
    app.change("PATCH", "/1", {"max_fails": 0})
    app.change("PATCH", "/0", {"max_fails": 0})
    assert [goes_to("b"), goes_to("x"), goes_to("x"), goes_to("a")] == [1, 1, 1, 0]


METHODS = (
    "",
    "least_conn = true",
    "ip_hash = true",
    'hash = "$uri"',
    'hash = ["$uri", "consistent"]',
    "random = []",
    'random = "two"',
    'least_time = "header"',
    "queue = [5, 'timeout=1s']",
    'sticky = ["cookie", "x"]',
)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_obeys_down_to_an_empty_group_and_back(front, method):
    app = front(peers=3, upstream=method)
    group = app.stage.group()

    def chosen() -> set[str]:
        found = set()
        for number in range(60):
            peer = pick(app.stage, group, b"/%d" % number)
            if peer is not None:
                group.release(peer, ANSWERED)
                found.add(peer.name)
        return found

    names = [peer.name for peer in app.stage.peers]
    app.change("DELETE", "/1")
    assert names[1] not in chosen()
    app.change("PATCH", "/0", {"down": True})
    assert chosen() == {names[2]}
    app.change("PATCH", "/2", {"drain": True})
    assert chosen() == set()
    app.change("DELETE", "/0")
    app.change("DELETE", "/2")
    assert chosen() == set()
    app.change("POST", "", {"server": names[0]})
    assert chosen() == {names[0]}


def pick(stage: Stage, group: Any, path: bytes) -> Any:
    """What the group chooses for a request for this path."""
    model = stage.configuration.listeners[0]
    client = Client(
        stage.worker.process,
        model,
        stage.loop.clock,
        b"10.0.0.%d" % (hash(path) % 200),
        1,
        1,
        FixedEndpoint(Address("10.0.0.1", 80)),
    )
    request = make_request(path.decode(), client=client)
    request.server = model.servers.default
    request.lead_to(request.server.locations.fallback)
    return group.pick(0, request)


def test_a_limit_that_is_set_at_run_time_is_for_all_workers_where_there_is_a_zone(front):
    app = front(peers=2, upstream='zone = ["app", "64k"]')
    app.change("PATCH", "/0", {"max_conns": 1})
    app.change("PATCH", "/1", {"down": True})
    group = app.stage.group()
    peer = pick(app.stage, group, b"/")
    assert pick(app.stage, group, b"/") is None
    group.release(peer, ANSWERED)
    shared = app.stage.worker.assignment.shared
    shared.words[HEAD_SLOTS] = 2
    elsewhere = shared.row_offset(1, peer.place.record) + ROW_ACTIVE
    shared.words[elsewhere] = 1
    assert pick(app.stage, group, b"/") is None, "another worker has one there"
    app.change("PATCH", "/0", {"max_conns": 2})
    peer = pick(app.stage, group, b"/")
    assert peer is not None
    group.release(peer, ANSWERED)
    shared.words[elsewhere] = 0


def test_what_checks_have_found_is_told(front):
    app = front(
        peers=1,
        locations="""
        [http.server.location."/api"]
        api = "write=on"
        [http.server.location."/checked"]
        proxy_pass = "http://app"
        health_check = ["mandatory"]
        """,
    )
    (peer,) = app.peers()
    assert (peer["state"], peer["health_checks"]) == ("checking", {"checks": 0, "fails": 0, "unhealthy": 0})
    health = app.stage.group().peers[0].health
    health.record.take_over()
    health.record.set_unhealthy(0)
    assert app.peers()[0]["state"] == "unhealthy"


BASE = "/api/9/http/upstreams/app/servers"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/api/7", None, 404, "UnknownVersion"),
        ("GET", "/api/x/http", None, 404, "UnknownVersion"),
        ("GET", "/api/9/license", None, 404, "PathNotFound"),
        ("GET", "/api/9/nginx/x", None, 404, "PathNotFound"),
        ("GET", "/api/9/workers/7", None, 404, "WorkerNotFound"),
        ("GET", "/api/9/http/server_zones/x", None, 404, "ServerZoneNotFound"),
        ("GET", "/api/9/http/limit_reqs/x", None, 404, "LimitReqNotFound"),
        ("DELETE", "/api/9/nginx", None, 405, "MethodNotSupported"),
        ("GET", "/api/9/http/upstreams/app/peers", None, 404, "PathNotFound"),
        ("GET", "/api/9/http/upstreams/app/servers/0/x", None, 404, "PathNotFound"),
        ("GET", "/api/9/http/upstreams/nope", None, 404, "UpstreamNotFound"),
        ("POST", "/api/9/http/upstreams/nope/servers", {"server": "a:1"}, 404, "UpstreamNotFound"),
        ("GET", f"{BASE}/7", None, 404, "UpstreamServerNotFound"),
        ("PATCH", f"{BASE}/7", {"weight": 1}, 404, "UpstreamServerNotFound"),
        ("DELETE", f"{BASE}/7", None, 404, "UpstreamServerNotFound"),
        ("GET", f"{BASE}/x", None, 400, "UpstreamBadServerId"),
        ("GET", f"{BASE}/-1", None, 400, "UpstreamBadServerId"),
        ("POST", "/api", {}, 405, "MethodNotSupported"),
        ("DELETE", "/api/9/http/upstreams", None, 405, "MethodNotSupported"),
        ("DELETE", "/api/9/http/upstreams", None, 405, "MethodNotSupported"),
        ("PUT", BASE, {}, 405, "MethodNotSupported"),
        ("PATCH", BASE, {}, 405, "MethodNotSupported"),
        ("POST", f"{BASE}/0", {}, 405, "MethodNotSupported"),
        ("TRACK", f"{BASE}/0", {}, 405, "MethodNotSupported"),
        ("POST", "/read/9/http/upstreams/app/servers", {"server": "a:1"}, 405, "MethodDisabled"),
        ("PATCH", "/read/9/http/upstreams/app/servers/0", {"down": True}, 405, "MethodDisabled"),
        ("POST", BASE, None, 400, "JsonError"),
        ("POST", BASE, {"server": "a b"}, 400, "UpstreamBadAddress"),
        ("PATCH", f"{BASE}/0", {"weight": 0}, 400, "UpstreamBadWeight"),
        ("PATCH", f"{BASE}/0", {"server": "b:1"}, 400, "UpstreamConfFormatError"),
    ],
)
def test_what_is_refused(front, method, path, body, status, code):
    app = front(peers=1)
    before = app.peers()
    given, value = app.ask(method, path, body)
    assert (given, value["error"]["status"], value["error"]["code"]) == (status, status, code)
    assert value["error"]["text"]
    assert app.peers() == before
    assert app.stage.worker.edits.version == 0


@pytest.mark.parametrize(
    ("raw", "status"),
    [(b"{", 415), (b"\xff\xfe", 415), (b'{"server": ', 415), (b"[" * 60000, 415), (b" " * 65537, 413), (b"x" * 200000, 413)],
)
def test_a_body_that_is_no_json_or_too_large(front, raw, status):
    app = front(peers=1)
    given, value = app.ask("POST", BASE, raw=raw)
    assert (given, value["error"]["status"]) == (status, status)


def test_the_same_server_twice_is_a_conflict(front):
    app = front(peers=1)
    given, value = app.ask("POST", BASE, {"server": app.stage.peers[0].name})
    assert (given, value["error"]["code"]) == (409, "EntryExists")


def test_what_the_balancing_method_refuses(front):
    app = front(peers=1, upstream="ip_hash = true")
    given, value = app.ask("POST", BASE, {"server": "127.0.0.1:9", "backup": True})
    assert (given, value["error"]["text"]) == (400, 'balancing method does not support parameter "backup"')


def test_more_changes_than_there_is_room_for_change_nothing(front, monkeypatch):
    app = front(peers=1)
    monkeypatch.setattr("worker.edits.LARGEST", 100)
    given, value = app.ask("POST", BASE, {"server": "unix:/" + "x" * 100})
    assert (given, value["error"]["code"]) == (507, "InsufficientStorage")
    assert len(app.peers()) == 1


def test_a_worker_that_does_not_answer_is_named(front):
    app = front(peers=1)
    shared = app.stage.worker.assignment.shared
    shared.words[HEAD_SLOTS] = 3
    shared.worker(2).set(WORKER_PID, 4711)
    shared.worker(2).set(WORKER_STATE, SERVING)
    client = app.stage.client().send(f'PATCH {BASE}/0 HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n{{"weight":2}}'.encode())
    client.receives_nothing()
    app.stage.advance(6)
    assert client.receives_head().startswith(b"HTTP/1.1 504")
    assert b"workers do not answer yet: 4711" in client.take()
    assert app.peers()[0]["weight"] == 2
    client.close()


def test_it_answers_when_the_last_worker_has_taken_it_over(front):
    app = front(peers=1)
    shared = app.stage.worker.assignment.shared
    shared.words[HEAD_SLOTS] = 3
    other = shared.worker(2)
    other.set(WORKER_PID, 4711)
    other.set(WORKER_STATE, SERVING)
    client = app.stage.client().send(f'PATCH {BASE}/0 HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n{{"weight":2}}'.encode())
    app.stage.advance(1)
    client.receives_nothing()
    other.set(WORKER_EDITS, 1)
    os.eventfd_write(app.stage.bell, 1)
    assert client.receives_head().startswith(b"HTTP/1.1 200"), "the bell, not the time, wakes it"
    client.take()
    client.close()


def test_slow_start_begins_when_a_server_is_up_again(front):
    app = front(peers=2, peer_parameters=("weight = 10, slow_start = '100s'", "weight = 10"))
    app.change("PATCH", "/0", {"down": True})
    app.change("PATCH", "/0", {"down": False})
    first = app.stage.group().peers[0]
    pick(app.stage, app.stage.group(), b"/").connections -= 1
    assert first.weight < first.full_weight / 10
    app.stage.advance(50)
    pick(app.stage, app.stage.group(), b"/").connections -= 1
    assert first.full_weight * 0.4 < first.weight < first.full_weight * 0.6
    app.change("PATCH", "/0", {"slow_start": "0s"})
    assert first.weight == first.full_weight


def test_edits_that_cannot_be_read_change_nothing_and_are_told_of(front):
    app = front(peers=2)
    app.change("PATCH", "/0", {"weight": 5})
    words = app.stage.words
    words[EDITS_OFFSET + 2] += 1
    words[EDITS_OFFSET + 2 * (2 + EDITS_TEXT_WORDS)] += 1
    words[EDITS_OFFSET] += 1
    app.stage.worker.edits.heed()
    assert app.peers()[0]["weight"] == 5
    assert sum("the changes of upstreams cannot be read" in line for line in app.stage.error_log()) == 1


# Pages of other sites.


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Type: text/plain",
        "Content-Type: Text/Plain;charset=UTF-8",
        "Content-Type: multipart/form-data; boundary=x",
        "Origin: http://evil.example",
        "Origin: null",
        "Content-Type: application/json\r\nOrigin: http://evil.example",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ],
)
def test_a_page_of_another_site_changes_nothing(front, fields):
    app = front(peers=2)
    before = app.peers()
    for method, path, body in (("POST", "", {"server": "127.0.0.1:9"}), ("PATCH", "/0", {"down": True}), ("DELETE", "/0", None)):
        given, value = app.ask(method, f"{BASE}{path}", body, fields=f"{fields}\r\n")
        assert (given, value["error"]["code"]) == (403, "ForeignOrigin")
    assert app.peers() == before


def test_a_name_that_a_page_has_pointed_to_us_is_not_ours(front):
    """DNS rebinding: to the browser the page and the API are of one origin."""
    app = front(peers=1)
    rebound = {"host": "evil.example:8080", "fields": "Origin: http://evil.example:8080\r\nSec-Fetch-Site: same-origin\r\n"}
    given, value = app.ask("POST", BASE, {"server": "127.0.0.1:9"}, **rebound)
    assert (given, value["error"]["code"]) == (403, "ForeignOrigin")


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "[::1]:8080", "localhost:8080", "app.localhost", "Front"])
def test_our_own_pages_change_what_they_like(front, host):
    app = front(peers=1)
    fields = f"Origin: https://{host.lower()}\r\nSec-Fetch-Site: same-origin\r\nContent-Type: text/plain\r\n"
    assert app.ask("POST", BASE, {"server": "127.0.0.1:9"}, host=host, fields=fields)[0] == 201


def test_programs_need_say_nothing_of_where_they_come_from(front):
    """`curl -d` calls its body a form, which the pages of nginx's commercial edition do as well."""
    app = front(peers=1)
    fields = "Content-Type: application/x-www-form-urlencoded\r\n"
    assert app.ask("PATCH", f"{BASE}/0", {"down": True}, host="whatever", fields=fields)[0] == 200
