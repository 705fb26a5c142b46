"""`wproxy explain` beside a worker: whatever it says of a request, a worker of this process does, byte for byte."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conversation import Stage
from like_nginx import Echo

from tests.authority import authority
from tests.proxy_rows import HEAD_ROWS, MAP, URI_ROWS
from worker.explain import explain
from wproxy.config.convert import NGINX, TOML, convert, read_document
from wproxy.config.load import resolve_document
from wproxy.explain import CannotExplain, Explanation, Positions, Way, as_text, read_question
from wproxy.variables import hear_complaints


class Backend(Echo):
    """Keeps the heads that it receives."""

    def __init__(self, directory: Path) -> None:
        self.heads: list[bytes] = []
        super().__init__(directory)

    def _answer(self, head: bytes, body: bytes) -> bytes:
        self.heads.append(head + b"\r\n\r\n")
        return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    def one(self) -> str:
        [head] = self.heads
        self.heads.clear()
        return head.decode("latin-1")


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    made = Backend(tmp_path)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _complaints() -> Iterator[None]:
    yield
    hear_complaints(lambda request, level, text: None)


def no_look_up(host: str, port: int) -> list:
    raise OSError(host)


def asked(conf: str, url: str, *fields: str, method: str = "GET", directory: str = "/", **more: str) -> Explanation:
    """The explanation of a request by a configuration of nginx's."""
    document = read_document(conf.encode(), "t.conf", NGINX)
    configuration = resolve_document(document, "t.conf", directory, no_look_up)
    return explain(configuration, Positions(configuration, document.root), read_question(method, url, fields, **more))


def site(http: str, servers: list[str]) -> str:
    """A configuration with a server for each of these, called r0, r1, ..."""
    blocks = "\n".join(f"server {{ listen 127.0.0.1:8080; server_name r{n}; {inside} }}" for n, inside in enumerate(servers))
    return f"error_log DIR/error.log warn;\nevents {{}}\nhttp {{ access_log off; {http}\n{blocks}\n}}\n".replace("NAME", "$host")


def fill(text: str, backend: Backend, number: int = 0) -> str:
    return text.replace("BACK", backend.name).replace("SOCK", backend.path).replace("NAME", f"r{number}")


def staged(make: Callable[..., Stage], conf: str) -> Stage:
    """A worker on the same configuration, as TOML."""
    text = convert(conf.encode(), NGINX, TOML, "t.conf").decode()
    return make(peers=0, text=text.replace("{", "{{").replace("}", "}}"))


def exchange(front: Stage, method: str, target: str, fields: tuple[str, ...], body: bytes = b"") -> str:
    """What a client gets."""
    client = front.client()
    lines = [f"{method} {target} HTTP/1.1", *fields]
    client.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    assert client.is_closed(), (method, target)
    received = bytes(client.received).decode("latin-1")
    client.close()
    return received


# The upstream receives what explain says, and what the specification says.


def test_every_uri_of_the_specification(stage, backend, tmp_path):
    conf = fill(site("", [row.server for row in URI_ROWS]), backend).replace("DIR", str(tmp_path))
    front = staged(stage, conf)
    for number, row in enumerate(URI_ROWS):
        fields = (f"Host: r{number}", "Connection: close")
        assert exchange(front, "GET", fill(row.target, backend, number), fields).startswith("HTTP/1.1 200 OK\r\n"), row
        head = backend.one()
        assert head.split(" ")[1] == row.received, row
        if row.target.startswith("/"):  # no URL says that the target is to be a whole URL
            found = asked(conf, f"http://r{number}:8080{row.target}", *fields)
            assert found.upstream_head == head, row
            assert found.action_kind == "proxy"
            assert found.upstream in (backend.name, f"unix:{backend.path}")


def test_every_head_of_the_specification(stage, backend, tmp_path):
    conf = fill(site(MAP, [row.server for row in HEAD_ROWS]), backend).replace("DIR", str(tmp_path))
    front = staged(stage, conf)
    for number, row in enumerate(HEAD_ROWS):
        fields = (f"Host: r{number}", "Connection: close", *row.fields)
        length = next((int(field[16:]) for field in row.fields if field.startswith("Content-Length: ")), 0)
        found = asked(conf, f"http://r{number}:8080/h/x?q", *fields, method=row.method)
        assert exchange(front, row.method, "/h/x?q", fields, b"x" * length).startswith("HTTP/1.1 200 OK\r\n"), row
        head = backend.one()
        assert head == "\r\n".join([*(fill(line, backend, number) for line in row.received), "", ""]), row
        assert found.upstream_head == head, row


# The client receives what explain says.

