"""Where a request goes and as what: proxy_pass with and without a URI, locations, virtual servers, `return`."""

import pytest
from harness import Wproxy
from recorder import Recorder, send_ok
from wire import Wire, ask, request_bytes

pytestmark = pytest.mark.whole

# proxy.md §1.1, the rows without rewrite and variables: (location, URI part, target as sent, target as received).
TARGETS = (
    ("/api/", "", "/api/a%20b?q", "/api/a%20b?q"),
    ("/api2/", "/", "/api2/a%20b?q", "/a%20b?q"),
    ("/bare", "/", "/bare/x", "//x"),
    ("/bare", "/", "/barex", "/x"),
    ("/p/", "/new", "/p/a", "/newa"),
    ("/pq/", "/n?x=1", "/pq/a?q", "/n?x=1a?q"),
    ("= /e", "/ex", "/e?k", "/ex?k"),
    ("/s/", "/", "/s//x/./%2Fy", "/x/y"),
    ("/s/", "/", "/s/a%3Fb", "/a%3Fb"),
    # Without a URI part the bytes stay as they are, whatever the location was chosen by.
    ("/raw/", "", "/raw//x/./%2Fy/../z", "/raw//x/./%2Fy/../z"),
    ("/raw/", "", "http://elsewhere.example/raw/x?y", "/raw/x?y"),
    ("/raw/", "", "/raw/?", "/raw/?"),
)


@pytest.fixture(scope="module")
def backend():
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def front(tmp_path_factory, backend):
    locations = {location: uri for location, uri, _, _ in TARGETS}
    rows = "\n".join(f'location."{location}" = {{ proxy_pass = "{backend.url}{uri}" }}' for location, uri in locations.items())
    with Wproxy(
        tmp_path_factory.mktemp("routing"),
        f"""
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        {rows}
        [http.server.location."= /health"]
        return = [200, "well\\n"]
        [http.server.location."/old/"]
        return = [301, "/new/"]
        [http.server.location."/away/"]
        return = [302, "https://elsewhere.example$request_uri"]
        [http.server.location."= /silent"]
        return = 444
        [http.server.location."/default-headers/"]
        proxy_pass = "{backend.url}"
        [http.server.location."/hidden/"]
        proxy_pass = "{backend.url}"
        proxy_hide_header = ["X-Secret"]
        proxy_pass_header = ["Server"]

        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        server_name = ["other.example", "*.wild.example"]
        location."/" = {{ return = [200, "other $host $server_name"] }}
        """,
    ) as running:
        yield running


@pytest.mark.parametrize("location, uri, sent, received", TARGETS)
def test_the_upstream_gets_the_target_of_the_specification(front, backend, location, uri, sent, received):
    for _ in range(2):  # what was composed for the first is remembered for the second
        assert ask(front.port, sent).status == 200
        assert backend.one().target == received


def test_a_unix_socket_may_have_a_uri_part(start, tmp_path):
    path = str(tmp_path / "s.sock")
    with Recorder(path) as backend:
        front = start(
            f"""
            [[http.server]]
            listen = "127.0.0.1:{{port}}"
            location."/p/" = {{ proxy_pass = "http://unix:{path}:/uu/" }}
            """
        )
        assert ask(front.port, "/p/a").status == 200
        received = backend.one()
        assert received.target == "/uu/a"
        assert received.all("host") == ["localhost"]


def test_without_proxy_set_header_the_head_is_nginxs(front, backend):
    with Wire(front.port) as wire:
        wire.request("POST", "/default-headers/x", [("X-One", "1"), ("Accept", "*/*"), ("X-Two", "2")], b"body")
    received = backend.one()
    assert received.head.decode() == (
        f"POST /default-headers/x HTTP/1.1\r\nHost: 127.0.0.1:{backend.port}\r\nContent-Length: 4\r\n"
        "X-One: 1\r\nAccept: */*\r\nX-Two: 2"
    )
    assert received.body == b"body"


def test_the_slashless_form_of_a_proxied_location_is_redirected(front):
    answer = ask(front.port, "/api?x=1")
    assert answer.status == 301
    assert answer["location"] == f"http://test.example:{front.port}/api/?x=1"


def test_what_no_location_takes_is_not_found(front, backend):
    with Wire(front.port) as wire:
        for _ in range(2):
            answer = wire.request("GET", "/nowhere")
            assert answer.status == 404
            assert b"404 Not Found" in answer.body
            assert answer.keeps_alive
    assert not backend.requests


def test_return_answers_without_an_upstream(front):
    answer = ask(front.port, "/health")
    assert (answer.status, answer.body, answer["content-type"]) == (200, b"well\n", "text/plain")
    answer = ask(front.port, "/old/x")
    assert (answer.status, answer["location"]) == (301, f"http://test.example:{front.port}/new/")
    answer = ask(front.port, "/away/x?y")
    assert (answer.status, answer["location"]) == (302, "https://elsewhere.example/away/x?y")


def test_return_444_closes_without_a_word(front):
    with Wire(front.port) as wire:
        wire.send(request_bytes("GET", "/silent"))
        assert wire.is_closed_by_peer()
    assert front.logged("GET /silent").status == "444"


@pytest.mark.parametrize("host", ("other.example", "OTHER.example:99", "a.wild.example", "a.b.wild.example"))
def test_the_host_chooses_the_virtual_server(front, host):
    body = ask(front.port, "/", host=host).body.decode()
    assert body == f"other {host.lower().partition(':')[0]} other.example"


def test_the_authority_of_an_absolute_target_wins_over_host(front):
    assert ask(front.port, "http://other.example/", host="test.example").body == b"other other.example other.example"


def test_fields_of_the_upstream_pass_or_are_hidden(front, backend):
    backend.answer_with(
        b"HTTP/1.1 200 Fine\r\nServer: Apache\r\nX-Secret: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Accel-Expires: 5\r\n"
        b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nKeep-Alive: timeout=9\r\nX-Pad: x\r\nContent-Length: 2\r\n\r\nok"
    )
    answer = ask(front.port, "/default-headers/")
    assert answer.all("set-cookie") == ["a=1", "b=2"]
    assert answer["server"].startswith("wproxy/")
    assert answer["x-secret"] == "1"
    assert answer["x-accel-expires"] is answer["x-pad"] is answer["keep-alive"] is None
    assert "1970" not in answer["date"]
    answer = ask(front.port, "/hidden/")
    assert answer["x-secret"] is None
    assert answer["server"] == "Apache"
    backend.requests.clear()
    backend.reply = send_ok
