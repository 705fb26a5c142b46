"""fastcgi_cache, uwsgi_cache and scgi_cache beside the real nginx; the body of an answer shows which request has made it."""

from __future__ import annotations

import re
import shutil

import like_nginx
import pytest
from cgi_peers import END, FastcgiServer, ScgiServer, UwsgiServer, out
from like_nginx import Site, ask, ask_nginx, ask_worker, comparable_whole, needs_nginx

pytestmark = needs_nginx

SERVERS = {"fastcgi": FastcgiServer, "uwsgi": UwsgiServer, "scgi": ScgiServer}
LINES = b"Content-Type: text/plain\r\nX-A: b\r\n"
SCRIPTS = {
    "hour": LINES + b"Cache-Control: max-age=3600\r\n\r\nan hour",
    "old": LINES + b'X-Accel-Expires: @1\r\nETag: "e"\r\n\r\nold',
    "parts": LINES + b"Cache-Control: max-age=3600\r\nAccept-Ranges: bytes\r\nContent-Length: 8\r\n\r\nin parts",
    "none": b"Status: 404 Not Here\r\n" + LINES + b"Cache-Control: max-age=60\r\n\r\nnothing",
    "fault": b"Status: 500 Oh\r\n\r\nno",
    "same": b"Status: 304 Not Modified\r\nCache-Control: max-age=60\r\n\r\n",
    "big": LINES + b"Cache-Control: max-age=3600\r\n\r\n" + b"x" * 200_000,
}
SITE = """
MODULE_cache_path DIR/cache levels=1:2 keys_zone=z:1m use_temp_path=off;
server { listen 127.0.0.1:PORT; add_header X-Cache $upstream_cache_status always;
    location / { MODULE_pass unix:DIR/peer.sock; MODULE_param ANSWER $http_x_answer; MODULE_param CONTENT_LENGTH $content_length;
        MODULE_cache z; MODULE_cache_key $request_method$request_uri; MODULE_cache_valid 201 1m; MODULE_cache_revalidate on;
        MODULE_cache_use_stale http_500; }
}
"""
CASES = [
    ("/a", "hour"), ("/a", "fault"), ("/b", "none"), ("/b", "hour"), ("/c", ""), ("/c", ""), ("/d", "old"), ("/d", "fault"),
    ("/d", "same"), ("/d", "fault"), ("/e", "parts"), ("/f", "big"), ("/f", "fault"),
]  # fmt: skip


def requests() -> list[bytes]:
    found = []
    for number, (target, script) in enumerate(CASES):
        found.append(ask(target, f"X-Answer: {script}", f"X-Tag: {number}"))
    return [
        *found,
        ask("/e", "Range: bytes=3-4"),
        ask("/e", "X-Answer: fault", method="HEAD"),
        ask("/a", "X-Answer: hour", "If-None-Match: *"),
    ]


def in_records(answer: bytes) -> bytes:
    return b"".join(out(answer[at : at + 50_000]) for at in range(0, len(answer), 50_000)) + END


def whole(answer: bytes) -> str:
    """An answer, in chunks or not: a stored one has a length, also where the program sent none."""
    return re.sub(r"\r\n(Content-Length: \d+|Transfer-Encoding: chunked)|\(end of chunks\)\s*", "", comparable_whole(answer))


@pytest.mark.parametrize("module", SERVERS)
def test_answers_are_stored_like_nginx_does_and_its_files_are_found(module, tmp_path_factory, stage, monkeypatch):
    directory = tmp_path_factory.mktemp("site")
    like_nginx._load_nginx_syntax(monkeypatch, directory)
    scripts = {name: in_records(answer) for name, answer in SCRIPTS.items()} if module == "fastcgi" else SCRIPTS
    server = SERVERS[module](directory / "peer.sock", scripts)
    site, text = Site(directory), SITE.replace("MODULE", module)
    try:
        theirs = ask_nginx(site, text, requests(), "crit", whole)
        warm = ask_worker(site, stage, text, requests()[:1], "crit", whole)
        shutil.rmtree(directory / "cache")
        (directory / "cache").mkdir()
        ours = ask_worker(site, stage, text, requests(), "crit", whole)
        count = len(server.requests)
    finally:
        site.close()
        server.close()
    assert count % 2 == 0
    found = [f"--- nginx\n{their}\n--- wproxy\n{our}" for (their, _), (our, _) in zip(theirs, ours, strict=True) if their != our]
    assert not found, "\n".join(found)
    assert "X-Cache: HIT" in warm[0][0]
    assert warm[0][0].endswith("an hour")
