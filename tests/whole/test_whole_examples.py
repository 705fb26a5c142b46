"""Some of the deployments in tests/examples, started for real with other ports and asked as their clients would, in both syntaxes."""

import pytest
from recorder import Recorder, send_ok
from sites import Site
from wire import Wire, ask

from bench.ports import free_port
from tests.example_copies import copy_deployment, in_toml
from wproxy.config.convert import NGINX, TOML

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def backends():
    recorders = [Recorder().__enter__() for _ in range(2)]
    yield recorders
    for recorder in recorders:
        recorder.__exit__()


@pytest.fixture(autouse=True)
def clean_slates(backends):
    for backend in backends:
        backend.requests.clear()
        backend.reply = send_ok


@pytest.fixture(scope="module", params=[NGINX, TOML])
def deploy(request, tmp_path_factory):
    """deploy(NAME, PORT, WRITTEN=BACKEND...) starts a deployment, once; PORT is the one that it is written to listen on."""
    running = {}

    def deploy(name, port, others, files=()):
        if name not in running:
            ports = {port: free_port(), **{written: backend.port for written, backend in others.items()}}
            file = copy_deployment(name, tmp_path_factory.mktemp("examples"), ports)
            for path, content in dict(files).items():
                place = file.parent / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
            running[name] = Site(in_toml(file) if request.param == TOML else file, ports[port])
        return running[name]

    yield deploy
    for site in running.values():
        site.end()


# Grafana: under a path of its own


@pytest.fixture
def grafana(deploy, backends):
    return deploy("grafana", 8080, {3000: backends[0], 8081: backends[1]}, {"html/index.html": b"front"})


@pytest.mark.parametrize(
    ("target", "arrives", "backend"),
    [
        ("/grafana/d/abc?orgId=1", "/d/abc?orgId=1", 0),
        ("/grafana/", "/", 0),
        ("/grafana/api/live/push", "/api/live/push", 0),
        ("/render/d-solo/x?width=10", "/d-solo/x?width=10", 1),
    ],
)
def test_grafana_gets_its_own_paths(grafana, backends, target, arrives, backend):
    assert ask(grafana.port, target, host="metrics.example.com").status == 200
    received = backends[backend].one()
    assert received.target == arrives
    if not backend:
        assert received.all("host") == ["metrics.example.com"]


def test_grafana_without_its_slash_and_beside_it(grafana, backends):
    answer = ask(grafana.port, "/grafana")
    assert (answer.status, answer["location"]) == (301, f"http://test.example:{grafana.port}/grafana/")
    assert ask(grafana.port, "/").body == b"front"
    assert not backends[0].requests


def test_grafanas_live_socket_is_upgraded(grafana, backends):
    def accept(conversation, received):
        conversation.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nready")
        conversation.wait_for_end()

    backends[0].reply = accept
    with Wire(grafana.port) as wire:
        answer = wire.request("GET", "/grafana/api/live/ws", [("Connection", "Upgrade"), ("Upgrade", "websocket")])
        assert answer.status == 101
        assert wire._exactly(5) == b"ready"
    assert backends[0].one().all("connection") == ["upgrade"]


# A single page: one document for all routes

PAGE = b"<!doctype html><title>app</title>"


@pytest.fixture
def spa(deploy, backends):
    files = {"html/index.html": PAGE, "html/assets/app.12ab.js": b"let x", "html/i.png": b"png", "html/errors/50x.html": b"sorry"}
    return deploy("spa", 8080, {4000: backends[0]}, files)


@pytest.mark.parametrize("target", ["/", "/index.html", "/settings/profile"])
def test_every_route_of_a_single_page_is_the_document(spa, target):
    answer = ask(spa.port, target)
    assert (answer.status, answer.body, answer["content-type"]) == (200, PAGE, "text/html")
    assert "no-store, no-cache, must-revalidate" in answer.all("cache-control")
    assert answer["expires"] == "Thu, 01 Jan 1970 00:00:01 GMT"
    assert answer["content-security-policy"].startswith("default-src 'self'")
    assert answer["etag"] is None


def test_a_directory_is_found_by_try_files_and_has_nothing_to_show(spa):
    answer = ask(spa.port, "/assets")
    assert (answer.status, answer["location"]) == (301, "/assets/")
    assert ask(spa.port, "/assets/").status == 403


def test_assets_are_kept_as_long_as_the_map_says(spa):
    answer = ask(spa.port, "/assets/app.12ab.js")
    assert (answer.body, answer["content-type"]) == (b"let x", "application/javascript")
    assert answer["cache-control"] == "max-age=315360000"
    assert answer["expires"] == "Thu, 31 Dec 2037 23:55:55 GMT"
    assert ask(spa.port, "/i.png")["cache-control"] == "max-age=2592000"


def test_an_asset_that_is_missing_becomes_the_document_by_its_error_page(spa):
    answer = ask(spa.port, "/assets/gone.js")
    assert (answer.status, answer.body) == (200, PAGE)


def test_the_api_of_a_single_page_is_proxied(spa, backends):
    assert ask(spa.port, "/api/items?x=1").body == b"ok"
    assert backends[0].one().target == "/api/items?x=1"


# Next.js: variants by client


@pytest.fixture
def nextjs(deploy, backends):
    return deploy("nextjs", 8080, {3000: backends[0], 3100: backends[1]})


def test_a_client_always_gets_the_same_variant(nextjs, backends):
    agents = [f"agent {number}" for number in range(60)]
    for _ in range(2):
        for agent in agents:
            assert ask(nextjs.port, "/", fields=[("User-Agent", agent)]).status == 200
    stable, preview = ({received.all("user-agent")[0] for received in backend.requests} for backend in backends)
    assert stable | preview == set(agents)
    assert not stable & preview
    assert len(preview) < len(stable)
    assert {received.all("x-variant")[0] for received in backends[0].requests} == {"stable"}
    assert {received.all("x-variant")[0] for received in backends[1].requests} <= {"preview"}


def test_named_captures_are_rewritten_into_a_query(nextjs, backends):
    assert ask(nextjs.port, "/de/docs/getting-started").status == 200
    (received,) = [received for backend in backends for received in backend.requests]
    assert received.target == "/docs/getting-started?lang=de"


def test_a_preview_is_asked_for_by_an_argument(nextjs, backends):
    answer = ask(nextjs.port, "/page?preview=1")
    assert (answer.status, answer["x-preview"]) == (200, "on")
    assert backends[1].one().target == "/page?preview=1"
    assert answer["server"] == "wproxy"  # server_tokens off
