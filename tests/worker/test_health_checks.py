"""Active health checks as peers and clients see them: what is sent, what is judged, who gets requests (nginx Plus: health_check)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from conversation import SERVER, End, Peer, SilentPeer, Stage, error_page, get, ok, to_client
from http2_peer import Http2Peer, frame
from test_balance import Balancer, servers

from worker.resolver.records import SharedRecords, private_records
from worker.resolver.services import Endpoint
from worker.upstream.peers import ANSWERED, FAILED
from wproxy.address import Address
from wproxy.checked_health import CHECKING, HEALTHY, UNHEALTHY, CheckedHealth
from wproxy.shared import FIRST_LATE_PEER, MAX_LATE_PEERS, PLACES_OFFSET

Make = Callable[..., Stage]
EVERY = 5.0  # seconds: the default interval


@pytest.fixture
def checking(stage: Make) -> Iterator[Make]:
    """Makes stages whose worker checks: `checking("uri=/health", "fails=2", peers=2)`."""
    made: list[Stage] = []

    def make(*parameters: str, location: str = "", http: str = "", **more: object) -> Stage:
        words = ", ".join(f'"{word}"' for word in parameters)
        s = stage(location=f"health_check = [{words}]\n{location}", http=http, **more)
        made.append(s)
        s.worker.checks.start()
        s.settle()
        return s

    yield make
    for one in made:
        one.worker.checks.resign()


def asked(target: bytes = b"/", *fields: bytes, host: bytes = b"app", match: bytes = b"") -> bytes:
    """What a peer receives of a check."""
    return get(target, *fields, b'User-Agent: %b (health check "%b")' % (SERVER, match), host=host)


def check(s: Stage, answer: bytes, number: int = 0) -> None:
    """The check that is under way at a peer gets this answer."""
    end = s.peers[number].accept()
    end.receives_head()
    end.send(answer)
    assert end.is_closed()
    s.settle()


def state(s: Stage, number: int = 0) -> str:
    health = s.group().peers[number].health
    assert isinstance(health, CheckedHealth)
    return health.record.state


@pytest.fixture
def calling(stage: Make) -> Iterator[Make]:
    """Makes stages whose worker checks a gRPC server."""
    made: list[Stage] = []

    def make(*parameters: str) -> Stage:
        words = ", ".join(f'"{word}"' for word in ("type=grpc", *parameters))
        s = stage(locations=f'[http.server.location."/svc/"]\ngrpc_pass = "grpc://app"\nhealth_check = [{words}]\n')
        made.append(s)
        s.worker.checks.start()
        s.settle()
        return s

    yield make
    for one in made:
        one.worker.checks.resign()


DOWN = ok(b"no", status=b"503 Service Unavailable")


def ask(s: Stage) -> bytes:
    """What a client gets at once: no peer is there to answer."""
    client = s.client()
    client.send(get())
    return client.take()


def answered_by(s: Stage) -> int:
    """The number of the peer that gets a client's request; it answers."""
    client = s.client()
    client.send(get())

    def find() -> tuple[int, End] | None:
        for number, peer in enumerate(s.peers):
            accepted = peer._try_accept()
            if accepted is not None:
                return number, End(s, accepted, f"upstream {number}")
        return None

    number, end = s.until(find, "no peer got the request")
    end.receives_head()
    end.send(ok(b"ok", b"Connection: close"))
    client.receives(to_client())
    client.close()
    return number


# What is sent.


def test_a_check_is_a_request_of_its_own_with_the_settings_of_the_location(checking):
    s = checking(
        "uri=/health?full=1", location='proxy_set_header = { Host = "$host", X-Real-IP = "$remote_addr", X-No = "$arg_x" }'
    )
    end = s.peers[0].accept()
    end.receives(asked(b"/health?full=1", b"X-Real-IP: 127.0.0.1", host=b"front"))
    end.send(ok())
    assert end.is_closed()
    assert state(s) == HEALTHY
    assert s.access_log() == []


