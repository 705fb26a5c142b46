"""`zone`: what all workers have under way counts (proxy.md §4.2, "State is per worker without zone")."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest
from made_requests import make_request

import worker.upstream.peers as peers
from worker.loop import Loop
from worker.stream import Stream
from worker.upstream.live_peer import LivePeer
from worker.upstream.peers import ANSWERED, FAILED, Group
from worker.upstream.pooled import Pooled
from worker.upstream.report import report_peer
from wproxy.config.nginx import parse_nginx
from wproxy.config.resolve import resolve
from wproxy.shared import HEAD_RECORDS, HEAD_SLOTS, PRIVATE_WORDS, ROW_ACTIVE, SLOT_ROWS_WORDS, SharedWords

WORKERS = 3


class Server:
    """The groups of several workers on one memory, made of the inside of an `upstream` block."""

    def __init__(self, inside: str) -> None:
        words = memoryview(bytearray((PRIVATE_WORDS + (WORKERS - 1) * SLOT_ROWS_WORDS) * 8)).cast("Q")
        words[HEAD_SLOTS] = WORKERS
        self.words = words
        self.groups = [self._group(inside, words, slot) for slot in range(WORKERS)]

    def _group(self, inside: str, words: memoryview, slot: int) -> Group:
        text = f"events {{ }} http {{ upstream u {{ {inside} }} server {{ listen 1; location / {{ proxy_pass http://u; }} }} }}"
        upstream = resolve(parse_nginx(text.encode(), "test"), "test", "/", None).upstreams[0]  # type: ignore[arg-type]
        for record, peer in enumerate(upstream.peers, 1):
            object.__setattr__(peer, "record", record)
        shared = SharedWords(words)
        shared.slot = slot
        return Group(upstream, shared, Loop(read_clock=lambda: 1000.0), lambda level, text: None)

    def pick(self, worker: int) -> LivePeer | None:
        return self.groups[worker].pick(0, make_request())

    def letters(self, *workers: int) -> str:
        """The peers that get a request in these workers, one after another; none of the requests ends."""
        found = ""
        for worker in workers:
            peer = self.pick(worker)
            found += "abc"[self.groups[worker].peers.index(peer)] if peer is not None else "-"
        return found


def test_with_a_zone_a_limit_holds_for_the_whole_server():
    server = Server("zone u 64k; server 10.0.0.1 max_conns=2; server 10.0.0.2 max_conns=1;")
    assert sorted(server.letters(0, 1, 2)) == ["a", "a", "b"]
    assert server.letters(0, 1, 2) == "---"


def test_without_a_zone_every_worker_has_a_limit_of_its_own():
    server = Server("server 10.0.0.1 max_conns=1; server 10.0.0.2 max_conns=1;")
    assert server.letters(0, 1, 2) == "aaa"
    assert server.letters(0, 1, 2) == "bbb"
    assert server.letters(0, 1, 2) == "---"


@pytest.mark.parametrize("servers", ["server 10.0.0.1 max_conns=1;", "server 10.0.0.1 max_conns=1; server 10.0.0.2 down;"])
@pytest.mark.parametrize("end", ["success", "failure", "kept"])
def test_room_that_a_worker_makes_is_there_for_all(servers, end):
    server = Server(f"zone u 64k; {servers.replace(' max', ' max_fails=0 max')}")
    peer = server.pick(0)
    assert server.letters(1) == "-"
    if end == "success":
        server.groups[0].release(peer, ANSWERED)
    elif end == "failure":
        server.groups[0].release(peer, FAILED)
    else:
        with socket.socket() as sock:
            server.groups[0].take_back(peer, Pooled(Stream(server.groups[0].loop, sock)), None)
    assert server.letters(1) == "a"


def test_of_two_workers_that_look_at_the_same_moment_one_gets_the_last_place(monkeypatch):
    server = Server("zone u 64k; server 10.0.0.1 max_conns=1; server 10.0.0.2 max_conns=1;")
    usual = peers.look_around
    taken: list[LivePeer | None] = []

    def look(found: Any) -> None:
        usual(found)
        if not taken:
            taken.append(None)
            taken[0] = server.pick(1)  # another worker is quicker, right after we have looked

    monkeypatch.setattr(peers, "look_around", look)
    mine = server.pick(0)
    assert (taken[0].name, mine.name) == ("10.0.0.1:80", "10.0.0.2:80")
    assert [peer.under_way.elsewhere() for peer in server.groups[2].peers] == [1, 1], "what was taken back counts no more"


def test_a_probe_is_not_spent_on_a_peer_that_has_no_room():
    server = Server("zone u 64k; server 10.0.0.1 max_conns=1; server 10.0.0.2;")
    peer = server.pick(0)
    server.groups[1].peers[0].health.count_failure(980)
    assert server.letters(1, 1) == "bb", "it may be probed, and is full"
    server.groups[0].release(peer, ANSWERED)
    assert "a" in server.letters(2, 2)


def test_least_conn_goes_by_what_all_workers_have_under_way():
    server = Server("zone u 64k; least_conn; server 10.0.0.1; server 10.0.0.2;")
    assert server.letters(0, 1, 2, 0, 1, 2) == "ababab"
    alone = Server("least_conn; server 10.0.0.1; server 10.0.0.2;")
    assert alone.letters(0, 1, 2) == "aaa"


@pytest.mark.parametrize("method", ["random two least_conn", "least_time header", "least_time last_byte inflight"])
def test_other_methods_that_count_do_too(method):
    server = Server(f"zone u 64k; {method}; server 10.0.0.1; server 10.0.0.2;")
    server.letters(*[0] * 3)
    server.letters(*[1] * 3)
    under_way = [peer.under_way.elsewhere() for peer in server.groups[2].peers]
    assert sorted(under_way) == [3, 3]


def test_a_zone_costs_a_group_nothing_that_has_nothing_to_count_for():
    for inside in ("zone u 64k; server 10.0.0.1; server 10.0.0.2;", "zone u 64k; ip_hash; server 10.0.0.1; server 10.0.0.2;"):
        group = Server(inside).groups[0]
        assert group.is_simple
        assert group.released is None


def test_a_worker_that_was_killed_leaves_its_places_when_its_slot_is_cleared():
    server = Server("zone u 64k; server 10.0.0.1 max_conns=1;")
    assert server.letters(0, 1) == "a-"
    shared = SharedWords(server.words)
    shared.set_head(HEAD_RECORDS, 2)
    shared.worker(0).clear()
    assert server.letters(1) == "a"


def test_the_rows_are_those_that_status_reads():
    server = Server("zone u 64k; least_conn; server 10.0.0.1; server 10.0.0.2;")
    server.letters(2)
    shared = SharedWords(server.words)
    assert server.words[shared.row_offset(2, 1) + ROW_ACTIVE] == 1
    assert re.fullmatch("<1 requests under way in other workers>", repr(server.groups[0].peers[0].under_way))


def test_with_inflight_a_peer_that_another_worker_probes_is_not_left_with_a_request_that_never_was():
    server = Server("least_time header inflight; server 10.0.0.1; server 10.0.0.2;")
    group = server.groups[0]
    refused = group.peers[0]

    other = server.groups[1].peers[0].health
    other.count_failure(980)
    usual = group.method
    probed: list[LivePeer | None] = []

    def choose_after_another_worker(tier: Any, request: Any, tried: int, now: int) -> LivePeer | None:
        chosen = usual(tier, request, tried, now)
        if not probed:
            probed.append(chosen)
            assert other.choose(now), "another worker probes it, right after we have chosen it"
        return chosen

    group.method = choose_after_another_worker
    assert server.pick(0) is group.peers[1]
    assert server.pick(0) is group.peers[1]
    assert probed == [refused]
    assert refused.times.count == 0
    assert refused.connections == 0


def test_the_limit_that_is_told_is_that_of_the_server_not_what_others_leave():
    server = Server("zone u 64k; server 10.0.0.1 max_conns=2; server 10.0.0.2 max_conns=1;")
    server.letters(0, 1, 2, 0)
    group = server.groups[2]
    assert [report_peer(group, peer, 0, 1000)["max_conns"] for peer in group.peers] == [2, 1]
