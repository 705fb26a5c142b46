"""slice beside the real nginx (subrequests.md §6)."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import like_nginx
import pytest
from conversation import Stage
from like_nginx import Comparison, Site, ask, ask_nginx, ask_worker, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

pytestmark = needs_nginx

WHOLE = b"".join(b"%04d\n" % number for number in range(7))  # 35 bytes
SITE = """
server {
    listen 127.0.0.1:PORT;
    slice 10; postpone_output 0;
    proxy_set_header Range $slice_range;
    add_header X-Slice $slice_range;
    add_header X-Status $status;
    location / { proxy_pass http://RANGED; }
    location /sub/ { proxy_pass http://RANGED/; sub_filter 000 ooo; sub_filter_types *; sub_filter_once off; }
    location ~ ^/re/(.*)$ { proxy_pass http://RANGED/$1; proxy_method GET; }
    location /no { proxy_pass http://RANGED; max_ranges 0; }
    location /off { slice 0; proxy_pass http://RANGED/; }
    location /late { slice 10; proxy_set_header Range ""; proxy_pass http://RANGED; }
    location /caught { proxy_pass http://RANGED/missing; proxy_intercept_errors on; error_page 404 = /page; }
    location /page { return 200 "page $slice_range\n"; }
    location /set { set $kept $slice_range; proxy_set_header Range $kept; proxy_pass http://RANGED/whole; }
    location /text { set $kept $slice_range; return 200 "$kept\n"; }
    location /around { add_before_body /whole; add_after_body /text; return 200 "text $slice_range\n"; default_type text/html; }
}
"""


class Ranged(BaseHTTPRequestHandler):
    """Answers with parts of WHOLE, wrongly for some paths."""

    protocol_version = "HTTP/1.1"
    asked: list[str] = []

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        name = self.path.strip("/")
        wanted = self.headers.get("Range", "")
        self.asked.append(f"{self.command} {self.path} {wanted}")
        found = re.match(r"bytes=(\d+)-(\d+)$", wanted)
        begin, end = (int(found[1]), min(int(found[2]) + 1, len(WHOLE))) if found else (0, len(WHOLE))
        is_first = begin == 0
        status, etag, body = 206, '"a"', WHOLE[begin:end]
        told = f"bytes {begin}-{end - 1}/{len(WHOLE)}"
        if not found or name in ("ignored", "off") or (name == "once" and not is_first):
            status = 200
            body = WHOLE
        elif name == "missing" or (name == "gone" and not is_first):
            status, body = 404, b"nothing"
        elif begin >= len(WHOLE):
            status, body, told = 416, b"", f"bytes */{len(WHOLE)}"
        elif name == "etag":
            etag = f'"{begin}"'
        elif name == "lost" and not is_first:
            etag = ""
        elif name == "invalid":
            told = "lines 1-2/3"
        elif name == "unknown":
            told = f"bytes {begin}-{end - 1}/*"
        elif name == "spaced":
            told = f"bytes   {begin} - {end - 1} / {len(WHOLE)}"
        elif name == "shifted":
            told = f"bytes {begin + 1}-{end}/{len(WHOLE)}"
        elif name == "larger" and not is_first:
            told = f"bytes {begin}-{end + 3}/{len(WHOLE)}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Sun, 09 Sep 2001 01:46:40 GMT")
        self.send_header("Content-Type", "text/plain")
        self.send_header("X-Other", "1")
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Accept-Ranges", "bytes")
        if status in (206, 416):
            self.send_header("Content-Range", told)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ranged() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ranged)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    Ranged.asked.clear()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_slices_become_a_whole_as_in_nginx(same_as_nginx: Comparison, ranged: str) -> None:
    ranges = [
        "0-",
        "0-4",
        "9-9",
        "9-10",
        "10-19",
        "12-",
        "25-33",
        "34-99",
        "35-",
        "99-",
        "30-20",
        "-3",
        "-100",
        "1-2,4-5",
        " 12-14",
    ]
    cases = [
        *("/whole", "/ignored", "/missing", "/gone", "/once", "/etag", "/lost", "/invalid", "/unknown", "/spaced", "/off"),
        *("/late", "/caught", "/text", "/around", "/sub/whole", "/re/whole?a=b", "/no"),
        *(ask("/whole", f"Range: bytes={value}") for value in ranges),
        ask("/whole", "Range: lines=1-2"),
        ask("/whole", "Range: bytes=12-14", 'If-Range: "a"'),
        ask("/whole", "Range: bytes=12-14", 'If-Range: "b"'),
        ask("/whole", "Range: bytes=12-14", "If-Range: Sun, 09 Sep 2001 01:46:40 GMT"),
        ask("/whole", 'If-None-Match: "a"'),
        ask("/whole", method="HEAD"),
        ask("/whole", "Range: bytes=12-14", method="HEAD"),
        ask("/whole", version="1.0"),
        ask("/re/whole", method="POST", body="body"),
    ]
    same_as_nginx(SITE.replace("RANGED", ranged), cases, "error", joins_chunks=True)
    half = len(Ranged.asked) // 2
    assert Ranged.asked[half:] == Ranged.asked[:half]


def test_another_range_than_the_one_that_was_asked_for_ends_the_response(same_as_nginx: Comparison, ranged: str) -> None:
    # The log of nginx 1.22 does not tell the range that it expected.
    same_as_nginx(SITE.replace("RANGED", ranged), ["/shifted", "/larger", "/set"], "crit")


def test_slices_out_of_a_cache_are_as_in_nginx(
    tmp_path: Path, stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch, ranged: str
) -> None:
    """Each slice has an entry of its own. Both begin with an empty cache."""
    like_nginx._load_nginx_syntax(monkeypatch, tmp_path)
    text = (
        "proxy_cache_path DIR/cache keys_zone=z:1m; server { listen 127.0.0.1:PORT; slice 10; proxy_set_header Range $slice_range;"
        "proxy_cache z; proxy_cache_key $uri$slice_range; proxy_cache_valid 200 206 1h; add_header X-Cache $upstream_cache_status;"
        f"location / {{ proxy_pass http://{ranged}; }} }}"
    )
    cases = [
        ask("/whole", "Range: bytes=12-14"),
        *(ask("/whole"), ask("/whole"), ask("/whole", method="HEAD"), ask("/whole", "Range: bytes=8-31")),
        *(ask("/whole", 'If-None-Match: "a"'), ask("/whole", 'If-None-Match: "b"'), ask("/whole", 'If-Match: "b"')),
        *(ask("/whole", "Range: bytes=99-"), ask("/spaced", 'If-None-Match: "a"')),
        # A whole that is stored where a slice was asked for is served in parts by itself.
        *(
            ask("/ignored"),
            ask("/ignored", "Range: bytes=2-4"),
            ask("/ignored", "Range: bytes=-2"),
            ask("/ignored", 'If-Match: "b"'),
        ),
    ]
    site = Site(tmp_path)
    try:
        theirs = ask_nginx(site, text, cases, "error")
        asked = list(Ranged.asked)
        shutil.rmtree(tmp_path / "cache")
        (tmp_path / "cache").mkdir()
        Ranged.asked.clear()
        ours = ask_worker(site, stage, text, cases, "error")
    finally:
        site.close()
    assert ours == theirs
    assert Ranged.asked == asked
