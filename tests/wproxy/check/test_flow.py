"""A value that goes through set and map is found at its other end, and one that was compared on the way is not."""

from __future__ import annotations

import pytest
from texts import findings, reasons


@pytest.mark.parametrize(
    "text",
    [
        "server { listen 80; set $t $uri; return 301 $t; }",
        "server { listen 80; location / { set $t $uri; return 301 https://a$t; } }",
        "server { listen 80; set $a $uri; set $b x$a; location / { return 301 https://a$b; } }",
        "map $host $t { default $uri; }\nserver { listen 80; return 301 $t; }",
        "map $uri $t { default /; ~^/old(?<rest>[^?]*) /new$rest; }\nserver { listen 80; return 301 $t; }",
        "map $uri $t { default $uri; /a /b; }\nserver { listen 80; location / { add_header X $t; } }",
        "server { listen 80; location / { set $t $document_uri; proxy_set_header X $t; proxy_pass http://127.0.0.1; } }",
        "server { listen 80; location / { set $p http://127.0.0.1$uri; proxy_pass $p; } }",
        "server { listen 80; location ~ ^/a/([^/]+)$ { set $t $1; return 301 /b/$t; } }",
    ],
)
def test_a_decoded_path_is_followed_into_a_header(text):
    (reason,) = reasons("header-splitting", text, "http")
    assert "(through nginx.conf:" in reason


@pytest.mark.parametrize(
    "text",
    [
        "server { listen 80; set $t $request_uri; return 301 $t; }",
        "map $uri $t { default /; /a /b; }\nserver { listen 80; return 301 $t; }",
        "map $uri $t { default /; ~^/old/([a-z]+)$ /new/$1; }\nserver { listen 80; return 301 $t; }",
        "server { listen 80; set $t $uri; return 200 $t; }",
        "server { listen 80; set $t $t; return 301 $t; }",
        "map $a $b { default $b; }\nmap $b $a { default $a; }\nserver { listen 80; return 301 $a; }",
    ],
)
def test_what_is_not_decoded_or_not_in_a_header_is_fine(text):
    assert reasons("header-splitting", text, "http") == []


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("map $arg_b $b { default $arg_b; }\nserver { listen 80; location / { proxy_pass http://$b; } }", True),
        (
            "map $arg_b $b { default 127.0.0.1; ~^(a|b)$ $1.internal; }\nserver { listen 80; location / { proxy_pass http://$b; } }",
            False,
        ),
        ("server { listen 80; location ~ ^/(app1|app2)/ { proxy_pass http://$1:3000; } }", False),
        ("server { listen 80; location ~ ^/([a-z]+)/ { proxy_pass http://$1:3000; } }", False),
        ("server { listen 80; location ~ ^/([^/]+)/ { proxy_pass http://$1:3000; } }", True),
    ],
)
def test_a_target_is_followed_too(text, is_found):
    assert bool(reasons("ssrf", text, "http")) is is_found


def test_a_redirect_is_followed_too():
    text = "map $arg_to $t { default $arg_to; }\nserver { listen 80; return 302 $t; }"
    assert reasons("open-redirect", text, "http")
    assert reasons("open-redirect", text.replace("default", "~^https://example.com/"), "http") == []


# Captures that go upstream


@pytest.mark.parametrize(
    "text",
    [
        "location ~ ^/api/(.*)$ { proxy_pass http://127.0.0.1:3000/$1; }",
        "location ~ ^/api/(?<rest>.*)$ { proxy_pass http://127.0.0.1:3000/v1/$rest$is_args$args; }",
        "location ~* ^/(api|img)/(.+)$ { proxy_pass http://127.0.0.1:3000/$2; }",
        "location ~ ^/api/(.*)$ { set $rest $1; proxy_pass http://127.0.0.1:3000/$rest; }",
        "location ~ ^/api(/.*)$ { proxy_pass http://127.0.0.1:3000$1; }",
    ],
)
def test_a_capture_that_may_hold_a_space(text):
    (found,) = findings("proxy-pass-decoded-capture", text)
    assert found.fix.startswith('write "rewrite ^/')
    assert '"proxy_pass http://127.0.0.1:3000;"' in found.fix


def test_the_advice_for_a_capture_is_a_rewrite_with_the_same_goal():
    text = "location ~ ^/api/(.*)$ { proxy_pass http://127.0.0.1:3000/v1/$1$is_args$args; }"
    (found,) = findings("proxy-pass-decoded-capture", text)
    assert '"rewrite ^/api/(.*)$ /v1/$1 break;"' in found.fix


def test_a_capture_of_a_map_is_a_piece_of_what_the_map_compares():
    text = (
        "map $uri $to { default /; ~^/old/(.*)$ /new/$1; }\nserver { listen 80; location / { proxy_pass http://127.0.0.1$to; } }"
    )
    (found,) = findings("proxy-pass-decoded-capture", text, "http")
    assert "$uri (through nginx.conf:3) is a piece of the decoded path" in found.reason
    assert "$request_uri" in found.fix
    assert reasons("proxy-pass-decoded-capture", text.replace("$uri", "$request_uri"), "http") == []