CASES = [
    ("location / { return 200 hello; }", "/"),
    ("location / { return 200 $arg_a; default_type text/x; add_header X-A $host; add_header X-B b always; }", "/?a=b"),
    ("location / { return 404; add_header X-A a; add_header X-B b always; }", "/"),
    ("location / { return 444; }", "/"),
    ("location / { return 301 /other?$args; }", "/?a=b"),
    ("location / { return 302 https://elsewhere/$uri; }", "/a%20b"),
    ("return 307 $scheme://x$request_uri;", "/a//b"),
    ("location /p/ { proxy_pass http://BACK; }", "/p?a"),
    ("root DIR/www;", "/a.html"),
    ("root DIR/www; expires epoch; etag off;", "/a.html"),
    ("root DIR/www; expires max; add_header Cache-Control public;", "/a.html"),
    ("root DIR/www;", "/big.bin"),
    ("root DIR/www;", "/dir"),
    ("root DIR/www;", "/dir/"),
    ("root DIR/www;", "/dir2/"),
    ("root DIR/www;", "/none"),
    ("location /al/ { alias DIR/www/; }", "/al/a.html"),
    ("root DIR/www; location / { try_files $uri $uri.html =410; }", "/a"),
    ("root DIR/www; location / { try_files $uri $uri/ =410; }", "/b"),
    ("root DIR/www; error_page 404 /a.html;", "/none"),
    ("root DIR/www; error_page 404 =200 /a.html;", "/none"),
    ("error_page 404 https://x/y; location / { return 404; }", "/"),
    ("error_page 404 @n; location @n { return 201 named; } location / { internal; }", "/"),
    ("rewrite ^/a/(.*) /b/$1; location /b/ { return 200 $uri; }", "/a/x"),
    ("rewrite ^/a/(.*) /b/$1 permanent;", "/a/x?y"),
    ("location / { rewrite ^ /again/$uri; }", "/x"),
    ("location / { if ($arg_a) { return 403; } return 200 $http_x; }", "/?a"),
    ("location / { if ($http_x = y) { set $b c; } return 200 $b; }", "/"),
    ("location / { limit_except GET { allow all; } return 405; }", "/"),
    ("location ~ ^/(?<word>\\w+)$ { return 200 $word-$1; }", "/word"),
    ("location / { proxy_pass http://BACK; proxy_set_header X $arg_a; } location /x/ { internal; }", "/x/"),
    ("keepalive_timeout 0; location / { return 204; }", "/"),
    ("server_tokens off; location / { return 200; add_trailer X-T t; }", "/"),
]  # fmt: skip

_VOLATILE = re.compile(r"\r\n(?:Date|Expires): [^\r]*")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    www = tmp_path / "www"
    (www / "dir").mkdir(parents=True)
    (www / "dir2").mkdir()
    (www / "a.html").write_text("<p>a")
    (www / "dir" / "index.html").write_text("<p>index")
    (www / "big.bin").write_bytes(b"x" * 200_000)
    os.utime(www / "a.html", (10**9, 10**9))
    return tmp_path


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_answer_is_the_one_that_a_client_gets(stage, backend, files, method):
    conf = fill(site("", [server for server, _ in CASES]), backend).replace("DIR", str(files))
    front = staged(stage, conf)
    seen = set()
    for number, (server, target) in enumerate(CASES):
        fields = (f"Host: r{number}", "Connection: close")
        found = asked(conf, f"http://r{number}:8080{target}", *fields, method=method)
        received = exchange(front, method, target, fields)
        head, blank, body = received.partition("\r\n\r\n")
        assert _VOLATILE.sub("", found.response_head) == _VOLATILE.sub("", head + blank), (server, target)
        assert found.status == (int(received[9:12]) if received else 444)
        assert f"Location: {found.redirect}\r\n" in head + "\r\n" if found.redirect else "Location:" not in head
        assert all(f"\r\n{field}" in head for field in found.added_fields), (server, found.added_fields, head)
        if found.action_kind == "file" and method == "GET":
            assert Path(found.file).read_text() == body
        seen.add(found.action_kind)
        assert backend.heads == []
    assert seen >= {"close", "error", "redirect", "return"} | ({"file"} if method != "POST" else set())


def test_a_body_that_is_too_large_is_refused_for_its_length(stage, tmp_path, backend):
    conf = fill(site("client_max_body_size 1k;", ["location / { proxy_pass http://BACK; client_max_body_size 10; }"]), backend)
    conf = conf.replace("DIR", str(tmp_path))
    front = staged(stage, conf)
    fields = ("Host: r0", "Connection: close", "Content-Length: 11")
    found = asked(conf, "http://r0:8080/", *fields, method="PUT")
    client = front.client().send(("\r\n".join(["PUT / HTTP/1.1", *fields, "", ""])).encode() + b"x" * 11)
    head = bytes(client.pull_all()).decode().partition("\r\n\r\n")[0] + "\r\n\r\n"
    assert _VOLATILE.sub("", found.response_head) == _VOLATILE.sub("", head)
    assert (found.status, found.action_kind) == (413, "error")
    assert "client_max_body_size 10: t.conf:4" in found.action
    assert found.log == [line for line in found.log if "client intended to send too large body: 11 bytes" in line] != []
    written = Path(tmp_path, "error.log").read_text()
    assert [re.sub(r" \(client_max.*", "", line.partition("*1 ")[2]) for line in written.splitlines()] == [
        re.sub(r" \(client_max.*", "", line.partition("] ")[2]) for line in found.log
    ]


# Why.

