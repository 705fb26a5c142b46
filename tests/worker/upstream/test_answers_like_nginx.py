"""Fields of an upstream's answer: the real nginx and a worker make the same of them (proxy.md §3.2)."""

import pytest
from like_nginx import ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]
pytestmark = needs_nginx


def adding(*lines: str, target: str = "/x/y?q", status: str = "302 Found", method: str = "GET") -> bytes:
    """A request to which the echo answers with that status and these fields."""
    return ask(target, f"X-Status: {status}", *(f"X-Add: {line}" for line in lines), method=method)


LOCATIONS = (
    "http://BACK/up/z?a=b",
    "http://BACK/up",
    "http://BACK/",
    "http://BACK",
    "HTTP://BACK/up/z",
    "/up/z",
    "z",
    "//other/z",
    "",
    "http://elsewhere/q",
    "https://elsewhere:8443/q/r",
)
REFRESHES = ("5; url=http://BACK/up/z", "0;URL=/up/z", "3", "1; uRl=http://elsewhere/q", "url=")


@pytest.mark.parametrize(
    "rules",
    [
        "",
        "proxy_redirect default;",
        "proxy_redirect off;",
        "proxy_redirect http://elsewhere/ /mine/;",
        "proxy_redirect http://elsewhere/ /mine/; proxy_redirect default;",
        "proxy_redirect http://elsewhere/ /mine/; absolute_redirect off;",
        "proxy_redirect http://$upstream_addr/ $scheme://$host/ours/;",
        "proxy_redirect ~^http://else(w.*)/(.)$ /got-$2-$1;",
        "proxy_redirect ~*^HTTP://ELSE(?<more>.*)$ https://new$more;",
        "proxy_redirect / http://front/; proxy_redirect http://elsewhere/ http://second/;",
    ],
)
@pytest.mark.parametrize(
    "place", ["location /x/ { proxy_pass http://BACK/up/; RULES }", "location / { proxy_pass http://BACK; RULES }"]
)
def test_location_and_refresh_are_rewritten_alike(same_as_nginx, rules, place):
    http = f"server {{ listen PORT; server_name h; port_in_redirect off; {place.replace('RULES', rules)} }}"
    cases = [adding(f"Location: {value}") for value in LOCATIONS]
    cases += [adding(f"Refresh: {value}", status="200 OK") for value in REFRESHES]
    cases.append(adding("Location: http://elsewhere/q", "Refresh: 1; url=http://elsewhere/r", "X-More: 1", status="201 Created"))
    same_as_nginx(http, cases)


COOKIES = (
    "a=1",
    "a=1; Domain=up.example; Path=/up/z; Secure",
    "a=1;domain=.UP.example;path=/",
    "a = 1 ;  DOMAIN = up.example ; HttpOnly ; path",
    "a; Domain=up.example",
    "=1; Path=/up/",
    "sess=x; SameSite=Lax; Path=/upper",
    "SESS=x; secure; httponly; samesite=none",
    "other=; Max-Age=5; path=/up/; domain=sub.up.example",
    "a=1; Path=/up/;",
    "",
)


@pytest.mark.parametrize(
    "rules",
    [
        "proxy_cookie_domain up.example front.example;",
        "proxy_cookie_domain .up.example .front.example;",
        "proxy_cookie_domain ~\\.?(\\w+)\\.example$ $1.front;",
        "proxy_cookie_domain up.example $host; proxy_cookie_path /up/ /;",
        "proxy_cookie_path /up /mine;",
        "proxy_cookie_path ~^/UP(.*)$ /a$1;",
        "proxy_cookie_path ~*^/UP(.*)$ /b$1;",
        'proxy_cookie_path / "/; secure; HttpOnly";',
        "proxy_cookie_path off;",
        "proxy_cookie_flags a secure;",
        "proxy_cookie_flags ~ secure httponly samesite=strict;",
        "proxy_cookie_flags sess nosecure nohttponly nosamesite;",
        "proxy_cookie_flags ~^SE samesite=none httponly; proxy_cookie_flags a nosecure;",
        "proxy_cookie_flags off;",
        "set $f secure; proxy_cookie_flags sess $f;",
        "proxy_cookie_flags $arg_c samesite=lax;",
    ],
)
def test_cookies_are_rewritten_alike(same_as_nginx, rules):
    http = f"server {{ listen PORT; location / {{ proxy_pass http://BACK; {rules} }} }}"
    cases = [adding(f"Set-Cookie: {cookie}", status="200 OK", target="/x?c=a") for cookie in COOKIES]
    cases.append(adding("Set-Cookie: a=1; Path=/up/", "X-A: 1", "Set-Cookie: sess=2; Domain=up.example", status="200 OK"))
    same_as_nginx(http, cases)


