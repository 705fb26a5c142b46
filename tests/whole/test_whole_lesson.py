"""The lesson: each of its configurations, written out with local ports, serves as it says, in both syntaxes."""

import socket

import pytest
from harness import PATIENCE, until
from recorder import Recorder, send_ok
from sites import Site
from wire import Wire, ask, request_bytes

from bench.ports import free_port
from tests.example_copies import LESSON, copy_lesson, in_toml
from wproxy.config.convert import NGINX, TOML

pytestmark = pytest.mark.whole

STYLE = b"body { color: teal }\n"


class Lesson:
    """Starts configurations of the lesson in one syntax, each once."""

    def __init__(self, syntax, directory, apps):
        self.syntax = syntax
        self.directory = directory
        self.apps = apps
        self.running = {}
        self.root = directory / "static"
        self.root.mkdir()
        (self.root / "style.css").write_bytes(STYLE)
        (self.root / "logo.png").write_bytes(b"\x89PNG")
        (self.root / "page.html").write_bytes(b"not for the pool's clients")

    def serve(self, name) -> Site:
        if name not in self.running:
            self.running[name] = self.serve_afresh(name, name)
        return self.running[name]

    def serve_afresh(self, name, as_name) -> Site:
        port = free_port()
        places = {f"app{number}": f"127.0.0.1:{app.port}" for number, app in enumerate(self.apps, 1)}
        file = copy_lesson(name, self.directory / as_name, listen=f"127.0.0.1:{port}", root=self.root, **places)
        site = Site(in_toml(file) if self.syntax == TOML else file, port)
        self.running[as_name] = site
        return site

    def end(self):
        for site in self.running.values():
            site.end()


@pytest.fixture(scope="module")
def apps():
    """app1 to app4: each names itself in its answer."""
    recorders = [Recorder().__enter__() for _ in range(4)]
    yield recorders
    for recorder in recorders:
        recorder.__exit__()


@pytest.fixture(scope="module", params=[NGINX, TOML])
def lesson(request, tmp_path_factory, apps):
    lesson = Lesson(request.param, tmp_path_factory.mktemp(request.param), apps)
    yield lesson
    lesson.end()


@pytest.fixture(autouse=True)
def clean_slates(apps):
    for app in apps:
        app.requests.clear()
        app.reply = send_ok


def counts(apps) -> list[int]:
    """How many requests each has received."""
    return [len(app.requests) for app in apps]


def accept_upgrade(conversation, received):
    """What a websocket server does, as far as a proxy can see: 101 and then bytes both ways; without Upgrade an answer."""
    if not received.all("upgrade"):
        send_ok(conversation, received)
        return
    conversation.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    while data := conversation.sock.recv(65536):
        conversation.send(data.upper())
    conversation.close()


HANDSHAKE = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)


def test_every_configuration_of_the_lesson_is_served_here():
    assert LESSON == ["combined", "headers", "parameters", "pool", "uri-kept", "uri-stripped", "websocket"]


# proxy_pass: the core directive


@pytest.mark.parametrize(
    ("name", "target", "arrives"),
    [
        ("uri-kept", "/api/users", "/api/users"),
        ("uri-kept", "/api/users?page=2&q=a%20b", "/api/users?page=2&q=a%20b"),
        ("uri-kept", "/api/", "/api/"),
        ("uri-stripped", "/api/users", "/users"),
        ("uri-stripped", "/api/users?page=2&q=a%20b", "/users?page=2&q=a%20b"),
        ("uri-stripped", "/api/", "/"),
    ],
)
def test_the_trailing_slash_matters_enormously(lesson, apps, name, target, arrives):
    assert ask(lesson.serve(name).port, target, host="api.example.com").body == b"ok"
    assert apps[0].one().target == arrives


@pytest.mark.parametrize("name", ["uri-kept", "uri-stripped"])
def test_what_is_outside_of_the_location_is_not_forwarded(lesson, apps, name):
    assert ask(lesson.serve(name).port, "/other", host="api.example.com").status == 404
    assert counts(apps) == [0, 0, 0, 0]


