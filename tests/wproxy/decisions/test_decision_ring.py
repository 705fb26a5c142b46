"""The ring of recorded requests: bounded, shared by workers, and believed only where an entry is whole."""

from __future__ import annotations

import os

from wproxy.decisions.ring import ENTRIES, ENTRY_BYTES, PARTS, RING_BYTES, DecisionRing


def name(number: int) -> str:
    return f"{number:032x}"


def test_what_one_worker_keeps_another_one_finds():
    memory = bytearray(RING_BYTES)
    assert DecisionRing(memory).keep(3, 5.5, name(1), {"status": 200, "steps": [{"text": "ü"}]})
    assert DecisionRing(memory).find(name(1)) == {"status": 200, "steps": [{"text": "ü"}]}
    assert DecisionRing(memory).find(name(2)) is None


def test_a_worker_writes_over_its_oldest_request_and_over_nobody_elses():
    ring = DecisionRing(bytearray(RING_BYTES))
    ring.keep(1, 1.0, name(1000), {"worker": 1})
    for number in range(ENTRIES + 2):
        ring.keep(0, 10.0 + number, name(number), {"number": number})
    assert ring.find(name(0)) is ring.find(name(1)) is None
    assert ring.find(name(2)) == {"number": 2}
    assert ring.find(name(1000)) == {"worker": 1}
    assert [each["number"] for each in ring.last(3)] == [ENTRIES + 1, ENTRIES, ENTRIES - 1]


def test_the_next_worker_of_a_slot_goes_on_after_the_last_one():
    memory = bytearray(RING_BYTES)
    before = DecisionRing(memory)
    for number in range(ENTRIES + 1):
        before.keep(0, 10.0 + number, name(number), {"number": number})
    after = DecisionRing(memory)
    after.keep(0, 100.0, name(100), {"number": 100})
    assert after.find(name(1)) is None
    assert after.find(name(ENTRIES)) == {"number": ENTRIES}


def test_slots_beyond_the_parts_have_a_place():
    ring = DecisionRing(bytearray(RING_BYTES))
    assert ring.keep(PARTS * 3 + 5, 1.0, name(1), {})
    assert ring.find(name(1)) == {}


def test_decisions_without_room_are_not_kept():
    ring = DecisionRing(bytearray(RING_BYTES))
    assert not ring.keep(0, 1.0, name(1), {"noise": os.urandom(ENTRY_BYTES).hex()})
    assert ring.last(10) == []


def test_an_entry_that_is_not_whole_is_none():
    memory = bytearray(ENTRIES * ENTRY_BYTES)  # a part is enough
    ring = DecisionRing(memory)
    ring.keep(0, 1.0, name(1), {"status": 200})
    used = len(memory.rstrip(b"\0"))
    for place in range(used):
        memory[place] ^= 0xFF
        assert ring.find(name(1)) is None, place
        assert ring.last(10) == []
        memory[place] ^= 0xFF
    assert ring.find(name(1)) == {"status": 200}
