"""Connections that begin as others have: their first blocks and lists are decoded and read once, and mean the same each time.

Each conversation is held twice, by a worker that remembers and by one that forgets before each request, and compared.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import hpack
import pytest
from conversation import Stage
from speaking import EH, ES, H2, HEADERS, block, fields_of, frame, http2

from worker.http2 import header_block
from worker.http2.header_block import HeaderDecoder
from worker.http2.request_head import KNOWN_LISTS

LOCATION = """
proxy_set_header = { X-Address = "$remote_addr", X-From = "$http_x_from", X-Many = "$http_accept", X-Number = "$connection_requests" }
"""
ADDRESSES = (b"127.0.0.1", b"192.0.2.7", b"10.0.0.1")
LISTS = [
    fields_of(),
    fields_of(b"/elsewhere"),
    fields_of(b"/" + b"long" * 40),
    fields_of(b"/", (b"accept", b"a")),
    fields_of(b"/", (b"accept", b"b")),
    fields_of(b"/", (b"accept", b"a"), (b"accept", b"b")),
    fields_of(b"/", (b"x-from", b"1"), (b"cookie", b"a=1"), (b"cookie", b"b=2")),
    fields_of(b"/other?x", (b"x-from", b"2")),
    fields_of(b"/", (b"te", b"trailers"), method=b"HEAD"),
    fields_of(b"/", (b"content-length", b"3"), method=b"POST"),
    fields_of(b"/", (b"connection", b"close")),
    fields_of(b"/", authority=None),
]


def encoded(fields: list[tuple[bytes, bytes]], how: str, encoder: hpack.Encoder) -> bytes:
    """A list as literals that touch no table, with a table that grows, or with fields that may never be in one."""
    if how == "literals":
        return block(fields)
    if how == "guarded":
        return block(fields[:3]) + b"".join(header_block.encode_never_indexed(*field) for field in fields[3:])
    wire: bytes = encoder.encode(fields, huffman=True)
    return wire


def converse(s: Stage, seed: int, forgets: bool) -> list[object]:
    """Hold a conversation, and return what upstream and clients have heard."""
    chance = random.Random(seed)
    heard: list[object] = []
    for _ in range(12):
        h2 = H2(s, address=chance.choice(ADDRESSES))
        encoder = hpack.Encoder()
        for stream in range(1, 2 * chance.randint(1, 3), 2):
            if forgets:
                header_block._KNOWN_BLOCKS.clear()
                for plan in s.plans.values():
                    plan.limits.known_lists.clear()
            fields, how = chance.choice(LISTS), chance.choice(["literals", "table", "guarded"])
            has_body = fields[0][1] == b"POST"
            h2.send(frame(HEADERS, EH if has_body else EH | ES, stream, encoded(fields, how, encoder)))
            if has_body:
                h2.data(stream, b"abc", end=True)
            s.settle()
            if (accepted := s.peers[0]._try_accept()) is not None:
                accepted.setblocking(False)
                s.settle()
                heard.append(bytes(accepted.recv(65536)))
                accepted.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                s.settle()
                accepted.close()
            heard.append(h2.hear().copy())
        h2.end.close()
    return heard


@pytest.mark.parametrize("seed", range(12))
def test_what_is_remembered_of_other_connections_makes_no_difference(stage: Callable[..., Stage], seed: int):
    header_block._KNOWN_BLOCKS.clear()
    first = http2(stage, location=LOCATION)
    remembered = converse(first, seed, forgets=False)
    (plan,) = first.plans.values()
    assert header_block._KNOWN_BLOCKS and plan.limits.known_lists
    assert remembered == converse(http2(stage, location=LOCATION), seed, forgets=True)
    assert sum(isinstance(each, bytes) for each in remembered) > 8


def test_clients_that_begin_alike_keep_their_addresses(stage: Callable[..., Stage]):
    s = http2(stage, location=LOCATION)
    for address in (b"192.0.2.1", b"192.0.2.2", b"192.0.2.1"):
        h2 = H2(s, address=address).ask()
        upstream = s.peers[0].accept()
        upstream.pull_all()
        assert b"\r\nX-Address: " + address + b"\r\n" in bytes(upstream.received)
        upstream.close()
        h2.end.close()


def test_a_block_is_known_only_where_it_leaves_an_empty_table_alone():
    header_block._KNOWN_BLOCKS.clear()
    entering = hpack.Encoder().encode(fields_of(b"/", (b"a", b"b")), huffman=False)
    without_room = HeaderDecoder(table_size=0)
    assert without_room.decode(entering) == fields_of(b"/", (b"a", b"b"))
    assert not header_block._KNOWN_BLOCKS  # a decoder whose table has room has to enter it there
    with_room = HeaderDecoder()
    with_room.decode(entering)
    assert not header_block._KNOWN_BLOCKS
    with_room.decode(block(fields_of(b"/later")))
    assert not header_block._KNOWN_BLOCKS  # entries may be meant by blocks after it
    alone = block(fields_of(b"/alone"))
    first, second = HeaderDecoder(), HeaderDecoder()
    assert first.decode(alone) is second.decode(alone) == fields_of(b"/alone")
    assert (first.size, first.never_indexed) == (second.size, second.never_indexed)
    guarded = header_block.encode_never_indexed(b"a", b"b")
    third, fourth = HeaderDecoder(), HeaderDecoder()
    assert third.decode(guarded) is fourth.decode(guarded)
    assert third.never_indexed == fourth.never_indexed == {b"a"}
    assert fourth.decode(alone) == fields_of(b"/alone") and fourth.never_indexed == frozenset()


def test_a_path_that_differs_from_that_of_a_known_block_is_read():
    more = ((b"accept", b"a"), (b"x-after", b"b"))
    HeaderDecoder().decode(block(fields_of(b"/first", *more)))
    decoder = HeaderDecoder()
    known = decoder.decode(block(fields_of(b"/first", *more)))
    for path in (b"/other", b"/", b"/" + b"long" * 50, b"/first"):
        assert decoder.decode(block(fields_of(path, *more))) == fields_of(path, *more)
        assert decoder.size == sum(len(name) + len(value) for name, value in fields_of(path, *more))
    assert known == fields_of(b"/first", *more) == HeaderDecoder().decode(block(fields_of(b"/first", *more)))


def test_not_more_is_remembered_than_is_allowed(stage: Callable[..., Stage]):
    for number in range(1000):
        HeaderDecoder().decode(block(fields_of(b"/%d" % number)))
    assert len(header_block._KNOWN_BLOCKS) <= 128
    HeaderDecoder().decode(large := block(fields_of(b"/large" + b"x" * 2000)))
    assert large not in header_block._KNOWN_BLOCKS
    s = http2(stage, server="return = [200, 'ready']")
    for number in range(KNOWN_LISTS + 10):
        h2 = H2(s).ask(1, b"/%d" % number)
        assert h2.answer() == (200, b"ready")
        h2.end.close()
    (plan,) = s.plans.values()
    assert 0 < len(plan.limits.known_lists) <= KNOWN_LISTS
