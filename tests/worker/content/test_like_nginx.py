"""Files, asked of this worker and of the real nginx with the same configuration: the same heads, field by field and in the
same order, the same bodies and the same lines in the error log."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import conversation
import pytest
from conversation import Stage

from bench.ports import free_port
from wproxy.config.nginx import parse_nginx
from wproxy.config.resolve import resolve

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"

pytestmark = pytest.mark.skipif(not os.path.exists(NGINX), reason="the real nginx is not installed")

MAIN = """\
daemon off; master_process off; pid DIR/nginx.pid; error_log DIR/error.log error;
events { }
http {
    access_log off; client_body_temp_path DIR/t1; proxy_temp_path DIR/t2;
    fastcgi_temp_path DIR/t3; uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
    SERVER
}
"""
SERVER = """
    default_type application/octet-stream;
    server {
        listen 127.0.0.1:PORT;
        root DIR/www;
        location /al/ { alias DIR/www/dir/; }
        location /al2 { alias DIR/www/dir; location /al2/inner { } }
        location ~ ^/re/(.*)$ { alias DIR/www/$1; }
        location /nodir/ { root DIR/missing; }
        location /var/ { root DIR/$arg_d; }
        location /brk/ { alias DIR/www/; rewrite ^ /foo break; }
        location /plain/ { alias DIR/www/; etag off; max_ranges 0; }
        location /one/ { alias DIR/www/; max_ranges 1; }
        location /before/ { alias DIR/www/; if_modified_since before; }
        location /off/ { alias DIR/www/; if_modified_since off; }
        location /quiet/ { log_not_found off; }
        location /abs/ { absolute_redirect off; alias DIR/www/; }
        location /h/ { alias DIR/www/; expires epoch; add_header X-A b; }
        location /ep/ { alias DIR/www/; error_page 404 /page.html; error_page 403 =200 /page.html; }
        location /typed/ {
            alias DIR/www/;
            types { text/x-text TXT; application/gzip gz tgz; }
            default_type "";
        }
        location /ifroot/ { if ($arg_a) { root DIR/www/dir; } }
        location /try/ { try_files /nope $uri.txt /dir/ =404; }
        location /try2/ { try_files /nope/ /a.txt =410; }
        location /try3/ { try_files /nope /page.html?x=1; }
        location /try4/ { try_files /nope @n; }
        location /try5/ { alias DIR/www/; try_files $uri $uri/ =404; }
        location ~ ^/try6/(.*) { alias DIR/www/; try_files $1 /try6/none =404; }
        location /try7/ { try_files /nope @missing; }
        location /try8/ { alias DIR/www/; rewrite ^ /foo break; try_files $uri =404; }
        location /try9/ { try_files /dir =403; }
        location /try10/ { try_files /nope =301; }
        location @n { return 200 "$uri $args"; }
        location /idx/ { index nope.html /page.html; }
        location /idx2/ { alias DIR/www/; index nope.html a.$arg_e; }
    }
