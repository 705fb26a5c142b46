"""add_before_body and add_after_body beside the real nginx (subrequests.md §4)."""

from __future__ import annotations

import os

from like_nginx import Comparison, ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

pytestmark = needs_nginx

SITE = """
server {
    listen 127.0.0.1:PORT; default_type text/html;
    root DIR; add_before_body /head; add_after_body /foot.html; sub_filter text TEXT; sub_filter head HEAD; sub_filter_types *;
    location /plain { default_type text/plain; }
    location /all { default_type text/plain; addition_types *; alias DIR/file; }
    location /none { add_before_body ""; add_after_body ""; alias DIR/file; }
    location /one { add_before_body ""; add_after_body /head; alias DIR/file; }
    location /missing { add_before_body /nowhere; alias DIR/file; }
    location /dead { add_before_body /deader; alias DIR/file; }
    location /proxied { proxy_pass http://BACK; proxy_set_header X-Add "Content-Type: text/html"; }
    location /proxied/part { add_before_body /echo; alias DIR/file; }
    location = /echo { proxy_pass http://BACK; }
    location = /deader { proxy_pass http://DEAD; error_page 502 /foot.html; }
    location = /head { internal; deny all; return 200 "head of text $uri\n"; }
    location = /foot.html { add_header X-Not seen; }
    location = /return { return 200 "text\n"; }
    location = /empty { return 200 ""; }
    location = /empty.html { sub_filter_last_modified on; }
    location = /404 { return 404; }
    location = /page { error_page 404 = /file.html; return 404; }
    location = /query { add_before_body /head?x; alias DIR/file; }
    location = /nested { add_before_body /one; alias DIR/file; }
}
"""


def prepare(directory):
    (directory / "file.html").write_text("some text\n")
    (directory / "file").write_text("file with text\n")
    (directory / "empty.html").write_text("")
    (directory / "plain").write_text("text\n")
    (directory / "foot.html").write_text("foot of text\n" * 3)
    (directory / "big.html").write_text("text and more text\n" * 9000)
    for name in ("file.html", "file", "foot.html", "empty.html"):
        os.utime(directory / name, (1e9, 1e9))


def test_parts_come_before_and_after_a_response_as_in_nginx(same_as_nginx: Comparison) -> None:
    paths = [
        "/file.html",
        "/empty.html",
        "/plain",
        "/all",
        "/none",
        "/one",
        "/missing",
        "/dead",
        "/return",
        "/empty",
        "/404",
        "/page",
    ]
    paths += ["/query", "/nested", "/none.html", "/proxied", "/proxied/part", "/head"]
    cases = [
        *paths,
        ask("/file.html", method="HEAD"),
        ask("/file.html", "Range: bytes=0-3"),
        ask("/file.html", "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT"),
        ask("/file.html", version="1.0"),
        ask("/proxied/part?a=b", "Range: bytes=0-3", method="GET"),
        ask("/proxied/part", method="HEAD"),
    ]
    same_as_nginx(SITE, cases, "error", prepare, joins_chunks=True)


def test_a_large_response_has_its_parts(same_as_nginx: Comparison) -> None:
    same_as_nginx(SITE, ["/big.html", ask("/big.html", "Accept-Encoding: gzip")], "error", prepare, joins_chunks=True)
