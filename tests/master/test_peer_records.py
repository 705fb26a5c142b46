"""Which record belongs to which peer, across reloads."""

from types import SimpleNamespace

import pytest

from master.peer_records import PeerRecords, assign_records
from wproxy.address import Address
from wproxy.config.model import Peer
from wproxy.config.tree import ConfigurationError
from wproxy.shared import FIRST_LATE_PEER, PEER_WORDS, TOTAL_BYTES, SharedWords


@pytest.fixture
def shared():
    return SharedWords(memoryview(bytearray(TOTAL_BYTES)).cast("Q"))


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


def test_every_peer_gets_a_record_of_its_own_and_none_gets_record_0(records):
    given = assigned(records, 1, upstream("app", "a:80", "b:80"), upstream("api", "a:80"))
    assert len(set(given)) == 3
    assert 0 not in given


def test_two_peers_of_one_name_are_two(records):
    first, second = assigned(records, 1, upstream("app", "a:80", "a:80"))
    assert first != second


def test_a_reload_leaves_a_peer_its_record(records, shared):
    (before,) = assigned(records, 1, upstream("app", "a:80"))
    shared.words[shared.peer_offset(before)] = 5
    new, after = assigned(records, 2, upstream("app", "b:80", "a:80"))
    records.release(1)
    assert (before, 5) == (after, words_of(shared, after)[0])
    assert new != before


def test_a_record_is_zeroed_and_given_again_when_the_last_generation_that_held_it_has_ended(records, shared):
    (gone,) = assigned(records, 1, upstream("app", "a:80"))
    shared.words[shared.peer_offset(gone) + PEER_WORDS - 1] = 5
    (other,) = assigned(records, 2, upstream("app", "b:80"))
    assert other != gone
    records.release(1)
    assert words_of(shared, gone) == [0] * PEER_WORDS
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
