"""The counts of an older program are carried over by the names of its words, whatever its layout, and never twice."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable
from typing import Any

import pytest

from wproxy.address import Address
from wproxy.config.load import load_text
from wproxy.config.model import Configuration
from wproxy.counters import layout as at
from wproxy.counters import memory as counter_memories
from wproxy.counters.carried import Carrying, carrying_to
from wproxy.counters.described import PEER, ROWS, SCALAR, description, names_in
from wproxy.counters.memory import CounterMemory, counter_memory, region_of
from wproxy.counters.plan import RequestNames, plan_counting
from wproxy.counters.totals import CounterReader, Slots
from wproxy.lasting import LastingMemory
from wproxy.shared import TOTAL_BYTES, SharedWords

SITE = b"""
http {
    upstream app { server 127.0.0.1:1; server 127.0.0.1:2; }
    server { listen 8080; server_name a; status_zone site; location / { proxy_pass http://app; } }
    server { listen 8080; server_name b; }
}
events {}
"""
RECORDS = (1, 2)


def site() -> Configuration:
    return load_text(SITE, "x.conf", "/", lambda host, port: [Address(host, port)])


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> LastingMemory:
    made = LastingMemory()
    monkeypatch.setattr(counter_memories, "LASTING", made)
    return made


@pytest.fixture
def shared() -> SharedWords:
    found = SharedWords(memoryview(mmap.mmap(-1, TOTAL_BYTES)).cast("Q"))
    found.worker(1).clear()  # two slots
    return found


class Older:
    """An older program: all of its words are elsewhere, it knows no statuses of peers, and counts something that we do not know."""

    SHIFT, SLOTS = 1000, 4

    def __init__(self, configuration: Configuration) -> None:
        self.description: dict[str, Any] = json.loads(description())
        slots, peers, rows = (self.description[part] for part in ("slots", "peers", "tables"))
        slots["words"] += self.SHIFT
        slots["count"] = self.SLOTS
        for part in (peers, *rows.values()):
            part["base"] += self.SHIFT
        for name in [name for name in peers["names"] if name.startswith("status ")]:
            del peers["names"][name]
        request = rows["requests"]["names"]
        request["received"], request["sent"] = request["sent"], request["received"]
        request["forgotten"] = request.pop("tls full", 175)
        size = (slots["offset"] + self.SLOTS * slots["words"]) * 8
        self.size = size
        self.memory = region_of(1, size)
        self.memory.describe(json.dumps(self.description).encode())
        self.plan = plan_counting(configuration, self.memory)

    def set(self, slot: int, kind: str, row: int, name: str, value: int) -> None:
        part = self.description["peers"] if kind == "peers" else self.description["tables"][kind]
        begin = self.description["slots"]["offset"] + slot * self.description["slots"]["words"]
        self.memory.words[begin + part["base"] + row * part["words"] + part["names"][name]] = value


def test_sums_are_carried_by_name_and_go_on(lasting: LastingMemory, shared: SharedWords):
    configuration = site()
    older = Older(configuration)
    row = older.plan.requests[RequestNames("a", "/", "site")]
    for slot in range(2):
        older.set(slot, "requests", row, "status 200", 5)
        older.set(slot, "requests", row, "received", 70)
        older.set(slot, "requests", row, "time to 0.005", 5)
        older.set(slot, "requests", row, "forgotten", 9)
        older.set(slot, "peers", 2, "class 2", 3)
        older.set(slot, "peers", 2, "@selected", 10 + slot)
    older.memory.words[older.description["slots"]["offset"] + 1] = 4  # a timer of the first worker that was hardly late

    ours = memory_after(older)
    plan = plan_counting(configuration, ours, generation=2)
    reader = CounterReader(plan, Slots(shared, plan.memory))
    bring(ours, shared)
    found = dict(reader.requests())[RequestNames("a", "/", "site")]
    assert (found.codes, found.received, found.sent, found.times.count) == ({"200": 10}, 140, 0, 10)
    assert reader.peer(2).responses == (0, 6, 0, 0, 0)
    assert reader.peer(2).selected == 11 / 1e6
    assert reader.peer(1).responses == (0, 0, 0, 0, 0)
    assert [worker.lag.buckets[0] for worker in reader.workers()] == [4, 0]

    # Its workers go on, and ours count, too.
    older.set(0, "requests", row, "status 200", 6)
    ours.words[
        at.SLOTS_OFFSET + at.REQUESTS.base + plan.requests[RequestNames("a", "/", "site")] * at.REQUESTS.words + at.SENT
    ] = 1
    for _ in range(2):
        bring(ours, shared)
        found = dict(reader.requests())[RequestNames("a", "/", "site")]
        assert (found.codes, found.sent) == ({"200": 11}, 1)

    # It has gone: its counts stay.
    ours.words[at.HEAD_CARRIES] = at.WAS_CARRIED
    assert carrying_to(ours) is None
    assert dict(reader.requests())[RequestNames("a", "/", "site")].codes == {"200": 11}
    ours.clear_peer(2, 2)
    assert reader.peer(2).responses == (0, 0, 0, 0, 0)


def test_what_the_api_subtracts_is_carried(lasting: LastingMemory, shared: SharedWords):
    configuration = site()
    older = Older(configuration)
    row = older.plan.requests[RequestNames("a", "/", "site")]
    older.set(0, "requests", row, "status 200", 5)
    part = older.description["parts_offset"] + older.description["parts"]["all"] * older.description["slots"]["words"]
    table = older.description["tables"]["requests"]
    older.memory.words[part + table["base"] + row * table["words"] + table["names"]["status 200"]] = 3
    ours = memory_after(older)
    plan = plan_counting(configuration, ours, generation=2)
    bring(ours, shared)
    reader = CounterReader(plan, Slots(shared, plan.memory))
    names = RequestNames("a", "/", "site")
    assert dict(reader.requests())[names].codes == {"200": 5}
    assert dict(reader.since_reset().requests())[names].codes == {"200": 2}


def test_a_layout_without_a_description_is_left_alone(lasting: LastingMemory, shared: SharedWords):
    older = Older(site())
    older.memory.words[at.HEAD_MAGIC] = 0
    assert carrying_to(memory_after(older)) is None


@pytest.mark.parametrize("places", [*ROWS.values(), PEER, SCALAR])
def test_no_word_has_two_names(places: Any):
    names = names_in(places)
    assert len(set(names.values())) == len(names)
    assert len(names) == sum(bool(name) for place in places for name in place.names)


def memory_after(older: Older) -> CounterMemory:
    """Our memory, as the next program of an upgrade has it."""
    layouts = memoryview(counter_memories.LASTING.region("layouts of counters", 8 * 512)).cast("B").cast("Q")
    layouts[0], layouts[1] = 1, older.size
    make: Callable[[], CounterMemory] = counter_memory.__wrapped__
    found = make()
    assert layouts[2:4].tolist() == [at.VERSION, at.TOTAL_BYTES]
    make()  # and a reload finds everything as it is
    assert layouts[4] == 0
    return found


def bring(memory: CounterMemory, shared: SharedWords) -> None:
    carrying = carrying_to(memory)
    assert isinstance(carrying, Carrying) and carrying.goes_on
    carrying.bring_baselines(RECORDS)
    for _ in carrying.bring(shared.slots, RECORDS):
        pass