def test_what_the_location_does_to_the_requests_of_clients_is_not_done_to_checks(checking):
    s = checking(
        "match=m",
        location='proxy_method = "POST"\nproxy_set_body = "x"\nproxy_http_version = "1.0"\nproxy_pass_request_headers = false',
        http="[http.match.m]\nstatus = 200",
    )
    s.peers[0].accept().receives(b"GET / HTTP/1.0\r\nHost: app\r\n\r\n").send(ok())
    assert state(s) == HEALTHY


def test_every_interval_a_peer_is_checked_on_a_fresh_connection(checking):
    s = checking("interval=3s")
    for _ in range(3):
        check(s, ok())
        s.advance(2.9)
        assert s.peers[0].is_unvisited()
        s.advance(0.1)


def test_a_check_is_delayed_by_no_more_than_its_jitter(checking, monkeypatch):
    import worker.upstream.checks.checker as checker

    monkeypatch.setattr(checker, "random", lambda: 0.5)
    s = checking("interval=4s", "jitter=2s")
    assert s.peers[0].is_unvisited()
    s.advance(1.0)
    check(s, ok())
    s.advance(4.9)
    assert s.peers[0].is_unvisited()
    s.advance(0.1)
    check(s, ok())


def test_a_check_that_takes_longer_than_the_interval_is_not_overtaken(checking):
    s = checking("interval=1s", location='proxy_read_timeout = "10s"')
    end = s.peers[0].accept()
    s.advance(8.0)
    assert s.peers[0].is_unvisited()
    end.send(ok())
    s.settle()
    check(s, ok())


def test_another_port_can_be_checked(checking):
    beside = Peer()
    s = checking(f"port={beside.name.rpartition(':')[2]}")
    beside.stage = s
    beside.accept().receives(asked()).send(DOWN)
    assert s.peers[0].is_unvisited()
    assert state(s) == UNHEALTHY
    [line] = [line for line in s.error_log() if "peer is unhealthy" in line]
    assert f'of peer {s.peers[0].name} in upstream "app", port {beside.name.rpartition(":")[2]} (status 503; ' in line
    beside.close()


def test_a_unix_socket_is_checked_like_any_other(checking, tmp_path):
    s = checking("port=81", peers=[Peer(f"{tmp_path}/peer.sock")])
    check(s, DOWN)
    assert state(s) == UNHEALTHY


def test_with_keepalive_time_a_connection_serves_several_checks(checking):
    s = checking("keepalive_time=12s")
    end = s.peers[0].accept()
    for _ in range(3):  # at 0, 5 and 10 seconds
        end.receives(asked()).send(ok())
        s.advance(EVERY)
    assert end.is_closed(), "it is 15 seconds old"
    end = s.peers[0].accept().receives(asked())
    end.send(ok(b"ok", b"Connection: close"))
    assert end.is_closed()
    s.advance(EVERY)
    s.peers[0].accept().receives(asked())


def test_a_kept_connection_that_has_died_says_nothing_about_the_peer(checking):
    s = checking("keepalive_time=1h")
    end = s.peers[0].accept().receives(asked())
    end.send(ok())
    end.close()
    s.advance(EVERY)
    check(s, ok(b"ok", b"Connection: close"))
    s.advance(EVERY)
    end = s.peers[0].accept().receives(asked())
    end.send(ok())
    s.advance(EVERY)
    end.receives(asked())
    end.close()  # while it is being asked
    s.peers[0].accept().receives(asked()).send(ok())
    assert state(s) == HEALTHY
    assert not any("health check" in line for line in s.error_log())


def test_a_peer_that_is_down_is_not_checked_and_one_that_is_taken_up_again_is(checking):
    s = checking(peers=2, peer_parameters=("", "down = true"))
    check(s, ok())
    assert s.peers[1].is_unvisited()
    s.group().peers[1].down = False
    s.group().arrange()
    s.advance(0.3)
    check(s, ok(), 1)


# What is judged.

MATCH = """[http.match.m]
status = 200
header = [["Content-Type", "=", "text/plain"]]
body = [["~", "all is well"]]
require = "$upstream_http_x_ready"
"""
GOOD = (b"Content-Type: text/plain", b"X-Ready: 1")
WELL = b"say: all is well"


