"""Bodies that are changed on their way: whatever their size and wherever they are cut, with flat memory and without holding the
loop or an event."""

from __future__ import annotations

import gzip
import itertools
import os
import random
import re
import tracemalloc
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import brotli
import pytest
import zstandard
from changing import PAUSE, Pieces, Reading, changed, cut
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.filters import gunzip as gunzip_module
from worker.filters.bodies import SLICE, Change, ChangedBody, change_body
from worker.filters.brotli import Brotli, window_of
from worker.filters.gunzip import PIECE, Inflation
from worker.filters.gzip import Gzip
from worker.filters.sub_filter import Replacement
from worker.filters.zstd import Zstd
from wproxy.failures import TimedOut, UpstreamFailure
from wproxy.http import Response, ResponseFields

SIZES = (0, 1, 19, 20, 65535, 65536, 65537)


def text_of(size: int) -> bytes:
    """So many bytes that repeat here and there, the same each time."""
    words = [b"alpha ", b"beta ", b"<a href='/x'>", b"gamma", b"\n", b"0123456789abcdef"]
    return b"".join(random.Random(size).choices(words, k=size // 3 + 1))[:size]


def gzipping(size: int = -1, level: int = 1) -> Gzip:
    return Gzip(SimpleNamespace(gzipped=None), level, size)  # type: ignore[arg-type]


def zstding() -> Zstd:
    return Zstd(zstandard.ZstdCompressor(level=1).compressobj(), zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def inflating() -> Inflation:
    return Inflation(SimpleNamespace(ends=lambda code, text: None))  # type: ignore[arg-type]


def unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


CODINGS: dict[str, tuple[Callable[[], Change], Callable[[bytes], bytes]]] = {
    "gzip": (gzipping, gzip.decompress),
    "brotli": (lambda: Brotli(brotli.Compressor(quality=4)), brotli.decompress),
    "zstd": (zstding, unzstd),
    "gunzip": (inflating, lambda data: data),
}


def wire(coding: str, body: bytes) -> bytes:
    """What goes in so that the body comes out."""
    return gzip.compress(body, 1) if coding == "gunzip" else body


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [*SIZES, 5_000_000])
def test_a_body_of_any_size_survives(coding: str, size: int) -> None:
    make, restore = CODINGS[coding]
    body = text_of(size)
    sent = wire(coding, body)
    for pieces in ([sent], cut(sent, random.Random(size).sample(range(len(sent) + 1), min(40, len(sent))))):
        assert restore(changed(make(), pieces)) == body
    half = len(sent) // 2
    assert restore(changed(make(), [sent[half:]], at_hand=sent[:half])) == body


@pytest.mark.parametrize("coding", CODINGS)
@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 3000), places=st.lists(st.integers(0, 3000), max_size=12), pauses=st.lists(st.booleans(), max_size=12))
def test_a_body_survives_wherever_it_is_cut_and_paused(coding: str, size: int, places: list[int], pauses: list[bool]) -> None:
    make, restore = CODINGS[coding]
    body = text_of(size)
    pieces: list[bytes | None] = []
    for piece, waits in itertools.zip_longest(cut(wire(coding, body), places), pauses, fillvalue=False):
        pieces += [PAUSE] if waits else []
        pieces += [piece] if piece else []  # type: ignore[list-item]
    assert restore(changed(make(), pieces)) == body


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("level", [1, 9])
def test_a_small_body_is_compressed_at_once_with_as_small_a_window_as_it_needs(size: int, level: int) -> None:
    body = text_of(size)
    response = Response(ResponseFields(200), body)
    change_body(response, gzipping(size, level))
    if size <= SLICE:
        assert response.source is None
        assert gzip.decompress(response.body) == body
    else:
        assert response.body == b""
        assert gzip.decompress(b"".join(Reading(response.source).all())) == body  # type: ignore[arg-type]


