"""Idle connections to upstreams (proxy.md §6): which are kept, which is used, when they are closed."""

from __future__ import annotations

import socket

import pytest
from conversation import End, Stage, get, ok, sent_up, to_client
from test_balance import Balancer
from test_proxy import exchange

from worker.loop import READ
from worker.stream import Stream
from worker.upstream.manner import Manner
from worker.upstream.pooled import Pooled


def idle(s: Stage) -> int:
    """How many idle connections the group counts; the peers' own lists say the same."""
    group = s.group()
    assert group.idle_count == sum(len(peer.idle) for peer in group.peers)
    return group.idle_count


def open_together(s: Stage, count: int) -> list[End]:
    """So many upstream connections that become idle one after another; the last to become idle is the last of the list."""
    clients = [s.client().send(get()) for _ in range(count)]
    ends = [s.peers[0].accept() for _ in clients]
    for client, end in zip(clients, ends, strict=True):
        end.receives(sent_up())
        end.send(ok())
        client.receives(to_client())
        s.now += 0.1
        s.settle()
    return ends


def test_the_connection_released_last_is_used_first(stage):
    s = stage()
    ends = open_together(s, 3)
    exchange(s, s.client(), ends[2])
    exchange(s, s.client(), ends[2])
    assert idle(s) == 3


def test_a_full_pool_gives_up_the_connection_released_first(stage):
    s = stage(upstream="keepalive = 2")
    ends = open_together(s, 3)
    s.advance(1)
    assert idle(s) == 2
    assert ends[0].is_closed() and ends[1].is_open() and ends[2].is_open()


def test_the_pool_is_for_the_group_not_for_each_peer(stage):
    s = stage(peers=2, upstream="keepalive = 1")
    first = exchange(s, s.client(), None, peer=0)
    s.now += 0.1
    second = exchange(s, s.client(), None, peer=1)
    s.advance(1)
    assert first.is_closed() and second.is_open() and idle(s) == 1


def test_the_connections_of_a_burst_serve_it_and_are_closed_when_it_is_over(stage):
    s = stage(upstream="keepalive = 1")
    ends = open_together(s, 3)
    assert idle(s) == 3
    exchange(s, s.client(), ends[2])  # nothing new was opened
    s.advance(1)
    assert idle(s) == 1
    assert [end.is_open() for end in ends] == [False, False, True]


def test_a_burst_keeps_nothing_beyond_keepalive_where_room_is_scarce(stage):
    s = stage(upstream="keepalive = 1")
    s.worker.room.limit = s.loop.stream_count() + 8
    open_together(s, 3)
    assert idle(s) == 1


def test_what_a_burst_has_left_makes_room_first(stage):
    s = stage(upstream="keepalive = 1")
    open_together(s, 3)
    s.worker.room.limit = s.loop.stream_count()
    assert s.worker.room.lacks() == ""
    assert idle(s) == 1 and len(s.worker.clients.connections) == 3


def test_without_keepalive_every_connection_is_closed(stage):
    s = stage(upstream="keepalive = 0")
    assert exchange(s, s.client(), None).is_closed()
    assert idle(s) == 0


def test_the_default_keeps_32(stage):
    s = stage()
    assert s.group().keepalive == 32 and s.group().manners is None


def test_an_idle_connection_is_given_up_after_keepalive_timeout(stage):
    s = stage(upstream='keepalive_timeout = "10s"')
    end = exchange(s, s.client(), None)
    s.advance(9)
    assert end.is_open()
    s.advance(2)
    assert end.is_closed() and idle(s) == 0


def test_the_upstreams_own_keep_alive_timeout_is_respected(stage):
    s = stage()
    client = s.client().send(get())
    end = s.peers[0].accept()
    end.receives(sent_up())
    end.send(ok(b"ok", b"Keep-Alive: timeout=5"))
    client.receives(to_client())
    s.advance(3)
    assert end.is_open()
    s.advance(1.6)
    assert end.is_closed(), "a second before the upstream would close it"


def test_a_connection_that_is_too_old_is_not_kept(stage):
    s = stage(upstream='keepalive_time = "20s"')
    end = exchange(s, s.client(), None)
    s.advance(19)
    exchange(s, s.client(), end)
    s.advance(10)
    exchange(s, s.client(), end)
    assert end.is_closed(), "judged when it is released: it served once more"