"""

AT = "Sun, 09 Sep 2001 01:46:40 GMT"
LATER = "Sun, 09 Sep 2001 01:46:41 GMT"
ETAG = '"3b9aca00-a"'

# method, target, fields
REQUESTS: list[tuple[str, ...]] = [
    *(("GET", target) for target in ["/a.txt", "/page.html", "/pic.JPG", "/none", "/x.tar.gz", "/dir/.hidden", "/dir/dot.", "/big", "/dir", "/dir?x=%41", "/dir?", "/sp%20ace", "/sp%20ace?a=b", "//dir", "/dir/..%2fa.txt", "/", "/dir/", "/dir/?a=b", "/empty/", "/missing", "/missing/", "/a.txt/", "/a.txt/b", "/fifo", "/loop", "/loop/x", "/nodir/", "/nodir/x", "/al", "/al/", "/al/index.html", "/al/deep", "/al2", "/al2/", "/al2/index.html", "/al2/inner/x", "/al2/deep", "/re/a.txt", "/re/dir", "/re/dir/", "/re/", "/var/a.txt?d=www/dir", "/var/?d=missing", "/brk/a.txt", "/plain/a.txt", "/abs/dir", "/h/a.txt", "/quiet/x", "/quiet/y/", "/typed/a.txt", "/typed/x.tar.gz", "/typed/page.html", "/typed/dir/dot.", "/ifroot/index.html?a=1", "/ifroot/index.html", "/ep/missing", "/ep/empty/", "/try/a", "/try/b", "/try/b/", "/try2/x", "/try3/x?y=2", "/try4/x?y=2", "/try5/a.txt", "/try5/dir/", "/try5/dir", "/try5/nope", "/try5/", "/try6/a.txt", "/try6/dir", "/try7/x", "/try8/a.txt", "/try9/", "/try10/x", "/idx/x", "/idx/", "/idx2/?e=txt", "/idx2/?e=none"]),
    ("HEAD", "/a.txt"), ("HEAD", "/dir"), ("HEAD", "/missing"), ("HEAD", "/big"),
    ("POST", "/a.txt", "Content-Length: 0"), ("POST", "/a.txt", "Content-Length: 0", 'If-None-Match: *'),
    ("POST", "/missing", "Content-Length: 0"), ("POST", "/dir", "Content-Length: 0"), ("POST", "/dir/", "Content-Length: 0"),
    ("POST", "/empty/", "Content-Length: 0"), ("POST", "/try/a", "Content-Length: 0"),
    ("PUT", "/a.txt", "Content-Length: 0"), ("PUT", "/dir/", "Content-Length: 0"), ("DELETE", "/missing"),
    ("OPTIONS", "/missing"), ("UNHEARD", "/a.txt"),
    *(("GET", "/a.txt", *fields) for fields in [
        (f"If-Modified-Since: {AT}",), (f"If-Modified-Since: {LATER}",), ("If-Modified-Since: nonsense",),
        ("If-Modified-Since: Sunday, 09-Sep-01 01:46:40 GMT",), ("If-Modified-Since: Sun Sep  9 01:46:40 2001",),
        (f"If-None-Match: {ETAG}",), (f'If-None-Match: "x" , W/{ETAG}',), ("If-None-Match: *",), ('If-None-Match: "x"',),
        (f"If-None-Match: {ETAG}", f"If-Modified-Since: {LATER}"), ('If-None-Match: "x"', f"If-Modified-Since: {AT}"),
        ('If-Match: "x"',), (f"If-Match: W/{ETAG}",), (f"If-Match: {ETAG}",), ("If-Match: *",),
        (f"If-Unmodified-Since: {AT}",), ("If-Unmodified-Since: Sun, 09 Sep 2001 01:46:39 GMT",),
        ("If-Unmodified-Since: nonsense",),
        *((f"Range: {value}",) for value in (
            "bytes=0-0", "bytes=2-5", "BYTES= 7 - ", "bytes=-3", "bytes=-30", "bytes=-0", "bytes=10-", "bytes=10-,3-4",
            "bytes=5-3", "bytes=0-1,4-5", "bytes=0-1,", "bytes=a-b", "bytes", "lines=1-2", "bytes=0-9,0-9",
            "bytes=0-99999999999999999999",
        )),
        *(("Range: bytes=2-5", f"If-Range: {value}") for value in (ETAG, f"W/{ETAG}", '"x"', AT, LATER, "")),
        ("Range: bytes=2-5", f"If-None-Match: {ETAG}"), ("Range: bytes=20-30", 'If-Match: "x"'),
    ]),
    ("HEAD", "/a.txt", "Range: bytes=2-5"), ("HEAD", "/a.txt", "Range: bytes=0-1,4-5"), ("HEAD", "/a.txt", "Range: bytes=50-"),
    ("GET", "/none", "Range: bytes=0-"), ("GET", "/none", "Range: bytes=1-"),
    ("GET", "/big", "Range: bytes=100000-299999"), ("GET", "/big", "Range: bytes=0-99999,150000-"),
    ("GET", "/one/a.txt", "Range: bytes=0-1,4-5"), ("GET", "/one/a.txt", "Range: bytes=0-1"),
    ("GET", "/plain/a.txt", "Range: bytes=0-1"), ("GET", "/plain/a.txt", f"If-None-Match: {ETAG}"),
    ("GET", "/plain/a.txt", "If-None-Match: *"),
    ("GET", "/before/a.txt", f"If-Modified-Since: {LATER}"), ("GET", "/off/a.txt", f"If-Modified-Since: {AT}"),
    ("GET", "/typed/dir/dot.", "Range: bytes=0-0"), ("GET", "/typed/page.html", "Range: bytes=0-0,2-2"),
    ("GET", "/h/a.txt", "Range: bytes=1-2"), ("GET", "/h/a.txt", f"If-None-Match: {ETAG}"),
    ("GET", "/ep/missing", "Range: bytes=1-2"), ("GET", "/ep/missing", "If-None-Match: *"), ("GET", "/ep/missing", 'If-Match: "x"'),
    ("GET", "/dir/", "Range: bytes=1-2"), ("GET", "/missing", "Range: bytes=1-2"),
]  # fmt: skip


def make_site(directory: Path) -> None:
    """The files that both serve."""
    files = {
        "a.txt": b"0123456789",
        "page.html": b"<p>hi</p>",
        "pic.JPG": b"jpg",
        "none": b"",
        "x.tar.gz": b"gz",
        "big": bytes(range(256)) * 1024,
        "dir/index.html": b"index",
        "dir/.hidden": b"h",
        "dir/dot.": b"d",
        "dir/ifroot/index.html": b"other root",
        "dir/var/a.txt": b"by argument",
    }
    for name in ("dir/deep", "dir/ifroot", "dir/var", "empty", "sp ace"):
        (directory / "www" / name).mkdir(parents=True)
    for name, content in files.items():
        path = directory / "www" / name
        path.write_bytes(content)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    os.mkfifo(directory / "www/fifo")
    os.symlink("loop", directory / "www/loop")


def head_of(request: tuple[str, ...]) -> bytes:
    method, target, *fields = request
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: h", "Connection: close", *fields, "", ""]).encode()


# A time counted from now: the two are asked one after the other, and a second may pass between.
_EXPIRES = re.compile(rb"(\r\nExpires: \w{3}, \d\d \w{3} (?!1970|2037)\d{4} )\d\d:\d\d:\d\d")
_OWN_LINES = re.compile(rb"\r\n(?:Date|Server|Connection): [^\r]*")


def comparable(answer: bytes) -> str:
    """An answer without what is bound to differ: names, dates, ports, boundaries and the length of pages with a name in them."""
    head, _, body = answer.partition(b"\r\n\r\n")
    head = _EXPIRES.sub(rb"\1TIME", _OWN_LINES.sub(b"", head))
    if b"<hr><center>" in body or re.match(rb"HTTP/1.1 [345](?!04)", head):
        body = re.sub(rb"(?<=<hr><center>)[^<]*", b"NAME", body)
        if b"text/html" in head and b"ETag" not in head:
            head = re.sub(rb"Content-Length: \d+", b"Content-Length: PAGE", head)
    head = re.sub(rb"http://h:\d+/", b"http://h:PORT/", head)
    whole = head + b"\r\n\r\n" + body
    boundary = re.search(rb"boundary=(\d{20})", head)
    return (whole.replace(boundary[1], b"BOUNDARY") if boundary else whole).decode("latin-1")


def comparable_log(path: Path) -> list[str]:
    """Level and text of each line about a request."""
    return re.findall(r"(\[\w+\]) \S+ \*\d+ (.*?), client: ", path.read_text("utf-8", "backslashreplace"))


class Oracle:
    """The real nginx, and what it said."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        main = MAIN.replace("SERVER", SERVER).replace("PORT", str(self.port)).replace("DIR", str(directory))
        (directory / "nginx.conf").write_text(main)
        self.process = subprocess.Popen([NGINX, "-p", str(directory), "-c", str(directory / "nginx.conf")])
        try:
            self._wait()
            (directory / "error.log").write_text("")
            self.answers = [self.ask(request) for request in REQUESTS]
        finally:
            self.process.terminate()
            self.process.wait()

    def _wait(self) -> None:
        limit = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert self.process.poll() is None, "nginx did not start"
                assert time.monotonic() < limit, "nginx does not listen"
                time.sleep(0.01)

    def ask(self, request: tuple[str, ...]) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            sock.sendall(head_of(request))
            pieces = []
            while piece := sock.recv(65536):
                pieces.append(piece)
        return comparable(b"".join(pieces))


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    directory = tmp_path_factory.mktemp("site")
    directory.chmod(0o755)
    make_site(directory)
    return Oracle(directory)


