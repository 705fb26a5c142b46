"""Samples are counted by whole lists: so many requests more are hardly an instruction of Python more."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from worker.counters.peers import MeasuredPeer
from worker.counters.requests import count_samples
from wproxy.counters.layout import PEER_WORDS, REQUEST_WORDS, UPSTREAM_WORDS
from wproxy.peer_counters import TIMED
from wproxy.shared import PRIVATE_BYTES, SharedWords

pytestmark = pytest.mark.interpreted_only("bytecodes are counted")


def test_requests_that_are_over():
    def count(requests: int) -> Callable[[], object]:
        samples = [200, 60, 180, 0.002] * requests
        return lambda: count_samples([0] * REQUEST_WORDS, samples)

    few, many = bytecodes_of(count(8)), bytecodes_of(count(2048))
    assert (many - few) / 2040 < 1


def test_attempts_that_are_over():
    def settle(attempts: int) -> Callable[[], object]:
        shared = SharedWords(memoryview(bytearray(PRIVATE_BYTES)).cast("Q"))
        counting: Any = SimpleNamespace(shared=shared, peer=lambda record: [0] * PEER_WORDS, now=lambda: 1)
        peer = MeasuredPeer(shared, 0, counting, [0] * UPSTREAM_WORDS)
        attempt: Any = SimpleNamespace(
            status=200,
            header_time=0.002,
            response_time=0.002,
            bytes_received=160,
            bytes_sent=90,
            is_first=False,
        )
        for _ in range(attempts):
            peer.count(attempt)
        return peer.settle

    few, many = bytecodes_of(settle(TIMED)), bytecodes_of(settle(TIMED * 101))
    # The moving averages take one of TIMED.
    assert (many - few) / (TIMED * 100) < 5


def bytecodes_of(work: Callable[[], object]) -> int:
    """Count the instructions of Python's virtual machine that a function takes."""
    count = 0

    def enter(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    def step(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        nonlocal count
        count += event == "opcode"
        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
