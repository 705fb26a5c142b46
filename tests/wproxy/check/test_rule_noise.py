"""What rules must not say: noise, advice that does harm, statements that are false."""

from __future__ import annotations

import pytest
from texts import findings, reasons

PROXY = "proxy_pass http://127.0.0.1:3000;"
HOST = "proxy_set_header Host {};"

# A regex and a prefix

PHP = r"location ~ \.php(?:$|/) { proxy_pass http://127.0.0.1:9000; }"


def advice(prefix: str, regex: str) -> list[str]:
    return [found.fix for found in findings("regex-shadows-prefix", f"{prefix}\n{regex}")]


@pytest.mark.parametrize(
    "prefix",
    [
        "location /remote { return 301 /remote.php$request_uri; }",
        "location /remote { rewrite ^ /remote.php last; return 204; }",
        f"location /remote {{ {PROXY} }}",
    ],
)
def test_a_regex_is_not_kept_out_of_what_only_begins_like_a_prefix(prefix):
    """`^~ /remote` would take /remote.php too, and the redirect of the first would go round and round."""
    assert advice(prefix, PHP) == [
        'write "location ^~ /remote/" to keep regexes out of it, and "location = /remote" for the path itself'
    ]


def test_a_location_that_sends_requests_to_a_regex_is_not_told_to_keep_it_out():
    assert advice("location /app/ { rewrite ^ /app/index.php last; return 204; }", PHP) == []
    assert advice(f"location /app/ {{ {PROXY} }}", PHP) == ['write "location ^~ /app/" to keep regexes out of it']


def test_the_path_itself_is_named_where_it_is_lost():
    regex = r"location ~* \.(html|css)$ { expires 1d; }"
    (found,) = findings("regex-shadows-prefix", f"location /404.html {{ internal; root /e; }}\n{regex}")
    assert 'location "/404.html" loses the path itself to location' in found.reason
    assert "/404.html/x" not in found.reason
    assert found.fix == 'write "location = /404.html" if it is for that path alone'


# Host

LISTENS = pytest.mark.parametrize(
    ("listen", "has_port"),
    [
        ("80", False),
        ("443 ssl", False),
        ("443", True),
        ("8080", True),
        ("8443 ssl", True),
        ("unix:/a.sock", False),
        ("[::]:80", False),
    ],
)


@LISTENS
def test_the_port_is_kept_where_clients_see_one(listen, has_port):
    of_host, of_http_host = (f"location / {{ {HOST.format(value)} {PROXY} }}" for value in ("$host", "$http_host"))
    assert bool(findings("host-without-port", of_host, listen=listen)) is has_port
    assert findings("host-without-port", of_http_host, listen=listen) == []
    spoofed = findings("host-spoofing", of_http_host, listen=listen)
    assert bool(spoofed) is not has_port
    assert all("$http_host" not in found.fix for found in spoofed)
    (missing,) = findings("missing-host", f"location / {{ {PROXY} }}", listen=listen)
    assert missing.fix == f'add "proxy_set_header Host {"$http_host" if has_port else "$host"};"'


@pytest.mark.parametrize("field", ["X-Forwarded-Host $http_host", "X-Forwarded-Port $server_port"])
def test_a_port_that_another_field_tells_is_not_lost(field):
    text = f"location / {{ {HOST.format('$host')} proxy_set_header {field}; {PROXY} }}"
    assert reasons("host-without-port", text) == []


def test_a_host_with_its_port_has_not_lost_it():
    assert reasons("host-without-port", f"location / {{ {HOST.format('$host:$server_port')} {PROXY} }}") == []


def test_a_variable_of_ones_own_is_not_a_field_because_of_its_name():
    text = f"set $http_host_of_mine example.com; location / {{ {HOST.format('$http_host_of_mine')} {PROXY} }}"
    assert reasons("host-spoofing", text, listen="80") == []
    assert reasons("host-spoofing", text.replace("mine example.com", "mine $http_host"), listen="80")
    assert reasons("host-spoofing", f"location / {{ {HOST.format('$http_x_host')} {PROXY} }}", listen="8080")


# Requests of the proxy's own making, and upstreams of others