WHY = r"""error_log e.log info;
events {}
http {
    map $http_upgrade $cu {
        default upgrade;
        ''      close;
    }
    geo $g { default 0;
        127.0.0.0/8 1; }
    split_clients $remote_addr $half {
        100% all; }
    add_header X-Http http;
    upstream app {
        server 127.0.0.1:9001 weight=3;
        server 127.0.0.1:9002 backup;
        keepalive 8;
    }
    upstream dead { server 127.0.0.1:9003 down; }
    server {
        listen 127.0.0.1:8080;
        server_name first .dotted.example *.example.org
            www.* ~^w(?<digits>\d+)\.net$;
        error_page 404 =200 /fallback;
        rewrite ^/old/(.*) /new/$1;
        if ($arg_stop) {
            set $why "$arg_stop";
            return 410;
        }
        location / { proxy_pass http://dead; }
        location /api { }
        location /api/ {
            proxy_set_header X-Map $cu;
            proxy_set_header X-Geo $g$half;
            proxy_pass http://app/;
            location ~ \.none$ { }
            location ~ \.cut$ { return 200; }
            location ~ \.cut$ { return 201; }
        }
        location ^~ /static/ { try_files $uri /x/$uri =404; }
        location ~ \.php$ { return 200 php; }
        location = /exact { internal; }
        location /only/ { limit_except GET { proxy_pass http://dead; } return 405; }
        location /fallback { return 200; }
        location ~ ^/slow/(a+)+$ { }
    }
    server {
        listen 127.0.0.1:8080 default_server;
        listen unix:/tmp/explain.sock;
        listen [::1]:8080;
        listen 8081;
    }
    server { listen 8081; server_name ~^(a+)+$; }
}
"""


def why(url: str, *fields: str, **more: str) -> Explanation:
    return asked(WHY, f"http://{url}", *fields, **more)


@pytest.mark.parametrize(
    "host, kind, name, line",
    [
        ("first", "exact", "first", 21),
        ("FIRST.", "exact", "first", 21),
        ("dotted.example", "exact", ".dotted.example", 21),
        ("a.dotted.example", "wildcard", ".dotted.example", 21),
        ("a.b.example.org", "wildcard", "*.example.org", 21),
        ("www.any", "wildcard", "www.*", 21),
        ("w12.net", "regex", r"~^w(?<digits>\d+)\.net$", 21),
    ],
)
def test_the_server_is_named_with_the_name_that_matched(host, kind, name, line):
    found = why(f"{host}:8080/exact")
    assert (found.server_kind, found.server_name) == (kind, name)
    assert found.server_name_at == f"t.conf:{line + (found.server_name_at[-1] == '2')}"
    assert found.server_at == "t.conf:19"
    assert f'"{name}"' in found.server_why


def test_the_default_server_is_told_from_the_others():
    found = why("nobody:8080/")
    assert (found.server_kind, found.server_name, found.server_at) == ("default", "", "t.conf:46")
    assert found.server_why == 'no server_name fits "nobody": the default server (t.conf:47)'
    assert why("nobody:8081/").server_why.endswith("the default server, since it is the first")


@pytest.mark.parametrize(
    "url, listen, address, reason",
    [
        ("127.0.0.1:8080/", "", "127.0.0.1:8080", "it listens on that address"),
        ("localhost:8080/", "", "127.0.0.1:8080", "it listens on that address"),
        ("[::1]:8080/", "", "[::1]:8080", "it listens on that address"),
        ("first:8080/", "", "127.0.0.1:8080", "it listens on port 8080"),
        ("first:8081/", "", "0.0.0.0:8081", "it listens on port 8081 of all addresses"),
        ("10.1.2.3:8081/", "", "0.0.0.0:8081", "it listens on port 8081 of all addresses"),
        ("first/", "", "127.0.0.1:8080", "nothing listens on port 80 and the URL names none: the first listener"),
        ("first/", "unix:/tmp/explain.sock", "unix:/tmp/explain.sock", "it was asked for"),
        ("first/", "[::1]:8080", "[::1]:8080", "it was asked for"),
        ("first:9/", "*:8081", "0.0.0.0:8081", "it was asked for"),
    ],
)
def test_the_listener_and_why(url, listen, address, reason):
    found = why(url, listen=listen)
    assert (found.listener, found.listener_why) == (address, reason)
    assert re.fullmatch(r"t\.conf:(20|4[789]|50)", found.listener_at)


@pytest.mark.parametrize(
    "url, listen, complaint",
    [
        ("first:82/", "", r"nothing listens on port 82: there is 127\.0\.0\.1:8080, .*--listen ADDRESS chooses one"),
        ("10.0.0.1:8080/", "", r"nothing listens on 10\.0\.0\.1 port 8080: there is "),
        ("[::2]:8081/", "", "nothing listens on ::2 port 8081: "),
        ("first/", "unix:/nope", 'nothing listens on "unix:/nope": there is '),
        ("first/", "a b", 'invalid host in "a b"'),
        ("first/", "1:2:3", "there is 127"),
    ],
)
def test_where_nothing_listens_nothing_is_explained(url, listen, complaint):
    with pytest.raises(CannotExplain, match=complaint) as caught:
        why(url, listen=listen)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "method, target, fields, complaint",
    [
        ("get", "/", (), "the request is refused with 400: client sent invalid method"),
        ("TRACE", "/", (), "the request is refused with 405: "),
        ("GET", "/../..", (), "the request is refused with 400: client sent invalid request"),
        ("GET", "/%zz", (), "the request is refused with 400: client sent invalid request"),
        ("GET", "/", ("Host: a/b",), "the request is refused with 400: client sent invalid host header"),
        ("GET", "/", ("Host: a", "host: b"), "the request is refused with 400: client sent duplicate h(ost|eader)"),
        ("GET", "/", ("A B: c",), 'the request is refused with 400: client sent invalid header line: "A B: c"'),
        ("GET", "/", ("Content-Length: -1",), 'the request is refused with 400: client sent invalid "Content-Length" header'),
        ("GET", "/", (f"X: {'x' * 9000}",), "the request is refused with 494|400: client sent too"),
    ],
)
def test_a_request_that_would_not_be_read_is_refused_in_the_same_words(method, target, fields, complaint):
    with pytest.raises(CannotExplain, match=complaint) as caught:
        why(f"first:8080{target}", *fields, method=method)
    assert "\n" not in str(caught.value)


