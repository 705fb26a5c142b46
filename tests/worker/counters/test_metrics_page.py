"""What one worker counts, seen on its page of metrics."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conversation import Stage, ok

from worker.resolver.services import Endpoint
from wproxy.dns import SRV, A
from wproxy.shared import CACHE_MANAGER, HEAD_SLOTS, ROLE_NAMES, SERVING, WORKER_PID, WORKER_ROLE, WORKER_STATE

METRICS = """
[http.server.location."/metrics"]
metrics = ["zones=locations", "buckets=0.1,1,10"]
[http.server.location."/named"]
metrics = "zones=named"
[http.server.location."/plus"]
metrics = "compat=plus"
[http.server.location."/shop/"]
status_zone = "shop"
return = [200, "x"]
[http.server.location."/shop/".location."/shop/inner/"]
return = [410, "x"]
[http.server.location."/off/"]
status_zone = "off"
return = [204]
[http.server.location."/close"]
return = [444]
"""
OK = ok(b"hello")


class Scraped:
    """A stage, and the samples of its page."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def get(self, path: str, fields: str = "", method: str = "GET") -> bytes:
        client = self.stage.client()
        client.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}Connection: close\r\n\r\n".encode())
        self.stage.until(lambda: client.pull_all() is not None and client.saw_end, "the connection stays")
        data = bytes(client.received)
        client.close()
        return data

    def page(self, path: str = "/metrics", fields: str = "") -> tuple[str, str]:
        head, _, body = self.get(path, fields).partition(b"\r\n\r\n")
        return head.decode(), (gzip.decompress(body) if b"gzip" in head else body).decode()

    def samples(self, path: str = "/metrics") -> dict[str, float]:
        return {
            name: float(value) for name, value in re.findall(r"^([a-z][^#\n]*) ([0-9.e+-]+)$", self.page(path)[1], re.MULTILINE)
        }


@pytest.fixture
def front(stage: Callable[..., Stage]) -> Callable[..., Scraped]:
    def make(**settings: object) -> Scraped:
        return Scraped(stage(is_shared=True, **{"locations": METRICS, "server": 'status_zone = "site"', **settings}))

    return make


def test_requests_are_counted_where_they_end(front):
    app = front()
    for path in ("/shop/", "/shop/?a=1", "/shop/inner/", "/off/", "/close", "/../"):
        app.get(path)
    found = app.samples()
    name = 'wproxy_http_requests_total{server="front",location="%s",code="%s"}'
    assert found[name % ("/shop/", "200")] == 2
    assert found[name % ("/shop/inner/", "410")] == 1
    assert found[name % ("/off/", "204")] == 1
    assert found[name % ("/close", "444")] == 1
    assert found[name % ("(server)", "400")] == 1
    assert found['wproxy_http_ends_total{server="front",location="/close",cause="closed_444"}'] == 1
    assert found['wproxy_http_requests_discarded_total{server="front",location="/close"}'] == 1
    assert found['wproxy_http_requests_in_progress{server="front",location="/metrics"}'] == 1
    for location in ("/shop/", "/close", "(server)"):
        codes = sum(count for key, count in found.items() if key.startswith(name[:32]) and f'location="{location}",code' in key)
        assert codes == found[f'wproxy_http_request_duration_seconds_count{{server="front",location="{location}"}}']
    named = app.samples("/named")
    assert named['wproxy_http_requests_total{server="site",location="shop",code="410"}'] == 1, "the inner location inherits it"
    assert named['wproxy_http_requests_total{server="site",code="204"}'] == 1


def test_bytes_and_times(front):
    app = front()
    client = app.stage.client()
    head = b"GET /app HTTP/1.1\r\nHost: x\r\n\r\n"
    client.send(head)
    upstream = app.stage.peers[0].accept()
    app.stage.advance(0.6)
    upstream.take()
    upstream.send(OK)
    answer = bytes(client.pull_all())
    client.close()
    found = app.samples()
    mine = '{server="front",location="/"'
    assert found[f"wproxy_http_request_bytes_total{mine}}}"] == len(head)
    assert found[f"wproxy_http_response_bytes_total{mine}}}"] == len(answer)
    buckets = [
        found[f'wproxy_http_request_duration_seconds_bucket{mine},le="{bound}"}}'] for bound in ("0.1", "1.0", "10.0", "+Inf")
    ]
    assert buckets == [0, 1, 1, 1] if "+Inf" in str(found) else [0, 1, 1]
    assert 0.6 <= found[f"wproxy_http_request_duration_seconds_sum{mine}}}"] < 0.7
    peer = f'{{upstream="app",peer="{app.stage.peers[0].name}"'
    assert found[f'wproxy_upstream_responses_total{peer},class="2xx"}}'] == 1
    assert found[f'wproxy_upstream_connections_total{peer},state="new"}}'] == 1
    assert found[f'wproxy_upstream_connections_total{peer},state="reused"}}'] == 0
    assert 0.6 <= found[f"wproxy_upstream_header_duration_seconds_sum{peer}}}"] < 0.7
    assert found['wproxy_upstream_response_duration_seconds_count{upstream="app"}'] == 1
    assert found['wproxy_upstream_connect_duration_seconds_count{upstream="app"}'] == 1
    assert found[f"wproxy_upstream_idle_connections{peer}}}"] == 1
    assert found[f"wproxy_upstream_peer_up{peer}}}"] == 1


