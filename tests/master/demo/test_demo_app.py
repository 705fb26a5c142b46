"""A demo application over real sockets: its pages, its limits, its websocket."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from master.demo.app import ApplicationServer


@pytest.fixture
def port():
    with ApplicationServer(("127.0.0.1", 0), "one") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def client(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    yield connection
    connection.close()


def get(client, path, method="GET", body=None, headers=None, **options):
    client.request(method, path, body, headers or {}, **options)
    response = client.getresponse()
    return response, response.read()


def exchange(port, wire):
    """Send raw bytes, read to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(wire)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_programs_are_told_in_text_and_browsers_in_html(client):
    response, body = get(client, "/", headers={"X-Test": "<b>&"})
    assert response.getheader("X-Application") == "one"
    assert body.startswith(b"application one saw\n\nGET / HTTP/1.1\n")
    assert b"X-Test: <b>&\n" in body
    response, body = get(client, "/", headers={"X-Test": "<b>&", "Accept": "text/html,*/*"})
    assert response.getheader("Content-Type") == "text/html; charset=utf-8"
    assert b"X-Test: &lt;b&gt;&amp;" in body


def test_headers_come_back_as_json(client):
    _, body = get(client, "/headers?a=b", headers={"X-Test": "1"})
    seen = json.loads(body)
    assert (seen["application"], seen["method"], seen["target"]) == ("one", "GET", "/headers?a=b")
    assert "X-Test: 1" in seen["headers"]


def test_a_connection_serves_many_requests(client):
    for path in ("/health", "/headers", "/nowhere", "/health"):
        response, _ = get(client, path)
        assert response.status == (404 if path == "/nowhere" else 200)
    response, body = get(client, "/health", method="HEAD")
    assert (response.getheader("Content-Length"), body) == ("3", b"")


def test_an_unread_body_ends_the_connection(client):
    response, _ = get(client, "/nowhere", method="POST", body=b"GET /health HTTP/1.1\r\n\r\n")
    assert (response.status, response.getheader("Connection")) == (404, "close")


def test_a_stream_arrives_line_by_line(client):
    client.request("GET", "/stream?lines=2")
    response = client.getresponse()
    assert response.getheader("Transfer-Encoding") == "chunked"
    assert response.read() == b"line 1 from application one\nline 2 from application one\n"
    assert get(client, "/health")[1] == b"ok\n"


def test_a_stream_to_http_1_0_ends_with_the_connection(port):
    answer = exchange(port, b"GET /stream?lines=1 HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nline 1 from application one\n")
    assert b"chunked" not in answer


@pytest.mark.parametrize("query", ["seconds=0", "seconds=-1"])
def test_slow_waits_as_told(client, query):
    assert get(client, f"/slow?{query}")[1] == b"application one waited 0 s\n"


def test_uploads_are_counted_and_checksummed(client):
    data = os.urandom(300_000)
    expected = {"application": "one", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    _, body = get(client, "/upload", method="POST", body=data)
    assert json.loads(body) == expected
    pieces = (data[i : i + 77_777] for i in range(0, len(data), 77_777))
    _, body = get(client, "/upload", "PUT", pieces, {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert json.loads(body) == expected


CHUNKED = b"POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    "wire",
    [
        CHUNKED + b"\r\nxyz\r\n",
        CHUNKED + b"\r\n5\r\nHelloX\r\n0\r\n\r\n",
        CHUNKED + b"\r\n-5\r\nHello\r\n0\r\n\r\n",
        CHUNKED + b"\r\nfffffffff\r\n",
        CHUNKED + b"\r\n5\r\nHel",
        CHUNKED + b"Content-Length: 5\r\n\r\nHello",
        b"POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nHello",
        b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nHello",
    ],
)
def test_a_body_other_than_announced_is_refused(port, wire):
    assert exchange(port, wire).startswith(b"HTTP/1.1 400 ")


def test_the_websocket_says_everything_back(port):
    with connect(f"ws://127.0.0.1:{port}/ws/", compression=None) as socket_:
        for message in ("hello", "Grüße ☃", b"\x00\xff" * 1000, "x" * 65536):
            socket_.send(message)
            assert socket_.recv(timeout=5) == message
        assert socket_.ping().wait(5)
        socket_.send(["frag", "men", "ts"])
        assert socket_.recv(timeout=5) == "fragments"


def test_the_websocket_refuses_a_message_too_big(port):
    with connect(f"ws://127.0.0.1:{port}/ws/", compression=None) as socket_:
        socket_.send("x" * 65537)
        with pytest.raises(ConnectionClosedError) as closed:
            socket_.recv(timeout=5)
        assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Upgrade": "h2c"}, 426),
        ({"Connection": "keep-alive"}, 426),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({}, 101),
    ],
)
def test_the_handshake_is_checked(client, changes, status):
    good = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    client.request("GET", "/ws/", headers=good | changes)
    response = client.getresponse()
    assert response.status == status
    if status == 101:
        assert response.getheader("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    response.close()


def run_app(*words):
    return subprocess.run(
        [sys.executable, "-m", "master.demo.app", *words], capture_output=True, text=True, timeout=10, check=False
    )


def test_a_used_port_is_one_line(port):
    done = run_app(str(port), "two")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"127.0.0.1:{port}" in done.stderr


def test_wrong_words_are_told_the_usage():
    assert run_app("eighty", "two").returncode == 2
