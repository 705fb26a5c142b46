"""Files that go through filters, asked of this worker and of the real nginx: every kind of place, file and condition together."""

from __future__ import annotations

import gzip

from filtered import Compare, filtered_as_nginx
from like_nginx import ask, needs_nginx

__all__ = ["filtered_as_nginx"]

pytestmark = needs_nginx

HTML = b"<p>" + b"a page of some length " * 40 + b"</p>"
FILES = {
    "page.html": HTML,
    "page.html.gz": gzip.compress(HTML, mtime=0),
    "style.css": b"p { color: teal } /* page */" * 4,
    "style.css.gz": gzip.compress(b"p { color: teal } /* page */" * 4, mtime=0),
    "alone.html": b"<p>no file lies compressed beside this page</p>",
    "picture.png": b"\x89PNG page" * 9,
    "empty.html": b"",
    "packed.txt.gz": gzip.compress(b"only packed, with a page in it", mtime=0),
    "large.html": HTML * 300,
}
PLACES = """
server {
    listen 127.0.0.1:PORT; root DIR/www;
    types { text/html html; text/css css; text/plain txt; image/png png; application/gzip gz; }
    location /bare/ { alias DIR/www/; }
    location /usual/ { alias DIR/www/; gzip on; gzip_static on; gzip_vary on; gzip_types text/css; }
    location /static/ { alias DIR/www/; gzip_static on; }
    location /old/ { alias DIR/www/; gzip_static on; gzip_vary on; gzip_http_version 1.0; gzip_proxied any; }
    location /proxied/ { alias DIR/www/; gzip_static on; gzip_proxied expired auth no_last_modified; gzip_disable "bot"; }
    location /always/ { alias DIR/www/; gzip_static always; gunzip on; gzip_vary on; }
    location /sub/ { alias DIR/www/; sub_filter page leaf; sub_filter_once off; sub_filter_types text/css; }
    location /kept/ { alias DIR/www/; sub_filter page leaf; sub_filter_last_modified on; }
    location /charset/ { alias DIR/www/; charset utf-8; charset_types text/css; expires 1h; }
    location /all/ {
        alias DIR/www/; gzip on; gunzip on; gzip_static always; gzip_vary on; gzip_types *; charset utf-8;
        sub_filter page leaf; sub_filter_once off; sub_filter_last_modified on; expires max; add_header X-A $sent_http_etag;
    }
    location /three/ { alias DIR/www/; gzip on; gzip_min_length 0; sub_filter "a page" "b leaf"; charset koi8-r; gzip_comp_level 9; }
    location /none/ { alias DIR/www/; etag off; max_ranges 0; gzip on; gzip_vary on; gzip_static on; }
    location /dated/ { alias DIR/www/; expires -1; add_header X-A $uri; add_header Link a; }
    location /error/ { alias DIR/www/; gzip on; gzip_vary on; gzip_static on; error_page 404 /all/page.html; charset utf-8; }
}
"""
NAMES = ("page.html", "style.css", "alone.html", "picture.png", "empty.html", "packed.txt", "missing.html")
WAYS = ("bare", "usual", "static", "old", "always", "sub", "kept", "charset", "all", "three", "none", "dated", "error")
TAKES = "Accept-Encoding: gzip"
AT = "Sun, 09 Sep 2001 01:46:40 GMT"
TAG = f'"3b9aca00-{len(HTML):x}"'
ZIPPED = f'"3b9aca00-{len(FILES["page.html.gz"]):x}"'
CONDITIONS = (
    ("Range: bytes=0-9",), ("Range: bytes=0-9,20-29",), ("Range: bytes=5000-",), ("Range: bytes=-7", f"If-Range: {TAG}"),
    ("Range: bytes=0-9", f"If-Range: W/{TAG}"), ("Range: bytes=0-9", f"If-Range: {AT}"), (f"If-None-Match: {TAG}",),
    (f"If-None-Match: W/{TAG}",), (f"If-None-Match: {ZIPPED}",), (f"If-Match: {TAG}",), (f"If-Match: W/{TAG}",),
    (f"If-Modified-Since: {AT}",), ("If-Unmodified-Since: Sun, 09 Sep 2000 01:46:40 GMT",), (f"If-None-Match: {TAG}", "Range: bytes=0-9"),
)  # fmt: skip


