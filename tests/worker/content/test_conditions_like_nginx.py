"""Conditions and ranges of what is no file, and of files that answer in the place of an error, asked of the real nginx too."""

from __future__ import annotations

import os
from pathlib import Path

from like_nginx import Comparison, ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

pytestmark = needs_nginx

CONFIGURATION = """
    types { text/html html; text/plain txt; }
    server {
        listen 127.0.0.1:PORT;
        root DIR/www;
        location /text { return 200 "text"; }
        location /nothing { return 200; }
        location /created { return 201 "text"; }
        location /added { add_header Last-Modified "Sun, 09 Sep 2001 01:46:40 GMT"; add_header ETag '"x"'; return 200 "text"; }
        location /named { error_page 404 =200 @text; return 404; }
        location /named201 { error_page 404 =201 @text; return 404; }
        location /failed { error_page 412 =200 @text; return 200 "a"; }
        location /list/ { autoindex on; expires epoch; add_header X-A $status always; gzip on; gzip_vary on; }
        location /refused/ { alias DIR/www/list/; autoindex on; autoindex_format json; error_page 412 /none; }
        location /page { error_page 404 405 =200 /f.txt; root DIR/none; }
        location /page201 { error_page 404 =201 /f.txt; root DIR/none; }
        location /page404 { error_page 404 /f.txt; root DIR/none; }
        location @text { return 200 "named"; }
    }
"""
PLACES = (
    "text", "nothing", "created", "added", "named", "named201", "failed", "list/", "refused/", "page", "page201", "page404", "f.txt",
)  # fmt: skip
THEN = "Sun, 09 Sep 2001 01:46:40 GMT"
CONDITIONS = (
    ("If-None-Match: *",), ('If-None-Match: "x"',), (f"If-Modified-Since: {THEN}",), ("If-None-Match: *", f"If-Modified-Since: {THEN}"),
    ("If-Match: *",), ('If-Match: "x"',), ("If-Unmodified-Since: Sun, 09 Sep 2035 01:46:40 GMT",), ("If-Match: *", "If-None-Match: *"),
    ("Range: bytes=0-0",), ("Range: bytes=0-0,2-2",), ("Range: bytes=0-0", "Range: bytes=1-1"), ("Range: bytes=0-0", "Range: x"),
    ("Range: bytes=90-",),
)  # fmt: skip


def make_site(directory: Path) -> None:
    """A file, and a directory with one."""
    for name in ("f.txt", "list/inner.txt"):
        path = directory / "www" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0123456789")
        os.utime(path, (1_000_000_000, 1_000_000_000))


def test_conditions_are_for_every_200_and_ranges_for_files(same_as_nginx: Comparison) -> None:
    cases = [
        *(ask(f"/{place}", *fields, method=method) for place in PLACES for fields in CONDITIONS for method in ("GET", "HEAD")),
        *(ask("/page", *fields, method="PUT") for fields in CONDITIONS),
    ]
    same_as_nginx(CONFIGURATION, cases, "warn", make_site)