ACCEL = """
server {
    listen PORT;
    server_name h;
    root DIR/files;
    location / { proxy_pass http://BACK; add_header X-First 1; }
    location /static/ { internal; add_header X-Second 2; }
    location /typed/ { internal; types { text/css css; } alias DIR/files/static/; }
    location @named { return 200 "named $uri $request_method\\n"; }
    location /ignoring/ { proxy_pass http://BACK; proxy_ignore_headers X-Accel-Redirect; }
    location /second/ { internal; proxy_pass http://BACK; proxy_pass_request_headers off; }
    location /paged/ { error_page 404 = @named; internal; }
}
"""


def put_files(directory):
    (directory / "files" / "static").mkdir(parents=True)
    (directory / "files" / "static" / "a b.txt").write_text("text")
    (directory / "files" / "static" / "s.css").write_text("css")
    import os

    for file in (directory / "files" / "static").iterdir():
        os.utime(file, (1_600_000_000, 1_600_000_000))


def test_x_accel_redirect_leads_alike(same_as_nginx):
    more = ("Set-Cookie: a=1", "Set-Cookie: b=2", "X-Lost: 1", "Cache-Control: no-store", "Content-Disposition: attachment",
            "Expires: Thu, 01 Jan 2026 00:00:00 GMT", "Accept-Ranges: none", "ETag: \"up\"", "Content-Type: text/x-up")  # fmt: skip
    cases = [
        adding("X-Accel-Redirect: /static/a%20b.txt", status="200 OK"),
        adding("X-Accel-Redirect: /static/a b.txt", "Content-Type: text/x-up", status="200 OK"),
        adding("X-Accel-Redirect: /static/s.css", *more, status="404 Not Found"),
        adding("X-Accel-Redirect: /static/s.css", *more, status="302 Found"),
        adding("X-Accel-Redirect: /typed/s.css?q=1", status="200 OK"),
        adding("X-Accel-Redirect: /static/none", *more, status="200 OK"),
        adding("X-Accel-Redirect: /paged/none", *more, status="200 OK"),
        adding("X-Accel-Redirect: @named", *more, status="200 OK"),
        adding("X-Accel-Redirect: @named", status="200 OK", method="POST"),
        adding("X-Accel-Redirect: @nobody", status="200 OK"),
        adding("X-Accel-Redirect: /static/../secret", status="200 OK"),
        adding("X-Accel-Redirect: /static/%2e%2e/secret", status="200 OK"),
        adding("X-Accel-Redirect: ", status="200 OK"),
        adding("X-Accel-Redirect: ?q", status="200 OK"),
        adding("X-Accel-Redirect: /static/s.css", status="200 OK", target="/ignoring/x"),
        adding("X-Accel-Redirect: /second/x?y", *more, status="200 OK", method="DELETE"),
        adding("X-Accel-Redirect: /static/s.css", status="200 OK", method="HEAD"),
    ]
    same_as_nginx(ACCEL, cases, prepare=put_files)