def test_the_window_of_brotli_is_no_larger_than_the_body_needs() -> None:
    assert [window_of(length, 19) for length in (-1, 0, 1, 1008, 100_000, 10_000_000)] == [19, 10, 10, 11, 17, 19]
    for size in (1, 1007, 1008, 1009, 70_000):
        body = os.urandom(size // 2) * 2
        assert brotli.decompress(changed(Brotli(brotli.Compressor(lgwin=window_of(len(body), 22))), [body])) == body


# Flushing.


@pytest.mark.parametrize("coding", ["gzip", "brotli", "zstd"])
def test_what_has_come_goes_out_before_the_source_is_waited_for(coding: str) -> None:
    make, _ = CODINGS[coding]
    readers: dict[str, Callable[[], Any]] = {
        "gzip": lambda: zlib.decompressobj(31),
        "brotli": brotli.Decompressor,
        "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
    }
    reader = readers[coding]()
    read = reader.process if coding == "brotli" else reader.decompress
    reading = Reading(ChangedBody(b"", Pieces([b"one", b"two", PAUSE, b"three", PAUSE, PAUSE, b"four"]), make()))
    seen = []
    while (piece := reading.next()) != b"":
        if piece is None:
            seen.append(None)
        else:
            seen.append(read(piece))
    told = b"".join(each or b"|" for each in seen if each != b"")
    assert told == b"onetwo|three||four", seen


def test_what_never_waits_is_not_flushed() -> None:
    marker = b"\x00\x00\xff\xff"  # how a sync flush of zlib ends
    pieces = [text_of(1000)] * 50
    assert changed(gzipping(), pieces).count(marker) == 0
    assert changed(gzipping(), [piece for each in pieces for piece in (each, PAUSE)]).count(marker) == 50


def test_little_is_sent_together_with_more() -> None:
    pieces = list(Reading(ChangedBody(b"", Pieces([b"a" * 100] * 100), Replacement([(b"b", lambda: b"")], False))).all())
    assert b"".join(pieces) == b"a" * 10_000
    assert all(len(piece) > 1000 for piece in pieces[:-1])


def test_a_wait_that_fails_fails_in_the_source() -> None:
    caught: list[BaseException] = []

    class Failing(Pieces):
        async def read(self) -> bytes:
            try:
                return await super().read()
            except TimedOut as error:
                caught.append(error)
                raise UpstreamFailure("timeout", "too slow") from None

    reading = Reading(ChangedBody(b"", Failing([b"one", PAUSE]), gzipping()))
    assert reading.next()
    assert reading.next() is None
    with pytest.raises(UpstreamFailure, match="too slow"):
        reading.next(TimedOut())
    assert len(caught) == 1


def test_closing_closes_the_source_and_what_it_was_about_to_wait_for() -> None:
    source = Pieces([b"one", PAUSE, b"two"])
    body = ChangedBody(b"", source, gzipping())
    assert Reading(body).next()
    body.close()
    assert source.is_closed
    assert Reading(body).next() == b""


def test_changes_are_chained_and_each_is_flushed_through_the_others() -> None:
    sent = gzip.compress(b"to be replaced, ")
    source = Pieces([sent[:10], PAUSE, sent[10:], PAUSE, gzip.compress(b"or not to be ")])
    plain = ChangedBody(b"", source, inflating())
    other = ChangedBody(b"", plain, Replacement([(b"to be", lambda: b"2b")], False))
    reading = Reading(ChangedBody(b"", other, gzipping()))
    inflater = zlib.decompressobj(31)
    seen = []
    while (piece := reading.next()) != b"":
        seen.append(None if piece is None else inflater.decompress(piece))
    told = [each for each in seen if each]
    assert told == [b"2b replaced, ", b"or not 2b "]
    assert reading.waits == 2


# Memory, and the loop.


@pytest.mark.parametrize("coding", ["gzip", "gunzip", "sub_filter"])
def test_memory_stays_flat_and_others_have_their_turn_while_200_mb_pass(coding: str) -> None:
    block = bytes(65536)
    count = 3200
    if coding == "gunzip":
        deflater = zlib.compressobj(1, wbits=31)
        bomb = b"".join([deflater.compress(block) for _ in range(count)] + [deflater.flush()])
        source, change = Pieces([bomb]), inflating()
    else:
        source = Pieces(block for _ in range(count))
        change = gzipping() if coding == "gzip" else Replacement([(b"absent", lambda: b"")], True)  # type: ignore[assignment]
    reading = Reading(ChangedBody(b"", source, change))
    total = largest = 0
    tracemalloc.start()
    try:
        for piece in reading.all():
            total += len(piece)
            largest = max(largest, len(piece))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
    assert largest <= max(PIECE, 2 * SLICE)
    assert reading.turns > count / 2
    assert total == count * 65536 or (coding == "gzip" and total < 2_000_000)


# What is no gzip.


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"no gzip at all", "inflate() failed"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], "has not seen the end"),
        (b"", "has not seen the end"),
        (gzip.compress(b"x", mtime=0) + b"garbage", "inflate() failed"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-8] + b"badcrc!!", "inflate() failed"),
    ],
    ids=["none", "cut", "empty", "garbage behind", "another checksum"],
)
def test_what_is_no_gzip_ends_the_response(sent: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(gunzip_module, "log_request", lambda request, level, text, code="": said.append(f"[{level}] {text}"))
    with pytest.raises(UpstreamFailure):
        changed(inflating(), [sent])
    assert len(said) == 1
    assert said[0].startswith("[error] inflate()")
    assert reason in said[0]


@pytest.mark.parametrize("places", [[], [10], [45, 46, 47], list(range(200))])
def test_members_of_gzip_follow_each_other(places: list[int]) -> None:
    sent = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two" * 50_000) + gzip.compress(b"three")
    assert changed(inflating(), cut(sent, places)) == b"one" + b"two" * 50_000 + b"three"


# Replacing.


def replaced_at_once(body: bytes, pairs: list[tuple[bytes, bytes]], is_once: bool) -> bytes:
    """What nginx makes of a body: the leftmost text first, of several at one place the one written first."""
    left = list(pairs)
    output, position = b"", 0
    while left:
        found = re.search(b"|".join(b"(%b)" % re.escape(text) for text, _ in left), body[position:], re.IGNORECASE)
        if found is None:
            break
        which = found.lastindex - 1  # type: ignore[operator]
        output += body[position : position + found.start()] + left[which][1]
        position += found.end()
        if is_once:
            del left[which]
    return output + body[position:]


letters = st.text("abA", min_size=1, max_size=4).map(str.encode)


@settings(max_examples=400, deadline=None)
@given(
    body=st.text("abAB", max_size=40).map(str.encode),
    pairs=st.lists(st.tuples(letters, st.sampled_from([b"", b"1", b"long replacement"])), min_size=1, max_size=4),
    is_once=st.booleans(),
    places=st.lists(st.integers(0, 40), max_size=40),
)
def test_texts_are_replaced_wherever_a_body_is_cut(
    body: bytes, pairs: list[tuple[bytes, bytes]], is_once: bool, places: list[int]
) -> None:
    patterns = [(text.lower(), lambda value=value: value) for text, value in pairs]
    expected = replaced_at_once(body, pairs, is_once)
    assert changed(Replacement(patterns, is_once), [body]) == expected
    assert changed(Replacement(patterns, is_once), cut(body, places)) == expected