def test_failures_of_peers_their_retries_and_the_request_that_failed(front):
    app = front(peers=2, location="proxy_next_upstream_tries = 2")
    for peer in app.stage.peers:
        peer.close()
    app.get("/path")
    found = app.samples()
    for peer in app.stage.peers:
        assert found[f'wproxy_upstream_failures_total{{upstream="app",peer="{peer.name}",cause="up_refused"}}'] == 1
        assert changes_of(found, peer.name) == {("unavail", "up_refused"): 1}
    assert found['wproxy_upstream_peers{upstream="app",state="unavail"}'] == 2
    assert found['wproxy_upstream_retries_total{upstream="app",cause="up_refused"}'] == 1
    assert found['wproxy_http_ends_total{server="front",location="/",cause="up_refused"}'] == 1
    app.get("/other")
    assert app.samples()['wproxy_upstream_no_peer_total{upstream="app"}'] == 1
    reader = app.stage.worker.counting.reader
    first, second = reader.failures()
    assert (first.cause, first.status, first.path) == ("up_refused", 502, "/path")
    assert (second.cause, second.status, second.path, second.record) == ("up_none", 502, "/other", 0)
    names = [(change.before, change.after, change.cause, change.failures) for change in reader.transitions()]
    assert names == [("up", "unavail", "up_refused", 1)] * 2


def test_a_peer_that_answers_after_its_rest_has_a_transition_back(front):
    app = front(peers=2, peer_parameters=('fail_timeout = "10s"',))
    dead, alive = app.stage.peers
    client = app.stage.client()
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    dead.accept().reset()
    alive.accept().send(OK)
    app.stage.advance(11)
    reader = app.stage.worker.counting.reader
    for _ in range(6):
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        asked = [end for end in app.stage.ends if end.name.startswith("upstream") and not end.over and end.take()]
        (asked or [dead.accept()])[0].send(OK)
        if len(reader.transitions()) == 2:
            break
    client.close()
    changes = reader.transitions()
    assert [(change.before, change.after, change.cause) for change in changes] == [
        ("up", "unavail", "up_reset"),
        ("unavail", "up", "rested"),
    ]
    name = f'wproxy_upstream_peer_downtime_seconds_total{{upstream="app",peer="{dead.name}"}}'
    assert 11 <= app.samples()[name] < 12
    app.stage.advance(5)
    assert 11 <= app.samples()[name] < 12, "it is over"


def test_the_time_for_which_a_peer_is_down_grows_while_it_is(front):
    app = front(peers=2, peer_parameters=('fail_timeout = "60s"',))
    app.stage.peers[0].close()
    client = app.stage.client()
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    app.stage.peers[1].accept().send(OK)
    client.close()
    name = f'wproxy_upstream_peer_downtime_seconds_total{{upstream="app",peer="{app.stage.peers[0].name}"}}'
    before = app.samples()[name]
    app.stage.advance(5)
    assert 5 <= app.samples()[name] - before < 6


def test_lookups_are_counted_by_their_results(front):
    app = front(server='resolver = ["127.0.0.1:1", "status_zone=dns"]')
    resolver = app.stage.worker.discovery.resolver(app.stage.configuration.servers[0].locations.fallback.resolver)
    for kind, code in ((A, 0), (SRV, 3), (A, 110), (A, 9)):
        resolver.count_question(kind)
        resolver.count_result(code)
    found = app.samples()
    shown = {name: count for name, count in found.items() if name.startswith("wproxy_resolver")}
    name = 'wproxy_resolver_responses_total{resolver="dns",result="%s"}'
    assert shown == {name % result: 1 for result in ("noerror", "nxdomain", "timedout", "unknown")}
    plus = app.samples("/plus")
    assert (plus['nginxplus_resolver_name{resolver="dns"}'], plus['nginxplus_resolver_srv{resolver="dns"}']) == (3, 1)
    assert plus['nginxplus_resolver_nxdomain{resolver="dns"}'] == 1