@pytest.mark.parametrize(
    "text",
    [
        "location ~ ^/api/([a-z0-9]+)$ { proxy_pass http://127.0.0.1:3000/$1; }",
        r"location ~ ^/api/(\S+)$ { proxy_pass http://127.0.0.1:3000/$1; }",
        "location ~ ^/(api|img)/(.+)$ { proxy_pass http://127.0.0.1:3000/$1; }",
        "location ~ ^/api/(.*)$ { rewrite ^/api/(.*)$ /$1 break; proxy_pass http://127.0.0.1:3000; }",
        "location ~ ^/api/(.*)$ { if ($arg_x ~ ^([a-z])$) { set $y 1; } proxy_pass http://127.0.0.1:3000/$1; }",
        "location / { proxy_pass http://127.0.0.1:3000/$arg_x; }",
        "location ~ ^/(.*)\\.svc/ { proxy_pass http://app-$1; }",
    ],
)
def test_captures_that_hold_none_or_are_of_something_else(text):
    assert reasons("proxy-pass-decoded-capture", text) == []


# Files


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("location ~ ^/static(.*)$ { alias /data/$1; }", "/static../x opens /data/../x"),
        ("location ~ ^/(?:static|img)(?<file>.*)$ { alias /data/$file; }", "/static../x opens /data/../x"),
        (r"location ~ ^/static(.+\.css)$ { alias /data/$1; }", "/static../x.css opens /data/../x.css"),
        ("location ~ ^/s(.*)$ { root /data; try_files /files/$1 =404; }", "/s../x opens /files/../x"),
        ("location ~ ^/s(.*)/x$ { root /data/$1; }", "/s../x/x opens /data/../x"),
    ],
)
def test_a_capture_that_leads_out(text, told):
    (found,) = findings("capture-traversal", text)
    assert told in found.reason
    assert found.severity == "error"


def test_dots_alone_are_less_grave():
    (found,) = findings("capture-traversal", "location ~ ^/~([^/]+)(/.*)?$ { alias /home/$1/public_html$2; }")
    assert found.severity == "warning"
    assert "/~.. opens /home/../public_html" in found.reason


@pytest.mark.parametrize(
    "text",
    [
        "location ~ ^/static/(.*)$ { alias /data/$1; }",
        "location ~ ^/static(/.*)$ { alias /data$1; }",
        "location ~ ^/static([a-z]*)$ { alias /data/$1; }",
        "location ~ ^/~([^/.][^/]*)(/.*)?$ { alias /home/$1/public_html$2; }",
        "location ~ ^/static(.*)$ { alias /data/files$1; }",
        "location ~ ^/s(.*)$ { root /data; try_files $uri /index.php?q=$1; }",
    ],
)
def test_captures_that_stay_inside(text):
    assert reasons("capture-traversal", text) == []


# Origins


CREDENTIALS = "add_header Access-Control-Allow-Credentials true;"


@pytest.mark.parametrize(
    "text",
    [
        "location / { add_header Access-Control-Allow-Origin $http_origin always; CREDENTIALS }",
        "add_header Access-Control-Allow-Origin $http_origin; CREDENTIALS location / { return 204; }",
        "set $cors $http_origin; location / { add_header Access-Control-Allow-Origin $cors; CREDENTIALS }",
        "location / { if ($request_method = OPTIONS) { add_header Access-Control-Allow-Origin $http_origin; CREDENTIALS return 204; } }",
    ],
)
def test_an_origin_that_is_repeated_with_credentials(text):
    assert len(reasons("reflected-origin", text.replace("CREDENTIALS", CREDENTIALS))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "location / { add_header Access-Control-Allow-Origin $http_origin; }",
        "location / { add_header Access-Control-Allow-Origin *; CREDENTIALS }",
        "if ($http_origin ~ ^https://([a-z]+\\.)?example\\.com$) { set $cors $http_origin; }\n"
        "location / { add_header Access-Control-Allow-Origin $cors; CREDENTIALS }",
        "location / { if ($http_origin = https://a) { add_header Access-Control-Allow-Origin $http_origin; CREDENTIALS } }",
    ],
)
def test_an_origin_that_was_compared_or_comes_without_credentials(text):
    assert reasons("reflected-origin", text.replace("CREDENTIALS", CREDENTIALS)) == []


@pytest.mark.parametrize(
    ("entry", "count"), [("default $http_origin;", 1), ("~. $http_origin;", 1), ("https://a $http_origin;", 0)]
)
def test_a_map_of_origins_is_a_list_but_for_its_default(entry, count):
    server = f"server {{ listen 80; location / {{ add_header Access-Control-Allow-Origin $o; {CREDENTIALS} }} }}"
    assert len(reasons("reflected-origin", f"map $http_origin $o {{ {entry} }}\n{server}", "http")) == count