# Essential proxy headers


def test_the_application_learns_who_asked_for_what(lesson, apps):
    answer = ask(lesson.serve("headers").port, "/page", host="shop.example.com:8080")
    assert answer.status == 200
    received = apps[0].one()
    assert received.line == "GET /page HTTP/1.1"
    assert received.all("host") == ["shop.example.com"]
    assert received.all("x-real-ip") == ["127.0.0.1"]
    assert received.all("x-forwarded-for") == ["127.0.0.1"]
    assert received.all("x-forwarded-proto") == ["http"]
    assert received.all("connection") == []


def test_x_forwarded_for_grows_and_x_real_ip_is_ours(lesson, apps):
    fields = [("X-Forwarded-For", "203.0.113.7, 10.0.0.1"), ("X-Real-IP", "203.0.113.7"), ("X-Forwarded-Proto", "https")]
    ask(lesson.serve("headers").port, "/", fields=fields)
    received = apps[0].one()
    assert received.all("x-forwarded-for") == ["203.0.113.7, 10.0.0.1, 127.0.0.1"]
    assert received.all("x-real-ip") == ["127.0.0.1"]
    assert received.all("x-forwarded-proto") == ["http"]


# Upstream pools


def test_each_request_goes_to_the_next_server(lesson, apps):
    with Wire(lesson.serve("pool").port) as wire:
        for turn in range(9):
            assert wire.request("GET", f"/{turn}", host="app.example.com").status == 200
    seen = sorted((int(received.target[1:]), place) for place, app in enumerate(apps) for received in app.requests)
    assert len(seen) == 9
    first = seen[0][1]
    assert [place for _, place in seen] == [(first + turn) % 3 for turn in range(9)]
    received = apps[0].requests[0]
    assert received.version == "HTTP/1.1"
    assert received.all("host") == ["app.example.com"]
    assert received.all("x-real-ip") == received.all("x-forwarded-for") == ["127.0.0.1"]
    assert received.all("connection") == []


def test_connections_to_the_pool_are_kept(lesson, apps):
    site = lesson.serve("pool")
    for _ in range(12):  # each over a connection of its own
        assert ask(site.port, "/", host="app.example.com").status == 200
    for app in apps[:3]:
        assert len(app.requests) == 4
        assert len({received.connection for received in app.requests}) == 1


def test_weights_are_heeded_and_the_backup_waits(lesson, apps):
    with Wire(lesson.serve("parameters").port) as wire:
        for _ in range(10):
            assert wire.request("GET", "/").status == 200
    assert counts(apps) == [6, 2, 0, 2]


def test_the_backup_serves_when_all_others_have_failed_as_often_as_they_may(lesson, apps):
    """max_fails is 1 for the first two, 3 for the last; nobody comes back within the test (fail_timeout 10 s and 30 s)."""
    for app in (apps[0], apps[1], apps[3]):
        app.reply = lambda conversation, received: conversation.close()
    site = lesson.serve_afresh("parameters", "failing")
    with Wire(site.port) as wire:
        for _ in range(12):
            assert wire.request("GET", "/").status == 200
    assert counts(apps) == [1, 1, 12, 3]


# Websockets


@pytest.mark.parametrize(("name", "host"), [("websocket", "ws.example.com"), ("combined", "app.example.com")])
def test_an_upgrade_becomes_a_channel_both_ways(lesson, apps, name, host):
    for app in apps:
        app.reply = accept_upgrade
    with Wire(lesson.serve(name).port) as wire:
        answer = wire.request("GET", "/ws/chat?room=1", HANDSHAKE, host=host)
        assert answer.status == 101
        assert (answer["upgrade"], answer["connection"].lower()) == ("websocket", "upgrade")
        for word in (b"hello", b"again"):
            wire.send(word)
            assert wire._exactly(5) == word.upper()
    (received,) = [received for app in apps for received in app.requests]
    assert received.line == "GET /ws/chat?room=1 HTTP/1.1"
    assert received.all("upgrade") == ["websocket"]
    assert received.all("connection") == ["upgrade"]
    assert received.all("host") == [host]
    assert received.all("sec-websocket-key") == ["dGhlIHNhbXBsZSBub25jZQ=="]