def test_a_refusal_that_has_an_error_page_is_a_refusal_all_the_same():
    text = "events {}\nhttp { server { listen 8080; server_name a; error_page 400 /e; location = /e { return 200 x; } } }"
    with pytest.raises(CannotExplain, match="the request is refused with 400: client sent invalid request"):
        asked(text, "http://a:8080/%00")


def considered(found: Explanation) -> list[tuple[str, str, str]]:
    """The result of the first search for a location: another may follow for an error page."""
    step = next(step for step in found.steps if step["kind"] == "location")
    return [(one["location"], one["at"].removeprefix("t.conf:"), one["why"]) for one in step["considered"]]


def test_every_location_is_considered_for_a_reason():
    found = why("first:8080/api/x.cut")
    assert (found.location, found.location_at, found.location_why) == (r"~ \.cut$", "t.conf:36", "regex, matches")
    assert considered(found) == [
        ("= /exact", "41", "exact, is another URI"),
        ("/", "29", "a shorter prefix"),
        ("/api", "30", "a shorter prefix"),
        ("^~ /static/", "39", "prefix, does not match"),
        ("/only/", "42", "prefix, does not match"),
        ("/fallback", "43", "prefix, does not match"),
        ("/api/", "31", "the longest prefix"),
        (r"~ \.none$", "35", "regex, does not match"),
        (r"~ \.cut$", "36", "regex, matches"),
        (r"~ \.cut$", "37", "regex, is not asked"),
    ]
    static = why("first:8080/static/a.php")
    assert ("^~ /static/", "39", "the longest prefix, and no regex is asked") in considered(static)
    assert (r"~ \.php$", "40", "regex, is not asked") in considered(static)
    assert (r"~ \.php$", "40", "regex, matches") in considered(why("first:8080/api/a.php"))
    assert considered(why("first:8080/exact")) == [("= /exact", "41", "exact")]


def steps(found: Explanation) -> list[tuple[str, str, str]]:
    return [
        (step["kind"], step["text"], step["at"].removeprefix("t.conf:")) for step in found.steps if step["kind"] != "location"
    ]


def test_steps_are_told_in_order_with_their_lines():
    found = why("first:8080/old/x?stop=now")
    assert steps(found) == [
        ("rewrite", 'rewrite ^/old/(.*): "/old/x" becomes "/new/x?stop=now"', "24"),
        ("if", "if ($arg_stop): true", "25"),
        ("set", 'set $why to "now"', "26"),
        ("return", "return 410", "27"),
    ]
    assert (found.status, found.action_kind, found.action_at) == (410, "error", "t.conf:27")
    assert found.location == "(the server itself)"


def test_tables_are_told_with_the_line_of_the_entry():
    texts = {step[0]: step[1:] for step in steps(why("first:8080/api/x"))}
    assert texts["map"] == ('map $cu: "" gives "close" by ""', "6")
    assert texts["geo"] == ('geo $g: "127.0.0.1" gives "1"', "9")
    assert texts["split_clients"] == ('split_clients $half: "127.0.0.1" gives "all"', "11")
    texts = {step[0]: step[1:] for step in steps(why("first:8080/api/x", "Upgrade: x", client="10.0.0.1"))}
    assert texts["map"] == ('map $cu: "x" gives "upgrade" by default', "5")
    assert texts["geo"] == ('geo $g: "10.0.0.1" gives "0"', "8")


def test_files_that_are_looked_for_and_the_error_page_that_answers():
    found = why("first:8080/static/a", directory="/nowhere/")
    kinds = [(kind, line) for kind, _, line in steps(found)]
    assert kinds[2:7] == [("try_files", "39"), ("try_files", "39"), ("try_files", "39"), ("error_page", "23"), ("redirect", "")]
    assert steps(found)[2][1] == "try_files: /nowhere/html/static/a is not there"
    assert steps(found)[4][1] == "try_files: =404"
    assert (found.location, found.status, found.action_kind) == ("/fallback", 200, "return")


def test_the_redirect_that_nobody_wrote_is_told_as_such():
    conf = "events {} http { server { listen 8080;\nlocation /p/ {\nproxy_pass http://127.0.0.1:1;\n} } }"
    found = asked(conf, "http://x:8080/p?a")
    assert (found.location, found.location_at) == ("= /p (made by the proxy_pass of /p/)", "t.conf:2")
    assert (found.redirect, found.action_at) == ("http://x:8080/p/?a", "t.conf:3")


def test_the_upstream_is_told_with_its_peers_and_settings():
    found = why("first:8080/api/x")
    assert (found.upstream, found.upstream_at) == ("app", "t.conf:13")
    assert found.peers == ["127.0.0.1:9001 weight=3", "127.0.0.1:9002 backup"]
    assert (found.action, found.action_at, found.status) == ("proxy_pass to http://app/", "t.conf:34", None)
    assert found.added_fields == ["X-Http: http"]
    settings = {(one["block"], one["name"], one["value"]): one["from"] for one in found.settings}
    assert settings["upstream", "keepalive", "8"] == "t.conf:16"
    assert settings["upstream", "keepalive_timeout", "60s"] == "default"
    assert settings["location", "proxy_set_header", "X-Map $cu"] == "t.conf:32"
    assert settings["location", "proxy_set_header", "X-Geo $g$half"] == "t.conf:33"
    assert settings["location", "add_header", "X-Http http"] == "t.conf:12"
    assert settings["location", "error_page", "404 =200 /fallback"] == "t.conf:23"
    assert settings["location", "proxy_read_timeout", "60s"] == "default"
    assert settings["server", "merge_slashes", "on"] == "default"


