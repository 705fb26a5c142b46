"""Flask under gunicorn: below a prefix, with sessions, uploads, streams, errors and cookies that are too large."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from applications.client import Answer, Browser
from applications.fronts import Front, Fronts
from applications.programs import PYTHON, Program, needed
from bench.ports import free_port

HERE = Path(__file__).parent
CONTENT = os.urandom(3 << 20)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
SESSION = {r"(?<=session=)[\w.-]+": "SESSION"}


@pytest.fixture(scope="module")
def shop(directory: Path, run: Callable[[Program], Program], fronts: Callable[..., Fronts]) -> Fronts:
    port = free_port()
    words = f"--worker-class gthread --workers 2 --threads 4 --bind 127.0.0.1:{port} --no-control-socket shop:app".split()
    environment = {"PYTHONDONTWRITEBYTECODE": "1"}
    run(Program("gunicorn", [needed(PYTHON / "gunicorn"), *words], directory, port, environment, HERE))
    return fronts(HERE / "nginx.conf", SHOP=port)


def pieces() -> list[bytes]:
    return [CONTENT[start : start + 50_000] for start in range(0, len(CONTENT), 50_000)]


@pytest.mark.parametrize("prefix", ["", "/shop"])
def test_urls_and_redirects_have_the_prefix(shop, prefix):
    def flow(front: Front) -> list[Answer]:
        browser = Browser(front)
        first = browser.get(f"{prefix}/", X_Forwarded_For="203.0.113.9")
        return [first, browser.post(f"{prefix}/login", {"user": "ann"}), browser.get(f"{prefix}/"), browser.get(f"{prefix}/")]

    first, login, after, later = shop.compare(flow, SESSION)
    url = f"http://127.0.0.1:PORT{prefix}/"
    seen = {"client": "127.0.0.1", "flashed": [], "login": f"{url}login", "url": url, "user": None}
    assert json.loads(first.body) == seen
    assert (login.status, login["location"]) == (302, f"{prefix}/")
    assert login["set-cookie"] == "session=SESSION; HttpOnly; Path=/"
    assert json.loads(after.body) == {**seen, "user": "ann", "flashed": ["welcome"]}
    assert json.loads(later.body) == {**seen, "user": "ann"}


@pytest.mark.parametrize("path", ["/upload", "/stream/upload"])
@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
def test_an_upload_arrives_whole(shop, path, in_chunks):
    fields = {"Content-Type": "application/octet-stream"}
    answer = shop.compare(lambda front: Browser(front).request("POST", path, pieces() if in_chunks else CONTENT, fields))
    told = json.loads(answer.body)
    assert (told["size"], told["sha256"]) == (len(CONTENT), DIGEST)
    streamed = in_chunks and path == "/stream/upload"
    assert told["Transfer-Encoding"] == ("chunked" if streamed else None)
    assert told["Content-Length"] == (None if streamed else str(len(CONTENT)))


def test_an_upload_beyond_the_limit_is_refused_before_it_is_sent(shop):
    head = b"POST /upload HTTP/1.1\r\nHost: shop\r\nContent-Length: 20000000\r\n\r\n"
    assert shop.compare(lambda front: Browser(front).status_line(head)) == b"HTTP/1.1 413 Request Entity Too Large"


def test_an_application_that_refuses_a_body_which_is_still_to_come_is_heard(shop):
    """Only a part of the body is sent: an application that closes on bytes that it has not read loses its answer, too."""
    data = b"POST /stream/refuse HTTP/1.1\r\nHost: shop\r\nContent-Length: 3000000\r\n\r\nsome"
    assert shop.compare(lambda front: Browser(front).status_line(data)) == b"HTTP/1.1 413 REQUEST ENTITY TOO LARGE"


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_unbuffered_events_come_one_by_one(shop, directory, coding):
    """Compressed or not: each piece is flushed."""

    def flow(front: Front) -> list[object]:
        gate = directory / f"gate-{coding}-{front.name}"
        gate.mkdir()
        with Browser(front).stream(f"/lines?unbuffered&gate={gate}", Accept_Encoding=coding) as stream:
            pieces = []
            for number in range(4):
                if number:
                    (gate / str(number)).touch()
                pieces.append(stream.piece())
                assert pieces[-1]
            stream.rest()
            return [stream.status, stream.fields, pieces if coding == "identity" else len(pieces)]

    status, fields, pieces = shop.compare(flow)
    assert (status, dict(fields).get("content-encoding")) == (200, "gzip" if coding == "gzip" else None)
    assert pieces == ([b"data: %d\n\n" % number for number in range(4)] if coding == "identity" else 4)


def test_a_large_answer_comes_whole(shop):
    answer = shop.compare(lambda front: Browser(front).get("/big"))
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(b"".join(b"%08d" % n * 8192 for n in range(160))).digest()


def test_an_old_client_gets_a_plain_answer(shop):
    def flow(front: Front) -> list[bytes]:
        small = Browser(front).raw(b"GET /none HTTP/1.0\r\n\r\n")
        large = Browser(front).raw(b"GET /big HTTP/1.0\r\n\r\n")
        return [small.partition(b"\r\n")[0], *large.partition(b"\r\n\r\n")[2:]]

    status, large = shop.compare(flow)
    assert (status, len(large)) == (b"HTTP/1.1 404 NOT FOUND", 160 * 65536)


def test_pipelined_requests_are_answered_in_turn(shop):
    data = b"GET /none HTTP/1.1\r\nHost: shop\r\n\r\nGET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"
    lines = shop.compare(lambda front: re.findall(rb"HTTP/1.1 [^\r]+", Browser(front).raw(data)))
    assert lines == [b"HTTP/1.1 404 NOT FOUND", b"HTTP/1.1 200 OK"]


def test_pages_of_the_front_stand_in_for_errors_of_the_application(shop):
    answers = shop.compare(
        lambda front: [Browser(front).get(path) for path in ("/fail", "/pretty/fail", "/none", "/pretty/none")]
    )
    assert [answer.status for answer in answers] == [500, 500, 404, 404]
    assert (answers[1].body, answers[3].body) == (b"<p>sorry</p>\n", b"nothing at /pretty/none\n")


@pytest.mark.parametrize(
    "path, status",
    [
        ("/cookie/3000", 200),
        ("/cookie/5000", 502),
        ("/roomy/cookie/5000", 200),
        ("/roomy/cookie/15000", 200),
        ("/roomy/cookie/20000", 502),
    ],
)
def test_a_cookie_that_does_not_fit_into_the_buffer_is_an_error(shop, path, status):
    assert shop.compare(lambda front: Browser(front).get(path)).status == status


@pytest.mark.parametrize("size, status", [(3000, 404), (7900, 404), (9000, 400), (40000, 400)])
def test_a_client_with_too_large_a_cookie_is_refused(shop, size, status):
    data = b"GET /none HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nCookie: big=" + b"y" * size + b"\r\n\r\n"
    assert shop.compare(lambda front: Browser(front).status_line(data).split()[1]) == b"%d" % status
