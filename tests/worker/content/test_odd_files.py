"""Odd names, odd files, ways out of the root and statuses in number, asked of this worker and of the real nginx."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conversation import Stage
from like_nginx import Comparison, as_before_1_27, ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

NOBODY = 65534
CONFIGURATION = """
    default_type application/octet-stream;
    server {
        listen 127.0.0.1:PORT;
        root DIR/www;
        location /alias/ { alias DIR/www/d/; autoindex on; }
        location = /exact { alias DIR/www/f.html; }
        location ~ ^/regex/(.*)$ { alias DIR/www/$1; }
        location /try/ { alias DIR/www/d/; try_files $uri $uri/ $uri.html =404; }
        location /index/ { index none $arg_i index.html; }
        location /links/ { alias DIR/www/d/; disable_symlinks on; }
        location /kept/ { alias DIR/www/d/; open_file_cache max=100; open_file_cache_errors on; }
        location /inside/ { internal; alias DIR/www/; }
    }
    server { listen 127.0.0.1:PORT; server_name slashes; merge_slashes off; root DIR/www; location /alias/ { alias DIR/www/d/; } }
"""
NAMES = {
    b"f.html": b"<p>page</p>", b"d/f.html": b"<p>inner</p>", b"d/pic.GIF": b"gif", b"d/photo.jpg": b"jpg", b"d/a.txt": b"text",
    b"d/none": b"", b"d/per%20cent": b"percent", b"d/sp ace": b"space", b"d/q?x": b"question", b"d/h#y": b"hash", b"d/b\\s": b"back",
    b"d/\xff\xfe": b"bytes", "d/\u00e9.html".encode(): b"accent", b"d/.dot": b"dot", b"d/..two": b"two dots", b"index/sub/x": b"x",
    b"d/:colon": b"colon",
}  # fmt: skip
TARGETS = (
    "f.html", "pic.GIF", "photo.jpg", "a.txt", "none", "per%2520cent", "per%20cent", "sp%20ace", "sp+ace", "q%3fx", "q?x", "h%23y",
    "b%5cs", "b\\s", "%ff%fe", "%c3%a9.html", ".dot", "..two", ":colon", "fifo", "zero", "socket", "link", "loop", "dir/", "dir",
    "f.html/", "f.html/x", "n" * 300, "missing",
)  # fmt: skip
# (An `index` that a variable leads out of its directory is a 404 here: see test_try_files_of_an_argument in test_static.py.)
WAYS_OUT = (
    "../secret", "../../secret", "..%2fsecret", "%2e%2e/%2e%2e/secret", "%2e%2e%2f%2e%2e%2fsecret", "%252e%252e/secret", "..%5csecret",
    "..\\..\\secret", "..;/secret", ".%2e/secret", "%c0%ae%c0%ae/secret", "%e0%80%ae/secret", "....//secret", "./../secret",
    "//../secret", "a/../../secret", "%2f%2e%2e/secret", "%00", "f.html%00.txt", "%", "%z1", "/etc/passwd", "//etc/passwd",
    "?i=/secret", "?i=..%2f..%2fsecret",
)  # fmt: skip


def make_site(directory: Path) -> None:
    """The files that both serve, and one above them."""
    top = os.fsencode(directory / "www")
    (directory / "secret").write_bytes(b"above the root")
    for name, content in NAMES.items():
        path = os.path.join(top, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    inner = directory / "www/d"
    (inner / "dir").mkdir()
    os.mkfifo(inner / "fifo")
    os.mknod(inner / "socket", 0o140666)
    (inner / "zero").symlink_to("/dev/zero")
    (inner / "link").symlink_to("a.txt")
    (inner / "loop").symlink_to("loop")


@needs_nginx
def test_odd_files_and_odd_names_are_answered_as_nginx_answers_them(same_as_nginx: Comparison) -> None:
    places = ("d/", "alias/", "regex/d/", "try/", "index/", "links/", "kept/", "inside/", "exact", "")
    cases = [
        *(ask(f"/{place}{name}", method=method) for place in places for name in TARGETS for method in ("GET", "HEAD")),
        *(ask(f"/{place}{name}") for place in places for name in WAYS_OUT),
        *(ask(f"/{name}", host="slashes") for name in (*WAYS_OUT, "/d/f.html", "d//f.html", "alias//f.html", "alias//../f.html")),
    ]
    same_as_nginx(CONFIGURATION, cases, "warn", make_site)


@needs_nginx
@as_before_1_27
def test_statuses_have_the_phrases_of_nginx(same_as_nginx: Comparison) -> None:
    statuses = [status for status in range(200, 600) if status not in (408, 444, 499)]
    places = "".join(f"location = /{status} {{ return {status}; }}" for status in statuses)
    cases = [ask(f"/{status}", method=method) for status in statuses for method in ("GET", "HEAD")]
    same_as_nginx("server { listen 127.0.0.1:PORT; " + places + "}", cases)


@needs_nginx
def test_the_last_of_try_files_may_close_the_connection(same_as_nginx: Comparison) -> None:
    same_as_nginx(
        "server { listen 127.0.0.1:PORT; root DIR; location / { try_files /none =444; } location /ok { return 200 ok; } }",
        [ask("/x"), ask("/x", method="HEAD"), ask("/ok")],
    )


@contextmanager
def without_rights() -> Iterator[None]:
    """As a worker is that has given up root."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("more", ["", 'disable_symlinks = "on"', 'gzip_static = "always"', 'try_files = ["$uri", "=404"]'])
def test_a_file_that_may_not_be_read_is_forbidden(stage: Callable[..., Stage], public_path: Path, more: str) -> None:
    inner = public_path / "f"
    (inner / "dir").mkdir(parents=True)
    for name in ("closed.html", "closed.html.gz", "dir/index.html"):
        (inner / name).write_bytes(b"nobody's business")
        (inner / name).chmod(0)
    (inner / "dir").chmod(0)
    front = stage(locations=f'[http.server.location."/f/"]\nroot = "{public_path}"\n{more}')
    with without_rights():
        for target in ("/f/closed.html", "/f/dir/", "/f/dir/index.html"):
            client = front.client().send(ask(target))
            assert client.is_closed(), target
            status = bytes(client.received)[9:12]
            assert status == (b"404" if "try_files" in more and "dir" in target else b"403"), target
            assert b"nobody" not in client.received