def test_every_file_goes_through_every_place_as_in_nginx(filtered_as_nginx: Compare) -> None:
    cases = [
        ask(f"/{way}/{name}", *fields, method=method)
        for way in WAYS
        for name in NAMES
        for method, fields in (("GET", ()), ("GET", (TAKES,)), ("HEAD", (TAKES,)))
    ]
    assert len(cases) >= 200
    ours = filtered_as_nginx(PLACES, cases, files=FILES)
    assert sum("Content-Encoding: gzip" in each for each in ours) > 40
    assert sum("leaf" in each for each in ours) > 5


def test_conditions_and_ranges_meet_filters_as_in_nginx(filtered_as_nginx: Compare) -> None:
    # What lies compressed has had parts since nginx 1.23.4 only (test_precompressed.py).
    packed = ("usual", "static", "old", "always", "all", "error")
    cases = [
        ask(f"/{way}/page.html", *condition, *fields)
        for way in WAYS
        for condition in CONDITIONS
        for fields in ((), (TAKES,))
        if not (fields and way in packed and any(each.startswith("Range: ") for each in condition))
    ]
    assert len(cases) >= 200
    ours = filtered_as_nginx(PLACES, cases, files=FILES)
    statuses = {each[9:12] for each in ours}
    assert statuses == {"200", "206", "304", "412", "416"}


def test_who_asks_and_how_counts_as_in_nginx(filtered_as_nginx: Compare) -> None:
    cases = [
        *(
            ask(f"/{way}/{name}", TAKES, *fields, version=version)
            for way in ("usual", "old", "proxied", "static", "all")
            for name in ("page.html", "alone.html")
            for version in ("1.1", "1.0")
            for fields in ((), ("Via: 1.1 x",), ("Via: 1.1 x", "Authorization: Basic eDp5"), ("User-Agent: bot",))
        ),
        *(ask(f"/{way}/page.html", TAKES, method="POST", body="x") for way in WAYS),
        *(ask(f"/{way}/", TAKES) for way in WAYS),
        *(ask(f"/{way}/large.html", *fields) for way in WAYS for fields in ((), (TAKES,), ("Range: bytes=9-250000",))),
        *(ask(f"/static/page.html{suffix}", TAKES) for suffix in (".gz", "/", "?x", "%2e")),
    ]
    filtered_as_nginx(PLACES, cases, files=FILES)


EXPIRES = ("1h", "-1", "-1h", "+2d", "0", "1y", "1M", "90m 30s", "epoch", "max", "off", "modified 1d", "modified -1w",
           "modified +0", "$arg_e", "modified $arg_e")  # fmt: skip
VALUES = ("1h", "-5m", "epoch", "max", "off", "0", "", "nonsense", "1h%2030m", "@25h", "modified", "10")


def test_every_form_of_expires_says_what_nginx_says(filtered_as_nginx: Compare) -> None:
    def written(form: str) -> str:
        return form if form.startswith(("modified ", "$")) else f'"{form}"'

    places = "".join(
        f"location /e{index}/ {{ alias DIR/www/; expires {written(form)}; location /e{index}/added/ {{ alias DIR/www/; "
        f'add_header Cache-Control "public, immutable"; add_header Expires again; }} error_page 404 /e{index}/page.html; }}\n'
        for index, form in enumerate(EXPIRES)
    )
    fixed = [index for index, form in enumerate(EXPIRES) if "$" not in form]
    variable = [index for index, form in enumerate(EXPIRES) if "$" in form]
    cases = [
        *(ask(f"/e{index}/{name}") for index in fixed for name in ("page.html", "added/page.html", "missing")),
        *(ask(f"/e{index}/page.html", "If-None-Match: *") for index in fixed),
        *(ask(f"/e{index}/page.html", "Range: bytes=0-1") for index in fixed),
        *(ask(f"/e{index}/page.html?e={value}") for index in variable for value in VALUES),
    ]
    server = "server { listen 127.0.0.1:PORT; root DIR/www; types { text/html html; } " + places + "}"
    filtered_as_nginx(server, cases, files=FILES)
