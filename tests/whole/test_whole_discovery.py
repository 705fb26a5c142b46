"""Names that change their addresses while wproxy serves: a name server beside it, backends on several addresses of one port."""

import re
import socket
import time

import pytest
from harness import Wproxy, until
from recorder import Recorder
from wire import Load, Wire, ask

from tests.name_server import NameServer, answer, refusal, service_record, silence
from wproxy.dns import SRV, A

pytestmark = pytest.mark.whole


class Backend(Recorder):
    """Says which address it has; a request to /slow takes a while."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self.listener.close()
        self.listener = socket.create_server((host, port), backlog=512)
        self.host, self.port = self.listener.getsockname()
        body = host.encode()

        def reply(conversation, received) -> None:
            if received.target == "/slow":
                time.sleep(0.05)
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        self.reply = reply


@pytest.fixture(scope="module")
def backends():
    with Backend("127.0.0.1", 0) as first, Backend("127.0.0.2", first.port) as second, Backend("127.0.0.3", first.port) as third:
        yield first, second, third


@pytest.fixture(scope="module")
def names():
    with NameServer().in_background() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(backends, names, tmp_path_factory):
    """One wproxy for all: /app follows a name, /service a service, and `Host` of /to names the target itself."""
    port = backends[0].port
    names.set_addresses("app.test", "127.0.0.1", ttl=1)
    names.zone["_http._tcp.app.test", SRV] = answer(service_record("_http._tcp.app.test", 1, 1, port, "app.test", ttl=1))
    names.set_addresses("checked.test", "127.0.0.1", ttl=1)
    names.zone["slow.test", A] = silence
    names.zone["broken.test", A] = refusal(2)
    http = f"""
        resolver = ["127.0.0.1:{names.port}", "ipv6=off"]
        resolver_timeout = "300ms"
        [http.upstream.app.server]
        "app.test:{port}" = {{ resolve = true }}
        [http.upstream.service.server]
        "app.test" = {{ resolve = true, service = "http" }}
        [http.upstream.checked.server]
        "checked.test:{port}" = {{ resolve = true }}
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        [http.server.location."/"]
        proxy_pass = "http://app"
        [http.server.location."/checked"]
        proxy_pass = "http://checked"
        health_check = ["interval=100ms", "mandatory"]
        [http.server.location."/service"]
        proxy_pass = "http://service"
        [http.server.location."/to"]
        proxy_pass = "http://$arg_host:{port}"
        """
    with Wproxy(tmp_path_factory.mktemp("discovery"), http) as wproxy:
        yield wproxy


def becomes(proxy, path: str, status: int, body: bytes | None = None):
    """Ask until all workers give this answer: until it comes so often in a row that one of two can hardly give all of them."""

    def is_so() -> bool:
        return all(found.status == status and body in (None, found.body) for found in (ask(proxy.port, path) for _ in range(12)))

    until(is_so, f"{status} {body!r} for {path}")


def test_the_first_request_finds_the_peers_that_only_a_name_server_knows(proxy, names):
    assert ask(proxy.port, "/").body == b"127.0.0.1"
    assert ask(proxy.port, "/service").body == b"127.0.0.1"


@pytest.mark.parametrize("path", ["/slow", "/"])
def test_a_name_changes_its_address_under_load_and_no_request_fails(proxy, names, backends, path):
    names.set_addresses("app.test", "127.0.0.1", ttl=1)
    becomes(proxy, "/", 200, b"127.0.0.1")
    with Load(proxy.port, clients=12, path=path) as load:
        load.wait_for(50)
        for wanted in (["127.0.0.2"], ["127.0.0.3"], ["127.0.0.3", "127.0.0.2"], ["127.0.0.1"]):
            load.bodies.clear()
            names.set_addresses("app.test", *wanted, ttl=1)
            until(lambda: all(load.bodies.get(address.encode()) for address in wanted), lambda: f"{wanted}: {load.bodies}")
    assert load.failures == []
    # When every worker has noticed, the connections to the others are closed and they get no more.
    becomes(proxy, "/", 200, b"127.0.0.1")
    for backend in backends[1:]:
        assert backend.connections
        until(lambda backend=backend: backend.ended == backend.connections, "an end of the connections to a peer that is gone")
    assert 'app.test has changed in upstream "app": +127.0.0.' in proxy.error_log


def test_a_name_that_is_gone_leaves_no_peer_and_comes_back(proxy, names):
    names.zone["app.test", A] = refusal(3)
    becomes(proxy, "/", 502)
    proxy.error_logged("no live upstreams while connecting to upstream")
    proxy.error_logged('app.test could not be resolved (3: Host not found) in upstream "app"')
    names.set_addresses("app.test", "127.0.0.2", ttl=1)
    becomes(proxy, "/", 200, b"127.0.0.2")
    names.set_addresses("app.test", "127.0.0.1", ttl=1)
    becomes(proxy, "/", 200, b"127.0.0.1")


def test_a_name_server_that_fails_changes_nothing(proxy, names):
    names.set_addresses("app.test", "127.0.0.1", ttl=1)
    becomes(proxy, "/", 200, b"127.0.0.1")
    asked = names.asked("app.test")
    names.zone["app.test", A] = refusal(2)
    until(lambda: names.asked("app.test") > asked + 3, "more questions")
    assert ask(proxy.port, "/").body == b"127.0.0.1"
    names.set_addresses("app.test", "127.0.0.1", ttl=1)


def test_a_target_that_the_request_names_is_resolved(proxy, names):
    names.set_addresses("target.test", "127.0.0.2", ttl=1)
    with Wire(proxy.port) as wire:
        assert wire.request("GET", "/to?host=target.test").body == b"127.0.0.2"
        asked = names.asked("target.test")
        assert wire.request("GET", "/to?host=TARGET.test").body == b"127.0.0.2"
        assert names.asked("target.test") == asked
        names.set_addresses("target.test", "127.0.0.3", ttl=1)
        until(lambda: wire.request("GET", "/to?host=target.test").body == b"127.0.0.3", "the new address")


@pytest.mark.parametrize(
    ("host", "reason"),
    [("no.test", "3: Host not found"), ("slow.test", "110: Operation timed out"), ("broken.test", "2: Server failure")],
)
def test_a_target_that_cannot_be_resolved_is_a_502_with_the_reason(proxy, host, reason):
    found = ask(proxy.port, f"/to?host={host}")
    assert found.status == 502
    assert f"{host} could not be resolved ({reason}), client: 127.0.0.1, server: " in proxy.error_logged(f"{host} could not be")
    logged = proxy.logged(f"host={host}")
    assert logged.cause.startswith(f"resolver: {host} could not be resolved ({reason})")
    assert logged.upstream == "-"
    assert ("(resolver_timeout 0.3: " in logged.cause) == (host == "slow.test")


def test_a_client_that_leaves_while_its_target_is_looked_up_is_a_499(proxy, names):
    wire = Wire(proxy.port)
    wire.sock.sendall(b"GET /to?host=slow.test&leaving HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: names.asked("slow.test"), "a question")
    wire.close()
    assert proxy.logged("leaving").status == "499"


def test_without_a_resolver_a_target_by_name_is_refused(start, backends):
    wproxy = start("""
        [[http.server]]
        listen = "127.0.0.1:{port}"
        [http.server.location."/"]
        proxy_pass = "http://$arg_host:1"
        """)
    assert ask(wproxy.port, "/?host=app.test").status == 502
    wproxy.error_logged("no resolver defined to resolve app.test, client: ")


def test_new_peers_share_their_health_with_all_workers(proxy, names, backends):
    """Two addresses that nobody knew at the start, one of them dead: all workers together try it about once."""
    names.set_addresses("app.test", "127.0.0.1", "127.0.0.77", ttl=1)
    until(lambda: len(re.findall('in upstream "app":.* [+]127.0.0.77:', proxy.error_log)) >= 2, "both workers")
    with Load(proxy.port, clients=8) as load:
        load.wait_for(400)
    assert load.failures == []
    # One attempt, and one more for each worker that had chosen it at that moment.
    attempts = len(re.findall(r"connect\(\) .*127.0.0.77", proxy.error_log))
    assert 1 <= attempts <= 3, proxy.error_log[-3000:]
    names.set_addresses("app.test", "127.0.0.1", ttl=1)


def test_new_peers_get_nothing_in_any_worker_before_they_have_passed_a_check(proxy, names):
    """The worker that checks finds them healthy or not, and every other one, which has found them for itself, knows."""
    becomes(proxy, "/checked", 200, b"127.0.0.1")
    names.set_addresses("checked.test", "127.0.0.2", "127.0.0.78", ttl=1)
    until(lambda: len(re.findall('in upstream "checked":.* [+]127.0.0.78:', proxy.error_log)) >= 2, "both workers")
    becomes(proxy, "/checked", 200, b"127.0.0.2")
    proxy.error_logged('peer is unhealthy while connecting to upstream, health check "" of peer 127.0.0.78:')
    with Load(proxy.port, clients=8, path="/checked") as load:
        load.wait_for(200)
    assert load.failures == []
    assert set(load.bodies) == {b"127.0.0.2"}
    assert not re.search("connect.* client: .*127.0.0.78", proxy.error_log), "no request was sent there"


def test_a_reload_while_the_name_servers_are_down_leaves_the_peers_where_they_are(proxy, names):
    names.set_addresses("app.test", "127.0.0.1", ttl=1)
    becomes(proxy, "/", 200, b"127.0.0.1")
    before = proxy.worker_pids()
    names.zone["app.test", A] = refusal(2)
    try:
        assert proxy.reload().code == 0
        until(lambda: not before & proxy.worker_pids() and len(proxy.worker_pids()) == 2, "new workers")
        asked = names.asked("app.test")
        assert [ask(proxy.port, "/").status for _ in range(12)] == [200] * 12
        until(lambda: names.asked("app.test") > asked, "a question")
        assert [ask(proxy.port, "/").status for _ in range(12)] == [200] * 12
    finally:
        names.set_addresses("app.test", "127.0.0.1", ttl=1)
    becomes(proxy, "/", 200, b"127.0.0.1")
