"""Which responses are compressed, inflated or left alone, and what their heads say: as the real nginx has it, case by case."""

from __future__ import annotations

import gzip

from filtered import Compare, answer, filtered_as_nginx  # noqa: F401
from like_nginx import as_before_1_27, ask, needs_nginx

pytestmark = needs_nginx

HTML = b"<p>" + b"a page of some length " * 40 + b"</p>"
GZIPPED = gzip.compress(HTML, mtime=0)
TAKES = "Accept-Encoding: gzip"

FILES = {
    "page.html": HTML,
    "short.html": b"x" * 19,
    "least.html": b"x" * 20,
    "empty.html": b"",
    "style.css": HTML,
    "data.bin": HTML,
    "large.html": HTML * 200,
    "border.html": b"y" * 65536,
    "beyond.html": b"z" * 65537,
}

PLACES = """
server {
    listen 127.0.0.1:PORT; root DIR/www; gzip on;
    types { text/html html; text/css css; application/octet-stream bin; }
    location / { }
    location /vary/ { alias DIR/www/; gzip_vary on; gzip_types text/css; }
    location /all/ { alias DIR/www/; gzip_types *; gzip_vary on; }
    location /off/ { alias DIR/www/; gzip off; gzip_vary on; }
    location /long/ { alias DIR/www/; gzip_min_length 21; }
    location /any-length/ { alias DIR/www/; gzip_min_length 0; gzip_comp_level 9; }
    location /old/ { alias DIR/www/; gzip_http_version 1.0; gzip_vary on; }
    location /agents/ { alias DIR/www/; gzip_disable msie6 "bot/[0-9]+"; gzip_vary on; }
    location /added/ { alias DIR/www/; add_header X-Added yes; expires 1h; gzip_vary on; add_header ETag changed; }
    location /bare/ { alias DIR/www/; etag off; max_ranges 0; }
    location /if/ { alias DIR/www/; gzip off; if ($arg_z) { gzip on; } }
    location /unchunked/ { alias DIR/www/; chunked_transfer_encoding off; }
    location /text { return 200 "twenty bytes or more of text"; }
    location /html { default_type text/html; return 200 "twenty bytes or more of text"; }
    location /forbidden { return 403; }
    location /gone { return 410; }
    location /broken { return 500; }
    location /moved { return 301 /elsewhere; }
    location /nothing { return 204; }
    location /page404 { error_page 404 /page.html; return 404; }
    location /page500 { error_page 500 /page.html; return 500; }
}
"""

ACCEPTED = (
    "gzip", "GZIP", "gzip, deflate, br", "deflate, gzip", "deflate,gzip", "br gzip", "x-gzip", "x-gzip, gzip", "*", "", "identity",
    "gzip;q=1", "gzip;q=0", "gzip; q=0.0", "gzip;q=0.5", "gzip;q=0.001", "gzip;q=0.000", "gzip;q=0.0000", "gzip;q=1.000",
    "gzip;q=1.001", "gzip;q=2", "gzip;q=", "gzip;q", "gzip;", "gzip; ", "gzip ;q=1", "gzip ; q=1", "gzip;q =1", "gzip;Q=1",
    "gzip;q=.5", "gzip;q=0,5", "gzip;x=1", "gzip deflate", "gzip;q=1 ,br", "gzip;q=0.5, br", "gzipped", "agzip", "gzip,gzip;q=0",
    "gzip;q=0,gzip", "gzi", "gzip;q=1;x", "gzip;q=0.9x", "gzip;q=1.", "gzip;q=0.",
)  # fmt: skip

AGENTS = (
    "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)",
    "Mozilla/4.0 (compatible; MSIE 5.5; Windows)", "Mozilla/4.0 (compatible; MSIE 4.01; Windows)", "MSIE 7.0 x", "MSIE 6.0",
    "MSIE 6", "MSIE 10.0 something", "Mozilla/4.0 (compatible; MSIE 6.0; X) Opera 9", "a Bot/7", "bot/x", "",
)  # fmt: skip