def test_without_a_live_peer_the_answer_is_502():
    found = why("first:8080/x")
    assert (found.status, found.upstream, found.upstream_head, found.action_kind) == (502, "dead", "", "error")
    assert any("no live upstreams" in line for line in found.log)


def test_an_alias_takes_the_place_of_the_root_among_the_settings():
    conf = "events {} http { server { listen 8080; root /r; location /a/ { alias /b/; } location /c/ { } } }"
    names = [(one["name"], one["value"]) for one in asked(conf, "http://x:8080/a/x").settings]
    assert ("alias", "/b/") in names
    assert not any(name == "root" for name, _ in names)
    assert ("root", "/r") in [(one["name"], one["value"]) for one in asked(conf, "http://x:8080/c/x").settings]


def test_what_has_no_effect_yet_is_told_as_such():
    conf = "events {} http { xml_entities x; server { listen 8080; listen 8081 quic; location / { allow 10.0.0.0/8; return 200; } } }"
    found = asked(conf, "http://x:8080/")
    effects = {one["name"]: one["effect"] for one in found.settings}
    assert effects["xml_entities"] == "no"
    assert effects["proxy_read_timeout"] == "yes"
    assert any('"quic" parameter of "listen"' in refusal for refusal in found.refusals)


def test_other_methods_and_internal_locations_are_told():
    found = why("first:8080/only/", method="POST")
    assert (found.location, found.location_at) == ("limit_except in /only/", "t.conf:42")
    conf = "events {} http { server { listen 8080; location / { internal; } } }"
    found = asked(conf, "http://x:8080/")
    assert found.action == "answer with 404, the built-in page: the location is internal"


def test_a_chunked_body_is_sent_on_in_chunks():
    found = why("first:8080/api/x", "Transfer-Encoding: chunked", method="POST")
    assert "\r\nTransfer-Encoding: chunked\r\n" in found.upstream_head
    assert any(step["kind"] == "body" for step in found.steps)


@pytest.mark.parametrize(
    ("settings", "length"),
    [
        ("", "Content-Length: 10"),
        ('proxy_set_body "abc";', "Content-Length: 3"),
        ("proxy_pass_request_body off;", None),
        ("proxy_method PUT; proxy_request_buffering off;", "Content-Length: 10"),
    ],
)
def test_the_length_of_the_body_is_the_one_that_the_upstream_gets(settings, length):
    conf = f"events {{}} http {{ server {{ listen 8080; location / {{ proxy_pass http://127.0.0.1:1; {settings} }} }} }}"
    found = asked(conf, "http://x:8080/", "Content-Length: 10", method="POST")
    lines = [line for line in found.upstream_head.split("\r\n") if line.startswith(("Content-Length", "Transfer-Encoding"))]
    assert lines == ([length] if length else [])


def test_the_error_log_says_what_its_level_lets_through():
    quiet = asked("error_log e crit; events {} http { server { listen 8080; root /nowhere; } }", "http://x:8080/a")
    loud = asked("error_log e error; events {} http { server { listen 8080; root /nowhere; } }", "http://x:8080/a")
    assert (quiet.status, quiet.log) == (404, [])
    assert loud.log == [
        '[error] open() "/nowhere/a" failed (2: No such file or directory), client: 127.0.0.1, server: , '
        'request: "GET /a HTTP/1.1", host: "x:8080"'
    ]
    assert loud.file == "/nowhere/a"


def test_a_location_may_have_an_error_log_of_its_own():
    own = "error_log e crit; events {} http { server { listen 8080; root /nowhere; location /a { error_log f error; } } }"
    assert len(asked(own, "http://x:8080/a").log) == 1
    assert asked(own, "http://x:8080/b").log == []


def test_a_variable_that_would_break_the_head_ends_in_500():
    conf = "events {} http { server { listen 8080; location / { proxy_pass http://127.0.0.1:1; proxy_set_header X $uri; } } }"
    found = asked(conf, "http://x:8080/a%0D%0Ab")
    assert (found.status, found.upstream_head) == (500, "")
    assert "line break" in found.action


def test_nothing_is_left_open(files):
    conf = f"events {{}} http {{ server {{ listen 8080; root {files}/www; }} }}"
    before = sorted(os.listdir("/proc/self/fd"))
    for target in ("a.html", "big.bin", "dir/", "none"):
        asked(conf, f"http://x:8080/{target}")
    assert sorted(os.listdir("/proc/self/fd")) == before


# Certificates.


