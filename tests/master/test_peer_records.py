"""Which record belongs to which peer, across reloads."""

from types import SimpleNamespace

import pytest

from master.peer_records import PeerRecords, assign_records
from wproxy.address import Address
from wproxy.config.model import Peer
from wproxy.config.tree import ConfigurationError
from wproxy.shared import (
    FIRST_LATE_PEER,
    HEAD_RECORDS,
    PEER_IDENTITY,
    PEER_VERSION,
    PEER_WORDS,
    PRIVATE_BYTES,
    ROW_WORDS,
    SharedWords,
)


@pytest.fixture
def shared():
    shared = SharedWords(memoryview(bytearray(PRIVATE_BYTES)).cast("Q"))
    shared.worker(0).clear()
    return shared


@pytest.fixture
def records(shared):
    return PeerRecords(shared)


def upstream(name, *peers):
    return SimpleNamespace(name=name, peers=tuple(Peer(peer, Address("10.0.0.1", 80), peer) for peer in peers))


def assigned(records, generation, *upstreams):
    assign_records(upstreams, records, generation)
    return [peer.record for one in upstreams for peer in one.peers]


def words_of(shared, record):
    offset = shared.peer_offset(record)
    return shared.words[offset : offset + PEER_WORDS].tolist()


def row_of(shared, record):
    offset = shared.row_offset(0, record)
    return shared.words[offset : offset + ROW_WORDS].tolist()


def test_every_peer_gets_a_record_of_its_own_and_none_gets_record_0(records):
    given = assigned(records, 1, upstream("app", "a:80", "b:80"), upstream("api", "a:80"))
    assert len(set(given)) == 3
    assert 0 not in given


def test_two_peers_of_one_name_are_two(records):
    first, second = assigned(records, 1, upstream("app", "a:80", "a:80"))
    assert first != second


def test_a_reload_leaves_a_peer_its_record(records, shared):
    (before,) = assigned(records, 1, upstream("app", "a:80"))
    shared.words[shared.peer_offset(before) + PEER_VERSION] = 5
    shared.words[shared.row_offset(0, before)] = 6
    new, after = assigned(records, 2, upstream("app", "b:80", "a:80"))
    records.release(1)
    assert (before, 5) == (after, words_of(shared, after)[PEER_VERSION])
    assert row_of(shared, after)[0] == 6
    assert new != before


def test_a_record_is_zeroed_and_given_again_when_the_last_generation_that_held_it_has_ended(records, shared):
    (gone,) = assigned(records, 1, upstream("app", "a:80"))
    shared.words[shared.peer_offset(gone) + PEER_WORDS - 1] = 5
    shared.words[shared.row_offset(0, gone)] = shared.words[shared.row_offset(0, gone) + ROW_WORDS - 1] = 5
    (other,) = assigned(records, 2, upstream("app", "b:80"))
    assert other != gone
    records.release(1)
    assert words_of(shared, gone) == [0] * PEER_WORDS
    assert row_of(shared, gone) == [0] * ROW_WORDS
    assert assigned(records, 3, upstream("app", "b:80", "c:80")) == [other, gone]


def test_a_generation_that_failed_takes_no_records_with_it(records):
    (kept,) = assigned(records, 1, upstream("app", "a:80"))
    assigned(records, 2, upstream("app", "a:80", "b:80"))
    records.release(2)
    assert assigned(records, 2, upstream("app", "a:80")) == [kept]


def test_too_many_peers_are_an_error_that_changes_nothing(records):
    names = [f"10.0.0.1:{number}" for number in range(FIRST_LATE_PEER)]
    with pytest.raises(ConfigurationError, match="too many peers"):
        assigned(records, 1, upstream("app", *names))
    assert len(set(assigned(records, 1, upstream("app", *names[1:])))) == FIRST_LATE_PEER - 1


def test_records_in_use_are_known_to_those_who_look_at_all(records, shared):
    given = assigned(records, 1, upstream("app", "a:80", "b:80"))
    assert shared.head(HEAD_RECORDS) == max(given) + 1
    records.release(1)
    assigned(records, 2, upstream("app", "c:80"))
    assert shared.head(HEAD_RECORDS) == max(given) + 1, "never less"


