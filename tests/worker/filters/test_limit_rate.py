"""limit_rate of bodies that are at hand when the head goes out: nginx counts their bytes too."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from conversation import End, Stage, chunks, get, ok

from worker.http1.chunked import ChunkedDecoder

Make = Callable[..., Stage]

RATE = 10_240
BODY = random.Random(7).randbytes(22_500).hex().encode()[:30_000]  # 30,000 bytes: a second at once, and not quite two more


def seconds_for(s: Stage, client: End, body: bytes = BODY) -> float:
    """How long the whole body takes, which comes as it is; a tenth of a second is a step of ours."""
    head = client.receives_head()
    taken = 0.0
    while len(wire(head, client)) < len(body):
        if not taken:
            assert len(wire(head, client)) <= RATE
        s.advance(0.07)  # and 0.03 that the stage adds
        taken += 0.1
        assert taken < 10, len(client.received)
    assert wire(head, client) == body
    return taken


def wire(head: bytes, client: End) -> bytes:
    """The body as far as it has come."""
    data = bytes(client.pull_all())
    if b"\r\nTransfer-Encoding: chunked\r\n" in head:
        data = ChunkedDecoder().feed(data)
    return data


def is_two_seconds(taken: float) -> bool:
    return 1.8 <= taken <= 2.2


@pytest.mark.parametrize("setting", ['limit_rate = "10k"', 'set = ["$limit_rate", "10k"]', 'limit_rate = "$arg_rate"'])
@pytest.mark.parametrize("content", ["file", "text"])
def test_a_small_body_has_its_rate(stage: Make, tmp_path: Path, setting: str, content: str) -> None:
    (tmp_path / "small").write_bytes(BODY)
    answer = f'root = "{tmp_path}"' if content == "file" else f'return = [200, "{BODY.decode()}"]'
    s = stage(locations=f'[http.server.location."/small"]\n{setting}\n{answer}')
    client = s.client().send(get(b"/small?rate=10k"))
    assert is_two_seconds(seconds_for(s, client))
    client.received.clear()
    client.send(get(b"/small?rate=10k"))
    assert is_two_seconds(seconds_for(s, client))


@pytest.mark.parametrize("setting", ['limit_rate = "10k"', 'set = ["$limit_rate", "10k"]'])
@pytest.mark.parametrize("framed", ["length", "chunks"])
def test_a_short_answer_of_an_upstream_too(stage: Make, setting: str, framed: str) -> None:
    body = BODY[:15_000]  # with its head in one piece
    s = stage(location=setting)
    client = s.client().send(get(b"/"))
    answer = ok(body) if framed == "length" else b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(body)
    s.peers[0].accept().send(answer)
    assert 0.3 <= seconds_for(s, client, body) <= 0.7


def test_a_rate_set_before_a_rewrite_holds_in_the_location_that_answers(stage: Make, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(BODY)
    s = stage(
        server='steps = [["set", "$limit_rate", "10k"], ["rewrite", "^/a$", "/small"]]',
        locations=f'[http.server.location."/small"]\nroot = "{tmp_path}"',
    )
    assert is_two_seconds(seconds_for(s, s.client().send(get(b"/a"))))


def test_what_an_upstream_says(stage: Make) -> None:
    s = stage()
    client = s.client().send(get(b"/"))
    s.peers[0].accept().send(ok(BODY[:15_000], b"X-Accel-Limit-Rate: 10240"))
    assert 0.3 <= seconds_for(s, client, BODY[:15_000]) <= 0.7


def test_what_an_upstream_says_of_the_file_that_it_leads_to(stage: Make, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(BODY)
    s = stage(locations=f'[http.server.location."/small"]\ninternal = true\nroot = "{tmp_path}"')
    client = s.client()
    for _ in range(2):
        client.send(get(b"/"))
        s.peers[0].accept().send(ok(b"", b"X-Accel-Redirect: /small", b"X-Accel-Limit-Rate: 10240"))
        assert is_two_seconds(seconds_for(s, client))
        client.received.clear()
    client.send(get(b"/"))
    s.peers[0].accept().send(ok(b"", b"X-Accel-Redirect: /small"))
    assert seconds_for(s, client) == 0


def test_a_compressed_body_has_the_rate_of_what_is_sent(stage: Make, tmp_path: Path) -> None:
    (tmp_path / "small.html").write_bytes(BODY)
    s = stage(locations=f'[http.server.location."/small"]\nroot = "{tmp_path}"\ngzip = true\nlimit_rate = "5k"')
    client = s.client().send(get(b"/small.html", b"Accept-Encoding: gzip"))
    head = client.receives_head()
    assert len(client.pull_all()) <= 5 * 1024
    s.advance(4)
    assert gzip.decompress(wire(head, client)) == BODY


@pytest.mark.parametrize("settings", ['limit_rate = "100k"', 'limit_rate = "10k"\nlimit_rate_after = "20k"'])
def test_what_may_go_at_once_goes_at_once(stage: Make, tmp_path: Path, settings: str) -> None:
    (tmp_path / "small").write_bytes(BODY)
    s = stage(locations=f'[http.server.location."/small"]\nroot = "{tmp_path}"\n{settings}')
    assert seconds_for(s, s.client().send(get(b"/small"))) == 0


def test_a_client_that_leaves_is_logged_with_what_it_got(stage: Make, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(BODY)
    s = stage(locations=f'[http.server.location."/small"]\nroot = "{tmp_path}"\nlimit_rate = "10k"')
    client = s.client().send(get(b"/small"))
    client.receives_head()
    client.close()
    s.advance(5)
    assert 0 < int(s.last_access()["body_bytes_sent"]) < 25_000
