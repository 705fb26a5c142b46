"""Attributes that are set late are in the layout that all objects of a class share."""

from __future__ import annotations

import gc
import sys
from types import SimpleNamespace

import pytest

from worker.upstream.passing import LiveAttempt
from wproxy.http import Request
from wproxy.layouts import settle_layout

pytestmark = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="other versions of CPython share layouts otherwise")


def has_a_dictionary(thing: object) -> bool:
    """Whether its attributes are not in the shared layout: then a dictionary of its own has them."""
    return any(isinstance(held, dict) for held in gc.get_referents(thing))


@pytest.mark.parametrize("is_settled", [False, True])
def test_attributes_that_come_after_many_objects_cost_each_a_dictionary_unless_the_layout_is_settled(is_settled):
    class Thing:
        def __init__(self) -> None:
            self.early = 1

    if is_settled:
        settle_layout(Thing, "early", "late", "later")
    things = [Thing() for _ in range(100)]
    for thing in (*things, Thing()):
        thing.late, thing.later = 2, 3  # there is always room for one
        assert has_a_dictionary(thing) is not is_settled
        assert (thing.early, thing.late, thing.later) == (1, 2, 3)


@pytest.mark.interpreted_only("compiled classes have neither layouts nor dictionaries")
def test_attempts_and_requests_have_none():
    peer = SimpleNamespace(name="a:1")
    line = SimpleNamespace(method=b"GET", path=b"/", args=None, version=11)
    attempts = [LiveAttempt(None, None, peer, None, b"", 0.0) for _ in range(100)]
    requests = [Request(None, line, None, 0.0) for _ in range(100)]
    for attempt, request in zip(attempts, requests):
        attempt.sent_at, attempt.connect_time, attempt.end_code, attempt.is_bodiless = 1.0, 0.1, "x", True
        request.location = request.route = request.server = request.status = request.response_fields = None
        assert not has_a_dictionary(attempt) and not has_a_dictionary(request)
