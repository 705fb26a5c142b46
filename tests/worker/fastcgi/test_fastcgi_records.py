"""FastCGI records: written, and read whole, byte by byte, with trailing bytes, and when they are garbage."""

from __future__ import annotations

import random

import pytest

from worker.fastcgi.records import (
    END,
    END_OF_PARAMS,
    END_OF_STDIN,
    MOST,
    STDERR,
    STDIN,
    STDOUT,
    AnswerReader,
    RecordError,
    TooBig,
    parameter_writer,
    read_parameters,
    record,
    request_head,
    stdin_records,
)

DONE = record(END, bytes(8))
# Records of an answer, its output, its messages, and whether it is closed and has ended.
ANSWERS = [
    (b"", b"", [], False, False),
    (record(STDOUT, b"hello") + DONE, b"hello", [], False, True),
    (record(STDOUT, b"12345678") + record(STDOUT, b"9") + DONE, b"123456789", [], False, True),
    (record(STDOUT, b"a") + record(STDERR, b"oh\n") + record(STDOUT, b"b") + DONE, b"ab", [b"oh\n"], False, True),
    (record(STDERR, b"one") + record(STDERR, b"") + record(STDERR, b"two") + DONE, b"", [b"one", b"two"], False, True),
    (record(STDOUT, b"x") + record(STDOUT, b""), b"x", [], True, False),
    (record(STDOUT, b"x") + record(STDOUT, b"") + DONE, b"x", [], True, True),
    (record(STDOUT, b"") + DONE, b"", [], True, True),
    (b"\1\6\0\1\0\2\xff\0" + b"hi" + bytes(255) + DONE, b"hi", [], False, True),
    (record(STDOUT, b"z" * MOST) + DONE, b"z" * MOST, [], False, True),
    (b"\1\3\0\1\0\0\0\0", b"", [], False, True),
]


def state(reader: AnswerReader) -> tuple[list[bytes], bool, bool]:
    return list(reader.errors), reader.is_closed, reader.has_ended


@pytest.mark.parametrize(("wire", "output", "errors", "is_closed", "has_ended"), ANSWERS)
def test_an_answer_is_read_in_pieces_of_any_size(wire, output, errors, is_closed, has_ended):
    for size in (1, 2, 3, 7, 8, 9, 4096, len(wire) or 1):
        reader = AnswerReader()
        found = b"".join(reader.feed(wire[begin : begin + size]) for begin in range(0, len(wire), size))
        assert (found, *state(reader)) == (output, errors, is_closed, has_ended)
        assert not reader.leftover
        assert reader.taken == len(wire)


@pytest.mark.parametrize(("wire", "output", "errors", "is_closed", "has_ended"), ANSWERS)
def test_bytes_after_the_end_are_noticed_and_no_output(wire, output, errors, is_closed, has_ended):
    if not has_ended:
        return
    for pieces in ([wire + b"\1\6"], [wire, b"\1"]):
        reader = AnswerReader()
        assert b"".join(map(reader.feed, pieces)) == output
        assert reader.leftover


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"\2\6\0\1\0\0\0\0", "upstream sent unsupported FastCGI protocol version: 2"),
        (b"\1\2\0\1\0\0\0\0", "upstream sent invalid FastCGI record type: 2"),
        (b"\1\x0a\0\1\0\0\0\0", "upstream sent invalid FastCGI record type: 10"),
        (b"\1\6\1\1\0\0\0\0", "upstream sent unexpected FastCGI request id high byte: 1"),
        (b"\1\6\0\2\0\0\0\0", "upstream sent unexpected FastCGI request id low byte: 2"),
        (b"HTTP/1.1", "upstream sent unsupported FastCGI protocol version: 72"),
    ],
)
def test_what_is_no_record_is_refused_in_nginx_s_words(header, reason):
    for before in (b"", record(STDOUT, b"x")):
        with pytest.raises(RecordError) as refusal:
            AnswerReader().feed(before + header)
        assert str(refusal.value) == reason


def test_the_place_of_the_body_is_known_in_bytes_as_they_came():
    reader = AnswerReader()
    reader.feed(record(STDERR, b"12345678") + record(STDOUT, b"head") + record(STDOUT, b"head+body"))
    assert reader.position_of(8) == 16 + 16 + 8 + 4
    assert reader.position_of(4) == 16 + 8 + 4
    assert reader.position_of(0) == 0


@pytest.mark.parametrize("seed", range(60))
def test_garbage_is_refused_or_read_and_nothing_else(seed):
    chance = random.Random(seed)
    wire = bytearray(
        b"".join(record(chance.choice((STDOUT, STDERR, END)), chance.randbytes(chance.randrange(40))) for _ in range(8))
    )
    for _ in range(chance.randrange(6)):
        wire[chance.randrange(len(wire))] = chance.randrange(256)
    whole, bits = AnswerReader(), AnswerReader()

    def read(reader: AnswerReader, pieces: list[bytes]) -> tuple[bytes, str]:
        found = b""
        try:
            for piece in pieces:
                found += reader.feed(piece)
        except RecordError as error:
            return b"", str(error)
        return found, ""

    cuts = sorted(chance.randrange(len(wire)) for _ in range(10))
    pieces = [bytes(wire[begin:end]) for begin, end in zip([0, *cuts], [*cuts, len(wire)])]
    assert read(whole, [bytes(wire)]) == read(bits, pieces)


# Writing


@pytest.mark.parametrize(
    ("name", "value", "wire"),
    [
        (b"A", b"b", b"\1\1Ab"),
        (b"", b"", b"\0\0"),
        (b"N", b"v" * 127, b"\1\x7fN" + b"v" * 127),
        (b"N", b"v" * 128, b"\1\x80\0\0\x80N" + b"v" * 128),
        (b"n" * 300, b"", b"\x80\0\1\x2c\0" + b"n" * 300),
    ],
)
def test_lengths_of_a_parameter_have_one_byte_or_four(name, value, wire):
    assert parameter_writer(name)(value) == wire
    assert read_parameters(request_head(wire, False)) == [(name, value)]


@pytest.mark.parametrize(("is_kept", "flag"), [(False, 0), (True, 1)])
def test_the_records_before_a_body(is_kept, flag):
    begin = bytes((1, 1, 0, 1, 0, 8, 0, 0, 0, 1, flag, 0, 0, 0, 0, 0))
    assert request_head(b"\1\1Ab", is_kept) == begin + b"\1\4\0\1\0\4\4\0\1\1Ab\0\0\0\0" + END_OF_PARAMS


def test_parameters_have_to_fit_into_one_record():
    assert len(request_head(bytes(MOST), False)) == 16 + 8 + MOST + 1 + 8
    with pytest.raises(TooBig) as refusal:
        request_head(bytes(MOST + 1), False)
    assert refusal.value.size == MOST + 1


@pytest.mark.parametrize("size", [0, 1, 7, 8, 32768, 32769, 100_000])
def test_a_body_is_cut_into_records_and_an_empty_piece_is_none(size):
    data = bytes(range(256)) * 400
    wire, found = stdin_records(data[:size]), b""
    assert len(wire) % 8 == 0
    while wire:
        length, padding = int.from_bytes(wire[4:6], "big"), wire[6]
        assert wire[:4] == bytes((1, STDIN, 0, 1)) and length
        found, wire = found + wire[8 : 8 + length], wire[8 + length + padding :]
    assert found == data[:size]
    assert record(STDIN, b"") == END_OF_STDIN