def test_every_record_says_whose_it_is(records, shared):
    given = assigned(records, 1, upstream("app", "a:80", "a:80", "b:80"), upstream("api", "a:80"))
    names = {tuple(words_of(shared, record)[PEER_IDENTITY : PEER_IDENTITY + 2]) for record in given}
    assert len(names) == 4
    assert not any(0 in name for name in names)


# Another master on the same memory.


def test_a_master_that_takes_over_the_memory_finds_the_records_of_its_peers(records, shared):
    failing, healthy = assigned(records, 1, upstream("app", "a:80", "b:80"))
    shared.words[shared.row_offset(0, failing)] = 3
    heir = PeerRecords(shared)
    new, same, other = assigned(heir, 2, upstream("app", "c:80", "a:80"), upstream("api", "a:80"))
    assert same == failing
    assert row_of(shared, same)[0] == 3
    assert len({new, same, other, healthy}) == 4, "what the old workers still have is not given to others"


def test_what_was_inherited_and_is_not_used_is_freed_when_the_old_workers_have_gone(records, shared):
    kept, gone = assigned(records, 1, upstream("app", "a:80", "b:80"))
    shared.words[shared.row_offset(0, gone)] = 3
    heir = PeerRecords(shared)
    assigned(heir, 2, upstream("app", "a:80"))
    heir.forget_inherited()
    assert words_of(shared, gone) == [0] * PEER_WORDS
    assert row_of(shared, gone) == [0] * ROW_WORDS
    assert assigned(heir, 3, upstream("app", "a:80", "c:80")) == [kept, gone]


def test_inherited_records_leave_less_room(records, shared):
    names = [f"10.0.0.1:{number}" for number in range(FIRST_LATE_PEER - 1)]
    assigned(records, 1, upstream("app", *names))
    heir = PeerRecords(shared)
    with pytest.raises(ConfigurationError, match="too many peers"):
        assigned(heir, 2, upstream("app", "b:80"))
    assert len(set(assigned(heir, 2, upstream("app", *names)))) == FIRST_LATE_PEER - 1


# Two masters on one memory.


def test_while_another_master_gives_out_records_none_is_cleared(shared):
    records = PeerRecords(shared)
    (record,) = records.hold("old", [("app", "a:1", 0)]).values()
    shared.words[shared.peer_offset(record) + PEER_VERSION] = 7
    records.give_over()
    younger = PeerRecords(shared)
    assert list(younger.hold("new", [("app", "a:1", 0)]).values()) == [record]
    records.release("old")
    assert shared.words[shared.peer_offset(record) + PEER_VERSION] == 7


def test_a_master_that_is_alone_again_knows_what_the_other_gave_out_and_frees_it_when_its_workers_are_gone(shared):
    records = PeerRecords(shared)
    (mine,) = records.hold("old", [("app", "a:1", 0)]).values()
    records.give_over()
    younger = PeerRecords(shared)
    theirs = younger.hold("new", [("app", "a:1", 0), ("app", "b:1", 0)])[("app", "b:1", 0)]
    records.take_over()
    fresh = records.hold("newer", [("app", "c:1", 0)])[("app", "c:1", 0)]
    assert len({mine, theirs, fresh}) == 3, "its workers may still write there"
    assert records.hold("newest", [("app", "b:1", 0)])[("app", "b:1", 0)] == theirs
    records.release("newest")
    records.forget_inherited()
    assert records.hold("last", [("app", "d:1", 0)])[("app", "d:1", 0)] == theirs


def test_what_a_younger_master_no_longer_needs_is_kept_for_the_older_one_until_that_is_gone(shared):
    (record,) = PeerRecords(shared).hold("old", [("app", "a:1", 0)]).values()
    younger = PeerRecords(shared)
    younger.hold("new", [("app", "a:1", 0)])
    shared.words[shared.peer_offset(record) + PEER_VERSION] = 7
    younger.release("new")
    assert shared.words[shared.peer_offset(record) + PEER_VERSION] == 7
    assert list(younger.hold("newer", [("app", "b:1", 0)]).values()) != [record]
    younger.forget_inherited()
    assert shared.words[shared.peer_offset(record) + PEER_VERSION] == 0