@pytest.mark.parametrize(
    "answer",
    [
        ok(WELL, *GOOD),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Ready: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"8\r\nsay: all\r\n8\r\n is well\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + ok(WELL, *GOOD),
        ok(WELL + b"." * 300000, *GOOD),
    ],
    ids=["length", "chunks", "interim", "long"],
)
@pytest.mark.parametrize("slowly", [False, True])
def test_an_answer_that_passes_all_tests_however_it_comes(checking, answer, slowly):
    s = checking("match=m", "mandatory", http=MATCH)
    end = s.peers[0].accept()
    end.receives(asked(match=b"m"))
    if slowly and len(answer) < 1000:
        end.send_slowly(answer)
    else:
        end.send_some(answer)
    assert end.is_closed()
    assert state(s) == HEALTHY
    [line] = [line for line in s.error_log() if "health check" in line]
    assert "[notice]" in line
    text = f'peer is healthy while checking body, health check "m" of peer {s.peers[0].name} in upstream "app"'
    assert line.endswith(f"{text} (health_check: {s.position('health_check')})")


def test_a_body_without_an_end_is_read_until_the_connection_ends(checking):
    s = checking("match=m", "mandatory", http=MATCH)
    end = s.peers[0].accept().receives(asked(match=b"m"))
    end.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nX-Ready: 1\r\n\r\nall is ")
    assert state(s) == CHECKING
    end.send(b"well")
    end.close()
    assert state(s) == HEALTHY


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ok(WELL, *GOOD, status=b"201 Created"), "peer is unhealthy while checking status code|status 201"),
        (ok(WELL, b"X-Ready: 1"), 'peer is unhealthy while checking header|header "content-type = text/plain"'),
        (ok(WELL, *GOOD[:1]), 'peer is unhealthy while checking variables|require "$upstream_http_x_ready"'),
        (ok(b"all is bad", *GOOD), 'peer is unhealthy while checking body|body "~ all is well"'),
        (ok(b"." * 262144 + WELL, *GOOD), 'peer is unhealthy while checking body|body "~ all is well"'),
        (
            b"SSH-2.0-OpenSSH\r\n",
            "peer is unhealthy while reading response header from upstream|"
            'upstream sent no valid HTTP/1.0 header: "SSH-2.0-OpenSSH\\x0D\\x0A"',
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent Length: 1\r\n\r\n",
            'peer is unhealthy while reading response header from upstream|upstream sent invalid header: "Content\\x20',
        ),
        (
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5000,
            "peer is unhealthy while reading response header from upstream|upstream sent too big header",
        ),
    ],
    ids=["status", "header", "variables", "body", "too far", "banner", "garbage", "too big"],
)
def test_an_answer_that_is_not_as_it_should_be_makes_the_peer_unhealthy_and_the_log_says_why(checking, answer, reason):
    s = checking("match=m", http=MATCH)
    end = s.peers[0].accept()
    end.send_some(answer)
    assert end.is_closed()
    assert state(s) == UNHEALTHY
    text, _, why = reason.partition("|")
    [line] = [line for line in s.error_log() if "peer is unhealthy" in line]
    assert "[warn]" in line
    assert f'{text}, health check "m" of peer {s.peers[0].name} in upstream "app" ({why}' in line
    assert line.endswith(f"; health_check: {s.position('health_check')})")


def trouble(s: Stage) -> list[str]:
    """Level and text of what the log says of checks."""
    return [line.partition("[")[2].partition(", health check")[0] for line in s.error_log() if "health check" in line]


def test_a_peer_that_refuses(checking):
    peer = Peer()
    peer.refuse()
    s = checking(peers=[peer])
    assert state(s) == UNHEALTHY
    [first, second] = trouble(s)
    assert first.startswith("error]") and first.endswith(
        "connect() failed (111: Connection refused) while connecting to upstream"
    )
    assert second.endswith("peer is unhealthy while connecting to upstream")
    s.advance(EVERY)
    s.advance(EVERY)
    assert len(trouble(s)) == 2, "what goes on is told once"
    peer.listen_again()
    s.advance(EVERY)
    check(s, ok())
    assert state(s) == HEALTHY
    assert trouble(s)[2].endswith("peer is healthy while checking status code")


