"""The peers of a real group change: who stays notices nothing, who goes finishes, who comes begins like any other."""

from __future__ import annotations

import mmap
import socket

import pytest
from made_requests import make_request
from resolving import Bench

from worker.resolver.records import PrivateRecords
from worker.resolver.services import Endpoint
from worker.stream import Stream
from worker.upstream.manner import Manner
from worker.upstream.peers import ANSWERED, FAILED, Group
from worker.upstream.pooled import Pooled
from wproxy.address import Address
from wproxy.config.load import load_text
from wproxy.shared import TOTAL_BYTES, SharedWords


def endpoints(*hosts: str, port: int = 80) -> list[Endpoint]:
    return [Endpoint(Address(host, port)) for host in hosts]


class Scene:
    """A group of an upstream with these lines; "app.test" is 10.0.0.1 and 10.0.0.2 at the start."""

    def __init__(self, bench: Bench, lines: str, more: str = "") -> None:
        text = f"""
            events {{}}
            http {{
                upstream app {{ {more} {lines} }}
                server {{ listen 8080; location / {{ proxy_pass http://app; }} }}
            }}"""
        known = {"app.test": ["10.0.0.1", "10.0.0.2"]}
        configuration = load_text(text.encode(), "x.conf", "/", lambda host, port: [Address(one, port) for one in known[host]])
        (self.upstream,) = configuration.upstreams
        self.bench = bench
        self.log: list[str] = []
        self.shared = SharedWords(memoryview(mmap.mmap(-1, TOTAL_BYTES)).cast("Q"))
        self.group = Group(self.upstream, self.shared, bench.loop, lambda level, text: self.log.append(text))
        self.group.renewal.records = PrivateRecords(SharedWords(memoryview(mmap.mmap(-1, TOTAL_BYTES)).cast("Q")))
        self.sockets: list[socket.socket] = []

    def line(self, number: int = 0):
        return self.upstream.server[number]

    def replace(self, *hosts: str, line: int = 0):
        return self.group.replace_peers(self.line(line), endpoints(*hosts))

    @property
    def names(self) -> list[str]:
        return [peer.name.removesuffix(":80") for peer in self.group.peers]

    def pick(self, tried: int = 0):
        return self.group.pick(tried, make_request())

    def picks(self, count: int) -> list[str]:
        found = []
        for _ in range(count):
            peer = self.pick()
            self.group.release(peer, ANSWERED)
            found.append(peer.name.removesuffix(":80"))
        return found

    def connection(self, peer) -> Pooled:
        ours, theirs = socket.socketpair()
        self.sockets.append(theirs)
        stream = Stream(self.bench.loop, ours)
        self.bench.loop.add(stream)
        connection = Pooled(stream)
        self.group.opened(peer, connection, Manner())
        return connection

    def close(self) -> None:
        self.group.close_idle()
        for sock in self.sockets:
            sock.close()


@pytest.fixture
def scene(bench: Bench):
    scenes: list[Scene] = []

    def make(lines: str = "server app.test;", more: str = "") -> Scene:
        scenes.append(Scene(bench, lines, more))
        return scenes[-1]

    yield make
    for one in scenes:
        one.close()


def test_new_addresses_become_peers_and_old_ones_go(scene):
    app = scene()
    assert app.names == ["10.0.0.1", "10.0.0.2"]
    assert app.replace("10.0.0.2", "10.0.0.3") == (["10.0.0.3:80"], ["10.0.0.1:80"])
    assert app.names == ["10.0.0.2", "10.0.0.3"]
    assert sorted(app.picks(4)) == ["10.0.0.2", "10.0.0.2", "10.0.0.3", "10.0.0.3"]


def test_the_same_addresses_change_nothing(scene):
    app = scene()
    before = list(app.group.peers)
    assert app.replace("10.0.0.2", "10.0.0.1") == ([], [])
    assert app.group.peers == before


def test_parameters_come_from_the_line(scene):
    app = scene("server app.test weight=3 max_fails=2 fail_timeout=7s max_conns=9; server 10.9.9.9 backup;")
    app.replace("10.0.0.3")
    peer = app.group.peers[0]
    assert (peer.weight, peer.max_conns, peer.health.max_fails, peer.health.fail_timeout) == (3, 9, 2, 7.0)
    assert not peer.peer.backup


def test_lines_keep_their_order_and_do_not_touch_each_other(scene):
    app = scene("server 10.1.1.1; server app.test; server 10.2.2.2;")
    app.replace("10.0.0.5", line=1)
    assert app.names == ["10.1.1.1", "10.0.0.5", "10.2.2.2"]
    app.replace(line=1)
    assert app.names == ["10.1.1.1", "10.2.2.2"]
    app.replace("10.0.0.6", line=1)
    assert app.names == ["10.1.1.1", "10.0.0.6", "10.2.2.2"]


def test_the_health_of_who_stays_stays(scene):
    app = scene()
    stays = app.group.peers[1]
    stays.connections += 1
    app.group.release(stays, FAILED)
    assert not stays.may_serve(int(app.bench.now))
    app.replace("10.0.0.2", "10.0.0.3")
    assert app.group.peers[0] is stays
    assert app.picks(3) == ["10.0.0.3"] * 3