@pytest.fixture
def front(oracle: Oracle, stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A worker with the same configuration."""
    text = "error_log {directory}/error.log error; events {{}} http {{ log_format test '{log_format}'; "
    text += "access_log {directory}/access.log test; "
    server = SERVER.replace("PORT", "8080").replace("DIR", str(oracle.directory))
    text += server.replace("{", "{{").replace("}", "}}") + "}}"

    def load(text: bytes, file: str, prefix: str, look_up: object) -> object:
        return resolve(parse_nginx(text, file), file, prefix, look_up)  # type: ignore[arg-type]

    monkeypatch.setattr(conversation, "load_text", load)
    yield stage(peers=0, text=text)


def test_files_are_answered_as_nginx_answers(oracle: Oracle, front: Stage) -> None:
    different = []
    for request, expected in zip(REQUESTS, oracle.answers, strict=True):
        client = front.client().send(head_of(request))
        assert client.is_closed(), request
        answer = comparable(bytes(client.received))
        client.received.clear()
        if answer != expected:
            different.append(f"{request}\n--- nginx:\n{expected[:600]}\n--- wproxy:\n{answer[:600]}")
    assert not different, "\n\n".join(different)
    ours = comparable_log(Path(front.directory) / "error.log")
    assert ours == comparable_log(oracle.directory / "error.log")
    assert len(ours) > 20
