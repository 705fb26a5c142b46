"""Requests that share a connection that is being opened: who waits, who gets it, and what a failure or a departure means."""

from __future__ import annotations

import socket

import pytest
from test_balance import Balancer

from worker.loop import Event, Loop, Task
from worker.stream import Stream
from worker.upstream.connect import CannotConnect
from worker.upstream.manner import Manner
from worker.upstream.opening import shared_connection
from worker.upstream.pooled import Pooled, SharedPooled
from wproxy.failures import ClientGone, UpstreamFailure


class Connection(SharedPooled):
    def begin(self) -> Pooled:
        return self


class Play:
    """A peer whose connections open when the test says so.

    outcome: the failure instead of a connection. told: the users of a connection at each change that its pool is told of.
    """

    def __init__(self, most: int = 2) -> None:
        self.reported: list[BaseException] = []
        self.loop = Loop(report=lambda task, error: self.reported.append(error))
        self.peer = Balancer("server 10.0.0.1;").group.peers[0]
        self.manner = Manner(max_streams=most)
        self.most = most
        self.socket = socket.socket()  # of all connections: nothing is sent here
        self.gates: list[Event] = []
        self.outcome: Exception | None = None
        self.results: list[object] = []
        self.told: list[int] = []

    def request(self) -> Task:
        async def run() -> None:
            try:
                connection = await shared_connection(self.loop, self.peer, self.manner, self.open_one)
            except (UpstreamFailure, CannotConnect, ClientGone) as failure:
                self.results.append(failure)
            else:
                connection.join()
                self.results.append(connection)

        task = self.loop.spawn(run())
        self.turn()
        return task

    async def open_one(self) -> SharedPooled:
        self.gates.append(Event(self.loop))
        await self.gates[-1].wait()
        if self.outcome is not None:
            raise self.outcome
        connection = Connection(Stream(self.loop, self.socket), self.most)
        connection.watch(lambda: False, lambda: self.told.append(connection.users))
        return connection

    def turn(self) -> None:
        for _ in range(4):
            self.loop.turn(0)

    def opens(self, number: int = 0) -> None:
        self.gates[number].set()
        self.turn()


@pytest.fixture
def play():
    played = Play()
    yield played
    played.loop.close()
    played.socket.close()


def test_as_many_wait_as_it_may_carry(play):
    for _ in range(3):
        play.request()
    assert len(play.gates) == 2
    play.opens(0)
    first, second = play.results
    assert first is second and first.users == 2
    play.opens(1)
    assert play.results[2] is not first
    assert play.peer.openings == []


def test_a_failure_is_a_failure_of_each(play):
    play.outcome = UpstreamFailure("error", "connect() failed (111: Connection refused)", "connecting to upstream")
    play.request()
    play.request()
    play.opens()
    first, second = play.results
    assert (first.kind, first.reason, first.doing, first.sent) == (second.kind, second.reason, second.doing, second.sent)
    assert first is not second and first.reason == "connect() failed (111: Connection refused)" and not first.sent
    assert play.peer.openings == []


def test_a_request_that_is_given_up_leaves_the_connection_to_the_other(play):
    opener = play.request()
    play.request()
    play.loop.interrupt(opener, ClientGone("gone"))
    play.turn()
    play.opens()
    gone, connection = play.results
    assert isinstance(gone, ClientGone) and connection.users == 1


def test_a_connection_that_nobody_wants_any_more_goes_to_the_pool(play):
    opener = play.request()
    play.loop.interrupt(opener, ClientGone("gone"))
    play.turn()
    assert play.told == []
    play.opens()
    assert play.told == [0]


def test_a_bug_in_opening_is_reported_and_ends_the_wait(play):
    play.outcome = ZeroDivisionError("a bug")
    play.request()
    play.opens()
    (failure,) = play.results
    assert isinstance(failure, UpstreamFailure) and failure.kind == "error"
    assert play.reported == [play.outcome]
