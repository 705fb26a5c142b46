"""brotli_static and zstd_static: as gzip_static, which is compared with nginx in test_files_like_nginx.py."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from conversation import Stage, get

SUFFIXES = {b"br": ".br", b"zstd": ".zst", b"gzip": ".gz"}


def serve(stage: Callable[..., Stage], directory: Path, settings: str, *suffixes: str) -> Stage:
    place = directory / "www"
    place.mkdir()
    for suffix in ("", *suffixes):
        (place / f"page.html{suffix}").write_bytes(f"as {suffix}".encode())
    return stage(
        peers=0,
        text=f"""
        error_log = [["{{directory}}/error.log", "info"]]
        [http]
        access_log = [["{{directory}}/access.log", "test"]]
        [http.log_format]
        test = '{{log_format}}'
        [[http.server]]
        listen = "127.0.0.1:8080"
        [http.server.location."/"]
        root = "{place}"
        {settings}
        """,
    )


def fetch(front: Stage, accepted: bytes, *fields: bytes, target: bytes = b"/page.html") -> tuple[bytes, bytes]:
    """Head and body."""
    client = front.client().send(get(target, b"Connection: close", b"Accept-Encoding: " + accepted, *fields))
    assert client.is_closed()
    head, _, body = bytes(client.received).partition(b"\r\n\r\n")
    client.received.clear()
    return head, body


@pytest.mark.parametrize(("directive", "coding"), [("brotli_static", b"br"), ("zstd_static", b"zstd"), ("gzip_static", b"gzip")])
def test_each_sends_its_file_to_who_takes_it(stage, tmp_path, directive, coding):
    suffix = SUFFIXES[coding]
    front = serve(stage, tmp_path, f"{directive} = 'on'\ngzip_vary = true", *SUFFIXES.values())
    head, body = fetch(front, b"x, " + coding)
    assert body == b"as " + suffix.encode()
    assert b"\r\nContent-Encoding: " + coding in head
    assert b"\r\nContent-Type: text/html" in head
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head
    assert b'\r\nETag: "' in head
    assert head.count(b"Vary: Accept-Encoding") == 1
    assert b"\r\nAccept-Ranges: bytes" in head
    for accepted in (b"identity", coding + b";q=0", b"*"):
        head, body = fetch(front, accepted)
        assert body == b"as "
        assert b"Content-Encoding" not in head
        assert head.count(b"Vary: Accept-Encoding") == 1


@pytest.mark.parametrize(("directive", "coding"), [("brotli_static", b"br"), ("zstd_static", b"zstd"), ("gzip_static", b"gzip")])
def test_always_does_not_ask(stage, tmp_path, directive, coding):
    front = serve(stage, tmp_path, f"{directive} = 'always'\ngzip_vary = true", SUFFIXES[coding])
    head, body = fetch(front, b"identity")
    assert body == b"as " + SUFFIXES[coding].encode()
    assert b"Vary" not in head


@pytest.mark.parametrize("there", [names for size in range(4) for names in itertools.combinations(SUFFIXES, size)])
def test_the_best_that_is_there_and_taken_is_sent(stage, tmp_path, there):
    settings = "brotli_static = 'on'\nzstd_static = 'on'\ngzip_static = 'on'"
    front = serve(stage, tmp_path, settings, *(SUFFIXES[coding] for coding in there))
    for size in range(4):
        for taken in itertools.combinations(SUFFIXES, size):
            best = next((coding for coding in SUFFIXES if coding in there and coding in taken), None)
            head, body = fetch(front, b", ".join(taken))
            assert body == b"as " + (SUFFIXES[best].encode() if best else b"")
            assert (b"Content-Encoding: " + best in head) if best else b"Content-Encoding" not in head


def test_what_lies_compressed_is_not_compressed_again_and_has_its_own_validators(stage, tmp_path):
    settings = "brotli_static = 'on'\nbrotli = true\ngzip = true\ngzip_static = 'on'\ngzip_vary = true\nbrotli_min_length = 0"
    front = serve(stage, tmp_path, settings, ".br")
    plain, _ = fetch(front, b"")
    head, body = fetch(front, b"br, gzip")
    assert body == b"as .br"
    assert head.count(b"Content-Encoding") == head.count(b"Vary") == 1
    etag = next(line for line in head.split(b"\r\n") if line.startswith(b"ETag: "))[6:]
    assert etag not in plain
    assert fetch(front, b"br", b"If-None-Match: " + etag)[0].startswith(b"HTTP/1.1 304 ")
    assert fetch(front, b"", b"If-None-Match: " + etag)[0].startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("directive", "coding"), [("brotli_static", b"br"), ("zstd_static", b"zstd"), ("gzip_static", b"gzip")])
def test_it_has_parts(stage, tmp_path, directive, coding):
    """nginx: since 1.23.4; a download that broke off goes on."""
    suffix = SUFFIXES[coding].encode()
    front = serve(stage, tmp_path, f"{directive} = 'on'", *SUFFIXES.values())
    head, body = fetch(front, coding, b"Range: bytes=0-3")
    assert head.startswith(b"HTTP/1.1 206 ")
    assert body == (b"as " + suffix)[:4]
    assert b"\r\nContent-Range: bytes 0-3/%d" % len(b"as " + suffix) in head
    assert b"\r\nContent-Encoding: " + coding in head
    etag = next(line for line in head.split(b"\r\n") if line.startswith(b"ETag: "))[6:]
    assert fetch(front, coding, b"Range: bytes=3-", b"If-Range: " + etag)[1] == suffix
    assert fetch(front, coding, b"Range: bytes=3-", b'If-Range: "other"')[1] == b"as " + suffix
    assert fetch(front, coding, b"Range: bytes=100-")[0].startswith(b"HTTP/1.1 416 ")
    assert fetch(front, b"", b"Range: bytes=0-1")[1] == b"as"


def test_what_gunzip_inflates_on_its_way_has_none(stage, tmp_path):
    front = serve(stage, tmp_path, "gzip_static = 'always'\ngunzip = true", ".gz")
    (tmp_path / "www" / "page.html.gz").write_bytes(gzip.compress(b"the whole"))
    head, body = fetch(front, b"", b"Range: bytes=0-3")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"Accept-Ranges" not in head
    assert b"the whole" in body
    assert fetch(front, b"gzip", b"Range: bytes=0-3")[0].startswith(b"HTTP/1.1 206 ")


def test_a_directory_in_its_place_and_a_slash_do_not_count(stage, tmp_path):
    front = serve(stage, tmp_path, "zstd_static = 'on'\nbrotli_static = 'on'\nautoindex = true", ".br")
    (tmp_path / "www" / "page.html.zst").mkdir()
    assert fetch(front, b"zstd")[1] == b"as "
    assert fetch(front, b"zstd, br")[1] == b"as .br"
    assert b"Index of" in fetch(front, b"zstd", target=b"/")[1]
