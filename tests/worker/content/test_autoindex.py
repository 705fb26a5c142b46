"""Lists of directories that are long, and what becomes of odd names; the rest is compared with nginx in
test_files_like_nginx.py."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conversation import Stage

from worker.content.autoindex import BATCH, escape_component, escape_json, rounded

MANY = 10_000


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("crowd")
    for number in range(MANY):
        (directory / f"{number:05}.txt").touch()
    return directory


def serve(stage: Callable[..., Stage], directory: Path, kind: str) -> Stage:
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
        root = "{directory}"
        autoindex = true
        autoindex_format = "{kind}"
        [http.server.location."= /quick"]
        return = [200, "quick"]
        """,
    )


def unchunked(answer: bytes) -> bytes:
    body = answer.partition(b"\r\n\r\n")[2]
    pieces = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        pieces.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    return b"".join(pieces)


def test_ten_thousand_files_are_all_listed_in_order(stage, crowd):
    client = serve(stage, crowd, "json").client().send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert client.is_closed()
    listed = [entry["name"] for entry in json.loads(unchunked(bytes(client.received)))]
    client.received.clear()
    assert listed == [f"{number:05}.txt" for number in range(MANY)]


def test_others_are_answered_while_a_long_list_is_made(stage, crowd):
    front = serve(stage, crowd, "html")
    slow, quick = front.client(), front.client()
    slow.sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    for _ in range(3):
        front.loop.turn(0)
    turns = front.loop.turns
    quick.sock.sendall(b"GET /quick HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    quick.sock.setblocking(False)
    while True:
        front.loop.turn(0)
        try:
            assert quick.sock.recv(4096).startswith(b"HTTP/1.1 200 OK")
            break
        except BlockingIOError:
            assert front.loop.turns - turns < MANY // BATCH // 2
    assert slow.is_closed()
    assert unchunked(bytes(slow.received)).endswith(b"</html>\r\n")
    slow.received.clear()
    quick.over = True


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, b"      0"),
        (9999, b"   9999"),
        (10000, b"    10K"),
        (1048575, b"  1024K"),
        (1048576, b"     1M"),
        (1572863, b"     1M"),
        (1572864, b"     2M"),
        (1073741824, b"     1G"),
    ],
)
def test_sizes_are_rounded_as_nginx_rounds_them(size, shown):
    assert rounded(size) == shown


def test_names_are_escaped_for_where_they_stand():
    assert escape_component(b"a b/%?#\xd0\xb6~") == b"a%20b%2F%25%3F%23%D0%B6~"
    text = bytes(range(0x20)) + b'"\\/ \xd0\xb6'
    assert json.loads(b'"' + escape_json(text) + b'"') == text.decode()


def test_a_name_cannot_break_out_of_the_page(stage, tmp_path):
    (tmp_path / '"><script>alert(1)<').touch()
    client = serve(stage, tmp_path, "html").client().send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert client.is_closed()
    page = unchunked(bytes(client.received))
    client.received.clear()
    assert b"<script" not in page
    assert re.search(rb'<a href="%22%3E%3Cscript%3Ealert%281%29%3C">&quot;&gt;&lt;script&gt;', page)


def turns_of_a_list(front: Stage) -> list[float]:
    """The processor time, in seconds, of each turn of the loop while a list is made and sent."""
    client = front.client(tcp=True)
    client.sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    client.sock.setblocking(False)
    turns = []
    while not client.saw_end:
        begun = time.process_time()
        front.loop.turn(0)
        turns.append(time.process_time() - begun)
        client.pull()
    client.received.clear()
    return turns


@pytest.mark.parametrize("kind", ["html", "json", "xml"])
def test_ten_thousand_files_take_less_than_300_ms_and_hold_nobody_up(stage, crowd, kind):
    front = serve(stage, crowd, kind)
    lists = [turns_of_a_list(front) for _ in range(3)]
    assert min(sum(turns) for turns in lists) < 0.3
    assert min(max(turns) for turns in lists) < 0.01


def test_directories_come_first_each_kind_in_order_however_many_there_are(stage, tmp_path):
    place = tmp_path / "many"
    place.mkdir()
    names = [f"{number * 7919 % 700:03}" for number in range(700)]
    for index, name in enumerate(names):
        if index % 3:
            (place / name).touch()
        else:
            (place / name).mkdir()
    client = serve(stage, place, "json").client().send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert client.is_closed()
    listed = [(entry["type"], entry["name"]) for entry in json.loads(unchunked(bytes(client.received)))]
    client.received.clear()
    expected = sorted((("file", name) if index % 3 else ("directory", name)) for index, name in enumerate(names))
    assert listed == expected
