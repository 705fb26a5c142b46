"""Caches in the API: what has been stored and counted, what is purged, and counts that begin anew."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conversation import Stage, ok
from test_cache_flow import HOUR, cached, files, status

__all__ = ["cached"]

API = "location /api {{ api write=on; }} location /read {{ api; }}"


def asked(front: Stage, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of an answer of the API."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: front\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    client = front.client().send(head.encode() + data)
    assert client.is_closed()
    told, _, rest = bytes(client.received).partition(b"\r\n\r\n")
    client.close()
    return int(told[9:12]), json.loads(rest) if rest else None


@pytest.fixture
def full(cached) -> Stage:
    """A worker that has stored three responses, and sent one of them again."""
    front: Stage = cached("proxy_cache_key $uri;", more=API)
    client = front.client()
    upstream = None
    for name in (b"/a/1", b"/a/2", b"/b"):
        client.send(b"GET %b HTTP/1.1\r\nHost: front\r\n\r\n" % name)
        upstream = upstream or front.peers[0].accept()
        upstream.receives_head()
        upstream.send(ok(b"body", HOUR))
        assert status(client) == "MISS"
        client.receives(b"body")
    client.send(b"GET /b HTTP/1.1\r\nHost: front\r\n\r\n")
    assert status(client) == "HIT"
    client.receives(b"body")
    return front


def test_counts_are_told_and_begin_anew(full):
    code, shown = asked(full, "GET", "/read/9/http/caches/z")
    assert (code, shown["hit"]) == (200, {"responses": 1, "bytes": 4})
    assert shown["miss"] == {"responses": 3, "bytes": 12, "responses_written": 3, "bytes_written": 12}
    assert asked(full, "GET", "/read/9/http/caches") == (200, {"z": shown})
    assert asked(full, "DELETE", "/api/9/http/caches/z") == (204, None)
    _, after = asked(full, "GET", "/api/9/http/caches/z")
    assert after["hit"]["responses"] == after["miss"]["bytes_written"] == 0
    assert len(files(full)) == 3
    client = full.client().send(b"GET /b HTTP/1.1\r\nHost: front\r\n\r\n")
    assert status(client) == "HIT"
    assert asked(full, "GET", "/api/9/http/caches/z")[1]["hit"] == {"responses": 1, "bytes": 4}


def test_entries_are_listed_and_purged(full):
    code, entries = asked(full, "GET", "/read/9/http/caches/z/entries?prefix=/a/")
    assert (code, sorted(entry["key"] for entry in entries)) == (200, ["/a/1", "/a/2"])
    assert {(entry["status"], entry["body"], entry["size"]) for entry in entries} == {(200, 4, 4096)}
    assert len(asked(full, "GET", "/read/9/http/caches/z/entries?most=2")[1]) == 2
    assert asked(full, "POST", "/api/9/http/caches/z/purge", {"key": "/b"}) == (200, {"purged": 1})
    assert asked(full, "POST", "/api/9/http/caches/z/purge", {"key": "/b"}) == (200, {"purged": 0})
    assert asked(full, "POST", "/api/9/http/caches/z/purge", {"key": "/a/*"}) == (200, {"purged": 2})
    assert files(full) == []


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "word"),
    [
        ("GET", "/api/9/http/caches/none", None, 404, "CacheNotFound"),
        ("DELETE", "/api/9/http/caches/none", None, 404, "CacheNotFound"),
        ("DELETE", "/read/9/http/caches/z", None, 405, "MethodDisabled"),
        ("DELETE", "/api/9/http/caches", None, 405, "MethodNotSupported"),
        ("PATCH", "/api/9/http/caches/z", None, 405, "MethodNotSupported"),
        ("POST", "/read/9/http/caches/z/purge", {"key": "/b"}, 405, "MethodDisabled"),
        ("POST", "/api/9/http/caches/z/purge", {"keys": "/b"}, 400, "CacheBadKey"),
        ("GET", "/api/9/http/caches/z/entries?most=x", None, 400, "CacheBadNumber"),
        ("GET", "/api/9/http/caches/z/more", None, 404, "PathNotFound"),
    ],
)
def test_what_is_refused(cached, method, path, body, code, word):
    answer = asked(cached(more=API), method, path, body)
    assert (answer[0], answer[1]["error"]["code"]) == (code, word)
