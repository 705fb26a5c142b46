"""What an answer holds is given back, wherever something raises between its beginning and its end.

An upstream's connection, its place in max_conns, a file. (Rule 3 of the stage looks for what was left behind, too.)
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conversation import Stage, get, ok, refusal

import worker.client.http1.response as http1_response
from worker.regex_guard import install_regex_guard
from wproxy.failures import ClientError
from wproxy.regex import install_guard

Make = Callable[..., Stage]

BEGUN = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 100000\r\n\r\nbegin"
HOPELESS = b"User-Agent: " + b"a" * 5000 + b"!"


@pytest.fixture
def guard() -> Iterator[None]:
    """Regexes that take too long are stopped."""
    before = signal.getsignal(signal.SIGVTALRM)
    install_regex_guard()
    yield
    install_guard(None)
    signal.signal(signal.SIGVTALRM, before)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


FILTERS = {
    "charset": ('charset = "$1"', b"/f/a%0Ab", ()),
    "add_header": ('add_header = [["X", "$1"]]', b"/f/a%0Ab", ()),
    "gzip_disable": ('gzip = true\ngzip_disable = ["(a+)+$"]', b"/f/a", (b"Accept-Encoding: gzip", HOPELESS)),
}


@pytest.mark.usefixtures("guard")
@pytest.mark.parametrize("kind", FILTERS)
def test_a_filter_that_raises_frees_the_upstream(stage: Make, kind: str) -> None:
    settings, target, fields = FILTERS[kind]
    locations = f"[http.server.location.'~ (?s)^/f/(.*)$']\nproxy_pass = \"http://app\"\n{settings}"
    s = stage(peer_parameters=("max_conns = 1",), locations=locations)
    for _ in range(3):
        client = s.client().send(get(target, *fields))
        upstream = s.peers[0].accept()
        upstream.send(BEGUN)
        assert client.receives_head().startswith(b"HTTP/1.1 500 ")
        assert upstream.is_closed()
    assert s.statuses() == ["500"] * 3
    client = s.client().send(get(b"/f/good"))
    s.peers[0].accept().send(ok(b"good"))
    assert client.receives_head().startswith(b"HTTP/1.1 200 ")


@pytest.mark.usefixtures("guard")
@pytest.mark.parametrize("cache", ["", 'open_file_cache = ["max=10"]\nopen_file_cache_min_uses = 1'], ids=["plain", "kept"])
@pytest.mark.parametrize("kind", FILTERS)
def test_a_filter_that_raises_closes_the_file(stage: Make, tmp_path: Path, kind: str, cache: str) -> None:
    settings, target, fields = FILTERS[kind]
    (tmp_path / "big.html").write_bytes(b"x" * 100_000)
    place = f'alias = "{tmp_path}/big.html"\ndefault_type = "text/html"'
    s = stage(locations=f"[http.server.location.'~ (?s)^/f/(.*)$']\n{place}\n{settings}\n{cache}")

    def ask() -> None:
        client = s.client().send(get(target, *fields))
        assert client.receives_head().startswith(b"HTTP/1.1 500 ")
        client.close()

    ask()
    before = open_descriptors()
    for _ in range(5):
        ask()
    assert open_descriptors() == before
    (kept,) = [
        location.open_file_cache for location in s.configuration.servers[0].each_location() if location.open_file_cache
    ] or [None]
    assert kept is None or [file.users for file in kept.store.kept.values()] == [0]


def break_head(monkeypatch: pytest.MonkeyPatch, s: Stage) -> None:
    make_head = http1_response.make_head

    def fail_once(*arguments: Any) -> bytes:
        monkeypatch.setattr(http1_response, "make_head", make_head)
        refuse()
        return b""

    monkeypatch.setattr(http1_response, "make_head", fail_once)


def break_sticky(monkeypatch: pytest.MonkeyPatch, s: Stage) -> None:
    monkeypatch.setattr(type(s.group().sticky), "mark", refuse)


def refuse(*_: Any) -> None:
    raise ClientError(500, "it cannot be done")


IN_A_MODULE = pytest.mark.interpreted_only("a function of a module is replaced, and compiled ones call it without a look there")


@pytest.mark.parametrize("break_it", [pytest.param(break_head, marks=IN_A_MODULE), break_sticky])
def test_whatever_else_raises_frees_the_upstream(
    stage: Make, monkeypatch: pytest.MonkeyPatch, break_it: Callable[..., None]
) -> None:
    s = stage(peer_parameters=("max_conns = 1",), upstream='sticky = ["cookie", "sid"]')
    client = s.client().send(get(b"/"))
    upstream = s.peers[0].accept()
    with monkeypatch.context() as broken:
        break_it(broken, s)
        upstream.send(BEGUN)
        assert upstream.is_closed()
    client.close()
    client = s.client().send(get(b"/"))
    s.peers[0].accept().send(ok(b"good"))
    assert client.receives_head().startswith(b"HTTP/1.1 200 ")


def test_no_tunnel_takes_the_place_of_a_refusal(stage: Make) -> None:
    """The bytes of the refused body would go into it."""
    s = stage(
        server='client_max_body_size = "4"\nerror_page = [["413", "=", "/up"]]',
        location='proxy_set_header = { Upgrade = "$http_upgrade", Connection = "$wproxy_connection_upgrade" }',
    )
    client = s.client(tcp=True).send(get(b"/", b"Content-Length: 9", b"Connection: upgrade", b"Upgrade: x", method=b"POST"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    client.receives(refusal(413))
    assert upstream.is_closed()