@pytest.mark.parametrize(
    "rules",
    [
        "proxy_method POST;",
        "proxy_method $arg_m;",
        'proxy_set_body "x=$arg_m&$request_method";',
        "proxy_set_body $request_body-$content_length; proxy_set_header X-B $request_body;",
        'proxy_pass_request_body off; proxy_set_header Content-Length "";',
    ],
)
def test_methods_and_bodies_for_the_upstream_are_alike(same_as_nginx, rules):
    http = f"server {{ listen PORT; location / {{ proxy_pass http://BACK; {rules} }} }}"
    cases = [ask("/x?m=PUT"), ask("/x?m=OPTIONS", method="POST", body="abc"), ask("/x?m=DELETE", method="PUT", body="d" * 3000)]
    same_as_nginx(http, cases)


def test_expectations_other_than_100_continue_and_those_of_http_1_0_mean_nothing(same_as_nginx):
    http = "server { listen PORT; location / { proxy_pass http://BACK; } location /streamed/ { proxy_request_buffering off; proxy_pass http://BACK; } }"
    cases = [
        ask(target, f"Expect: {value}", method="POST", body="abc", version=version)
        for target in ("/x", "/streamed/x")
        for value, version in (("foo", "1.1"), ("100-continue, foo", "1.1"), ("", "1.1"), ("100-continue", "1.0"))
    ]
    same_as_nginx(http, cases)


def test_forced_ranges_are_alike(same_as_nginx):
    http = """server { listen PORT; location / { proxy_pass http://BACK; proxy_force_ranges on; add_header X-Our $status; }
        location /no { proxy_pass http://BACK; proxy_force_ranges on; max_ranges 0; } }"""
    ranges = ("bytes=0-3", "bytes=-5", "bytes=5-", "bytes=100000-", "bytes=0-1,4-5", "bytes=x", "chars=1-2")
    cases = [ask("/x", f"Range: {value}", "X-Add: Accept-Ranges: none", "X-Add: X-Their: 1") for value in ranges]
    cases += [ask("/x", "Range: bytes=1-2", 'X-Add: ETag: "e"', f"If-Range: {value}") for value in ('"e"', '"f"')]
    cases += [ask("/x", "Range: bytes=1-2", "Range: bytes=3-4"), ask("/no", "Range: bytes=1-2"), ask("/no")]
    cases += [ask("/x"), ask("/x", "Range: bytes=1-2", "X-Status: 404 No"), ask("/x", "Range: bytes=1-2", method="HEAD")]
    same_as_nginx(http, cases)


CHARSETS = """
server {
    location /known { charset koi8-r; }
    location /too { charset utf-8; }
    listen PORT;
    location /static/ { internal; root DIR/files; types { text/css css; } RULES }
    location / { proxy_pass http://BACK; RULES }
}
"""


@pytest.mark.parametrize(
    "rules", ["", "charset utf-8;", "charset koi8-r; override_charset on;", "proxy_ignore_headers X-Accel-Charset;"]
)
def test_x_accel_charset_is_stronger_than_charset(same_as_nginx, rules):
    types = ("text/html", "text/html; charset=utf-8", "text/plain; charset=koi8-r", "image/png", None)
    cases = []
    for kind in types:
        for charset in ("utf-8", "UTF-8", "koi8-r", ""):
            lines = [f"Content-Type: {kind}"] if kind else []
            cases.append(adding(*lines, f"X-Accel-Charset: {charset}", status="200 OK"))
    cases.append(adding("Content-Type: text/html", "X-Accel-Charset: utf-8"))
    cases.append(adding("Content-Type: text/html", "X-Accel-Charset: utf-8", status="404 Not Found"))
    for name in ("s.css", "a%20b.txt"):
        for more in (("X-Accel-Charset: koi8-r",), ("X-Accel-Charset: koi8-r", "Content-Type: text/html; charset=utf-8")):
            cases.append(adding(f"X-Accel-Redirect: /static/{name}", *more, status="200 OK"))
    same_as_nginx(CHARSETS.replace("RULES", rules), cases, prepare=put_files)