def test_a_peer_that_does_not_take_the_connection(checking):
    s = checking(peers=[SilentPeer()], location='proxy_connect_timeout = "2s"')
    assert state(s) == HEALTHY
    s.advance(2.0)
    assert state(s) == UNHEALTHY
    [line] = [line for line in s.error_log() if "upstream timed out (110: Connection timed out) while connecting" in line]
    assert f"(proxy_connect_timeout 2: {s.position('proxy_connect_timeout')}) (health_check: " in line


def test_a_peer_that_accepts_and_says_nothing(checking):
    s = checking(location='proxy_read_timeout = "2s"')
    end = s.peers[0].accept()
    s.advance(1.9)
    assert state(s) == HEALTHY
    s.advance(0.2)
    assert state(s) == UNHEALTHY
    assert end.receives(asked()).is_closed()
    [line] = [line for line in s.error_log() if "upstream timed out (110: Connection timed out) while reading response" in line]
    assert f"(proxy_read_timeout 2: {s.position('proxy_read_timeout')}) (health_check: " in line


@pytest.mark.parametrize(
    ("begun", "doing"),
    [(b"HTTP/1.1 200 OK\r\nX: ", "reading response header from upstream"), (ok(WELL, *GOOD)[:-9], "reading upstream")],
    ids=["head", "body"],
)
def test_a_peer_that_drips_has_proxy_read_timeout_for_its_head_and_again_for_its_body(checking, begun, doing):
    s = checking("match=m", http=MATCH, location='proxy_read_timeout = "4s"')
    end = s.peers[0].accept().receives(asked(match=b"m"))
    end.send(begun)
    for _ in range(3):
        s.advance(1.2)
        end.send(b".")
    assert state(s) == HEALTHY
    s.advance(1.2)
    assert state(s) == UNHEALTHY
    assert end.is_closed()
    assert trouble(s)[0].endswith(f"upstream timed out (110: Connection timed out) while {doing}")


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 O", ok(WELL, *GOOD)[:-1]])
def test_a_peer_that_ends_too_early(checking, sent):
    s = checking("match=m", http=MATCH)
    end = s.peers[0].accept()
    end.receives(asked(match=b"m"))
    end.send(sent)
    end.close()
    assert state(s) == UNHEALTHY
    assert "upstream prematurely closed connection while reading" in trouble(s)[0]


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 O", ok(WELL, *GOOD)[:-1]])
def test_a_peer_that_resets(checking, sent):
    s = checking("match=m", http=MATCH)
    end = s.peers[0].accept()
    end.receives(asked(match=b"m"))
    end.send(sent)
    end.reset()
    assert state(s) == UNHEALTHY
    assert "recv() failed (104: Connection reset by peer) while reading" in trouble(s)[0]


def test_a_tcp_check_only_connects(checking):
    s = checking("type=tcp", "mandatory")
    s.peers[0].accept().receives(b"").is_closed()
    assert state(s) == HEALTHY
    assert trouble(s)[0].endswith("peer is healthy while connecting to upstream")
    s.peers[0].refuse()
    s.advance(EVERY)
    assert state(s) == UNHEALTHY


def test_an_address_that_cannot_be_bound_says_nothing_about_the_peer(checking):
    s = checking(location='proxy_bind = "192.0.2.1"')
    assert state(s) == HEALTHY
    assert "bind(192.0.2.1:0) failed (99: Cannot assign requested address)" in trouble(s)[0]


# The peers that get requests.


def test_an_unhealthy_peer_gets_no_request_until_it_passes_again(checking):
    s = checking("passes=2", peers=2)
    check(s, DOWN, 0)
    check(s, ok(), 1)
    assert [answered_by(s) for _ in range(3)] == [1, 1, 1]
    for answer in (ok(), DOWN, ok()):
        s.advance(EVERY)
        check(s, answer, 0)
        check(s, ok(), 1)
        assert [answered_by(s) for _ in range(2)] == [1, 1]
    s.advance(EVERY)
    check(s, ok(), 0)
    check(s, ok(), 1)
    assert sorted(answered_by(s) for _ in range(4)) == [0, 0, 1, 1]


