"""Room for connections: worker_connections and descriptors that run out, and idle clients that have to leave."""

from __future__ import annotations

import gc
import os
import resource
from contextlib import contextmanager

from conversation import Stage, get, ok, sent_up, to_client

from worker import pipes


def events(connections: int) -> str:
    return f"[events]\nworker_connections = {connections}"


PAGE = '[http.server.location."/page"]\nreturn = [200, "here"]\n'


def idle_client(s: Stage):
    """A client that has been answered and may ask again."""
    client = s.client().send(get(b"/page"))
    assert client.receives_head().startswith(b"HTTP/1.1 200 OK")
    assert client.take() == b"here"
    s.now += 1
    s.settle()
    return client


def test_while_there_is_room_nobody_has_to_leave(stage):
    s = stage(locations=PAGE + events(64))
    clients = [idle_client(s) for _ in range(40)]
    assert s.worker.room.lacks() == ""
    s.settle()
    assert all(client.is_open() for client in clients)
    assert s.error_log() == []


def test_with_a_sixteenth_left_an_eighth_of_the_idle_leaves_and_those_first_who_wait_longest(stage):
    s = stage(locations=PAGE + events(32))
    clients = [idle_client(s) for _ in range(30)]
    clients[0].send(get(b"/page"))
    clients[0].receives_head()
    clients[0].take()
    assert s.worker.room.lacks() == ""
    s.settle()
    assert [client.is_closed() for client in clients[1:4]] == [True] * 3
    assert clients[0].is_open() and all(client.is_open() for client in clients[4:])
    (line,) = s.error_log()
    assert "[warn]" in line and "32 worker_connections are not enough, reusing connections" in line


def test_at_least_one_leaves(stage):
    s = stage(locations=PAGE + events(4))
    first, second, third, _ = [idle_client(s) for _ in range(4)]
    assert s.worker.room.lacks() == ""
    assert first.is_closed()
    assert second.is_open() and third.is_open()


def test_the_warning_comes_once_a_second(stage):
    s = stage(locations=PAGE + events(4))
    for _ in range(2):
        clients = [idle_client(s) for _ in range(4 - s.loop.stream_count())]
        assert clients
        s.worker.room.lacks()
        s.worker.room.close_idle()
    assert len(s.error_log()) == 2


def test_the_warning_blames_the_limit_only_where_that_is_the_obstacle(stage):
    s = stage(locations=PAGE + events(64))
    assert idle_client(s).is_open()
    s.worker.room.close_idle("Too many open files")
    (line,) = s.error_log()
    assert "[warn]" in line and "Too many open files, reusing connections" in line


def test_a_client_that_has_not_sent_anything_is_idle(stage):
    s = stage(locations=PAGE + events(3))
    silent = s.client()
    s.now += 1
    idle_client(s), idle_client(s)
    assert s.worker.room.lacks() == ""
    assert silent.is_closed()


def test_a_client_that_is_being_served_never_leaves(stage):
    s = stage(locations=PAGE + events(4))
    busy = [s.client().send(get()) for _ in range(2)]
    assert s.worker.room.lacks() == "4 worker_connections are not enough"
    assert s.error_log() == [], "whoever asks tells"
    for client in busy:
        end = s.peers[0].accept()
        end.receives(sent_up())
        end.send(ok())
        client.receives(to_client())


def test_without_room_for_a_connection_to_the_upstream_the_answer_is_500_and_no_peer_is_to_blame(stage):
    s = stage(peers=2, locations=PAGE + events(3))
    first, second = s.client().send(get()), s.client()
    second.send(get())
    assert second.receives_head().startswith(b"HTTP/1.1 500 ")
    (line,) = s.error_log()
    assert "[alert]" in line and "3 worker_connections are not enough while connecting to upstream, client: 127.0.0.1" in line
    end = s.peers[0].accept()
    end.receives(sent_up())
    end.send(ok())
    first.receives(to_client())
    assert [peer.health.fails for peer in s.group().peers] == [0, 0]


def test_whoever_is_in_keepalive_min_timeout_stays(stage):
    s = stage(server='keepalive_min_timeout = "10s"', locations=PAGE + events(3))
    first = idle_client(s)
    s.advance(6)
    idle_client(s), idle_client(s)
    assert s.worker.room.lacks() == "3 worker_connections are not enough"
    s.advance(4)
    assert s.worker.room.lacks() == ""
    assert first.is_closed()


# Leaving.


