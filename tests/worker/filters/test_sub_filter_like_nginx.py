"""sub_filter, alone and between gunzip and gzip: the same texts replaced, the same heads, as the real nginx has them."""

from __future__ import annotations

import gzip

from filtered import Compare, answer, filtered_as_nginx  # noqa: F401
from like_nginx import ask, needs_nginx

pytestmark = needs_nginx

TEXT = b'<a href="http://One.example/">one</a> ONE two Two aaab abab <b>$x</b> end of one'
PAGE = TEXT + b" filler" * 12_000 + TEXT
LINES = ("Content-Type: text/html", 'ETag: "e"', "Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT", "Accept-Ranges: bytes")

ANSWERS = {
    "/page": answer(TEXT, *LINES),
    "/long": answer(PAGE, *LINES),
    "/css": answer(TEXT, "Content-Type: text/css"),
    "/empty": answer(b"", *LINES),
    "/unframed": answer(TEXT, *LINES, length=False),
    "/partial": answer(TEXT, *LINES, "Content-Range: bytes 0-9/100", status="206 Partial Content"),
    "/weak": answer(TEXT, "Content-Type: text/html; charset=utf-8", 'ETag: W/"e"'),
    "/error": answer(TEXT, *LINES, status="500 Oh"),
    "/gzip": answer(gzip.compress(PAGE), *LINES, "Content-Encoding: gzip"),
    "/unmodified": answer(b"", 'ETag: "e"', status="304 Not Modified"),
}
FILES = {"page.html": TEXT, "long.html": PAGE, "style.css": TEXT, "empty.html": b""}

SETTINGS = (
    "sub_filter one 1;",
    "sub_filter one 1; sub_filter_once off;",
    "sub_filter oNe 'a longer text than that'; sub_filter two ''; sub_filter_once off;",
    "sub_filter one 1; sub_filter one 2; sub_filter one 3;",
    "sub_filter aab X; sub_filter ab Y; sub_filter_once off;",
    "sub_filter ab Y; sub_filter aab X; sub_filter aaab Z; sub_filter_once off;",
    "sub_filter abab X; sub_filter ba Y; sub_filter_once off;",
    "sub_filter 'http://one.example' '$scheme://$host'; sub_filter $arg_what $arg_with; sub_filter_once off;",
    "sub_filter $arg_what x;",
    "sub_filter one 1; sub_filter_types text/css;",
    "sub_filter one 1; sub_filter_types *; sub_filter_once off;",
    "sub_filter one 1; sub_filter_last_modified on;",
    "sub_filter one 1; add_header X-Type $sent_http_content_type; expires 1h; gzip on; gzip_vary on; gunzip on;",
    "sub_filter one 1; sub_filter_last_modified on; gunzip on; sub_filter_once off;",
    "sub_filter absent 1; chunked_transfer_encoding off;",
)


def test_texts_are_replaced_where_nginx_replaces_them(filtered_as_nginx: Compare) -> None:  # noqa: F811
    locations = "".join(
        f"location /p{index}/ {{ {settings} proxy_pass http://BACK/; }} location /f{index}/ {{ {settings} alias DIR/www/; }}\n"
        for index, settings in enumerate(SETTINGS)
    )
    server = f"""
        server {{
            listen 127.0.0.1:PORT; types {{ text/html html; text/css css; }}
            {locations}
            location /missing {{ sub_filter 'not found' lost; sub_filter_once off; }}
            location /moved {{ sub_filter 301 302; return 301 /x; }}
        }}
    """
    query = "?what=two&with=2"
    cases = [
        *(ask(f"/p{index}{path}{query}") for index in range(len(SETTINGS)) for path in ANSWERS),
        *(ask(f"/p{index}{path}{query}", "Accept-Encoding: gzip") for index in (12, 13) for path in ANSWERS),
        *(ask(f"/f{index}/{name}{query}") for index in range(len(SETTINGS)) for name in FILES),
        *(
            ask(f"/f{index}/{name}{query}", *fields, method=method, version=version)
            for index in (1, 8, 12)
            for name in ("page.html", "style.css")
            for fields, method, version in (
                (("Range: bytes=0-3",), "GET", "1.1"),
                (("If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT",), "GET", "1.1"),
                (("Accept-Encoding: gzip",), "GET", "1.0"),
                ((), "HEAD", "1.1"),
            )
        ),
        ask("/missing"),
        ask("/moved"),
    ]
    ours = filtered_as_nginx(server, cases, ANSWERS, FILES)
    assert sum("1.example" in each or "http://h" in each for each in ours) > 40