def test_the_only_peer_of_a_group_gets_none_either(checking):
    s = checking("fails=2")
    check(s, DOWN)
    assert answered_by(s) == 0
    s.advance(EVERY)
    check(s, DOWN)
    assert ask(s) == error_page(502)
    assert s.last_access()["upstream_addr"] == "app"
    assert any("no live upstreams while connecting to upstream" in line for line in s.error_log())
    s.advance(EVERY)
    check(s, ok())
    assert answered_by(s) == 0


def test_mandatory_peers_wait_for_their_first_check(checking):
    s = checking("mandatory", peers=2)
    assert [state(s, number) for number in (0, 1)] == [CHECKING] * 2
    assert ask(s) == error_page(502)
    end = s.peers[0].accept()
    check(s, ok(), 1)
    assert [answered_by(s) for _ in range(2)] == [1, 1]
    end.send(ok())
    assert sorted(answered_by(s) for _ in range(4)) == [0, 0, 1, 1]


def test_backups_take_over_from_primaries_that_are_unhealthy_and_are_checked_themselves(checking):
    s = checking(peers=2, peer_parameters=("", "backup = true"))
    check(s, DOWN, 0)
    check(s, ok(), 1)
    assert answered_by(s) == 1
    s.advance(EVERY)
    check(s, DOWN, 0)
    check(s, DOWN, 1)
    assert ask(s) == error_page(502)


def test_checks_do_not_count_as_requests_nor_as_failures(checking):
    s = checking(peers=2)
    check(s, DOWN, 0)
    check(s, ok(), 1)
    for peer in s.group().peers:
        assert (peer.connections, peer.health.fails, peer.idle) == (0, 0, [])


def test_a_request_that_waits_gets_the_peer_that_becomes_healthy(checking):
    s = checking("mandatory", upstream='queue = [10, "timeout=60s"]')
    client = s.client()
    client.send(get())
    client.receives_nothing()
    check(s, ok())
    end = s.peers[0].accept()
    end.receives_head()
    end.send(ok())
    client.receives(to_client())


def test_a_session_whose_peer_is_unhealthy_goes_elsewhere(checking):
    s = checking(peers=2, upstream='sticky = ["cookie", "srv"]')
    check(s, DOWN, 0)
    check(s, ok(), 1)
    client = s.client()
    client.send(get(b"/", b"Cookie: srv=" + s.group().peers[0].sid))
    end = s.peers[1].accept()
    end.receives_head()
    end.send(ok())
    client.receives_head()


def test_several_locations_may_check_and_each_check_has_its_say(checking):
    s = checking(
        locations='[http.server.location."/b"]\nproxy_pass = "http://app"\nhealth_check = ["uri=/b", "interval=7s"]',
    )
    first, second = s.peers[0].accept(), s.peers[0].accept()
    assert {first.receives_head(), second.receives_head()} == {asked(), asked(b"/b")}
    first.send(ok())
    second.send(DOWN)
    assert state(s) == UNHEALTHY
    s.advance(EVERY)
    check(s, ok())
    assert state(s) == UNHEALTHY
    s.advance(2.0)
    check(s, ok())
    assert state(s) == HEALTHY


METHODS = ("", "least_conn", "least_time header", "random", "random two", "ip_hash", "hash $arg_k", "hash $arg_k consistent")


@pytest.mark.parametrize("method", METHODS)
def test_no_method_chooses_an_unhealthy_peer_but_every_one_a_healthy_one(method):
    balancer = Balancer(f"{method}{';' if method else ''} {servers('', '', '')}", "health_check")
    group = balancer.group
    for peer in group.peers:
        assert isinstance(peer.health, CheckedHealth)
        peer.health.record.take_over()
    group.peers[1].health.record.set_unhealthy(0)
    addresses = [f"10.{number}.{number * 7 % 256}.1" for number in range(60)]
    seen = set()
    for number, address in enumerate(addresses):
        peer = balancer.pick(str(number), address)
        assert peer is not None
        seen.add(balancer.letter(peer))
        group.release(peer, ANSWERED)
    assert seen == {"a", "c"}
    for peer in group.peers:
        peer.health.record.set_unhealthy(0)
    assert balancer.pick("1") is None