def test_a_worker_that_leaves_keeps_idle_clients_for_keepalive_min_timeout(stage):
    s = stage(server='keepalive_min_timeout = "10s"', locations=PAGE)
    early, late = idle_client(s), idle_client(s)
    s.worker.drain()
    s.settle()
    assert early.is_open() and late.is_open()
    late.send(get(b"/page"))
    assert b"\r\nConnection: close\r\n" in late.receives_head()
    late.take()
    assert late.is_closed() and early.is_open()
    s.advance(10)
    assert early.is_closed()
    assert s.error_log() == []


def test_without_it_a_worker_that_leaves_closes_them_at_once(stage):
    s = stage(locations=PAGE)
    client, silent = idle_client(s), s.client()
    s.worker.drain()
    s.settle()
    assert client.is_closed()
    assert silent.is_open(), "it has not had its turn: its request may be on the way"
    silent.send(get(b"/page"))
    assert b"\r\nConnection: close\r\n" in silent.receives_head()


def test_an_idle_client_is_kept_as_long_as_the_location_says_that_answered_it(stage):
    s = stage(server='keepalive_timeout = "20s"', locations=PAGE + 'keepalive_timeout = "5s"\n')
    client = idle_client(s)
    s.advance(5)
    assert client.is_closed()


# Resets.


def is_reset(client) -> bool:
    """Whether the connection ended with a reset instead of an end."""
    client.stage.until(client._ended, "an end")
    return client.saw_reset


def test_a_client_that_does_not_take_its_answer_is_reset_if_asked(stage):
    for asked, wanted in (("on", True), ("off", False)):
        s = stage(
            server=f'reset_timedout_connection = "{asked}"\nsend_timeout = "5s"',
            locations=f'[http.server.location."/big"]\nreturn = [200, "{"x" * 3_000_000}"]',
        )
        client = s.client(tcp=True, receive_buffer=4096, send_buffer=4096)
        client.send(get(b"/big"))
        s.advance(5)
        assert is_reset(client) is wanted


def test_444_is_a_reset_if_asked(stage):
    for asked, wanted in (("on", True), ("off", False)):
        s = stage(server=f'reset_timedout_connection = "{asked}"', locations='[http.server.location."/no"]\nreturn = 444')
        client = s.client(tcp=True)
        client.send(get(b"/no"))
        assert is_reset(client) is wanted


def test_a_client_that_does_not_finish_its_head_is_reset_if_asked(stage):
    s = stage(server='reset_timedout_connection = "on"\nclient_header_timeout = "5s"')
    client = s.client(tcp=True)
    client.send(b"GET / HT")
    s.advance(5)
    assert is_reset(client)


# Descriptors that run out.


@contextmanager
def no_more_descriptors():
    """Nothing can be opened any more. What other tests left to the cyclic collector is closed before, or it would make room here."""
    gc.collect()
    gc.disable()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        gc.enable()


def test_without_a_descriptor_for_the_upstream_the_answer_is_500_and_no_peer_is_to_blame(stage):
    s = stage(peers=2)
    client = s.client()
    with no_more_descriptors():
        client.send(get())
        assert client.receives_head().startswith(b"HTTP/1.1 500 ")
    (line,) = s.error_log()
    assert "[alert]" in line and "socket() failed (24: Too many open files) while connecting to upstream, client: " in line
    client = s.client().send(get())
    end = s.peers[1].accept()
    end.receives(sent_up())
    end.send(ok())
    client.receives(to_client())
    assert [peer.health.fails for peer in s.group().peers] == [0, 0]


def test_without_a_descriptor_for_a_file_the_answer_is_500_and_the_next_one_is_served(stage, tmp_path):
    (tmp_path / "file.txt").write_text("content")
    s = stage(locations=f'[http.server.location."/file.txt"]\nroot = "{tmp_path}"')
    client = s.client()
    with no_more_descriptors():
        client.send(get(b"/file.txt"))
        assert client.receives_head().startswith(b"HTTP/1.1 500 ")
    assert any("[crit]" in line and "(24: Too many open files)" in line for line in s.error_log())
    client = s.client().send(get(b"/file.txt"))
    assert client.receives_head().startswith(b"HTTP/1.1 200 ")


def test_without_a_descriptor_for_a_pipe_or_a_temporary_file_bodies_go_on(stage):
    size = 9_000_000
    s = stage()
    pipes.pool.close_idle()
    client = s.client(send_buffer=4096).send(get())
    end = s.peers[0].accept()
    end.receives(sent_up())
    with no_more_descriptors():
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        sent = end.send_some(b"y" * size)
        s.advance(2)  # the client is behind: what comes is read ahead, into a file as a rule
        client.receives_head()
        received = 0
        while received < size:
            received += len(client.take())
            sent += end.send_some(b"y" * (size - sent))
    assert received == size
    lines = s.error_log()
    assert lines
    assert [line for line in lines if "temporary file" not in line or "failed (24: " not in line] == []