def test_files_and_answers_of_ours_are_compressed_where_nginx_compresses_them(filtered_as_nginx: Compare) -> None:  # noqa: F811
    names = list(FILES)
    cases = [
        *(ask(f"/{name}", TAKES, method=method) for name in names for method in ("GET", "HEAD")),
        *(ask(f"/{name}", version="1.1") for name in names),
        *(ask(f"/{place}/{name}", field)
          for place in ("vary", "all", "off", "long", "any-length", "bare", "added", "unchunked")
          for name in ("page.html", "short.html", "least.html", "empty.html", "style.css", "data.bin")
          for field in (TAKES, "X: y")),
        *(ask(f"/page.html?{index}", f"Accept-Encoding: {value}") for index, value in enumerate(ACCEPTED)),
        *(ask("/agents/page.html", TAKES, f"User-Agent: {agent}") for agent in AGENTS),
        *(ask(f"{place}/page.html", TAKES, version="1.0") for place in ("", "/old", "/vary", "/unchunked")),
        ask("/old/page.html", TAKES), ask("/if/page.html", TAKES), ask("/if/page.html?z=1", TAKES),
        *(ask(f"/{path}", *fields)
          for path in ("text", "html", "forbidden", "gone", "broken", "moved", "nothing", "page404", "page500", "missing")
          for fields in ((TAKES,), ())),
        ask("/missing", TAKES, method="HEAD"), ask("/page.html", TAKES, method="POST"),
        *(ask("/vary/page.html", TAKES, *fields) for fields in (
            ("Range: bytes=0-9",), ("Range: bytes=0-9,20-29",), ("Range: bytes=5000-",), ("Range: bytes=0-9", 'If-Range: "x"'),
            ('If-None-Match: "3b9aca00-377"',), ('If-None-Match: W/"3b9aca00-377"',), ("If-None-Match: *",),
            ('If-Match: "3b9aca00-377"',), ('If-Match: W/"3b9aca00-377"',), ("If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT",),
            ("If-Unmodified-Since: Sun, 09 Sep 2000 01:46:40 GMT",))),
        *(ask(f"/{place}data.bin", TAKES, "Range: bytes=0-9") for place in ("", "vary/", "all/")),
        ask("/page.html", "Range: bytes=0-9"), ask("/vary/page.html", "Range: bytes=0-9"),
        ask("/vary/page.html", "Range: bytes=0-9,20-29"), ask("/vary/page.html", "Range: bytes=5000-"),
    ]  # fmt: skip
    ours = filtered_as_nginx(PLACES, cases, files=FILES)
    assert sum("Content-Encoding: gzip" in each for each in ours) > 60
    assert sum("Content-Encoding: gzip" not in each for each in ours) > 60


PROXY = """
gzip on; gzip_vary on; gzip_types text/css; log_format ratio '$gzip_ratio';
server {
    listen 127.0.0.1:PORT;
    location / { proxy_pass http://BACK; }
    location /gunzip/ { gunzip on; proxy_pass http://BACK/; }
    location /gunzip-only/ { gunzip on; gzip off; gzip_vary off; proxy_pass http://BACK/; }
    LOCATIONS
}
"""

VIA = ("off", "any", "auth", "expired", "no-cache", "no-store", "private", "no_last_modified", "no_etag", "off any",
       "no-cache no-store private expired auth", "expired no_etag no_last_modified")  # fmt: skip
PAST, FUTURE = "Expires: Thu, 01 Jan 1970 00:00:01 GMT", "Expires: Thu, 31 Dec 2037 23:55:55 GMT"