def test_lines_that_no_log_takes_are_counted(front):
    app = front()
    app.stage.worker.error_log.lost += 2
    app.stage.worker.access_logs._lost += 3
    found = app.samples()
    assert found['wproxy_log_lines_lost_total{log="error"}'] == 2
    assert found['wproxy_log_lines_lost_total{log="access"}'] == 3


def test_silences_of_servers_at_which_machines_count_together_are_counted(front):
    app = front(http='limit_req_zone = [["$uri", "zone=common:1m", "rate=1r/s", "sync=redis://127.0.0.1:1"]]')
    before = app.samples()["wproxy_sync_silences_total"]
    (link,) = app.stage.worker.links._links.values()
    link.silences += 2
    assert app.samples()["wproxy_sync_silences_total"] == before + 2
    assert "wproxy_sync_silences_total" not in front().samples()


def test_the_names_of_the_exporter_for_plus(front):
    app = front(peers=2, http='limit_conn_zone = [["$uri", "zone=c:1m"]]', upstream='zone = ["app", "64k"]')
    app.get("/shop/")
    found = app.samples("/plus")
    assert "nginxplus_connections_accepted" in found and "nginx_connections_accepted" not in found
    assert found['nginxplus_server_zone_responses{server_zone="site",code="2xx"}'] == 1
    assert found['nginxplus_server_zone_responses_codes{server_zone="site",code="200"}'] == 1
    assert found['nginxplus_location_zone_requests{location_zone="shop"}'] == 1
    assert found['nginxplus_limit_connection_rejected{zone="c"}'] == 0
    assert "nginxplus_ssl_handshakes" in found
    peer = f'{{upstream="app",server="{app.stage.peers[0].name}"'
    assert found[f"nginxplus_upstream_server_state{peer}}}"] == 1
    assert found[f'nginxplus_upstream_server_responses{peer},code="2xx"}}'] == 0
    assert found['nginxplus_upstream_keepalive{upstream="app"}'] == 0
    pid = os.getpid()
    assert found[f'nginxplus_worker_connection_active{{id="0",pid="{pid}"}}'] == 1
    assert f'nginxplus_worker_http_requests_total{{id="0",pid="{pid}"}}' in found


def test_limits_count_their_decisions(front):
    app = front(
        http='limit_req_zone = [["$uri", "zone=z:1m", "rate=1r/s"]]\nlimit_conn_zone = [["$uri", "zone=c:1m"]]',
        locations=METRICS
        + '[http.server.location."/limited"]\nlimit_req = [["zone=z"]]\nlimit_conn = [["c", 1]]\nempty_gif = true\n',
    )
    for _ in range(3):
        app.get("/limited")
    found = app.samples()
    assert found['wproxy_limit_req_total{zone="z",result="passed"}'] == 1
    assert found['wproxy_limit_req_total{zone="z",result="rejected"}'] == 2
    assert found['wproxy_limit_conn_total{zone="c",result="passed"}'] == 1
    assert 'wproxy_limit_conn_total{zone="c",result="delayed"}' not in found


def test_the_format_and_the_coding_are_the_clients_choice(front):
    app = front()
    head, plain = app.page()
    assert "Content-Type: text/plain; version=0.0.4; charset=utf-8" in head and "Cache-Control: no-store" in head
    assert "# EOF" not in plain
    head, opened = app.page(fields="Accept: application/openmetrics-text\r\nAccept-Encoding: gzip\r\n")
    assert "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8" in head
    assert "Content-Encoding: gzip" in head and opened.endswith("# EOF\n")

    def series(page: str) -> set[str]:
        return {line.rsplit(" ", 1)[0] for line in page.splitlines() if line[0] != "#"}

    assert series(plain) <= series(opened), "the same series, whatever was asked for"
    assert b" 405 " in app.get("/metrics", method="POST")
    _, some = app.page("/metrics?name=nginx_up,wproxy_build")
    assert series(some) == {"nginx_up", 'wproxy_build_info{version="0.1.0"}'}


def test_nothing_that_a_client_sends_makes_a_series(front):
    app = front()
    app.get("/shop/")
    app.samples()  # that of the page itself
    before = set(app.samples())
    for path in ("/shop/a", "/shop/b?c", "/shop/%22"):
        app.get(path, "X: y\r\n")
    assert set(app.samples()) == before


def test_without_anything_that_shows_them_there_are_no_counters(stage):
    worker = stage(locations="").worker
    assert worker.counting is None
    assert all(location.route.sample is None for server in worker.configuration.servers for location in server.each_location())


