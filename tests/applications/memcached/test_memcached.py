"""Pages in memcached, with a fallback for those that are not there."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from applications.client import Browser
from applications.fronts import Fronts
from applications.programs import Program, needed
from bench.ports import free_port

HERE = Path(__file__).parent
BIG = os.urandom(900_000)
PAGES = {
    "/page": (0, b"<p>a page</p>"),
    "/empty": (0, b""),
    "/x.css": (0, b"p { }"),
    "/zipped": (2, gzip.compress(b"zipped " * 1000)),
    "/plain/big": (0, BIG),
    "/plain/a%20b?c=d%25e": (0, b"with a strange key"),
}


@pytest.fixture(scope="module")
def site(directory: Path, run: Callable[[Program], Program], fronts: Callable[..., Fronts]) -> Fronts:
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    run(Program("memcached", [needed("memcached"), *user, "-l", "127.0.0.1", "-p", str(port), "-U", "0"], directory, port))
    with socket.create_connection(("127.0.0.1", port)) as cache:
        answers = cache.makefile("rb")
        for key, (flags, value) in PAGES.items():
            cache.sendall(b"set %b %d 0 %d\r\n%b\r\n" % (key.encode(), flags, len(value), value))
            assert answers.readline() == b"STORED\r\n"
    return fronts(HERE / "nginx.conf", CACHE=port)


@pytest.mark.parametrize(
    "path", ["/page", "/empty", "/x.css", "/zipped", "/plain/big", "/plain/a%20b?c=d%e", "/none", "/plain/none"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_pages(site, path, method, coding):
    answer = site.compare(lambda front: Browser(front).request(method, path, None, {"Accept-Encoding": coding}))
    if method == "POST":
        assert answer.status == 405
    elif path == "/none":
        assert (answer.status, answer["content-type"]) == (200, "text/plain")
    elif path == "/plain/none":
        assert answer.status == 404
    else:
        assert answer.status == 200
        if path == "/plain/big" and method == "GET":
            assert answer.body == BIG


def test_a_part_of_a_page(site):
    answer = site.compare(lambda front: Browser(front).get("/plain/big", Range="bytes=1000-1999"))
    assert (answer.status, answer.body) == (206, BIG[1000:2000])


def test_many_pages_in_turn(site):
    answers = site.compare(lambda front: [Browser(front).get(path) for path in ["/page", "/none", "/x.css"] * 10])
    assert [answer.status for answer in answers] == [200] * 30