# Coming back, coming new.


def test_slow_start_begins_when_a_check_finds_the_peer_healthy_again():
    balancer = Balancer(servers("slow_start=10s", ""), "health_check")
    group = balancer.group
    record = group.peers[0].health.record
    record.take_over()
    assert sorted(balancer.letters(10)) == list("aaaaabbbbb")
    record.set_unhealthy(0)
    balancer.clock.now += 100  # nobody asks in this worker meanwhile
    record.set_healthy(0, balancer.clock.now)
    assert balancer.letters(10) == "b" * 10
    balancer.clock.now += 5
    assert balancer.letters(30).count("a") == 10, "half of the weight"
    balancer.clock.now += 5
    assert balancer.letters(10).count("a") == 5
    assert balancer.letters(10).count("a") == 5, "once"


def test_a_peer_that_failed_its_requests_too_is_warmed_up_when_it_is_back():
    balancer = Balancer(servers("slow_start=10s max_fails=2", ""), "health_check")
    first = balancer.group.peers[0]
    first.health.record.take_over()
    while balancer.letter(peer := balancer.pick()) != "a":
        balancer.group.release(peer, ANSWERED)
    balancer.group.release(peer, FAILED)
    first.health.record.set_unhealthy(0)
    assert balancer.letters(4) == "bbbb"
    balancer.clock.now += 1
    first.health.record.set_healthy(0, balancer.clock.now)
    assert balancer.letters(6) == "b" * 6, "one failure is not forgotten, and yet it begins"


class Alone:
    """Locks where nobody else is."""

    def try_lock(self, word: int) -> bool:
        return True

    def unlock(self, word: int) -> None:
        pass


def test_a_peer_that_discovery_finds_is_checked_and_one_that_goes_is_not_any_more(checking):
    late = Peer()
    s = checking("mandatory")
    late.stage = s
    check(s, ok())
    group = s.group()
    line = group.peers[0].line
    here, there = (Endpoint(Address("127.0.0.1", int(peer.name.rpartition(":")[2]))) for peer in (s.peers[0], late))
    group.renewal.records = SharedRecords(
        s.worker.assignment.shared, PLACES_OFFSET, FIRST_LATE_PEER, MAX_LATE_PEERS, Alone(), private_records()
    )
    group.replace_peers(line, [here, there])
    assert state(s, 1) == CHECKING
    s.advance(0.3)
    late.accept().receives(asked()).send(ok())
    assert state(s, 1) == HEALTHY
    group.replace_peers(line, [there])
    s.advance(0.3)
    s.advance(EVERY)
    assert s.peers[0].is_unvisited(), "it is gone"
    end = late.accept()
    end.receives(asked())
    group.replace_peers(line, [])
    s.advance(0.3)
    assert end.is_closed(), "the check of a peer that goes is given up"
    late.close()


def test_a_worker_that_leaves_stops_checking_at_once(checking):
    s = checking(peers=2)
    ends = [peer.accept() for peer in s.peers]
    s.worker.drain()
    s.settle()
    for end in ends:
        assert end.receives(asked()).is_closed()
    s.advance(3 * EVERY)
    assert all(peer.is_unvisited() for peer in s.peers)
    assert not s.worker.checks.checkers[0].is_held


def test_a_successor_goes_on_where_its_predecessor_stopped(checking):
    s = checking()
    check(s, ok())
    s.advance(2.0)
    s.worker.checks.resign()
    s.advance(1.0)
    s.worker.checks.start()
    s.advance(1.9)
    assert s.peers[0].is_unvisited()
    s.advance(0.2)
    check(s, ok())


