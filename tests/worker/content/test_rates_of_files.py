"""Files at a rate, and files to clients that are faster than others: with sendfile and without, through filters and not."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from conversation import End, Stage, get

from worker.http1.chunked import ChunkedDecoder
from worker.loop import FAIR_SHARE

MEGABYTE = bytes(range(256)) * 4096
KINDS = ("sendfile = true", "sendfile = false", "directio = 4096", "aio = 'threads'")


def serve(stage: Callable[..., Stage], directory: Path, settings: str) -> Stage:
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
        default_type = "text/html"
        {settings}
        """,
    )


def body_by(front: Stage, client: End, seconds: int) -> list[int]:
    """How many bytes have come after each second."""
    counts = []
    for _ in range(seconds):
        client.pull_all()
        counts.append(len(client.received))
        front.advance(0.97)
    client.pull_all()
    return [*counts, len(client.received)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_goes_out_at_its_rate(stage, tmp_path, kind):
    (tmp_path / "file").write_bytes(MEGABYTE)
    front = serve(stage, tmp_path, f'{kind}\nlimit_rate = "100k"\nlimit_rate_after = "200k"')
    client = front.client(tcp=True).send(get(b"/file", b"Connection: close"))
    counts = body_by(front, client, 9)
    for second, count in enumerate(counts[:8]):
        # limit_rate_after, and what a second more would send.
        assert 0 <= 200 * 1024 + (second + 1) * 102400 - count < 40000, (second, counts)
    front.advance(3)
    assert client.is_closed()
    assert bytes(client.received).endswith(b"\r\n\r\n" + MEGABYTE)
    client.received.clear()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_changed_goes_out_at_its_rate(stage, tmp_path, kind):
    content = b"".join(b"%d and some text\n" % number for number in range(60_000))
    (tmp_path / "file").write_bytes(content)
    front = serve(
        stage,
        tmp_path,
        f'{kind}\nlimit_rate = "50k"\ngzip = true\nsub_filter = [["some text", "no text"]]\nsub_filter_once = false',
    )
    client = front.client(tcp=True).send(get(b"/file", b"Connection: close", b"Accept-Encoding: gzip"))
    counts = body_by(front, client, 3)
    for second, count in enumerate(counts[:3]):
        assert 0 <= (second + 1) * 51200 - count < 20000, (second, counts)
    for _ in range(10):
        front.advance(1)
        client.pull_all()
    assert client.is_closed()
    head, _, body = bytes(client.received).partition(b"\r\n\r\n")
    client.received.clear()
    assert b"Content-Encoding: gzip" in head
    assert gzip.decompress(ChunkedDecoder().feed(body)) == content.replace(b"some text", b"no text")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [32768, 131072])
def test_a_fast_client_has_no_more_than_its_share_of_a_turn(stage, tmp_path, kind, chunk):
    """Whoever takes all that comes gets sendfile_max_chunk, or without sendfile FAIR_SHARE; then the others have their turn."""
    (tmp_path / "file").write_bytes(MEGABYTE * 4)
    front = serve(stage, tmp_path, f'{kind}\nsendfile_max_chunk = "{chunk // 1024}k"')
    by_kernel = kind in (KINDS[0], KINDS[3])
    greedy = front.client(tcp=True, send_buffer=1 << 22, receive_buffer=1 << 22)
    (connection,) = front.worker.clients.connections
    greedy.sock.sendall(get(b"/file", b"Connection: close"))
    shares = []
    begun = front.loop.turns
    while not greedy.saw_end:
        sent = connection.request.body_bytes_sent if connection.request is not None else 0
        front.loop.turn(0.001)
        if connection.request is not None:
            shares.append(connection.request.body_bytes_sent - sent)
        greedy.pull()
    assert max(shares) <= (chunk if by_kernel else FAIR_SHARE + 65536)
    if by_kernel:
        assert front.loop.turns - begun >= 4 * len(MEGABYTE) // chunk
    assert bytes(greedy.received).endswith(MEGABYTE)
    greedy.received.clear()