def test_an_address_of_the_start_that_comes_back_has_its_record_again(scene):
    app = scene()
    peer = app.group.peers[0]
    peer.connections += 1
    app.group.release(peer, FAILED)
    app.replace("10.0.0.2")
    app.replace("10.0.0.2", "10.0.0.1")
    assert app.group.peers[1] is not peer
    assert app.group.peers[1].health.fails == 1


def test_idle_connections_to_who_goes_are_closed_and_those_to_who_stays_are_not(scene):
    app = scene()
    connections = []
    for peer in app.group.peers:
        connection = app.connection(peer)
        peer.connections += 1
        app.group.take_back(peer, connection, None)
        connections.append(connection)
    assert app.group.idle_count == 2
    app.replace("10.0.0.2")
    assert [connection.stream.fd >= 0 for connection in connections] == [False, True]
    assert app.group.idle_count == 1


def test_a_request_under_way_ends_with_the_peer_it_has_and_its_connection_is_closed(scene):
    app = scene()
    peer = app.pick()
    connection = app.connection(peer)
    app.replace("10.0.0.7")
    assert connection.stream.fd >= 0
    app.group.take_back(peer, connection, None)
    assert connection.stream.fd < 0
    assert (peer.connections, app.group.idle_count) == (0, 0)


def test_a_request_that_failed_there_is_tried_on_a_new_one(scene):
    app = scene()
    peer = app.pick()
    app.replace("10.0.0.7", "10.0.0.8")
    app.group.release(peer, FAILED)
    assert app.pick(peer.bit) is not None


def test_no_peer_has_the_bit_of_another_and_none_soon_that_of_one_that_went(scene):
    app = scene()
    gone: list[int] = []
    for number in range(200):
        gone = [*gone, *(peer.bit for peer in app.group.peers)][-20:]
        app.replace(*(f"10.1.{number}.{last}" for last in range(3)))
        bits = [peer.bit for peer in app.group.peers]
        assert len(set(bits)) == 3
        assert not set(bits) & set(gone)
    assert max(bits) < 1 << 200


def test_hundreds_of_addresses_may_come_at_once(scene):
    app = scene()
    app.replace(*(f"10.1.{number >> 8}.{number & 255}" for number in range(700)))
    assert len({peer.bit for peer in app.group.peers}) == 700
    app.replace("10.0.0.1")
    assert app.picks(2) == ["10.0.0.1"] * 2


def test_a_group_may_lose_all_its_peers_and_find_others(scene):
    app = scene()
    app.replace()
    assert app.pick() is None
    app.replace("10.0.0.1")
    assert app.group.is_single
    assert app.picks(2) == ["10.0.0.1"] * 2
    app.replace("10.0.0.1", "10.0.0.2")
    assert not app.group.is_single
    assert sorted(app.picks(2)) == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize("method", ["ip_hash;", "least_conn;", "random;", "random two;"])
def test_every_method_survives_a_group_without_peers(scene, method):
    app = scene(more=method)
    app.replace()
    assert app.pick() is None


def test_backups_take_over_while_there_is_no_primary(scene):
    app = scene("server app.test; server 10.9.9.9 backup;")
    app.replace()
    assert app.picks(1) == ["10.9.9.9"]


def test_services_bring_weights_and_backups(scene):
    app = scene()
    found = [
        Endpoint(Address("10.0.0.1", 81), 3),
        Endpoint(Address("10.0.0.2", 82), 1),
        Endpoint(Address("10.0.0.3", 83), 5, True),
    ]
    app.group.replace_peers(app.line(), found)
    assert [(peer.weight, peer.peer.backup) for peer in app.group.peers] == [(3, False), (1, False), (5, True)]
    found[0] = Endpoint(Address("10.0.0.1", 81), 1)
    before = list(app.group.peers)
    assert app.group.replace_peers(app.line(), found) == ([], [])
    assert app.group.peers == before
    assert app.group.peers[0].weight == 1


def test_a_weight_on_the_line_counts_more_than_that_of_the_record(scene):
    app = scene("server app.test weight=4;")
    app.group.replace_peers(app.line(), [Endpoint(Address("10.0.0.1", 81), 9)])
    assert app.group.peers[0].weight == 4


def test_weights_stay_in_proportion_when_slow_start_begins_to_matter(scene):
    app = scene("server app.test slow_start=10s weight=2; server 10.9.9.9;")
    app.replace()
    app.replace("10.0.0.1", "10.0.0.5")
    weights = {peer.name: peer.full_weight for peer in app.group.peers}
    assert weights["10.0.0.1:80"] == weights["10.0.0.5:80"] == 2 * weights["10.9.9.9:80"]


def test_sessions_learn_of_new_peers(scene):
    app = scene(more="sticky cookie id;")
    app.replace("10.0.0.4")
    assert {peer.name for peer in app.group.peers} == {"10.0.0.4:80"}
    assert app.group.peers[0].sid
