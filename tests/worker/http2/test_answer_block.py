"""Field blocks of answers are read once, and mean the same for every limit and every kind of end."""

from __future__ import annotations

import pytest

from worker.http2.answer_block import _KNOWN_BYTES, _KNOWN_LIMIT, KNOWN_BLOCKS, answer_block
from worker.http2.errors import COMPRESSION_ERROR, ConnectionFault
from worker.http2.header_block import encode_fields, encode_never_indexed
from wproxy.failures import UpstreamFailure

HEAD = encode_fields([(b":status", b"200"), (b"x-a", b"one")])
TRAILERS = encode_fields([(b"grpc-status", b"0"), (b"x-b", b"two")])


def test_the_same_bytes_are_the_same_block():
    assert answer_block(HEAD) is answer_block(bytes(bytearray(HEAD)))
    assert answer_block(HEAD).head(1000, False) is answer_block(HEAD).head(5000, False)
    assert answer_block(TRAILERS).trailers(1000, True) is answer_block(TRAILERS).trailers(5000, True)


def test_a_head_that_is_all_has_a_body_of_no_bytes_and_one_with_a_body_is_of_unknown_length():
    block = answer_block(HEAD)
    for _ in range(2):
        assert block.head(1000, True).content_length == 0
        assert block.head(1000, False).content_length == -1


def test_what_was_read_with_a_large_limit_is_refused_with_a_small_one():
    assert answer_block(HEAD).head(1000, False).status == 200
    with pytest.raises(UpstreamFailure, match="too big header"):
        answer_block(HEAD).head(5, False)
    answer_block(TRAILERS).trailers(1000, True)
    with pytest.raises(UpstreamFailure, match="too big trailers"):
        answer_block(TRAILERS).trailers(5, True)


def test_trailers_have_to_end_the_stream_even_if_the_same_have_done_so():
    answer_block(TRAILERS).trailers(1000, True)
    with pytest.raises(UpstreamFailure, match="without the END_STREAM flag"):
        answer_block(TRAILERS).trailers(1000, False)


@pytest.mark.parametrize(("status", "is_interim"), [(b"103", True), (b"200", False), (b"1", False)])
def test_an_interim_head_is_seen(status, is_interim):
    assert answer_block(encode_fields([(b":status", status)])).is_interim is is_interim


def test_what_cannot_be_decoded_is_not_remembered():
    for _ in range(2):
        with pytest.raises(ConnectionFault) as fault:
            answer_block(b"\xbe")  # an entry of the table that we do not offer
        assert fault.value.code == COMPRESSION_ERROR


def test_no_field_is_entered_into_a_table():
    """Otherwise the meaning of a block would depend on those before it."""
    answer_block(b"\x40\x03x-c\x01c")
    with pytest.raises(ConnectionFault):
        answer_block(b"\xbe")


def test_the_table_is_bounded():
    for number in range(_KNOWN_LIMIT + 10):
        answer_block(encode_fields([(b":status", b"200"), (b"x-number", b"%d" % number)]))
    assert len(KNOWN_BLOCKS) <= _KNOWN_LIMIT
    large = encode_fields([(b":status", b"200"), (b"x-large", b"x" * _KNOWN_BYTES)])
    assert answer_block(large) is not answer_block(large)


def test_a_field_that_must_never_be_indexed_is_not_remembered():
    block = b"\x88" + encode_never_indexed(b"x-secret", b"abc")
    first = answer_block(block)
    assert first.never_indexed == {b"x-secret"}
    assert block not in KNOWN_BLOCKS
    assert answer_block(block).fields == first.fields