def test_the_certificates_of_a_server_are_told_where_clients_use_tls(tmp_path):
    issued = authority().issue("shop.example", ["shop.example", "www.shop.example"], days=30.5)
    certificate, key = issued.write(tmp_path, "shop")
    conf = f"""events {{}}
http {{
    server {{
        listen 8080;
        listen 8443 ssl;
        server_name shop.example;
        ssl_certificate {certificate.name};
        ssl_certificate_key {key.name};
        return 204;
    }}
    server {{
        listen 8081;
        ssl_certificate {certificate.name};
        ssl_certificate_key {key.name};
        return 204;
    }}
}}
"""
    found = asked(conf, "https://shop.example:8443/", directory=str(tmp_path))
    (told,) = found.certificates
    assert (told.file, told.at, told.subject, told.days_left) == ("shop.pem", "t.conf:7", "CN=shop.example", 30)
    assert told.names == ["shop.example", "www.shop.example"]
    line = "  - certificate shop.pem: CN=shop.example for shop.example, www.shop.example, EC P-256, 30 days left"
    assert line in as_text(found)
    assert asked(conf, "http://x:8081/", directory=str(tmp_path)).certificates == []


# FastCGI and the like: parameters in place of a head

PHP = "fastcgi_pass 127.0.0.1:9000; fastcgi_index index.php; fastcgi_param Q $query_string;"
FILE = "fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;"
PHP_SITE = "events {{}} http {{ server {{ listen 127.0.0.1:8080; server_name r0; root {}; location / {{ {} }} }} }}"


@pytest.mark.parametrize("module", ["fastcgi", "uwsgi", "scgi"])
def test_parameters_are_shown_in_place_of_a_head(module):
    rows = f"{module}_param A $arg_a; {module}_param B é; {module}_param C $arg_none;"
    found = asked(site("", [f"location / {{ {module}_pass 127.0.0.1:9000; {rows} }}"]), "http://r0:8080/x?a=1", "X-Y: z")
    pairs = {one["name"]: one["value"] for one in found.parameters}
    assert pairs.pop("CONTENT_LENGTH", "0") == "0"
    assert pairs == {"A": "1", "B": "é", "C": "", "HTTP_HOST": "r0:8080", "HTTP_X_Y": "z"}
    assert found.upstream_head == "" and found.action == f"{module}_pass to 127.0.0.1:9000"
    assert re.search(r"\nthe upstream receives\n(    \w+ .*\n)*    A +1\n", as_text(found))


@pytest.mark.parametrize(
    ("target", "state"),
    [
        ("/good.php", "is there, and everybody may read it"),
        ("/none.php", "is not there"),
        ("/", "is not there"),
        ("/dir", "is a directory: "),
        ("/secret.php", "is there, but not everybody may read it (mode 0600, owner "),
        ("/good.php/more.php", "is not there, but ROOT/good.php is a file: PHP runs that instead unless cgi.fix_pathinfo is 0"),
    ],
)
def test_the_state_of_the_script_is_told(target, state, tmp_path_factory):
    root = Path(os.path.realpath("/tmp")) / f"explain-{os.getpid()}"  # where everybody may enter
    (root / "dir").mkdir(parents=True)
    try:
        root.chmod(0o755)
        for name, mode in (("good.php", 0o644), ("secret.php", 0o600)):
            (root / name).write_text("<?php")
            (root / name).chmod(mode)
        found = asked(PHP_SITE.format(root, f"{PHP} {FILE}"), f"http://r0:8080{target}")
        assert found.script == f"{root}{target}" + ("index.php" if target == "/" else "")
        assert found.script_state.startswith(state.replace("ROOT", str(root)))
        assert f"script     {found.script} {found.script_state}\n" in as_text(found)
    finally:
        import shutil

        shutil.rmtree(root)


def test_a_missing_script_filename_is_told():
    found = asked(site("", [f"location / {{ {PHP} }}"]), "http://r0:8080/x.php")
    assert (found.script, found.script_state[:40]) == ("", "SCRIPT_FILENAME is not among them: PHP-F")


def test_the_key_of_memcached_is_shown():
    found = asked(site("", ["location / { set $memcached_key $uri; memcached_pass 127.0.0.1:1; }"]), "http://r0:8080/a%20b")
    assert found.upstream_head == "get /a%20b\r\n"


# HTTP/2.

HTTP2 = """
events {}
http {
  server {
    listen 127.0.0.1:8080; server_name a; http2 on;
    location / { return 200 "$http2 $server_protocol"; }
    location /app/ { proxy_pass http://127.0.0.1:9/; proxy_set_header X-Protocol $server_protocol; }
    location /small/ { client_max_body_size 3; proxy_pass http://127.0.0.1:9/; }
  }
  server { listen 127.0.0.1:8080; server_name b; location / { return 200; } }
  server { listen 127.0.0.1:8081; server_name c; location / { return 200; } }
}
"""


def test_a_request_in_http_2_goes_the_same_way_and_is_answered_in_http_2():
    found = asked(HTTP2, "http://a:8080/x?y=1", "X-Y: z", http2=True)
    assert found.request_head.splitlines()[:4] == [":method: GET", ":scheme: http", ":path: /x?y=1", ":authority: a:8080"]
    assert "x-y: z" in found.request_head
    assert found.location == "/" and found.status == 200
    assert found.response_head.startswith("HTTP/2 200 \r\nserver: ") and "\r\ncontent-length: 12\r\n" in found.response_head
    proxied = asked(HTTP2, "http://a:8080/app/x", "X-Y: z", http2=True)
    assert proxied.upstream_head == "GET /x HTTP/1.1\r\nHost: 127.0.0.1:9\r\nX-Protocol: HTTP/2.0\r\nx-y: z\r\n\r\n"