def test_a_request_that_says_nothing_of_the_client_means_it():
    text = f"location / {{ proxy_pass_request_headers off; {PROXY} }}"
    assert reasons("missing-host", text) == reasons("missing-forwarded-headers", text) == []
    on = text.replace("off", "on")
    assert reasons("missing-host", on) and reasons("missing-forwarded-headers", on)


def test_a_public_server_is_not_told_whom_it_serves():
    text = "location / { proxy_pass https://api.example.com; }"
    assert reasons("missing-forwarded-headers", text) == []
    assert reasons("missing-forwarded-headers", text.replace("api.example.com", "app:3000"))
    assert reasons("missing-host", text.replace("api.example.com", "app:3000"))


# The URI


@pytest.mark.parametrize(
    ("location", "uri", "count"),
    [("/_assets/", "/_static/", 0), ("/api/", "/", 1), ("/api/v1/", "/v1/", 0), ("/a/", "/a/", 0), ("/", "/", 0)],
)
def test_a_prefix_that_is_replaced_by_another_is_meant(location, uri, count):
    assert len(reasons("proxy-pass-strips-prefix", f"location {location} {{ proxy_pass http://127.0.0.1{uri}; }}")) == count


# Access


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ("", 1),
        ("satisfy any;", 1),
        ("satisfy any; auth_basic staff; auth_basic_user_file x;", 0),
        ("satisfy any; auth_request /auth;", 0),
        ("satisfy any; auth_basic off;", 1),
        ("satisfy all; auth_basic staff; auth_basic_user_file x;", 1),
    ],
)
def test_an_allow_alone_lets_all_in_unless_they_have_to_say_who_they_are(more, count):
    assert len(reasons("allow-without-deny", f"location / {{ {more} allow 10.0.0.0/8; }}")) == count
    assert len(reasons("allow-without-deny", f"{more} location / {{ allow 10.0.0.0/8; }}")) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("if ($http_referer ~* (google|bing)) { set $from_search 1; }", 0),
        ("if ($http_referer ~* spam) { return 403; }", 0),
        ("if ($http_referer ~* spam) { rewrite ^ /no.html; }", 0),
        ("if ($http_referer !~* example.com) { return 403; }", 1),
        ("if ($http_referer ~* example.com) { set $ok 1; } if ($ok != 1) { return 403; }", 1),
        ("if ($http_origin ~* evil) { return 403; }", 0),
        ("if ($http_origin ~* example.com) { set $cors 1; }", 1),
        ("if ($http_origin !~* example.com) { return 403; }", 1),
        ("if ($http_origin !~* ^https://example\\.com$) { return 403; }", 0),
    ],
)
def test_a_regex_of_an_origin_matters_where_it_lets_somebody_in(text, count):
    assert len(reasons("origin-regex", text)) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("if ($host = a) { return 301 https://b$request_uri; }", 1),
        ('if ($http_host = "") { set $x a; }', 0),
        ("location / { if (!-f $request_filename) { rewrite ^ /index.php last; } }", 1),
        ("location / { if (-f $request_filename) { set $x 1; } }", 0),
    ],
)
def test_an_if_that_only_sets_a_variable_is_in_the_place_of_nothing(text, count):
    assert len(reasons("if-instead", text)) == count


# Types


@pytest.mark.parametrize(
    ("inner", "count"),
    [
        ("types { application/wasm wasm; }", 1),
        ("location / { types { application/wasm wasm; } }", 1),
        ("location /d/ { types {} default_type application/octet-stream; }", 0),
        ("location /d/ { types { text/plain log; } default_type text/plain; }", 0),
        ("location ~ \\.wasm$ { types { application/wasm wasm; } }", 0),
        ("location ~ \\.(wasm|mjs)$ { types { application/wasm wasm; } }", 1),
        ("location = /a.wasm { types { application/wasm wasm; } }", 0),
        ("types { text/html html; text/css css; application/wasm wasm; }", 0),
        ("location / { root /srv; }", 0),
    ],
)
def test_types_that_are_lost(inner, count):
    text = f"types {{ text/html html; text/css css; }}\nserver {{ listen 80; {inner} }}"
    found = reasons("types-lost", text, "http")
    assert len(found) == count
    assert all(".html" in reason for reason in found)
