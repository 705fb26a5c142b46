"""The main flow as a trace of real calls: the functions that a request goes through in a worker, from the loop to the peer.

What is counted are the hops from one function to the next that it calls: so many pages has a reader to turn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from conversation import Stage, get, ok, to_client

pytestmark = pytest.mark.interpreted_only("the calls of compiled code are not shown to a profiler")


def stacks_of(act: Callable[[], Any], wanted: str) -> list[list[str]]:
    """The functions of the worker on the stack whenever `wanted` is called, the outermost first."""
    found: list[list[str]] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event != "call" or name_of(frame) != wanted:
            return
        stack: list[str] = []
        at: FrameType | None = frame
        while at is not None:
            if at.f_globals.get("__name__", "").startswith("worker."):
                stack.append(name_of(at))
            at = at.f_back
        found.append(stack[::-1])

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    return found


def name_of(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '')}.{frame.f_code.co_qualname}"


LOOP = ["worker.loop.Loop.turn", "worker.loop.Loop._run"]
SERVE = "worker.client.http1.serve.serve_connection"
REPEATED = "worker.client.http1.repeated_answer.RepeatedAnswer.serve"
EXCHANGE = "worker.upstream.exchange.proxy_request"


def test_three_hops_lead_from_the_loop_to_the_exchange_with_a_peer(stage):
    s = stage()
    client = s.client()
    (stack,) = stacks_of(lambda: client.send(get()), "worker.upstream.protocols.http1.HTTP1Connection.start")
    assert stack == [*LOOP, SERVE, EXCHANGE, "worker.upstream.protocols.http1.HTTP1Connection.start"]
    upstream = s.peers[0].accept()
    upstream.receives_head()
    (stack,) = stacks_of(lambda: upstream.send(ok()), "worker.upstream.incoming.respond")
    assert stack == [*LOOP, SERVE, EXCHANGE, "worker.upstream.incoming.respond"]
    client.receives(to_client())


PHASES = ["worker.phases.drive", "worker.phases.go", "worker.phases.location_phases"]


@pytest.mark.parametrize(
    ("locations", "path", "way"),
    [
        (
            '[http.server.location."= /r"]\nreturn = [200, "x"]',
            b"/r",
            ["worker.content.returns.returning_at_once.<locals>.answer"],
        ),
        (
            '[http.server.location."= /v"]\nreturn = [200, "$uri"]',
            b"/v",
            [*PHASES, "worker.rewrite.run_steps", "worker.rewrite._return", "worker.content.returns.answer_return"],
        ),
        (
            '[http.server.location."/f"]\nroot = "/nowhere"',
            b"/f",
            ["worker.content.static.serving_files_at_once.<locals>.serve_file", "worker.content.static.answer_with_file"],
        ),
    ],
    ids=["return", "return of a variable", "file"],
)
def test_what_answers_in_a_location_is_few_hops_from_the_connection(stage: Callable[..., Stage], locations, path, way):
    s = stage(locations=locations)
    client = s.client()
    (stack,) = stacks_of(lambda: client.send(get(path)), way[-1])
    assert stack == [*LOOP, SERVE, *way]


def test_what_comes_again_is_answered_one_hop_from_the_connection(stage: Callable[..., Stage]) -> None:
    client = stage(server='access_log = "off"', locations='[http.server.location."= /r"]\nreturn = [200, "x"]').client()
    client.send(get(b"/r"))
    client.send(get(b"/r"))
    (stack,) = stacks_of(lambda: client.send(get(b"/r")), "worker.content.returns.returning_at_once.<locals>.again")
    assert stack == [*LOOP, SERVE, REPEATED, "worker.content.returns.returning_at_once.<locals>.again"]
    assert stacks_of(lambda: client.send(get(b"/r")), "worker.client.http1.new_request.make_request") == []