def test_a_body_that_is_announced_in_http_2_goes_upstream_with_its_length():
    found = asked(HTTP2, "http://a:8080/app/x", "Content-Length: 5", method="POST", http2=True)
    assert "\r\nContent-Length: 5\r\n" in found.upstream_head
    refused = asked(HTTP2, "http://a:8080/small/x", "Content-Length: 5", method="POST", http2=True)
    assert refused.status == 413 and refused.upstream_head == ""


@pytest.mark.parametrize(
    ("url", "field", "reason"),
    [
        ("http://a:8080/", "Connection: x", 'refused with 400: client sent header "connection: x", which HTTP/2 forbids'),
        ("http://b:8080/", "X: y", 'refused with 421: client asked in HTTP/2 for server "b", which does not speak it'),
        ("http://c:8081/", "X: y", "the listener 127.0.0.1:8081 does not speak HTTP/2 (http2 on)"),
    ],
)
def test_what_http_2_refuses_is_explained(url, field, reason):
    with pytest.raises(CannotExplain, match=re.escape(reason)):
        asked(HTTP2, url, field, http2=True)


@pytest.mark.parametrize(
    ("settings", "url", "told"),
    [
        ("", "http://127.0.0.1:3000", ""),
        ("", "https://127.0.0.1:3000", "the handshake names no server, no certificate is verified"),
        (
            "proxy_ssl_server_name on; proxy_ssl_name $arg_n:1; proxy_ssl_verify on; proxy_ssl_trusted_certificate root.pem;"
            "proxy_ssl_certificate $arg_n.pem; proxy_ssl_certificate_key $arg_n.key;",
            "https://127.0.0.1:3000",
            'the handshake names "app", a certificate for "app" is demanded, {directory}/app.pem is shown',
        ),
    ],
)
def test_the_encryption_of_a_connection_to_an_upstream_is_told(settings, url, told, tmp_path):
    conf = f"events {{}} http {{ server {{ listen 8080; location / {{ {settings} proxy_pass {url}; }} }} }}"
    found = asked(conf, "http://x:8080/?n=app", directory=str(tmp_path))
    assert found.upstream_tls == told.format(directory=tmp_path)
    assert (f"  - over TLS: {found.upstream_tls}" in as_text(found)) is bool(told)


# Limits.

LIMITS = """
http {
    access_log off;
    limit_req_zone $arg_k zone=explained:1m rate=1r/m;
    limit_req_zone $arg_k zone=elsewhere:1m rate=1r/m sync=redis://:secret@redis.example/1;
    limit_conn_zone $arg_k zone=busy:1m;
    server {
        listen 127.0.0.1:8080;
        location / { limit_req zone=explained; limit_req zone=elsewhere burst=5; limit_conn busy 1; empty_gif; }
    }
}
events {}
"""


def test_limits_are_told_of_and_nothing_is_counted_however_often_explain_runs():
    found = [asked(LIMITS, "http://x:8080/?k=a") for _ in range(3)]
    assert [one.status for one in found] == [200] * 3
    said = [step["text"] for step in found[-1].steps if step["kind"].startswith("limit_")]
    assert said == [
        'limit_req zone explained: the key $arg_k is "a"; counts for 43520 keys in the memory of this machine\'s workers',
        'limit_req zone elsewhere, burst 5: the key $arg_k is "a"; counts at redis://redis.example/1, shared by machines; '
        "without its answer in 50 ms, for 43520 keys in the memory of this machine's workers",
        'limit_conn zone busy, at most 1: the key $arg_k is "a"; counts for 26112 keys in the memory of this machine\'s workers',
    ]
    assert not any(line for line in found[-1].log)


def test_a_limit_whose_key_is_empty_is_said_not_to_count():
    [first, *_] = [step["text"] for step in asked(LIMITS, "http://x:8080/").steps if step["kind"] == "limit_req"]
    assert first.startswith("limit_req zone explained: not counted: the key $arg_k is empty;")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", ""),
        ("sticky cookie srv;", "sticky cookie: the client's cookie srv names the peer of its session, and nothing is kept here"),
        ("sticky route $arg_a $arg_b;", "sticky route: $arg_a or $arg_b names the peer of a session, and nothing is kept here"),
        (
            "sticky learn create=$upstream_cookie_s lookup=$cookie_s zone=told:1m timeout=1h;",
            'sticky learn: the session $cookie_s is in zone "told" in the memory of this machine\'s workers, for 3600 s',
        ),
        (
            "sticky learn create=$upstream_cookie_s lookup=$cookie_s zone=told:1m sync=redis://:secret@redis.example/1;",
            "sticky learn: the session $cookie_s is at redis://redis.example/1, shared by machines; without its answer in 50 ms, "
            'zone "told" in the memory of this machine\'s workers, for 600 s',
        ),
    ],
)
def test_the_place_of_sessions_is_told(line, told):
    upstream = f"upstream app {{ server 127.0.0.1:1; server 127.0.0.1:2; {line} }}"
    server = "server { listen 127.0.0.1:8080; location / { proxy_pass http://app; } }"
    found = asked(f"events {{}} http {{ access_log off; {upstream} {server} }}", "http://x:8080/")
    assert found.sessions == told
    assert told in as_text(found) and ("  - sticky" in as_text(found)) is bool(told)


# Subrequests.