@pytest.mark.parametrize("name", ["websocket", "combined"])
def test_the_map_says_close_when_nobody_asks_to_upgrade(lesson, apps, name):
    answer = ask(lesson.serve(name).port, "/ws/")
    assert (answer.status, answer.body) == (200, b"ok")
    (received,) = [received for app in apps for received in app.requests]
    assert received.all("connection") == ["close"]
    assert received.all("upgrade") == []


def asked_from(address, port) -> None:
    """One request by a client of that address."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(address, 0)) as client:
        client.sendall(request_bytes("GET", f"/ws/{address}"))
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_ip_hash_keeps_a_client_on_the_same_server(lesson, apps):
    site = lesson.serve("websocket")
    clients = [f"127.{network}.7.{host}" for network in range(10, 26) for host in (1, 200)]
    for _ in range(2):
        for client in clients:
            asked_from(client, site.port)
    assert counts(apps)[2:] == [0, 0]
    one, other = ({received.target for received in app.requests} for app in apps[:2])
    assert one and other
    assert not one & other
    assert len(one | other) == len(clients)
    # The address counts without its last number: both clients of a network are together.
    networks = [{target.rpartition(".")[0] for target in targets} for targets in (one, other)]
    assert not networks[0] & networks[1]


# Static and proxied locations together


def test_assets_come_from_files_with_long_cache_headers(lesson, apps):
    answer = ask(lesson.serve("combined").port, "/style.css", host="app.example.com")
    assert (answer.status, answer.body, answer["content-type"]) == (200, STYLE, "text/css")
    assert answer.all("cache-control") == ["max-age=2592000", "public, immutable"]
    assert answer["expires"].endswith(" GMT")
    assert answer["etag"]
    answer = ask(lesson.serve("combined").port, "/LOGO.PNG", host="app.example.com")
    assert answer.status == 404  # the pattern takes it whatever its case; the file system does not
    assert counts(apps) == [0, 0, 0, 0]


def test_assets_that_are_known_already_are_not_sent_again(lesson):
    with Wire(lesson.serve("combined").port) as wire:
        tag = wire.request("GET", "/logo.png")["etag"]
        answer = wire.request("GET", "/logo.png", [("If-None-Match", tag)])
    assert (answer.status, answer.body) == (304, b"")


def test_pages_and_the_api_go_to_the_pool_even_where_there_is_a_file(lesson, apps):
    site = lesson.serve("combined")
    for target in ("/page.html", "/api/v1/users?x=1"):
        assert ask(site.port, target, host="app.example.com").body == b"ok"
    received = sorted((received for app in apps for received in app.requests), key=lambda received: received.target)
    assert [each.target for each in received] == ["/api/v1/users?x=1", "/page.html"]
    assert received[0].all("x-forwarded-for") == ["127.0.0.1"]
    assert received[0].all("connection") == []


def test_the_health_check_is_answered_directly(lesson, apps):
    answer = ask(lesson.serve("combined").port, "/health", host="app.example.com")
    assert (answer.status, answer.body, answer["content-type"]) == (200, b"ok\n", "text/plain")
    assert counts(apps) == [0, 0, 0, 0]


def test_assets_are_not_logged_and_pages_are(lesson):
    site = lesson.serve("combined")
    log = site.directory / "logs" / "access.log"
    ask(site.port, "/style.css?unseen")
    ask(site.port, "/a-page")
    until(lambda: "/a-page" in log.read_text(), "a line of the access log", 5)
    assert "unseen" not in log.read_text()