def test_a_sampled_trace_stands_for_its_duration(front):
    traced = METRICS + '[http.server.location."/traced"]\notel_trace = "on"\notel_trace_context = "extract"\nempty_gif = true\n'
    app = front(http='otel_exporter = { endpoint = "http://127.0.0.1:4318/v1/traces" }', locations=traced)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    app.get("/traced", f"traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n")
    app.get("/shop/", f"traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n")
    _, opened = app.page(fields="Accept: application/openmetrics-text\r\n")
    shown = [line for line in opened.splitlines() if " # {" in line]
    assert len(shown) == 1 and 'location="/traced",le="0.1"} 1 # {trace_id="' + trace + '",span_id="' in shown[0]
    assert re.search(r'span_id="[0-9a-f]{16}"\} [0-9.e-]+ \d+\.\d{3}$', shown[0])
    assert " # {" not in app.page()[1], "only OpenMetrics has examples"


def test_the_documentation_names_every_series(front):
    app = front(peers=2)
    for peer in app.stage.peers:
        peer.close()
    app.get("/")
    families = set(re.findall(r"^# TYPE (wproxy_\w+) ", app.page()[1], re.MULTILINE))
    page = (Path(__file__).parents[3] / "docs" / "observing.md").read_text()
    assert len(families) > 30
    assert not families - set(re.findall(r"`(wproxy_\w+)`", page))


def test_the_series_of_an_address_go_with_it_and_come_back_with_their_counts(front):
    app = front()
    group = app.stage.group()
    line = group.upstream.server[0]
    address = group.peers[0].peer.address
    name = f'wproxy_upstream_responses_total{{upstream="app",peer="{app.stage.peers[0].name}",class="2xx"}}'
    group.replace_peers(line, [])
    for counted in (1, 2):
        assert not [series for series in app.samples() if app.stage.peers[0].name in series], "its name has no address"
        group.replace_peers(line, [Endpoint(address)])
        client = app.stage.client()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        app.stage.peers[0].accept().send(OK)
        client.receives_head()
        client.close()
        assert app.samples()[name] == counted
        group.replace_peers(line, [])


def changes_of(found: dict[str, float], peer: str) -> dict[tuple[str, str], float]:
    """The changes of a peer's state by the state afterwards and the cause."""
    name = rf'wproxy_upstream_peer_transitions_total{{upstream="app",peer="{peer}",to="(\w+)",cause="(\w+)"}}'
    return {(match[1], match[2]): count for series, count in found.items() if (match := re.fullmatch(name, series))}


def test_an_address_that_leaves_its_name_and_comes_back_has_a_history(front):
    app = front(peers=2)
    group, peer = app.stage.group(), app.stage.group().peers[1]
    line, address = peer.line, peer.peer.address
    group.replace_peers(line, [])
    group.replace_peers(line, [Endpoint(address)])
    assert changes_of(app.samples(), peer.name) == {("gone", "gone"): 1, ("up", "resolved"): 1}
    reader = app.stage.worker.counting.reader
    changes = [(change.before, change.after, change.cause) for change in reader.transitions()]
    assert changes == [("up", "gone", "gone"), ("gone", "up", "resolved")]
    # Another worker that hears of it later has nothing to add.
    group.peers[1].counters.resolved()
    assert len(reader.transitions()) == 2


def test_a_peer_has_nothing_of_the_one_that_had_its_record_before(front):
    app = front(peers=2, location="proxy_next_upstream_tries = 2")
    for peer in app.stage.peers:
        peer.close()
    app.get("/path")
    counting = app.stage.worker.counting
    assert {change.record for change in counting.reader.transitions()} == {0, 1}
    [failed] = counting.reader.failures()
    counting.plan.memory.clear_peer(failed.record, 1)
    assert {change.record for change in counting.reader.transitions()} == {0, 1} - {failed.record}
    assert [failure.record for failure in counting.reader.failures()] == [0]