def test_a_bug_in_a_check_ends_neither_the_checks_nor_the_worker(checking, monkeypatch):
    import worker.upstream.checks.probe as probe

    s = checking()
    check(s, ok())
    judge_head = probe.judge_head
    monkeypatch.setattr(probe, "judge_head", lambda *_: 1 / 0)
    s.advance(EVERY)
    check(s, ok())
    assert s.bugs == [f"health check of {s.peers[0].name}: ZeroDivisionError: division by zero"]
    s.bugs.clear()
    monkeypatch.setattr(probe, "judge_head", judge_head)
    s.advance(EVERY - 1)
    assert s.peers[0].is_unvisited()
    s.advance(1.5)
    check(s, DOWN)
    assert state(s) == UNHEALTHY


def test_a_group_without_checks_pays_nothing(stage):
    group = stage(peers=2).group()
    assert group.is_simple
    assert not any(isinstance(peer.health, CheckedHealth) for peer in group.peers)
    sole = stage().group()
    assert sole.sole is sole.peers[0]
    assert stage().worker.checks.checkers == []


def test_an_unfinished_connect_is_given_up_when_the_worker_leaves(checking):
    s = checking(peers=[SilentPeer()])
    assert s.worker.checks.checkers[0].is_held
    s.worker.checks.resign()
    s.settle()
    assert not s.loop._streams


# Checks of gRPC servers.

ANSWERS = {
    "it serves": (
        lambda peer: (peer.head(1), peer.data(1, b"\0\0\0\0\2\x08\x01"), peer.trailers(1, ("grpc-status", "0"))),
        HEALTHY,
    ),
    "it does not serve": (
        lambda peer: (peer.head(1), peer.data(1, b"\0\0\0\0\2\x08\x02"), peer.trailers(1, ("grpc-status", "0"))),
        UNHEALTHY,
    ),
    "an empty message": (lambda peer: (peer.head(1), peer.data(1, bytes(5)), peer.trailers(1, ("grpc-status", "0"))), UNHEALTHY),
    "it knows no such call": (lambda peer: (peer.head(1, ("grpc-status", "12"), end=True),), UNHEALTHY),
    "no status": (lambda peer: (peer.head(1), peer.data(1, b"\0\0\0\0\2\x08\x01", end=True)), UNHEALTHY),
    "another status of HTTP": (lambda peer: (peer.head(1, ("grpc-status", "0"), status=503, end=True),), UNHEALTHY),
    "a reset": (lambda peer: (frame("RST_STREAM", 1, bytes(3) + b"\x02"),), UNHEALTHY),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_grpc_server_is_asked_whether_it_serves(calling, name):
    s = calling()
    peer = Http2Peer(s.peers[0].accept())
    head, data = peer.take()
    fields = dict(head.payload)
    assert (fields[b":method"], fields[b":path"]) == (b"POST", b"/grpc.health.v1.Health/Check")
    assert (fields[b"content-type"], fields[b"te"]) == (b"application/grpc", b"trailers")
    assert data.payload == bytes(5) and data.ends
    answer, expected = ANSWERS[name]
    peer.send(*answer(peer))
    assert state(s) == expected
    assert peer.end.is_closed(), "the connection is not in the pool of requests"
    assert s.group().idle_count == 0


def test_a_service_is_named_in_the_question(calling):
    s = calling("grpc_service=shop.Cart")
    peer = Http2Peer(s.peers[0].accept())
    assert peer.take()[1].payload == b"\0\0\0\0\x0b\x0a\x09shop.Cart"


def test_another_status_may_count_as_healthy(calling):
    s = calling("grpc_status=12")
    peer = Http2Peer(s.peers[0].accept())
    peer.take()
    peer.send(peer.head(1, ("grpc-status", "12"), end=True))
    assert state(s) == HEALTHY
    s.advance(EVERY)
    peer = Http2Peer(s.peers[0].accept())
    peer.take()
    peer.send(peer.head(1), peer.data(1, b"\0\0\0\0\2\x08\x01"), peer.trailers(1, ("grpc-status", "0")))
    assert state(s) == UNHEALTHY
    assert any("grpc-status 0" in line and "health check" in line for line in s.error_log())
