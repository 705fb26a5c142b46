"""Field blocks: the examples of RFC 7541, every error of http2-rules.md, and the hpack package as encoder and decoder."""

from __future__ import annotations

import contextlib

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import HUFFMAN_COMPLETE, HUFFMAN_FAIL, HUFFMAN_TABLE, decode_huffman
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.http2 import header_block
from worker.http2.errors import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault
from worker.http2.header_block import HeaderDecoder, encode_fields, encode_never_indexed, encode_status

LITERAL = [(b"custom-key", b"custom-header")]

GOOD = [
    ("82", [(b":method", b"GET")]),
    ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", LITERAL),
    ("000a637573746f6d2d6b65790d637573746f6d2d686561646572", LITERAL),
    ("100a637573746f6d2d6b65790d637573746f6d2d686561646572", LITERAL),
    ("040c2f73616d706c652f70617468", [(b":path", b"/sample/path")]),
    ("828684410f7777772e6578616d706c652e636f6d", [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")]),
    ("828684418cf1e3c2e5f23a6ba0ab90f4ff", [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")]),
    ("0f2800", [(b"set-cookie", b"")]),
    ("0f2880", [(b"set-cookie", b"")]),
    ("0001610178", [(b"a", b"x")]),
    ("00000178", [(b"", b"x")]),
    ("2082", [(b":method", b"GET")]),
    ("203fe11f82", [(b":method", b"GET")]),
    ("3fe11f82", [(b":method", b"GET")]),
    ("0f808000" "00", [(b"accept-charset", b"")]) ,
    ("", []),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "fields"), GOOD)
def test_a_block_is_decoded(wire, fields):
    decoder = HeaderDecoder()
    assert decoder.decode(bytes.fromhex(wire)) == fields
    assert decoder.size == sum(len(name) + len(value) for name, value in fields)


BAD = {
    "index 0": "80",
    "an index beyond the empty table": "be",
    "a name beyond the empty table": "7e0161",
    "a name beyond the static table, without indexing": "0f2f0161",
    "an integer of five octets": "ff80808000",
    "an integer of five octets for a name": "0f80808000",
    "an integer that does not end": "ff80",
    "an enormous string": "007fffffffff0f",
    "a string past the end": "000a6162",
    "a literal without a value": "000161",
    "a literal without anything": "40",
    "a size update after a field": "8220",
    "a size update at the end": "20",
    "three size updates": "20203f0182",
    "a size update over our setting": "3fe21f82",
    "Huffman padding of zeros": "0082f1e00161",
    "Huffman padding of eight bits": "00821fff0161",
    "Huffman padding of eight bits in an empty string": "0081ff0161",
    "EOS in a Huffman string": "0084ffffffff0161",
}


@pytest.mark.parametrize("wire", BAD.values(), ids=BAD)
def test_a_wrong_block_is_a_compression_error(wire):
    with pytest.raises(ConnectionFault) as fault:
        HeaderDecoder("upstream").decode(bytes.fromhex(wire))
    assert (fault.value.code, fault.value.reason) == (COMPRESSION_ERROR, "upstream sent a field block that cannot be decoded")


def test_every_beginning_of_a_good_block_is_an_error_or_a_shorter_list():
    whole = bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff5886a8eb10649cbf")
    fields = HeaderDecoder().decode(whole)
    for length in range(len(whole)):
        try:
            assert HeaderDecoder().decode(whole[:length]) == fields[: len(HeaderDecoder().decode(whole[:length]))]
        except ConnectionFault as fault:
            assert fault.code == COMPRESSION_ERROR


def test_the_table_evicts_its_oldest_entries():
    """RFC 7541, C.5: responses and a table of 256 bytes."""
    blocks = [
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e"
        "6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157"
        "454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
    ]
    decoder, oracle = HeaderDecoder(table_size=256), hpack.Decoder()
    oracle.max_allowed_table_size = oracle.header_table_size = 256
    for block in blocks:
        assert decoder.decode(bytes.fromhex(block)) == oracle.decode(bytes.fromhex(block), raw=True)
    assert repr(decoder) == "<header decoder of the client: 3 entries, 215 bytes>"


def test_an_evicted_entry_cannot_be_used():
    decoder = HeaderDecoder()
    assert decoder.decode(b"\x40\x01a\x01b\xbe") == [(b"a", b"b")] * 2
    decoder.decode(b"\x20\x82")
    with pytest.raises(ConnectionFault):
        decoder.decode(b"\xbe")


def test_an_entry_larger_than_the_table_empties_it():
    decoder = HeaderDecoder()
    decoder.decode(b"\x40\x01a\x01b")
    assert decoder.decode(b"\x40\x01a\x7f\xa1\x1f" + b"x" * 4128) == [(b"a", b"x" * 4128)]
    assert repr(decoder) == "<header decoder of the client: 0 entries, 0 bytes>"


def test_a_table_of_no_size_takes_no_entry():
    decoder = HeaderDecoder("upstream", table_size=0)
    assert decoder.decode(b"\x40\x01a\x01b") == [(b"a", b"b")]
    for block in (b"\xbe", b"\x21\x82"):
        with pytest.raises(ConnectionFault):
            HeaderDecoder("upstream", table_size=0).decode(block)


def test_fields_that_must_never_be_indexed_are_told():
    decoder = HeaderDecoder()
    decoder.decode(b"\x10\x01a\x01b\x00\x01c\x01d")
    assert decoder.never_indexed == {b"a"}
    decoder.decode(b"\x82")
    assert decoder.never_indexed == frozenset()


def test_a_repeated_block_is_the_same_list_until_the_table_changes():
    decoder = HeaderDecoder()
    decoder.decode(b"\x40\x01a\x01b")
    first = decoder.decode(b"\xbe\x82")
    assert decoder.decode(b"\xbe\x82") is first
    decoder.decode(b"\x40\x01c\x01d")
    assert decoder.decode(b"\xbe\x82") == [(b"c", b"d"), (b":method", b"GET")]


def test_a_block_with_another_path_is_the_list_before_but_for_that():
    decoder = HeaderDecoder()
    decoder.decode(b"\x40\x01a\x01b")
    first = decoder.decode(b"\x82\x04\x02/x\xbe")
    second = decoder.decode(b"\x82\x04\x06/other\xbe")
    assert second == [(b":method", b"GET"), (b":path", b"/other"), (b"a", b"b")]
    third = decoder.decode(b"\x82\x04\x03/3d\xbe")
    assert third == [(b":method", b"GET"), (b":path", b"/3d"), (b"a", b"b")]
    assert third[2] is second[2] is first[2] and second is not third, "nothing else was decoded again"
    assert decoder._path_end == 6
    assert first[1] == (b":path", b"/x")
    decoder.decode(b"\x40\x01c\x01d")
    assert decoder.decode(b"\x82\x04\x05/last\xbe") == [(b":method", b"GET"), (b":path", b"/last"), (b"c", b"d")]


def huffman(text: bytes) -> bytes:
    return HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(text)


# What is around a path: nothing of a table, an entry, a literal, one never to be indexed, one that is entered.
AROUND = st.sampled_from(
    (b"", b"\x82", b"\x82\xbe", b"\x00\x01a\x01b", b"\x10\x01c\x01d", b"\x40\x01e\x01f", b"\x04\x01/", b"\xbe\xbf", b"/x")
)
# The first byte of its literal: without an entry, never to be indexed, with an entry; by the name of another.
KINDS = st.sampled_from((b"\x04", b"\x04", b"\x14", b"\x44", b"\x00\x05:path", b"\x0f\x00", b"\x05"))
PATHS = st.sampled_from((
    b"\x01/", b"\x00", b"\x05/page", b"\x7f\x00" + b"/" * 127, b"\x80", b"\x02/", b"\x81", b"\xff",
    *(bytes([0x80 | len(coded := huffman(text))]) + coded for text in (b"/", b"/page/1", b"/page/10")),
))  # fmt: skip
PAGES = st.lists(st.tuples(AROUND, KINDS, PATHS, AROUND), max_size=3)


def decoded(decoder: HeaderDecoder, block: bytes) -> object:
    try:
        fields = decoder.decode(block)
    except ConnectionFault as fault:
        return fault.code, fault.reason
    return list(fields), decoder.size, decoder.never_indexed, repr(decoder)


@given(PAGES, st.lists(st.tuples(st.integers(0, 2), PATHS), max_size=8))
@settings(max_examples=300, deadline=None)
def test_blocks_mean_the_same_whatever_the_last_one_had_in_common(pages, steps):
    """Beside a decoder that remembers no block."""
    decoder, forgetful = HeaderDecoder(), HeaderDecoder()
    for start in (b"\x40\x01g\x01h", b"\x40\x01i\x01j"):
        assert decoded(decoder, start) == decoded(forgetful, start)
    for number, path in steps:
        if number < len(pages):
            before, kind, _, after = pages[number]
            forgetful._block, forgetful._path_at = None, 0
            found = decoded(decoder, before + kind + path + after)
            assert found == decoded(forgetful, before + kind + path + after)
            if isinstance(found[0], int):
                return


def test_a_path_that_makes_a_list_too_large_is_refused_as_in_any_other_block():
    decoder = HeaderDecoder()
    decoder.decode(b"\x82\x04\x0212")
    rest = header_block.MAX_LIST_BYTES - 127
    length = bytes((0x7F, 0x80 | rest & 0x7F, 0x80 | rest >> 7 & 0x7F, rest >> 14))
    with pytest.raises(ConnectionFault) as fault:
        decoder.decode(b"\x82\x04" + length + b"x" * header_block.MAX_LIST_BYTES)
    assert fault.value.reason == "client sent too large field list"


def test_an_expanding_block_is_given_up_while_it_is_decoded():
    bomb = b"\x40\x01a\x7f\x81\x1e" + b"x" * 3968 + b"\xbe" * 100
    with pytest.raises(ConnectionFault) as fault:
        HeaderDecoder().decode(bomb)
    assert (fault.value.code, fault.value.reason) == (ENHANCE_YOUR_CALM, "client sent too large field list")
    with pytest.raises(ConnectionFault) as fault:
        HeaderDecoder().decode(b"\0\0\0" * 4097)
    assert fault.value.code == ENHANCE_YOUR_CALM


NAMES = st.sampled_from((b":path", b"a", b"cookie", b"x-long-name", b"", b"accept-encoding")) | st.binary(max_size=8)
VALUES = st.sampled_from((b"", b"gzip, deflate", b"/", b"x" * 300, b"y" * 4000)) | st.binary(max_size=30)
LISTS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), min_size=1, max_size=8)


@given(st.lists(st.tuples(LISTS, st.booleans(), st.none() | st.integers(0, 4096)), max_size=6))
@settings(max_examples=80, deadline=None)
def test_what_hpack_encodes_is_decoded(blocks):
    encoder, decoder = hpack.Encoder(), HeaderDecoder()
    for fields, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode(fields, huffman=huffman)
        assert decoder.decode(block) == [(name, value) for name, value, _ in fields]
        assert decoder._table_size == encoder.header_table._current_size
        assert {name for name, _, never in fields if never} >= decoder.never_indexed


@given(st.lists(st.binary(max_size=40), max_size=4))
@settings(max_examples=150, deadline=None)
def test_random_blocks_raise_nothing_but_the_fault_and_mean_the_same_to_hpack(blocks):
    decoder, oracle = HeaderDecoder(), hpack.Decoder()
    for block in blocks:
        try:
            fields = decoder.decode(block)
        except ConnectionFault:
            return
        # We refuse more than hpack does; what we accept has the same meaning.
        assert fields == oracle.decode(block, raw=True)
        assert decoder._table_size <= 4096


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
@settings(max_examples=150, deadline=None)
def test_what_we_encode_is_decoded_by_hpack_and_leaves_its_table_alone(fields):
    block = encode_fields(fields)
    oracle = hpack.Decoder()
    oracle.header_table_size = oracle.max_allowed_table_size = 0
    expected = [(name.lower(), value) for name, value in fields]
    assert oracle.decode(block, raw=True) == expected
    assert not oracle.header_table.dynamic_entries
    assert encode_fields(fields) == block
    assert HeaderDecoder(table_size=0).decode(block) == expected


def test_statuses_of_the_static_table_take_one_byte():
    assert encode_status(200) == b"\x88"
    assert encode_status(404) == b"\x8d"
    assert hpack.Decoder().decode(encode_status(103) + encode_status(299), raw=True) == [
        (b":status", b"103"),
        (b":status", b"299"),
    ]


def test_a_field_never_to_be_indexed_stays_so():
    (field,) = hpack.Decoder().decode(encode_never_indexed(b"Authorization", b"secret"), raw=True)
    assert (field, field.indexable) == ((b"authorization", b"secret"), False)
    (field,) = hpack.Decoder().decode(encode_never_indexed(b":method", b"GET"), raw=True)
    assert (field, field.indexable) == ((b":method", b"GET"), False)


def test_the_tables_of_a_worker_start_over_when_they_are_full():
    for number in range(5000):
        block = encode_fields([(b"x-number", b"%d" % number)])
        assert HeaderDecoder().decode(block) == [(b"x-number", b"%d" % number)]
        raw = hpack.Encoder().encode([(b"x", b"%d" % number)])
        assert HeaderDecoder().decode(raw) == [(b"x", b"%d" % number)]
    assert len(header_block._ENCODED) <= 4096
    assert len(header_block._HUFFMAN) <= 4096
    for number in range(256):
        for state in header_block._HUFFMAN_STATES:
            with contextlib.suppress(hpack.HPACKDecodingError):
                state[number]
    assert sum(map(len, header_block._HUFFMAN_STATES)) <= 256 * 128
    encode_fields([(b"x-long", b"v" * 1000)])
    assert (b"x-long", b"v" * 1000) not in header_block._ENCODED


@given(st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_huffman_strings_mean_the_same_to_hpack(raw):
    try:
        expected = decode_huffman(raw)
    except hpack.HPACKDecodingError:
        with pytest.raises(hpack.HPACKDecodingError):
            header_block._decode_huffman(raw)
    else:
        assert header_block._decode_huffman(raw) == expected


@given(st.binary(max_size=60))
@settings(max_examples=150, deadline=None)
def test_huffman_strings_of_hpack_are_decoded(text):
    raw = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(text)
    assert header_block._decode_huffman(raw) == text


def test_a_huffman_state_may_end_a_string_or_not_however_it_was_reached():
    ends = {state for state, flags, _ in HUFFMAN_TABLE if flags & HUFFMAN_COMPLETE}
    others = {state for state, flags, _ in HUFFMAN_TABLE if not flags & (HUFFMAN_COMPLETE | HUFFMAN_FAIL)}
    assert not ends & others
