"""When a worker forgets edits that its configuration overrules, and for whom a change waits."""

from __future__ import annotations

import mmap

import pytest

from worker.edits import has_last_word, late_workers
from wproxy.shared import (
    CACHE_MANAGER,
    DRAINING,
    HEAD_GENERATION,
    HEAD_NEW_BINARY,
    HEAD_PREDECESSOR,
    PRIVATE_BYTES,
    ROLE_NAMES,
    SERVING,
    TOTAL_BYTES,
    WORKER_EDITS,
    WORKER_PID,
    WORKER_ROLE,
    WORKER_STATE,
    SharedWords,
)


@pytest.mark.parametrize(
    ("head", "has_it"),
    [
        ({HEAD_GENERATION: 3}, True),
        ({HEAD_GENERATION: 2}, False),  # ours is still being tried
        ({HEAD_GENERATION: 4}, False),  # we end our last requests
        ({HEAD_GENERATION: 3, HEAD_NEW_BINARY: 77}, False),  # servers of the new master may be unknown to us
        ({HEAD_GENERATION: 3, HEAD_PREDECESSOR: 77}, False),  # and ours to the old one, which may be the one that stays
    ],
)
def test_only_the_generation_that_serves_under_the_only_master_overrules_edits(head, has_it):
    shared = SharedWords(memoryview(mmap.mmap(-1, PRIVATE_BYTES)).cast("Q"))
    for word, value in head.items():
        shared.set_head(word, value)
    assert has_last_word(shared, 3) is has_it


def test_a_change_waits_for_workers_that_serve_and_for_no_other_process():
    shared = SharedWords(memoryview(mmap.mmap(-1, TOTAL_BYTES)).cast("Q"))
    manager = ROLE_NAMES.index(CACHE_MANAGER)
    for slot, (state, role, version) in enumerate([(SERVING, 0, 7), (SERVING, 0, 6), (DRAINING, 0, 1), (SERVING, manager, 0)]):
        shared.worker(slot).clear()
        for word, value in ((WORKER_PID, 100 + slot), (WORKER_STATE, state), (WORKER_ROLE, role), (WORKER_EDITS, version)):
            shared.worker(slot).set(word, value)
    assert late_workers(shared, 7) == [101]
    assert late_workers(shared, 6) == []