SUBREQUESTS = """
error_log DIR/error.log warn; events {}
http { upstream back { server BACK; }
server { listen 127.0.0.1:8080; root DIR;
    location /closed/ {
        auth_request /auth;
        add_header X-User $user;
        auth_request_set $user $upstream_status$arg_a;
        proxy_pass http://back/in/;
    }
    location = /auth { internal; proxy_pass http://back/check?who; proxy_pass_request_body off; proxy_set_header X-Uri $request_uri; }
    location /forbidden/ { auth_request /never; }
    location = /never { return 403; }
    location /copied/ { mirror /copy; proxy_pass http://back; }
    location = /copy { internal; proxy_pass http://back/copied$request_uri; }
    location = /page.html { ssi on; add_before_body /before; add_after_body /none.html; }
    location = /circle.html { ssi on; }
    location = /before { return 200 "before"; }
    location /part { proxy_pass http://back; }
    location = /after { post_action @done; return 204; }
    location @done { proxy_pass http://back; }
}}
"""


def shown(found: Way) -> list[tuple[object, ...]]:
    """What tells of each subrequest, and of those inside of it."""
    return [
        (one.directive, f"{one.method} {one.uri}", one.location, one.action_kind, one.status, *shown(one))
        for one in found.subrequests
    ]


def test_a_location_that_decides_is_asked(backend, tmp_path):
    conf = fill(SUBREQUESTS.replace("DIR", str(tmp_path)), backend)
    found = asked(conf, "http://h:8080/closed/a?a=b", "X-Key: 1")
    assert (found.action_kind, found.upstream_head.partition("\r\n")[0]) == ("proxy", "GET /in/a?a=b HTTP/1.1")
    [asking] = found.subrequests
    assert (asking.directive, asking.directive_at, asking.location) == ("auth_request", "t.conf:6", "= /auth")
    assert asking.upstream_head.startswith("GET /check?who HTTP/1.1\r\nHost: back\r\nX-Uri: /closed/a?a=b\r\n")
    assert asking.upstream == "back" and asking.status is None
    [refusing] = asked(conf, "http://h:8080/forbidden/a").subrequests
    assert (refusing.action_kind, refusing.status) == ("error", 403)
    assert asked(conf, "http://h:8080/forbidden/a").status == 403
    text = as_text(found)
    assert "\nsubrequest GET /auth: auth_request (t.conf:6)\n" in text
    assert "\n    the upstream receives\n        GET /check?who HTTP/1.1\n" in text


def test_copies_and_what_comes_afterwards_are_shown(backend, tmp_path):
    conf = fill(SUBREQUESTS.replace("DIR", str(tmp_path)), backend)
    found = asked(conf, "http://h:8080/copied/a?b", "Content-Length: 5", method="PUT")
    assert shown(found) == [("mirror", "PUT /copy?b", "= /copy", "proxy", None)]
    [copied] = found.subrequests
    assert copied.upstream_head.startswith("PUT /copied/copied/a?b HTTP/1.1\r\n")
    assert "\r\nContent-Length: 5\r\n" in copied.upstream_head and "\r\nContent-Length: 5\r\n" in found.upstream_head
    found = asked(conf, "http://h:8080/after")
    assert (found.location, found.status) == ("= /after", 204)
    assert shown(found) == [("post_action", "GET /after", "@done", "proxy", None)]


def test_the_parts_of_a_page_are_shown(backend, tmp_path):
    page = (
        '<!--#include virtual="/part/a?x=$arg_x" --><!--#if expr="$arg_x = 2" --><!--#include file="other.html" -->'
        '<!--#endif --><!--#include virtual="/part/wait" wait="yes" -->' + "text" * 30_000 + '<!--#include virtual="/none" -->'
    )
    (tmp_path / "page.html").write_text(page)
    (tmp_path / "circle.html").write_text('<!--#include virtual="/circle.html" -->' * 2)
    conf = fill(SUBREQUESTS.replace("DIR", str(tmp_path)), backend)
    before = ("add_before_body", "GET /before", "= /before", "return", 200)
    after = ("add_after_body", "GET /none.html", "(the server itself)", "error", 404)
    parts = [
        ("ssi", "GET /part/wait", "/part", "proxy", None),
        ("ssi", "GET /none", "(the server itself)", "error", 404),
    ]
    first = ("ssi", "GET /part/a?x=1", "/part", "proxy", None)
    assert sorted(shown(asked(conf, "http://h:8080/page.html?x=1")), key=str) == sorted([before, first, *parts, after], key=str)
    found = asked(conf, "http://h:8080/page.html?x=2")
    assert ("ssi", "GET /other.html", "(the server itself)", "error", 404) in shown(found)
    with pytest.raises(CannotExplain, match="do not come to an end"):
        asked(conf, "http://h:8080/circle.html")


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [("anna:secret", 200, []), ("anna:wrong", 401, ['[error] user "anna": password mismatch']), ("", 401, [])],
)
def test_passwords_are_checked(tmp_path, given, status, said):
    (tmp_path / "users").write_text("anna:{PLAIN}secret\n")
    conf = """error_log DIR/error.log warn; events {}
        http { server { listen 127.0.0.1:8080; auth_basic x; auth_basic_user_file DIR/users; location / { empty_gif; } } }"""
    fields = [f"Authorization: Basic {b64encode(given.encode()).decode()}"] if given else []
    found = asked(conf.replace("DIR", str(tmp_path)), "http://h:8080/", *fields)
    assert (found.status, [line.partition(", client")[0] for line in found.log]) == (status, said)
