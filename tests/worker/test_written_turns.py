"""Written turns of round robin: the same choices as those that are worked out one by one, whatever happens to the peers."""

from __future__ import annotations

import random
import socket
from typing import Any

import pytest
from test_balance import Balancer

from worker.stream import Stream
from worker.upstream.balance.rotation import MOST_TURNS, round_robin, write_turns
from worker.upstream.peers import ANSWERED, FAILED, UNBLAMED
from worker.upstream.protocols.http1 import HTTP1Connection
from wproxy.http import Attempt

KINDS = (
    "server 10.0.0.1 weight=5; server 10.0.0.2; server 10.0.0.3;",
    "server 10.0.0.1 weight=3 max_fails=2; server 10.0.0.2 weight=2; server 10.0.0.3 backup; server 10.0.0.4 backup;",
    "server 10.0.0.1; server 10.0.0.2; server 10.0.0.3; server 10.0.0.4 max_fails=0;",
    "server 10.0.0.1 max_fails=3 fail_timeout=4; server 10.0.0.2 down; server 10.0.0.3 weight=7;",
    "server 10.0.0.1; server 10.0.0.2 backup;",
)


class Pair:
    """Two groups alike, to which the same happens; the second one never writes turns down."""

    def __init__(self, inside: str) -> None:
        self.both = Balancer(inside), Balancer(inside)
        self.both[1].group.method = lambda *asked: round_robin(*asked)  # turns are written for the very function only
        self.written = 0
        self.chosen: list[tuple[Any, Any]] = []

    def each(self, act: Any) -> tuple[Any, Any]:
        return act(self.both[0]), act(self.both[1])

    def pick(self, tried: int = 0) -> None:
        first, second = self.each(lambda one: one.pick(tried=tried))
        assert (first and first.name) == (second and second.name)
        self.written += bool(self.both[0].group._turns_of)
        if first is not None:
            self.chosen.append((first, second))

    def release(self, peers: tuple[Any, Any], outcome: Any) -> None:
        rests = [one.group.release(peer, outcome) for one, peer in zip(self.both, peers)]
        assert rests[0] == rests[1]

    def fail_elsewhere(self, number: int) -> None:
        """Count a failure that another worker has seen: this one learns of it from the shared memory."""
        for one in self.both:
            one.group.peers[number].health.count_failure(int(one.clock.now))

    def edit(self, number: int, **changes: Any) -> None:
        """Change a server at run time."""
        for one in self.both:
            peer = one.group.peers[number]
            assert peer.line is not None
            line = peer.line._replace(**changes)
            peer.obey(line, one.clock.now)
            if "weight" in changes:
                peer.full_weight = peer.weight = peer.effective_weight = changes["weight"]
            one.group.form()

    def wait(self, seconds: float) -> None:
        for one in self.both:
            one.clock.now += seconds
            one.group.look_at_turns()


@pytest.mark.parametrize("seed", range(30))
def test_peers_get_the_same_requests_as_when_each_turn_is_worked_out(seed: int):
    chance = random.Random(seed)
    pair = Pair(KINDS[seed % len(KINDS)])
    peers = pair.both[0].group.peers
    for _ in range(400):
        what = chance.random()
        if what < 0.6:
            pair.pick()
        elif what < 0.8 and pair.chosen:
            pair.release(pair.chosen.pop(chance.randrange(len(pair.chosen))), chance.choice((ANSWERED, ANSWERED, UNBLAMED)))
        elif what < 0.81 and pair.chosen:
            failing = pair.chosen.pop()
            pair.release(failing, FAILED)
            pair.pick(failing[0].bit)
        elif what < 0.815:
            pair.pick(chance.choice(peers).bit)
        elif what < 0.82:
            pair.fail_elsewhere(chance.randrange(len(peers)))
        elif what < 0.828:
            number = chance.randrange(len(peers))
            pair.edit(
                number, **chance.choice(({"weight": 4}, {"down": True}, {"down": False}, {"drain": True}, {"max_conns": 2}, {}))
            )
        else:
            pair.wait(chance.choice((0.1, 1.0, 12.0)))
    assert pair.written, "and some of them were written down"


def test_a_failure_that_another_worker_counts_ends_written_turns_at_once():
    pair = Pair("server 10.0.0.1; server 10.0.0.2;")
    pair.pick()
    assert pair.written == 1
    pair.fail_elsewhere(1)
    for _ in range(4):
        pair.pick()
    assert {first.name for first, _ in pair.chosen} == {"10.0.0.1:80"}


def test_turns_are_written_again_when_all_peers_have_recovered():
    pair = Pair("server 10.0.0.1 fail_timeout=5; server 10.0.0.2;")
    pair.pick()
    pair.release(pair.chosen.pop(), FAILED)
    pair.written = 0
    for _ in range(8):
        pair.wait(3.0)
        pair.pick()
        pair.release(pair.chosen.pop(), ANSWERED)
    assert pair.written


@pytest.mark.parametrize("inside", ["server 10.0.0.1 weight=1000; server 10.0.0.2 weight=999;", KINDS[0]])
def test_the_memory_of_turns_is_bounded_and_leaves_the_weights_as_they_were(inside: str):
    peers = Balancer(inside).group.peers
    last = write_turns(peers)
    assert [peer.current_weight for peer in peers] == [0] * len(peers)
    if last is None:
        assert sum(peer.weight for peer in peers) > MOST_TURNS
    else:
        turns = [last.following]
        while turns[-1] is not last:
            turns.append(turns[-1].following)
        assert len(turns) == sum(peer.weight for peer in peers)


def test_a_connection_goes_back_to_its_peer_without_a_look_at_failures_that_nobody_has():
    pair = Pair("server 10.0.0.1; server 10.0.0.2; keepalive 4;")
    pair.pick()
    for one, peer in zip(pair.both, pair.chosen[0]):
        attempt = Attempt(peer.name, one.clock.now)
        attempt.bytes_received, attempt.bytes_sent = 5, 7
        with socket.socket() as sock:
            one.group.take_back(peer, HTTP1Connection(Stream(one.loop, sock)), None, attempt)
        assert (peer.connections, peer.counters.requests, peer.counters.received, len(peer.idle)) == (0, 1, 5, 1)
