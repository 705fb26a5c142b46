"""Websockets through `/ws/` as the lesson configures it, with the `websockets` library at both ends."""

import asyncio
import os
import re
import sys
import time
from contextlib import AsyncExitStack

import pytest
from harness import BACKENDS, Program, Wproxy, until
from recorder import Recorder
from websockets.asyncio.client import connect as connect_soon
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect
from wire import Wire, ask, request_bytes

from bench.ports import free_port

pytestmark = pytest.mark.whole

UPGRADE = """
[http.server.location."{location}".proxy_set_header]
Host = "$host"
Upgrade = "$http_upgrade"
Connection = "$wproxy_connection_upgrade"
"""


@pytest.fixture(scope="module")
def plain():
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def front(tmp_path_factory, plain):
    port = free_port()
    directory = tmp_path_factory.mktemp("websockets")
    program = Program([sys.executable, str(BACKENDS / "websocket_echo.py"), str(port)], directory)
    program.wait_for_address(port)
    locations = "".join(
        f"""
        [http.server.location."{location}"]
        proxy_pass = "{url}"
        proxy_read_timeout = "{timeout}"
        {UPGRADE.format(location=location)}
        """
        for location, url, timeout in (
            ("/ws/", f"http://127.0.0.1:{port}", "1h"),
            ("/impatient/", f"http://127.0.0.1:{port}", "500ms"),
            ("/raw/", plain.url, "10s"),
        )
    )
    try:
        with Wproxy(
            directory,
            f"""
            [[http.server]]
            listen = "127.0.0.1:{{port}}"
            {locations}
            [http.server.location."/without/"]
            proxy_pass = "http://127.0.0.1:{port}"
            """,
        ) as running:
            yield running
    finally:
        program.end()


def websocket(front, path="/ws/", **more):
    return connect(f"ws://127.0.0.1:{front.port}{path}", max_size=1 << 24, **more)


def test_text_and_binary_messages_come_back(front):
    with websocket(front) as socket:
        for message in ("hello", "Grüße, 世界", b"\0\1\2\xff", "", b""):
            socket.send(message)
            assert socket.recv(10) == message


def test_a_megabyte_comes_back(front):
    message = os.urandom(1 << 20)
    with websocket(front, compression=None) as socket:
        for _ in range(3):
            socket.send(message)
            assert socket.recv(10) == message


def test_many_messages_in_flight_keep_their_order(front):
    with websocket(front) as socket:
        for number in range(1000):
            socket.send(f"message {number}")
        assert [socket.recv(10) for _ in range(1000)] == [f"message {number}" for number in range(1000)]


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_sixteen_megabytes_in_fragments_come_back_in_fragments(front, kind):
    message = os.urandom(1 << 16) * 256 if kind == "binary" else "Grüße 12" * 1_600_000  # 10 bytes each
    pieces = [message[at : at + 100_000] for at in range(0, len(message), 100_000)]
    with websocket(front, "/ws/fragments", compression=None) as socket:
        socket.send(pieces)
        got = list(socket.recv_streaming())
    assert len(got) > 100, "it came in fragments"
    assert (b"" if kind == "binary" else "").join(got) == message


def test_compression_is_between_the_two_ends(front):
    message = "the same again and again " * 40_000
    with websocket(front, "/ws/deflated") as socket:
        assert [extension.name for extension in socket.protocol.extensions] == ["permessage-deflate"]
        for _ in range(2):
            socket.send(message)
            assert socket.recv(10) == message
    assert int(front.logged("GET /ws/deflated").size) < len(message) / 10


def test_a_ping_of_the_application_is_answered_by_the_client(front):
    with websocket(front, "/ws/ping") as socket:
        assert socket.recv(10) == "the pong has come"


def test_a_ping_is_answered_by_the_application(front):
    with websocket(front) as socket:
        assert socket.ping().wait(10)


@pytest.mark.parametrize("code", (1000, 1001, 3000))
def test_the_close_code_arrives(front, code):
    with websocket(front, f"/ws/close/{code}") as socket:
        with pytest.raises(Exception) as closed:
            socket.recv(10)
        assert closed.value.rcvd.code == code
        assert closed.value.rcvd.reason == "as you wish"


def test_the_client_may_close(front):
    with websocket(front) as socket:
        socket.send("x")
        socket.recv(10)
        socket.close(1000, "enough")
        with pytest.raises(ConnectionClosedOK):
            socket.recv(10)
        assert socket.close_code == 1000


def test_the_application_sees_the_upgrade_once(front):
    with websocket(front, "/ws/fields") as socket:
        fields = socket.recv(10).lower().splitlines()
    assert [line for line in fields if line.startswith("upgrade:")] == ["upgrade: websocket"]
    assert [line for line in fields if line.startswith("connection:")] == ["connection: upgrade"]
    assert "host: 127.0.0.1" in fields


def test_two_hundred_websockets_at_once(front):
    async def converse() -> list[list[str | bytes]]:
        url = f"ws://127.0.0.1:{front.port}/ws/"
        async with AsyncExitStack() as stack:
            opening = (stack.enter_async_context(connect_soon(url, open_timeout=30)) for _ in range(200))
            sockets = await asyncio.gather(*opening)
            answers = []
            for round_ in range(3):
                for number, socket in enumerate(sockets):
                    await socket.send(f"{round_} {number}")
                answers.append([await asyncio.wait_for(socket.recv(), 20) for socket in sockets])
            return answers

    assert asyncio.run(converse()) == [[f"{round_} {number}" for number in range(200)] for round_ in range(3)]


def test_without_the_two_fields_there_is_no_upgrade(front):
    with pytest.raises(InvalidStatus) as refused:
        websocket(front, "/without/")
    assert refused.value.response.status_code in (400, 426)


def test_a_silent_websocket_is_closed_after_proxy_read_timeout(front):
    with websocket(front, "/impatient/") as socket:
        began = time.monotonic()
        socket.send("x")
        socket.recv(10)
        with pytest.raises(ConnectionClosed):  # a TimeoutError if it stays open
            socket.recv(30)
        assert time.monotonic() - began > 0.4
    logged = front.logged("GET /impatient/")
    assert logged.status == "101"
    assert re.search(r"proxy_read_timeout 0\.5: [^ ]*wproxy\.toml:\d+:\d+", logged.cause), logged
    front.error_logged("while proxying upgraded connection")


def test_bytes_sent_along_with_the_heads_are_not_lost(front, plain):
    plain.answer_with(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\nConnection: Upgrade\r\n\r\nearly from the application"
    )
    with Wire(front.port) as wire:
        head = request_bytes("GET", "/raw/", [("Upgrade", "raw"), ("Connection", "Upgrade")])
        wire.send(head + b"GET early HTTP/1.1\r\nfrom-the: client\r\n\r\n")
        answer = wire.answer()
        assert answer.status == 101
        assert answer["upgrade"] == "raw"
        assert answer["connection"].lower() == "upgrade"
        assert wire._exactly(len(b"early from the application")) == b"early from the application"
        until(lambda: len(plain.requests) == 2, "what the client sent early")
    assert plain.requests[1].target == "early"


def test_an_application_that_refuses_the_upgrade_answers_as_ever(front, plain):
    plain.answer_with(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    with Wire(front.port) as wire:
        for _ in range(2):
            answer = wire.request("GET", "/raw/", [("Upgrade", "raw"), ("Connection", "Upgrade")])
            assert (answer.status, answer.body, answer.keeps_alive) == (200, b"ok", True)
    assert ask(front.port, "/raw/").body == b"ok"
