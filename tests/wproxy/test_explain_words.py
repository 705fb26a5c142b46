"""The words of `wproxy explain`: what may be asked, where things stand, and how the answer is shown."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from wproxy.config.convert import NGINX, read_document
from wproxy.config.load import resolve_document
from wproxy.explain import CannotExplain, Explanation, Positions, as_json, as_text, read_field, read_question, read_url

HOUSE = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "text, scheme, host, port, authority, target",
    [
        ("http://example.com", "http", "example.com", 0, "example.com", "/"),
        ("http://example.com/", "http", "example.com", 0, "example.com", "/"),
        ("example.com/a", "http", "example.com", 0, "example.com", "/a"),
        ("localhost:8080", "http", "localhost", 8080, "localhost:8080", "/"),
        ("localhost:8080/a:b//c", "http", "localhost", 8080, "localhost:8080", "/a:b//c"),
        ("HTTPS://Example.com:8443/A?b#c", "https", "Example.com", 8443, "Example.com:8443", "/A?b"),
        ("http://x:80/", "http", "x", 80, "x", "/"),
        ("https://x:443/", "https", "x", 443, "x", "/"),
        ("https://x:80/", "https", "x", 80, "x:80", "/"),
        ("ws://x/chat", "ws", "x", 0, "x", "/chat"),
        ("http://x:/", "http", "x", 0, "x", "/"),
        ("http://x?a=/b", "http", "x", 0, "x", "/?a=/b"),
        ("http://x#/a", "http", "x", 0, "x", "/"),
        ("http://user:secret@x:81/a@b", "http", "x", 81, "x:81", "/a@b"),
        ("http://[::1]:8080/a", "http", "::1", 8080, "[::1]:8080", "/a"),
        ("http://[2001:db8::1]", "http", "2001:db8::1", 0, "[2001:db8::1]", "/"),
        ("http://b\u00fccher.example/\u00e9?\u00fc=%20", "http", "xn--bcher-kva.example", 0, "xn--bcher-kva.example", "/%C3%A9?%C3%BC=%20"),
        ("http://x/\udcff", "http", "x", 0, "x", "/%FF"),
        ('http://x/a"<>\\^`{|}', "http", "x", 0, "x", '/a"<>\\^`{|}'),
        ("http://x//a/../b/./%2e", "http", "x", 0, "x", "//a/../b/./%2e"),
    ],
)  # fmt: skip
def test_a_url_is_read_as_a_client_uses_it(text, scheme, host, port, authority, target):
    assert read_url(text) == (scheme, host, port, authority, target)


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", 'no host in the URL ""'),
        ("/path", 'no host in the URL "/path": write http://HOST:PORT/PATH'),
        ("http:///path", "no host in the URL"),
        ("http://:80/", "no host in the URL"),
        ("ftp://x/", 'unknown scheme "ftp" in the URL "ftp://x/"'),
        ("unix:/path", "write http://HOST/PATH and --listen unix:SOCKET"),
        ("http://x:0/", 'invalid port in the URL "http://x:0/"'),
        ("http://x:65536/", "invalid port in the URL"),
        ("http://x:a/", "invalid port in the URL"),
        ("http://::1/", "invalid port in the URL|no host"),
        ("http://[::1/", "invalid IPv6 address in the URL"),
        ("http://[x]/", "invalid IPv6 address in the URL"),
        ("http://[fe80::1%eth0]/", "invalid IPv6 address in the URL"),
        ("http://[::1]x/", "invalid host in the URL"),
        ("http://\u00e9..x/", "invalid host in the URL"),
        ("http://x/a b", 'a space or control character in the URL "http://x/a b"'),
        ("http://x/\r\nX: y", r"in the URL \"http://x/\\r\\nX: y\""),
        ("http://x/\0", r"in the URL \"http://x/\\x00\""),
    ],
)
def test_what_is_no_url_is_refused_in_one_line(text, complaint):
    with pytest.raises(CannotExplain, match=complaint) as caught:
        read_url(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "line, expected",
    [("A: b", ("A", "b")), ("A:b:c", ("A", "b:c")), ("A:", ("A", "")), ("a: \tb\t ", ("a", "b")), ("A B: c", ("A B", "c"))],
)
def test_a_header_field_is_name_and_value(line, expected):
    assert read_field(line) == expected


@pytest.mark.parametrize("line", ["A", "", ":", ": b", "A: b\r\nC: d", "A: b\n", "A\r: b", "A: \0"])
def test_what_is_no_header_field_is_refused_in_one_line(line):
    with pytest.raises(CannotExplain) as caught:
        read_field(line)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("method", ["", "GET /", "GET\r\n", "G\0T"])
def test_a_method_is_one_word(method):
    with pytest.raises(CannotExplain, match="invalid method"):
        read_question(method, "http://x/", [])


@pytest.mark.parametrize("client", ["", "x", "127.0.0.1:80", "[::1]", "::1%lo", "unix:/path"])
def test_a_client_is_an_address(client):
    with pytest.raises(CannotExplain, match="is no IP address"):
        read_question("GET", "http://x/", [], client)


def test_a_question_is_read_whole():
    question = read_question("PUT", "x:1/a", ["A: b", "C: d"], "::1", "unix:/s")
    assert (question.method, question.url.target, question.client, question.listen) == ("PUT", "/a", "::1", "unix:/s")
    assert question.fields == [("A", "b"), ("C", "d")]


# Where things stand.

TEXT = r"""events {}
http {
    map $host $one { default d; '' empty; \default escaped; ~^r(.)$ regex; same both; }
    map $host $two {
        default a;
        x       b;
    }
    map $host $two {
        x       c;
    }
    geo $remote_addr $three {
        default 0;
        10.0.0.0/8 1;
        11.0.0.0/8 1;
    }
    server {
        listen 8080;
        set $a b;
        if ($a) {
            set $c d;
            return 404;
        }
        location /x/ {
            if ($a) { break; }
            rewrite ^ /y;
            proxy_pass http://127.0.0.1:1;
        }
    }
}
"""


@pytest.fixture(scope="module")
def positions():
    document = read_document(TEXT.encode(), "f", NGINX)
    configuration = resolve_document(document, "f", "/", lambda host, port: [])
    return configuration, Positions(configuration, document.root)


@pytest.mark.parametrize(
    "kind, name, key, value, at",
    [
        ("map", "one", "", "empty", "f:3"),
        ("map", "two", "x", "c", "f:9"),
        ("map", "two", "default", "", "f:8"),  # the later one counts, and has no default
        ("geo", "three", None, "0", "f:12"),
        ("geo", "three", None, "1", "f:11"),  # two entries have that value
        ("geo", "nowhere", None, "1", ""),
    ],
)
def test_the_entry_of_a_table(positions, kind, name, key, value, at):
    assert positions[1].of_table(kind, name, key, value) == at


def test_the_steps_of_servers_locations_and_their_ifs(positions):
    configuration, found = positions
    server = configuration.servers[0]
    assert [found.of_step(step) for step in server.steps] == ["f:18", "f:19"]
    assert [found.of_step(step) for step in server.steps[1].steps] == ["f:20", "f:21"]
    location, slashless = server.locations.prefixes[b"/x/"], server.locations.exact[b"/x"]
    assert [found.of_step(step) for step in location.steps] == ["f:24", "f:25"]
    assert [found.of_step(step) for step in location.steps[0].steps] == ["f:24"]
    assert [found.of_step(step) for step in slashless.steps] == ["f:26"]
    assert found.of_step(object()) == ""


# How it is shown.


def explanation() -> Explanation:
    return Explanation(
        listener="127.0.0.1:80",
        listener_at="f:1",
        listener_why="because",
        server="s",
        server_at="f:2",
        server_why="it fits",
        steps=[
            {
                "kind": "location",
                "text": "location /a: the longest prefix",
                "at": "f:3",
                "considered": [
                    {"location": "/a", "at": "f:3", "why": "the longest prefix"},
                    {"location": "/b", "at": "f:4", "why": "prefix, does not match"},
                ],
            },
            {"kind": "redirect", "text": "elsewhere", "at": ""},
        ],
        location="/a",
        location_at="f:3",
        action="proxy_pass to http://x",
        action_at="f:5",
        upstream="x",
        upstream_at="f:6",
        peers=["127.0.0.1:1"],
        upstream_head="GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        added_fields=["A: b"],
        refusals=["no TLS"],
        settings=[
            {"block": "location", "name": "root", "value": "html", "from": "default", "effect": "yes"},
            {"block": "server", "name": "gzip", "value": "on", "from": "f:7", "effect": "no"},
        ],
    )


def test_people_get_lines():
    assert as_text(explanation()) == (
        "NOTE       wproxy would not start: no TLS\n"
        "listener   127.0.0.1:80 at f:1: because\n"
        "server     s at f:2: it fits\n"
        "  - location /a: the longest prefix (f:3)\n"
        "      /a (f:3): the longest prefix\n"
        "  - elsewhere\n"
        "location   /a at f:3\n"
        "action     proxy_pass to http://x (f:5)\n"
        "upstream   x at f:6\n"
        "    127.0.0.1:1\n"
        "the upstream receives\n"
        "    GET / HTTP/1.1\n"
        "    Host: x\n"
        "added to the response, if the upstream answers with 200\n"
        "    A: b\n"
        "settings (--all also lists defaults)\n"
        "    gzip  on  (f:7, server, accepted and not yet effective)\n"
    )


def test_all_of_it_has_what_does_not_match_and_what_is_default():
    shown = as_text(explanation(), all_of_it=True)
    assert "      /b (f:4): prefix, does not match\n" in shown
    assert shown.endswith("settings\n    root  html  (default)\n    gzip  on  (f:7, server, accepted and not yet effective)\n")


def test_programs_get_one_object_whose_keys_are_documented():
    found = json.loads(as_json(explanation()))
    assert list(found) == [field.name for field in fields(Explanation)]
    assert found["status"] is None
    page = (HOUSE / "docs" / "explain.md").read_text()
    for key in [*found, "kind", "text", "at", "considered", "why", "block", "name", "value", "from", "effect"]:
        assert f"`{key}`" in page, key


def test_odd_bytes_are_fit_for_any_terminal_and_any_reader():
    odd = Explanation(file="/\udcff\u00e9", location="\u2028")
    assert json.loads(as_json(odd))["file"] == "/\udcff\u00e9"
    assert as_json(odd).isascii()