PROXIED = {
    "/plain": answer(HTML, "Content-Type: text/html"),
    "/charset": answer(HTML, "Content-Type: text/html; charset=utf-8"),
    "/upper": answer(HTML, "Content-Type: Text/HTML;Charset=utf-8"),
    "/parameter": answer(HTML, "Content-Type: text/html; version=1"),
    "/both": answer(HTML, "Content-Type: text/html; version=1; charset=x"),
    "/untyped": answer(HTML),
    "/unframed": answer(HTML, "Content-Type: text/html", length=False),
    "/unframed-short": answer(b"x", "Content-Type: text/html", length=False),
    "/unframed-empty": answer(b"", "Content-Type: text/html", length=False),
    "/short": answer(b"x" * 19, "Content-Type: text/html"),
    "/gzip": answer(GZIPPED, "Content-Type: text/html", "Content-Encoding: gzip", 'ETag: "s"', "Accept-Ranges: bytes"),
    "/GZIP": answer(GZIPPED, "Content-Type: text/html", "Content-Encoding: GZIP"),
    "/gzip-twice": answer(GZIPPED + GZIPPED, "Content-Type: text/html", "Content-Encoding: gzip"),
    "/gzip-unframed": answer(GZIPPED, "Content-Type: text/html", "Content-Encoding: gzip", length=False),
    "/gzip-206": answer(GZIPPED, "Content-Type: text/html", "Content-Encoding: gzip", status="206 Partial Content"),
    "/gzip-vary": answer(GZIPPED, "Content-Type: text/html", "Content-Encoding: gzip", "Vary: Accept-Encoding"),
    "/br": answer(HTML, "Content-Type: text/html", "Content-Encoding: br"),
    "/identity": answer(HTML, "Content-Type: text/html", "Content-Encoding: identity"),
    "/empty-coding": answer(HTML, "Content-Type: text/html", "Content-Encoding:"),
    "/201": answer(HTML, "Content-Type: text/html", status="201 Created"),
    "/206": answer(HTML, "Content-Type: text/html", "Content-Range: bytes 0-3/9", status="206 Partial Content"),
    "/404": answer(HTML, "Content-Type: text/html", status="404 Not There"),
    "/403": answer(HTML, "Content-Type: text/html", status="403 No"),
    "/500": answer(HTML, "Content-Type: text/html", status="500 Oh"),
    "/304": answer(b"", 'ETag: "e"', status="304 Not Modified"),
    "/strong": answer(HTML, "Content-Type: text/css", 'ETag: "strong"', "X-A: b", "Accept-Ranges: bytes", "X-C: d"),
    "/weak": answer(HTML, "Content-Type: text/css", 'ETag: W/"weak"'),
    "/bare-etag": answer(HTML, "Content-Type: text/css", "ETag: bare"),
    "/vary": answer(HTML, "Content-Type: text/css", "Vary: Accept-Encoding"),
    "/past": answer(HTML, "Content-Type: text/html", PAST),
    "/future": answer(HTML, "Content-Type: text/html", FUTURE),
    "/past-dated": answer(HTML, "Content-Type: text/html", PAST, "Date: Thu, 01 Jan 1970 00:00:00 GMT"),
    "/unreadable": answer(HTML, "Content-Type: text/html", "Expires: never"),
    "/past-control": answer(HTML, "Content-Type: text/html", PAST, "Cache-Control: private"),
    **{f"/control{index}": answer(HTML, "Content-Type: text/html", f"Cache-Control: {value}") for index, value in enumerate(
        ("no-cache", "No-Store", "private, max-age=0", "max-age=0,private", "max-age=0; no-cache", 'private="x"', "public", "xprivate",
         "no-cache x"))},
    "/modified": answer(HTML, "Content-Type: text/html", "Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT"),
    "/tagged": answer(HTML, "Content-Type: text/html", 'ETag: "e"'),
}  # fmt: skip


def test_proxied_responses_are_compressed_and_inflated_where_nginx_does(filtered_as_nginx: Compare) -> None:  # noqa: F811
    cases = [
        ask(place + path, *fields, method=method, version=version)
        for path in PROXIED
        for place in ("", "/gunzip", "/gunzip-only")
        for fields, method, version in (
            ((TAKES,), "GET", "1.1"),
            ((), "GET", "1.1"),
            ((TAKES,), "HEAD", "1.1"),
            ((), "HEAD", "1.1"),
            ((TAKES,), "GET", "1.0"),
        )
    ]
    ours = filtered_as_nginx(PROXY.replace("LOCATIONS", ""), cases, PROXIED)
    assert sum("Content-Encoding: gzip" in each for each in ours) > 60


@as_before_1_27
def test_gzip_proxied_asks_what_nginx_asks(filtered_as_nginx: Compare) -> None:  # noqa: F811
    locations = "".join(
        f"location /v{index}/ {{ gzip_proxied {words}; proxy_pass http://BACK/; }}" for index, words in enumerate(VIA)
    )
    paths = [
        path for path in PROXIED if path.startswith(("/past", "/future", "/unread", "/control", "/modif", "/tagg", "/plain"))
    ]
    cases = [
        ask(f"/v{index}{path}", TAKES, *fields)
        for index in range(len(VIA))
        for path in paths
        for fields in (("Via: 1.1 p",), *([("Via: 1.1 p", "Authorization: x")] if path == "/future" else []))
    ]
    ours = filtered_as_nginx(PROXY.replace("LOCATIONS", locations), cases, PROXIED)
    assert 50 < sum("Content-Encoding: gzip" in each for each in ours) < len(cases) - 50