def test_an_idle_connection_that_says_something_is_closed(stage):
    for say in (lambda end: end.send(b"x"), lambda end: end.close(), lambda end: end.reset()):
        s = stage()
        end = exchange(s, s.client(), None)
        say(end)
        s.until(lambda: not idle(s), "the idle connection is still there")
        exchange(s, s.client(), None)


LOCAL = 'keepalive = [2, "local"]'
OTHER = '[http.server.location."/other"]\nproxy_pass = "http://app"'


def test_local_connections_stay_with_the_location_that_opened_them(stage):
    s = stage(upstream=LOCAL, locations=OTHER)
    one = exchange(s, s.client(), None)
    other = exchange(s, s.client(), None, get(b"/other"), sent_up(b"/other"))
    assert idle(s) == 2
    exchange(s, s.client(), one)
    exchange(s, s.client(), other, get(b"/other"), sent_up(b"/other"))
    exchange(s, s.client(), one)


def test_local_connections_count_for_the_group(stage):
    s = stage(upstream=LOCAL.replace("2", "1"), locations=OTHER)
    one = exchange(s, s.client(), None)
    s.now += 0.1
    exchange(s, s.client(), None, get(b"/other"), sent_up(b"/other"))
    s.advance(1)
    assert one.is_closed() and idle(s) == 1


def test_connections_are_shared_between_locations_otherwise(stage):
    s = stage(upstream="keepalive = 2", locations=OTHER)
    one = exchange(s, s.client(), None)
    exchange(s, s.client(), one, get(b"/other"), sent_up(b"/other"))


@pytest.mark.parametrize(
    ("released", "armed", "asked"),
    [
        (999.0, READ, False),  # the events of this turn would have told of its end
        (1000.0, READ, True),  # it has become idle in this very turn
        (999.0, 0, True),  # its events have been switched off
    ],
)
def test_a_request_that_cannot_be_sent_twice_asks_a_connection_of_which_no_event_would_have_told(
    released: float, armed: int, asked: bool
):
    group = Balancer("server 10.0.0.1; keepalive 4;").group
    peer = group.peers[0]
    for must_stand in (False, True):
        ours, theirs = socket.socketpair()
        theirs.close()  # and who asks learns of it
        connection = Pooled(Stream(group.loop, ours))
        group.loop.add(connection.stream)
        connection.stream.armed = armed
        connection.released = released
        group.idle_count += 1
        peer.idle.append(connection)
        taken = group.take_idle(peer, must_stand, Manner())
        assert taken is (None if asked and must_stand else connection)
        assert (ours.fileno() == -1) is (taken is None)
        connection.close()
    group.loop.close()


@pytest.mark.parametrize(
    ("released", "must_stand", "expected"),
    [
        ((999.8, 999.9, 1000.0), True, 0),  # the last one would have to be asked
        ((999.8, 999.9, 1000.0), False, 2),
        ((999.8, 999.9), True, 1),
        ((999.4, 999.9, 1000.0), True, 2),  # nearer to the end of its peer's patience
        ((1000.0, 1000.0), True, 1),
    ],
)
def test_instead_of_one_that_has_to_be_asked_it_takes_the_one_that_was_idle_first_if_not_for_long(
    released: tuple[float, ...], must_stand: bool, expected: int
):
    group = Balancer("server 10.0.0.1; keepalive 4;").group
    peer = group.peers[0]
    pairs = [socket.socketpair() for _ in released]
    connections = [Pooled(Stream(group.loop, ours)) for ours, _ in pairs]
    for connection, time in zip(connections, released, strict=True):
        group.loop.add(connection.stream)
        connection.stream.armed = READ
        connection.released = time
        group.idle_count += 1
        peer.idle.append(connection)
    taken = group.take_idle(peer, must_stand, Manner())
    assert taken is connections[expected]
    assert peer.idle == [connection for connection in connections if connection is not taken]
    assert group.idle_count == len(peer.idle)
    for connection, (_, theirs) in zip(connections, pairs, strict=True):
        connection.close()
        theirs.close()
    group.loop.close()
