"""The memory that master and workers share, on plain bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wproxy import shared as layout
from wproxy.config.tree import printable
from wproxy.record_locks import RecordLocks
from wproxy.shared import (
    DRAINING,
    EDITS_OFFSET,
    EDITS_WORDS,
    FIRST_LATE_PEER,
    HEAD_ATTEMPTS,
    HEAD_GENERATION,
    HEAD_MESSAGE_LENGTH,
    HEAD_OUTCOME,
    HEAD_RECORDS,
    HEAD_SLOTS,
    HEAD_WORDS,
    KINDS,
    MASTERS,
    MAX_LATE_PEERS,
    MAX_PEERS,
    MAX_WORKERS,
    MESSAGE_WORDS,
    MESSAGES_OFFSET,
    PEER_IDENTITY,
    PEER_VERSION,
    PEER_WORDS,
    PEERS_OFFSET,
    PLACE_KEY,
    PLACE_WORDS,
    PLACES_OFFSET,
    PRIVATE_BYTES,
    PRIVATE_WORDS,
    ROW_ACTIVE,
    ROW_REQUESTS,
    ROW_WORDS,
    ROWS_OFFSET,
    SLOT_ROWS_WORDS,
    TOTAL_BYTES,
    TOTAL_WORDS,
    WORKER_PID,
    WORKER_REQUESTS,
    WORKER_STATE,
    WORKER_WORDS,
    WORKERS_OFFSET,
    SharedWords,
)


def fresh() -> SharedWords:
    return SharedWords(memoryview(bytearray(PRIVATE_BYTES)).cast("Q"))


@pytest.fixture
def shared():
    return fresh()


def constants(prefix: str) -> dict[str, int]:
    return {name: value for name, value in vars(layout).items() if name.startswith(prefix) and isinstance(value, int)}


# Layout


def test_the_parts_follow_each_other_without_gap_or_overlap():
    assert MESSAGES_OFFSET == MASTERS * HEAD_WORDS
    assert MESSAGES_OFFSET + MASTERS * len(KINDS) * MESSAGE_WORDS == WORKERS_OFFSET
    assert PEERS_OFFSET == WORKERS_OFFSET + MAX_WORKERS * WORKER_WORDS
    assert PLACES_OFFSET == PEERS_OFFSET + MAX_PEERS * PEER_WORDS
    assert ROWS_OFFSET == PLACES_OFFSET + MAX_LATE_PEERS * PLACE_WORDS
    assert MAX_LATE_PEERS == MAX_PEERS - FIRST_LATE_PEER
    assert SLOT_ROWS_WORDS == MAX_PEERS * ROW_WORDS
    assert EDITS_OFFSET == ROWS_OFFSET + MAX_WORKERS * SLOT_ROWS_WORDS
    assert TOTAL_WORDS == EDITS_OFFSET + EDITS_WORDS
    assert PRIVATE_WORDS == ROWS_OFFSET + SLOT_ROWS_WORDS
    assert (TOTAL_BYTES, PRIVATE_BYTES) == (8 * TOTAL_WORDS, 8 * PRIVATE_WORDS)


def test_no_two_peers_and_no_two_workers_share_a_cache_line():
    """A processor that writes into a line takes it from all others: 64 bytes, here in words."""
    assert [number % 8 for number in (PEERS_OFFSET, PEER_WORDS, ROWS_OFFSET, ROW_WORDS, ROW_REQUESTS)] == [0] * 5


@pytest.mark.parametrize(
    ("words", "room"),
    [
        ({name: word for name, word in constants("HEAD_").items() if name != "HEAD_WORDS"}, HEAD_WORDS),
        ({name: word for name, word in constants("WORKER_").items() if name != "WORKER_WORDS"}, WORKER_WORDS),
        ({name: word for name, word in constants("ROW_").items() if name != "ROW_WORDS"}, ROW_WORDS),
        ({"VERSION": PEER_VERSION, "IDENTITY": PEER_IDENTITY, "its second half": PEER_IDENTITY + 1}, PEER_WORDS),
    ],
    ids=["head", "worker", "row", "peer"],
)
def test_every_word_has_a_place_of_its_own(words, room):
    assert len(set(words.values())) == len(words)
    assert all(0 <= word < room for word in words.values())


@pytest.mark.parametrize(
    "words",
    [
        memoryview(bytearray(PRIVATE_BYTES - 8)).cast("Q"),
        memoryview(bytearray(PRIVATE_BYTES)),
        memoryview(bytearray(PRIVATE_BYTES)).cast("I"),
        memoryview(b"").cast("Q"),
    ],
    ids=["a word short", "bytes", "half words", "nothing"],
)
def test_memory_of_another_layout_is_refused(words):
    with pytest.raises(ValueError, match="another layout"):
        SharedWords(words)


# Slots


def test_a_word_of_the_head_is_read_as_it_was_written(shared):
    shared.set_head(HEAD_GENERATION, 2**64 - 1)
    assert shared.head(HEAD_GENERATION) == 2**64 - 1
    assert shared.words[HEAD_GENERATION] == 2**64 - 1


def test_a_worker_writes_its_own_slot_only(shared):
    slot = shared.worker(1)
    for word in range(WORKER_WORDS):
        slot.set(word, 7)
    start = WORKERS_OFFSET + WORKER_WORDS
    assert [index for index, value in enumerate(shared.words) if value] == list(range(start, start + WORKER_WORDS))


def test_the_first_and_the_last_slot_stay_among_the_workers(shared):
    shared.worker(0).set(0, 1)
    shared.worker(MAX_WORKERS - 1).set(WORKER_WORDS - 1, 1)
    assert shared.words[WORKERS_OFFSET] == shared.words[PEERS_OFFSET - 1] == 1


def test_the_slots_in_use_are_those_with_a_pid(shared):
    for index, pid in ((5, 500), (0, 100), (MAX_WORKERS - 1, 900)):
        shared.worker(index).set(WORKER_PID, pid)
    shared.worker(3).set(WORKER_REQUESTS, 12)
    assert [(slot.index, slot.get(WORKER_PID)) for slot in shared.workers()] == [(0, 100), (5, 500), (MAX_WORKERS - 1, 900)]


def test_a_cleared_slot_is_free_and_its_neighbours_stay(shared):
    for index in range(3):
        for word in range(WORKER_WORDS):
            shared.worker(index).set(word, 9)
    shared.worker(1).clear()
    assert [slot.index for slot in shared.workers()] == [0, 2]
    assert not any(shared.worker(1).get(word) for word in range(WORKER_WORDS))


def test_a_slot_that_is_made_ready_is_among_those_whose_rows_are_looked_at():
    words = memoryview(bytearray(PRIVATE_BYTES + 2 * 8 * SLOT_ROWS_WORDS)).cast("Q")
    shared = SharedWords(words)
    assert shared.head(HEAD_SLOTS) == 0
    for index, slots in ((1, 2), (0, 2), (2, 3)):
        shared.worker(index).clear()
        assert shared.head(HEAD_SLOTS) == slots


def test_a_cleared_slot_keeps_what_was_counted_in_its_rows_but_has_nothing_under_way():
    shared = SharedWords(memoryview(bytearray(PRIVATE_BYTES + 8 * SLOT_ROWS_WORDS)).cast("Q"))
    shared.set_head(HEAD_RECORDS, 3)
    shared.words[PLACES_OFFSET + 9 * PLACE_WORDS + PLACE_KEY] = 4711
    for slot in (0, 1):
        shared.worker(slot).clear()
        for record in (2, FIRST_LATE_PEER + 9):
            for word in range(ROW_WORDS):
                shared.words[shared.row_offset(slot, record) + word] = 5
    shared.worker(1).clear()
    for record in (2, FIRST_LATE_PEER + 9):
        offsets = (shared.row_offset(0, record), shared.row_offset(1, record))
        rows = [shared.words[offset : offset + ROW_WORDS].tolist() for offset in offsets]
        assert rows == [[5] * ROW_WORDS, [0 if word == ROW_ACTIVE else 5 for word in range(ROW_WORDS)]]


def test_a_cleared_record_is_zero_in_all_slots_and_its_neighbours_stay():
    shared = SharedWords(memoryview(bytearray(PRIVATE_BYTES + 8 * SLOT_ROWS_WORDS)).cast("Q"))
    shared.worker(1).clear()
    parts = {}
    for record in (1, 2, 3):
        parts[record] = [(shared.peer_offset(record), PEER_WORDS)]
        parts[record] += [(shared.row_offset(slot, record), ROW_WORDS) for slot in (0, 1)]
        for offset, count in parts[record]:
            for word in range(offset, offset + count):
                shared.words[word] = 5
    shared.clear_record(2)
    sums = {record: sum(sum(shared.words[offset : offset + count]) for offset, count in parts[record]) for record in parts}
    whole = 5 * (PEER_WORDS + 2 * ROW_WORDS)
    assert sums == {1: whole, 2: 0, 3: whole}


def test_a_slot_beyond_the_memory_of_a_process_alone_has_no_rows_to_clear(shared):
    shared.worker(1).clear()
    assert shared.head(HEAD_SLOTS) == 0


def test_a_process_writes_as_the_worker_it_became(shared):
    assert (shared.slot, shared.locks) == (0, None)
    shared.become_worker(3, -1)
    assert (shared.slot, shared.locks) == (3, None)
    shared.become_worker(3, 5)
    assert isinstance(shared.locks, RecordLocks)


def test_a_slot_tells_its_state(shared):
    slot = shared.worker(2)
    slot.set(WORKER_PID, 42)
    slot.set(WORKER_STATE, DRAINING)
    assert repr(slot) == "<slot 2: pid 42 draining>"


def test_records_of_peers_follow_each_other(shared):
    assert shared.peer_offset(0) == PEERS_OFFSET
    assert shared.peer_offset(1) == PEERS_OFFSET + PEER_WORDS
    assert shared.peer_offset(MAX_PEERS - 1) + PEER_WORDS == PLACES_OFFSET


def test_rows_follow_each_other_slot_by_slot(shared):
    assert shared.row_offset(0, 0) == ROWS_OFFSET
    assert shared.row_offset(0, 1) == ROWS_OFFSET + ROW_WORDS
    assert shared.row_offset(0, MAX_PEERS - 1) + ROW_WORDS == shared.row_offset(1, 0) == PRIVATE_WORDS
    assert shared.row_offset(MAX_WORKERS - 1, MAX_PEERS - 1) + ROW_WORDS == EDITS_OFFSET


@pytest.mark.parametrize("slot", [-1, MAX_WORKERS])
def test_there_are_so_many_slots_and_no_more(shared, slot):
    with pytest.raises(ValueError, match=f"no slot {slot} for a worker"):
        shared.row_offset(slot, 1)


@pytest.mark.parametrize("index", [-1, MAX_PEERS, 10**9])
def test_there_are_so_many_records_and_no_more(shared, index):
    with pytest.raises(ValueError, match=f"no record {index} for a peer"):
        shared.peer_offset(index)


# The outcome of a load


def test_an_outcome_is_told_and_counted(shared):
    assert shared.message() == ""
    shared.write_outcome(False, "host not found")
    assert (shared.head(HEAD_OUTCOME), shared.head(HEAD_ATTEMPTS), shared.message()) == (0, 1, "host not found")
    shared.write_outcome(True, "")
    assert (shared.head(HEAD_OUTCOME), shared.head(HEAD_ATTEMPTS), shared.message()) == (1, 2, "")


def test_a_short_message_shows_nothing_of_a_long_one_before(shared):
    shared.write_outcome(False, "a long message about many things")
    shared.write_outcome(False, "short")
    assert shared.message() == "short"


@pytest.mark.parametrize("length", [1, 7, 8, 9, 8 * MESSAGE_WORDS - 1, 8 * MESSAGE_WORDS])
def test_a_message_of_any_length_that_fits_is_kept_whole(shared, length):
    message = ("0123456789" * 500)[:length]
    shared.write_outcome(False, message)
    assert shared.message() == message


def test_a_message_longer_than_its_space_is_cut_and_the_workers_stay(shared):
    shared.worker(0).set(WORKER_PID, 42)
    shared.write_outcome(False, "x" * 100_000)
    assert shared.message() == "x" * 8 * MESSAGE_WORDS
    assert shared.head(HEAD_MESSAGE_LENGTH) == 8 * MESSAGE_WORDS
    assert shared.worker(0).get(WORKER_PID) == 42


def test_a_message_may_be_in_any_script(shared):
    message = 'host not found in upstream "b\u00fccher\u2026 \U0001f600"'
    shared.write_outcome(False, message)
    assert shared.message() == message


def test_a_character_cut_in_two_does_no_harm(shared):
    shared.write_outcome(False, "x" + "\u00e9" * 4 * MESSAGE_WORDS)
    assert shared.message() == "x" + "\u00e9" * (4 * MESSAGE_WORDS - 1) + "\ufffd"


def test_bytes_that_were_no_utf_8_do_no_harm(shared):
    shared.write_outcome(False, b'open() "\xff" failed'.decode("utf-8", "surrogateescape"))
    assert shared.message() == 'open() "?" failed'


def test_a_length_that_makes_no_sense_is_not_believed(shared):
    shared.set_head(HEAD_MESSAGE_LENGTH, 2**60)
    assert shared.message() == r"\x00" * 8 * MESSAGE_WORDS


@settings(deadline=None)  # a busy machine may stand still for as long
@given(st.text(max_size=200))
def test_any_message_is_read_back(message):
    shared = fresh()
    shared.write_outcome(False, message)
    sent = message.encode("utf-8", "replace").decode()
    assert shared.message().split("\n") == [printable(line) for line in sent.split("\n")]
