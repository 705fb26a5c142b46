"""Request bodies that nobody reads, asked of this worker and of the real nginx."""

from __future__ import annotations

from pathlib import Path

import pytest
from like_nginx import Comparison, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

pytestmark = needs_nginx

SERVER = """
    server {
        listen 127.0.0.1:PORT;
        client_max_body_size 10k;
        root DIR/www;
        location / { return 200 ok; }
        location /moved { return 301 /; }
        location /deny { deny all; }
        location /page { deny all; error_page 403 /page.html; }
        location = /page.html { }
        location /file { }
        location /empty { return 204; }
        location /again { return 404; error_page 404 =200 /; }
    }
"""
BODIES = {
    "good": b"2\r\nab\r\n0\r\n\r\n",
    "bad at once": b"zz\r\n",
    "bad later": b"2\r\nabzz\r\n",
    "large": (b"3e8\r\n" + b"x" * 1000 + b"\r\n") * 20 + b"0\r\n\r\n",
}


@pytest.mark.parametrize("kind", BODIES)
def test_what_came_with_the_head(same_as_nginx: Comparison, kind: str) -> None:
    head = "POST {} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    targets = ("/", "/moved", "/deny", "/page", "/file", "/empty", "/again")
    same_as_nginx(SERVER, [head.format(target).encode() + BODIES[kind] for target in targets], level="crit", prepare=make_files)


def make_files(directory: Path) -> None:
    (directory / "www").mkdir()
    (directory / "www" / "file").write_text("a file")
    (directory / "www" / "page.html").write_text("a page")
