"""When a worker forgets edits that its configuration overrules."""

from __future__ import annotations

import mmap

import pytest

from worker.edits import has_last_word
from wproxy.shared import HEAD_GENERATION, HEAD_NEW_BINARY, HEAD_PREDECESSOR, PRIVATE_BYTES, SharedWords


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