def test_what_is_done_by_hand_is_in_the_history_of_a_peer(front):
    app = front(
        peers=2, upstream='zone = ["app", "64k"]', locations=f'{METRICS}[http.server.location."/api"]\napi = "write=on"\n'
    )
    peer = app.stage.peers[1]

    def change(method: str, text: str = "", server: str = "/1") -> None:
        fields = f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n"
        client = app.stage.client()
        client.send(
            f"{method} /api/9/http/upstreams/app/servers{server} HTTP/1.1\r\nHost: x\r\n{fields}Connection: close\r\n\r\n{text}".encode()
        )
        app.stage.until(lambda: client.pull_all() is not None and client.saw_end, "the connection stays")
        assert client.received.startswith(b"HTTP/1.1 20"), bytes(client.received)
        client.close()

    change("PATCH", '{"drain": true}')
    change("PATCH", '{"weight": 3}')  # changes no state
    change("PATCH", '{"drain": false, "down": true}')
    change("PATCH", '{"down": false}')
    change("DELETE")
    change("POST", f'{{"server": "{peer.name}"}}', server="")
    by_hand = {(state, "by_hand"): count for state, count in (("draining", 1), ("down", 1), ("up", 2), ("gone", 1))}
    assert changes_of(app.samples(), peer.name) == by_hand
    (shown,) = [one for one in json.loads(app.page("/api/9/http/upstreams/app")[1])["peers"] if one["server"] == peer.name]
    states = [(change["from"], change["to"], change["cause"]) for change in shown["history"]]
    walk = ("up", "draining", "down", "up", "gone", "up")
    assert states == [(before, after, "by_hand") for before, after in itertools.pairwise(walk)]


def test_a_removed_peer_that_still_answers_is_a_zombie(front):
    app = front(upstream='zone = ["app", "64k"]', locations=f'{METRICS}[http.server.location."/api"]\napi = true\n')
    group = app.stage.group()

    def zombies() -> int:
        plus = app.samples("/plus")['nginxplus_upstream_zombies{upstream="app"}']
        assert json.loads(app.page("/api/9/http/upstreams/app")[1])["zombies"] == plus
        return int(plus)

    client = app.stage.client()
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    asked = app.stage.peers[0].accept()
    line, address = group.peers[0].line, group.peers[0].peer.address
    assert zombies() == 0
    group.replace_peers(line, [])
    app.stage.advance(5)
    assert zombies() == 1
    asked.send(OK)
    client.receives_head()
    assert zombies() == 0
    app.stage.advance(5)
    assert not group.renewal.leaving
    group.replace_peers(line, [Endpoint(address)])
    name = f'wproxy_upstream_responses_total{{upstream="app",peer="{app.stage.peers[0].name}",class="2xx"}}'
    assert app.samples()[name] == 1, "the response that came after it had gone is counted"


def test_the_manager_of_caches_is_no_worker(front):
    app = front(locations=f'{METRICS}[http.server.location."/api"]\napi = true\n')
    beside = app.stage.worker.assignment.shared.worker(1)
    for word, value in ((WORKER_PID, 77), (WORKER_ROLE, ROLE_NAMES.index(CACHE_MANAGER)), (WORKER_STATE, SERVING)):
        beside.set(word, value)
    app.stage.worker.assignment.shared.set_head(HEAD_SLOTS, 2)
    assert sum(count for name, count in app.samples().items() if name.startswith("wproxy_workers{")) <= 1
    assert [worker["id"] for worker in json.loads(app.page("/api/9/workers")[1])] == [0]
    assert list(json.loads(app.page("/api/9/wproxy")[1])["workers"]) in ([], ["0"])


def test_responses_of_a_peer_by_status(front):
    app = front(upstream='zone = ["app", "64k"]', locations=f'{METRICS}[http.server.location."/api"]\napi = true\n')
    client = app.stage.client()
    for answer in (OK, OK, b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n"):
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        kept = [end for end in app.stage.ends if end.name.startswith("upstream")]
        (kept[0] if kept else app.stage.peers[0].accept()).send(answer)
        client.pull_all()
    (shown,) = json.loads(app.page("/api/9/http/upstreams/app")[1])["peers"]
    assert shown["responses"] == {"1xx": 0, "2xx": 3, "3xx": 0, "4xx": 1, "5xx": 0, "codes": {"200": 2, "404": 1}, "total": 4}
    name = f'nginxplus_upstream_server_responses_codes{{upstream="app",server="{app.stage.peers[0].name}",code="%s"}}'
    plus = app.samples("/plus")
    assert (plus[name % "200"], plus[name % "404"]) == (2, 1)


def test_a_kept_connection_that_was_dead_is_a_retry_and_no_failure(front):
    app = front()
    client = app.stage.client()
    head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    client.send(head)
    kept = app.stage.peers[0].accept()
    kept.take()
    kept.send(OK)
    client.receives_head()
    client.send(head)
    kept.take()
    kept.close()
    app.stage.peers[0].accept().send(OK)
    client.close()
    found = app.samples()
    assert found['wproxy_upstream_retries_total{upstream="app",cause="up_dead_idle"}'] == 1
    assert not [name for name in found if name.startswith("wproxy_upstream_failures_total")]
    assert found[f'wproxy_upstream_responses_total{{upstream="app",peer="{app.stage.peers[0].name}",class="2xx"}}'] == 2
