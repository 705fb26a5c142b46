"""Includes as conversations: all at once, in their order, and given up together (subrequests.md §5.5)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conversation import End, Stage, get

SITE = """
upstream one {{ server {peers[0]}; }}
upstream two {{ server {peers[1]}; }}
server {{
    listen 127.0.0.1:8080; root {directory}; default_type text/html; ssi on;
    location /one {{ proxy_pass http://one; }}
    location /two {{ proxy_pass http://two; }}
}}
"""


@pytest.fixture
def pages(stage, monkeypatch, tmp_path):
    """Makes a worker with a page and two upstreams."""
    import conversation
    from conversation import Peer

    from wproxy.config.nginx import parse_nginx
    from wproxy.config.resolve import resolve

    def load(text, file, prefix, look_up):
        return resolve(parse_nginx(text, "nginx.conf"), file, f"{prefix}/", look_up)

    def make(page: str) -> Stage:
        monkeypatch.setattr(conversation, "load_text", load)
        text = "error_log {directory}/error.log info; events {{ }} http {{ log_format test '{log_format}'; access_log {directory}/access.log test; "
        s = stage(peers=[Peer(), Peer()], text=text + SITE + " }}")
        Path(s.directory, "page").write_text(page)
        return s

    return make


def asked(s: Stage, number: int) -> End:
    upstream = s.peers[number].accept()
    upstream.receives_head()
    return upstream


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def text_of(client: End) -> bytes:
    """The chunks that have come, put together."""
    client.pull_all()
    _, _, body = bytes(client.received).partition(b"\r\n\r\n")
    return b"".join(re.findall(rb"[0-9a-f]+\r\n([^\r]*)\r\n", body))


def test_includes_run_at_once_and_are_sent_in_order(pages):
    s = pages('(<!--#include virtual="/one" -->|<!--#include virtual="/two" -->)')
    client = s.client().send(get(b"/page"))
    one, two = asked(s, 0), asked(s, 1)
    two.send(answer(b"second"))
    assert text_of(client) == b"("
    one.send(answer(b"first"))
    s.settle()
    assert text_of(client) == b"(first|second)"
    assert client.is_open()


def test_wait_holds_up_what_follows_and_not_what_comes_before(pages):
    s = pages('(<!--#include virtual="/one" wait="yes" -->|<!--#include virtual="/two" -->)')
    client = s.client().send(get(b"/page"))
    one = asked(s, 0)
    assert text_of(client) == b"("
    assert s.peers[1].is_unvisited()
    one.send(answer(b"first"))
    two = asked(s, 1)
    assert text_of(client).startswith(b"(first|")
    two.send(answer(b"second"))
    s.settle()
    assert text_of(client) == b"(first|second)"


def test_a_client_that_leaves_ends_all_includes(pages):
    s = pages('(<!--#include virtual="/one" -->|<!--#include virtual="/two" -->)')
    client = s.client().send(get(b"/page"))
    one, two = asked(s, 0), asked(s, 1)
    client.close()
    s.settle()
    two.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + b"x" * 100000)
    assert one.is_closed()
    assert two.is_closed()


def test_an_include_that_breaks_off_ends_its_part_only(pages):
    s = pages('(<!--#include virtual="/one" -->|<!--#include virtual="/two" -->)')
    client = s.client().send(get(b"/page"))
    one, two = asked(s, 0), asked(s, 1)
    one.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    one.close()
    two.send(answer(b"second"))
    s.settle()
    assert text_of(client) == b"(half|second)"
    assert client.is_open()


def test_a_large_include_waits_for_its_turn_in_the_kernel_and_not_in_memory(pages):
    s = pages('<!--#include virtual="/one" -->|<!--#include virtual="/two" -->')
    client = s.client().send(get(b"/page"))
    one, two = asked(s, 0), asked(s, 1)
    size = 30_000_000
    sent = two.send_some(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    assert sent < size, "the worker reads all of it"
    assert text_of(client) == b""
    client.close()
    one.close()


def test_set_keeps_a_response_in_a_variable_and_too_large_a_one_cuts_the_page(pages):
    s = pages('(<!--#include virtual="/one" set="v" --><!--#echo var="v" -->)')
    client = s.client().send(get(b"/page"))
    one = asked(s, 0)
    one.send(answer(b"a<b"))
    s.settle()
    assert text_of(client) == b"(a&lt;b)"
    client.send(get(b"/page"))
    one.receives_head()
    one.send(answer(b"x" * 1_060_000))
    assert client.is_closed()
    assert any("too big subrequest response" in line for line in s.error_log())


def test_more_includes_than_may_run_at_once_all_come(pages):
    s = pages('<!--#include virtual="/part" -->' * 200)
    Path(s.directory, "part").write_text("x")
    client = s.client().send(get(b"/page"))
    s.settle()
    assert text_of(client) == b"x" * 200
