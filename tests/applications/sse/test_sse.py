"""Server-Sent Events: each comes when it is published, streams are resumed, and readers who leave are missed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from applications.client import Answer, Browser, Stream
from applications.fronts import Front, Fronts
from applications.programs import KEPT, Program, needed, node
from bench.ports import free_port

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def ticker(directory: Path, run: Callable[[Program], Program], fronts: Callable[..., Fronts]) -> Fronts:
    port = free_port()
    environment = {"NODE_PATH": needed(KEPT / "sse" / "node_modules"), "PORT": str(port), "NODE_ENV": "production"}
    run(Program("ticker", [node(), HERE / "server.js"], directory, port, environment))
    return fronts(HERE / "nginx.conf", TICKER=port)


def publish(front: Front, channel: str, text: str) -> None:
    answer = Browser(front).request("POST", f"/publish/{channel}", text.encode(), {"Content-Type": "text/plain"})
    assert answer.status == 204


def readers(front: Front, channel: str) -> int:
    return int(Browser(front).get(f"/readers/{channel}").body)


def event(number: int, text: str) -> bytes:
    return b"id: %d\nevent: news\ndata: %s\n\n" % (number, text.encode())


@pytest.mark.parametrize("path", ["/events/{}", "/plain/events/{}?unbuffered", "/impatient/events/{}"])
def test_an_event_comes_before_the_next_one_is_published(ticker, path):
    def flow(front: Front) -> list[object]:
        channel = f"{front.name}-{path.split('/')[1]}"
        with Browser(front).stream(path.format(channel), Accept="text/event-stream") as stream:
            seen = [stream.until(b"retry: 100\n\n")]
            for number in range(1, 6):
                publish(front, channel, f"news {number}")
                seen.append(stream.until(f"news {number}\n\n".encode()))
        return [stream.status, stream.fields, seen]

    status, fields, seen = ticker.compare(flow)
    assert (status, dict(fields)["content-type"], dict(fields)["cache-control"]) == (200, "text/event-stream", "no-cache")
    assert "x-accel-buffering" not in dict(fields)
    assert seen == [b"retry: 100\n\n", *(event(number, f"news {number}") for number in range(1, 6))]


def test_a_compressed_event_is_flushed_when_the_application_says_that_it_must_not_be_buffered(ticker):
    def flow(front: Front) -> list[object]:
        channel, pieces = f"{front.name}-coded", []
        with Browser(front).stream(f"/plain/events/{channel}?unbuffered", Accept_Encoding="gzip") as stream:
            pieces.append(stream.piece())
            for number in range(1, 4):
                publish(front, channel, f"news {number}")
                pieces.append(stream.piece())
        return [dict(stream.fields).get("content-encoding"), len([piece for piece in pieces if piece])]

    assert ticker.compare(flow) == ["gzip", 4]


def test_a_reader_that_comes_back_gets_what_it_has_missed(ticker):
    def flow(front: Front) -> list[bytes]:
        channel = f"{front.name}-resumed"
        for number in range(1, 5):
            publish(front, channel, f"news {number}")
        with Browser(front).stream(f"/events/{channel}", Last_Event_ID="2") as stream:
            seen = stream.until(b"news 4\n\n")
            Browser(front).request("POST", f"/end/{channel}")
            return [seen, stream.rest()]

    assert ticker.compare(flow) == [b"retry: 100\n\n" + event(3, "news 3") + event(4, "news 4"), b""]


def test_a_reader_that_leaves_is_missed_by_the_application(ticker):
    def flow(front: Front) -> list[object]:
        channel = f"{front.name}-left"
        with Browser(front).stream(f"/events/{channel}") as stream:
            stream.until(b"retry: 100\n\n")
            there = readers(front, channel)
        return [there, Browser(front).get(f"/left/{channel}").body, readers(front, channel)]

    assert ticker.compare(flow) == [1, b"true", 0]


def test_many_readers_hear_each_event_once(ticker):
    def flow(front: Front) -> list[bytes]:
        channel = f"{front.name}-many"
        heard = []

        def read(left: int) -> None:
            if left:
                with Browser(front).stream(f"/events/{channel}") as stream:
                    stream.until(b"retry: 100\n\n")
                    read(left - 1)
                    heard.append(hear(stream))
            else:
                assert readers(front, channel) == 30
                for number in range(1, 4):
                    publish(front, channel, f"news {number}")

        def hear(stream: Stream) -> bytes:
            return stream.until(b"news 3\n\n")

        read(30)
        return heard

    assert ticker.compare(flow) == [b"".join(event(number, f"news {number}") for number in range(1, 4))] * 30


def test_a_stream_that_is_silent_for_longer_than_the_timeout_is_cut(ticker):
    """The head has been sent, so it can only be cut; a client sees that the body has no end."""

    def flow(front: Front) -> bytes:
        return Browser(front).raw(f"GET /impatient/events/{front.name}-silent HTTP/1.1\r\nHost: x\r\n\r\n".encode())[-30:]

    assert ticker.compare(flow).endswith(b"\r\nretry: 100\n\n\r\n")


def test_a_buffered_stream_comes_in_the_end(ticker):
    """Nobody has said that it must not be buffered: it is whole when it has ended, not before."""

    def flow(front: Front) -> Answer:
        browser, channel = Browser(front), f"{front.name}-buffered"
        with browser.stream(f"/plain/events/{channel}") as stream:
            for number in range(1, 4):
                publish(front, channel, f"news {number}")
            browser.request("POST", f"/end/{channel}")
            return Answer(stream.status, stream.fields, stream.rest())

    seen = ticker.compare(flow)
    assert seen.body == b"retry: 100\n\n" + b"".join(event(number, f"news {number}") for number in range(1, 4))
