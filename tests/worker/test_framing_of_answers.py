"""Where an answer ends: a client that reads by the book finds the next one behind it, whatever status and method it is sent with.

The client is h11, which knows nothing of ours: it says how the body of each answer is framed, and what is left over is the
next answer.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable

import h11
import pytest
from conversation import Stage, get, ok

Make = Callable[[str], Stage]

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
NOT_MODIFIED = b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n'
NOT_MODIFIED_WITH_LENGTH = b'HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: "a"\r\n\r\n'
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"


def read_answers(data: bytes, methods: list[str]) -> list[tuple[int, bytes]]:
    """Status and body of each answer, read as a client reads them that has sent requests of these methods."""
    answers = []
    for method in methods:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
        client.send(h11.EndOfMessage())
        client.receive_data(data)
        body = b""
        while True:
            event = client.next_event()
            assert event is not h11.NEED_DATA, f"the client still waits, having read {answers} of {data!r}"
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                break
        assert isinstance(event, h11.EndOfMessage)
        answers.append((status, body))
        data = client.trailing_data[0]
    assert data == b""
    return answers


PAGES = [
    # what answers in place of the 404, what error_page says, and the status in the end
    ("return 204;", "=200", 200),
    ("return 204;", "", 404),
    ("return 204;", "=", 204),
    ("return 204;", "=304", 304),
    ("return 304;", "=200", 200),
    ("return 304;", "", 404),
    ("return 304;", "=204", 204),
    ("return 304 text;", "", 404),
    ("return 200 text;", "", 404),
    ("return 200 text;", "=204", 204),
    ("return 200 text;", "=304", 304),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "filters", ["", "gzip on; gzip_min_length 1; gzip_types *;", "sub_filter a b; sub_filter_types *;", "add_trailer x y;"]
)
def test_an_error_page_ends_where_its_final_status_says(front: Make, method: str, filters: str) -> None:
    locations = [
        f"location /e{number} {{ error_page 404 {target} /p{number}; return 404; }} location /p{number} {{ {answering} }}"
        for number, (answering, target, _) in enumerate(PAGES)
    ]
    s = front(f"{filters} server {{ listen 127.0.0.1:8080; {' '.join(locations)} location / {{ return 200 next; }} }}")
    client = s.client()
    for number, (answering, _, status) in enumerate(PAGES):
        client.send(get(b"/e%d" % number, b"Accept-Encoding: gzip", method=method.encode()) + get(b"/"))
        (told, body), after = read_answers(client.take(), [method, "GET"])
        text = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
        assert (told, text) == (status, b"text" if "200 text" in answering and status == 404 and method == "GET" else b"")
        assert after == (200, b"next")
    assert client.is_open()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("answer", [NO_CONTENT, NOT_MODIFIED, NOT_MODIFIED_WITH_LENGTH], ids=["204", "304", "304 with length"])
@pytest.mark.parametrize(
    ("target", "statuses"),
    [("", (404, 404)), ("=200", (200, 200)), ("=", (204, 304)), ("=204", (204, 204)), ("=304", (304, 304))],
)
def test_a_proxied_error_page_without_a_body(
    stage: Callable[..., Stage], answer: bytes, method: str, target: str, statuses: tuple[int, int]
) -> None:
    words = ", ".join(f'"{word}"' for word in ("404", target, "/page") if word)
    s = stage(server=f"error_page = [[{words}]]", locations='[http.server.location."/e"]\nreturn = 404')
    client = s.client().send(get(b"/e", b'If-None-Match: "a"', method=method.encode()) + get(b"/"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(answer)
    upstream.receives_head()
    upstream.send(ok(b"next"))
    assert read_answers(client.take(), [method, "GET"]) == [(statuses[answer is not NO_CONTENT], b""), (200, b"next")]
    assert client.is_open()


def test_an_intercepted_error_whose_page_is_a_204(stage: Callable[..., Stage]) -> None:
    s = stage(
        location='proxy_intercept_errors = true\nerror_page = [["404", "/page"]]',
        locations='[http.server.location."/page"]\nreturn = 204',
    )
    client = s.client().send(get(b"/") + get(b"/"))
    upstream = s.peers[0].accept()
    upstream.send(ok(b"gone", status=b"404 Not Found"))
    s.peers[0].accept().send(ok(b"next"))
    assert read_answers(client.take(), ["GET", "GET"]) == [(404, b""), (200, b"next")]
    assert client.is_open()


def test_a_tunnel_in_place_of_an_error_is_one_under_its_own_status(stage: Callable[..., Stage]) -> None:
    s = stage(
        server='error_page = [["404", "=", "/page"]]',
        location='proxy_set_header = { Upgrade = "$http_upgrade", Connection = "$wproxy_connection_upgrade" }',
        locations='[http.server.location."/e"]\nreturn = 404',
    )
    client = s.client().send(get(b"/e", b"Connection: upgrade", b"Upgrade: x"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(SWITCHING + b"down")
    assert client.receives_head().startswith(b"HTTP/1.1 101 ")
    client.receives(b"down").send(b"up")
    upstream.receives(b"up")


def test_a_tunnel_under_another_status_is_none(stage: Callable[..., Stage]) -> None:
    s = stage(
        server='error_page = [["404", "/page"]]',
        location='proxy_set_header = { Upgrade = "$http_upgrade", Connection = "$wproxy_connection_upgrade" }',
        locations='[http.server.location."/e"]\nreturn = 404',
    )
    client = s.client().send(get(b"/e", b"Connection: upgrade", b"Upgrade: x") + get(b"/"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(SWITCHING + b"bytes of the tunnel")
    assert upstream.is_closed()
    s.peers[0].accept().send(ok(b"next"))
    assert read_answers(client.take(), ["GET", "GET"]) == [(404, b""), (200, b"next")]


@pytest.mark.parametrize(
    "configuration",
    ["location /e { return 100; }", "error_page 404 =100 /p; location /e { return 404; } location /p { return 200 x; }"],
)
def test_an_interim_status_as_the_only_answer_ends_the_connection(front: Make, configuration: str) -> None:
    s = front(f"server {{ listen 127.0.0.1:8080; {configuration} }}")
    client = s.client().send(get(b"/e") + get(b"/e"))
    assert client.is_closed()
    assert client.take().count(b"HTTP/1.1 100") == 1
