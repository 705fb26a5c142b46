"""proxy_store: whole answers are left in files, and nothing else is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from conversation import Stage, get

import worker.temporary_files

LAST_MODIFIED = b"Last-Modified: Sun, 13 Sep 2020 12:26:40 GMT\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\n" + LAST_MODIFIED
LENGTH = WHOLE + b"Content-Length: %d\r\n\r\n"


def storing(more: str = "") -> str:
    return f'proxy_store = true\nroot = "files"\n{more}'


def files(s: Stage) -> dict[str, bytes]:
    """What has been stored, by its path below the prefix."""
    prefix = Path(s.configuration.prefix)
    return {
        str(path.relative_to(prefix)): path.read_bytes() for path in prefix.rglob("*") if path.is_file() and path.suffix != ".log"
    }


def answer(s: Stage, target: bytes, wire: bytes, ends: bool = False, method: bytes = b"GET") -> bytes:
    idle = [end for end in s.ends if end.name != "client"] if s.group().idle_count else []
    client = s.client()
    client.send(get(target, method=method))
    upstream = idle[-1] if idle else s.peers[0].accept()
    upstream.receives_head()
    upstream.send(wire)
    if ends:
        upstream.close()
    return client.take()


@pytest.mark.parametrize(
    ("wire", "ends"),
    [
        (LENGTH % 5 + b"hello", False),
        (WHOLE + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", False),
        (WHOLE + b"\r\nhello", True),
    ],
    ids=["length", "chunked", "until close"],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_whole_answer_is_stored(stage, wire, ends, at_once):
    s = stage(location=storing('proxy_store_access = ["user:rw", "group:r"]'))
    client = s.client()
    client.send(get(b"/a/b.html?c"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    if at_once:
        upstream.send(wire)
    else:
        for place in range(len(wire)):
            assert files(s) == {}, "nobody sees a part"
            upstream.send(wire[place : place + 1])
    if ends:
        upstream.close()
    assert client.take().startswith(b"HTTP/1.1 200 OK\r\n")
    assert files(s) == {"files/a/b.html": b"hello"}
    path = Path(s.configuration.prefix, "files/a/b.html")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_mtime == 1_600_000_000
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750


def test_a_large_answer_is_stored_as_it_was(stage):
    body = os.urandom(3_000_000)
    s = stage(location=storing("gzip = true\ngzip_types = '*'"))
    client = s.client()
    client.send(get(b"/big", b"Accept-Encoding: gzip"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(LENGTH % len(body))
    for begin in range(0, len(body), 200_000):
        left = body[begin : begin + 200_000]
        while left:
            left = left[upstream.send_some(left) :]
            client.pull_all()
    s.until(s.access_log, "the request does not end")
    assert b"Content-Encoding: gzip" in bytes(client.received)
    assert files(s) == {"files/big": body}
    assert s.group().idle_count == 1


def test_a_later_answer_takes_the_place_of_the_former(stage):
    s = stage(location=storing())
    for body in (b"first", b"other"):
        answer(s, b"/x", LENGTH % 5 + body)
        assert files(s) == {"files/x": body}


def test_an_empty_answer_is_an_empty_file(stage):
    s = stage(location=storing())
    answer(s, b"/x", LENGTH % 0)
    assert files(s) == {"files/x": b""}


@pytest.mark.parametrize(
    ("wire", "method", "setting"),
    [
        (b"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nhello", b"GET", ""),
        (b"HTTP/1.1 206 Part\r\nContent-Length: 5\r\n\r\nhello", b"GET", ""),
        (LENGTH % 5, b"HEAD", ""),
        (LENGTH % 5 + b"hello", b"GET", "proxy_buffering = false"),
        (WHOLE + b"X-Accel-Buffering: no\r\nContent-Length: 5\r\n\r\nhello", b"GET", ""),
        (LENGTH % 5 + b"hello", b"GET", "proxy_store = false"),
    ],
    ids=["404", "206", "HEAD", "unbuffered", "X-Accel-Buffering", "off"],
)
def test_what_is_not_stored(stage, wire, method, setting):
    s = stage(location=storing().replace("proxy_store = true", setting) if "store" in setting else storing(setting))
    assert answer(s, b"/x", wire, method=method).startswith(b"HTTP/1.1 ")
    assert files(s) == {}


def test_an_answer_that_breaks_off_is_not_stored(stage):
    s = stage(location=storing())
    answer(s, b"/x", LENGTH % 100 + b"hello", ends=True)
    assert files(s) == {}
    assert "prematurely closed" in s.error_log()[-1]


@pytest.mark.parametrize("more", ["", "gzip = true\ngzip_types = '*'"])
def test_a_client_that_leaves_does_not_keep_the_rest_from_being_stored(stage, more):
    s = stage(location=storing(more))
    client = s.client(tcp=True)
    client.send(get(b"/x", b"Accept-Encoding: gzip"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(LENGTH % 200_000 + b"a" * 100_000)
    client.pull_all()
    client.reset()
    upstream.send(b"b" * 50_000)
    upstream.send(b"b" * 50_000)
    s.until(lambda: files(s), "nothing was stored")
    assert files(s) == {"files/x": b"a" * 100_000 + b"b" * 100_000}
    assert s.group().idle_count == 1


def test_a_client_that_leaves_before_the_head_does_not_either(stage):
    s = stage(location=storing())
    client = s.client()
    client.send(get(b"/x"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    client.close()
    upstream.send(LENGTH % 5 + b"hello")
    s.until(lambda: files(s), "nothing was stored")
    assert files(s) == {"files/x": b"hello"}


def test_a_path_with_variables_and_an_alias(stage):
    s = stage(
        location='proxy_store = "kept/$arg_name"',
        locations='[http.server.location."/up/"]\nproxy_pass = "http://app"\nproxy_store = true\nalias = "aliased/"',
    )
    answer(s, b"/x?name=a/b", LENGTH % 5 + b"hello")
    answer(s, b"/up/c/d", LENGTH % 5 + b"other")
    assert files(s) == {"kept/a/b": b"hello", "aliased/c/d": b"other"}


@pytest.mark.parametrize("name", [b"../x", b"a/../../x", b"", b"dir/"])
def test_a_path_that_leads_nowhere_or_out_is_refused(stage, name):
    s = stage(location='proxy_store = "kept/$arg_name"')
    assert answer(s, b"/x?name=" + name, LENGTH % 5 + b"hello").endswith(b"hello")
    assert files(s) == {}
    assert "[error]" in s.error_log()[-1]
    assert "the answer cannot be stored in" in s.error_log()[-1]


def test_a_directory_that_cannot_be_made_costs_a_line_and_not_the_answer(stage):
    s = stage(location='proxy_store = "/proc/none/x"')
    assert answer(s, b"/x", LENGTH % 5 + b"hello").endswith(b"hello")
    assert [line for line in s.error_log() if "[crit]" in line and 'storing "/proc/none/x" failed (' in line]


def test_a_directory_in_the_place_of_the_file_costs_a_line_and_not_the_answer(stage):
    s = stage(location=storing())
    os.makedirs(f"{s.configuration.prefix}files/x")
    assert answer(s, b"/x", LENGTH % 5 + b"hello").endswith(b"hello")
    assert "Is a directory" in s.error_log()[-1]
    assert files(s) == {}


def test_a_file_system_that_needs_names_gets_one(stage, monkeypatch):
    real_open = os.open

    def refuse(path, flags, mode=0o777, **more):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return real_open(path, flags, mode, **more)

    monkeypatch.setattr(worker.temporary_files.os, "open", refuse)
    s = stage(location=storing())
    answer(s, b"/x", LENGTH % 5 + b"hello")
    assert files(s) == {"files/x": b"hello"}
    answer(s, b"/y", LENGTH % 100 + b"hello", ends=True)
    assert files(s) == {"files/x": b"hello"}


def test_the_mirror_of_the_manual(stage):
    """A file that is not there is fetched, once (nginx: the example of proxy_store)."""
    s = stage(
        locations="""
        [http.server.location."/images/"]
        root = "www"
        error_page = [[404, "=", "/fetch$uri"]]
        [http.server.location."/fetch/"]
        internal = true
        proxy_pass = "http://app/"
        proxy_store = true
        alias = "www/"
        """
    )
    client = s.client()
    client.send(get(b"/images/a.png"))
    upstream = s.peers[0].accept()
    assert upstream.receives_head().startswith(b"GET /images/a.png HTTP/1.1\r\n")
    upstream.send(LENGTH % 5 + b"hello")
    assert client.take().endswith(b"hello")
    assert files(s) == {"www/images/a.png": b"hello"}
    client.send(get(b"/images/a.png"))
    again = client.take()
    assert again.startswith(b"HTTP/1.1 200 OK\r\n")
    assert again.endswith(b"hello")
    assert upstream.receives_nothing()
