"""Which peer a request goes to: the formulas of proxy.md §5, and the real nginx asked the same."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_requests import make_client, make_request

import worker.upstream.balance.chance as chance
from bench.ports import free_port
from worker.loop import Loop
from worker.upstream.balance.keys import address_bytes
from worker.upstream.balance.load import bucket
from worker.upstream.balance.ring import host_and_port
from worker.upstream.live_peer import LivePeer
from worker.upstream.peers import ANSWERED, FAILED, UNBLAMED, Group
from worker.upstream.times import Times, average
from wproxy.config.nginx import parse_nginx
from wproxy.config.resolve import resolve
from wproxy.http import Attempt, Clock, Request
from wproxy.shared import PRIVATE_BYTES, SharedWords

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
needs_nginx = pytest.mark.skipif(not os.path.exists(NGINX), reason="the real nginx is not installed")


class Balancer:
    """A group made of the inside of an `upstream` block, its clock in the test's hand."""

    def __init__(self, inside: str, location: str = "") -> None:
        location = f"proxy_pass http://u; {location}{';' if location else ''}"
        text = f"events {{ }} http {{ upstream u {{ {inside} }} server {{ listen 1; location / {{ {location} }} }} }}"
        configuration = resolve(parse_nginx(text.encode(), "test"), "test", "/", None)  # type: ignore[arg-type]
        upstream = configuration.upstreams[0]
        for record, peer in enumerate(upstream.peers):
            object.__setattr__(peer, "record", record)
        self.clock = Clock(1000.0)
        self.log: list[str] = []
        words = SharedWords(memoryview(bytearray(PRIVATE_BYTES)).cast("Q"))
        self.loop = Loop()
        self.loop.clock = self.clock
        self.group = Group(upstream, words, self.loop, lambda level, text: self.log.append(f"{level}: {text}"))

    def request(self, key: str = "", address: str = "10.0.0.1") -> Request:
        """A request whose `$arg_k` is the key."""
        return make_request(f"/?k={key}", client=make_client(self.clock, address))

    def pick(self, key: str = "", address: str = "10.0.0.1", tried: int = 0) -> LivePeer | None:
        return self.group.pick(tried, self.request(key, address))

    def letters(self, count: int) -> str:
        """So many requests one after another: which peers get them."""
        found = ""
        for _ in range(count):
            peer = self.pick()
            found += self.letter(peer)
            if peer is not None:
                self.group.release(peer, ANSWERED)
        return found

    def letter(self, peer: LivePeer | None) -> str:
        return "abcdefgh"[self.group.peers.index(peer)] if peer is not None else "-"

    def attempts(self, key: str = "", address: str = "10.0.0.1", dead: str = "") -> str:
        """One request, tried again while it meets peers that are dead: all that it was offered to."""
        tried, found = 0, ""
        while True:
            peer = self.pick(key, address, tried)
            found += self.letter(peer)
            if peer is None:
                return found
            tried |= peer.bit
            if found[-1] not in dead:
                self.group.release(peer, ANSWERED)
                return found
            self.group.release(peer, FAILED)
            if tried.bit_count() >= self.group.tries:
                return found

    def answer(self, peer: LivePeer, header: float, last_byte: float) -> None:
        """A request that was picked is over, so many seconds after."""
        attempt = Attempt(peer.name, self.clock.now)
        self.clock.now += last_byte
        attempt.header_time, attempt.response_time = header, last_byte
        self.group.release(peer, ANSWERED, attempt)


def servers(*parameters: str) -> str:
    return " ".join(f"server 10.0.0.{number}:80 {text};" for number, text in enumerate(parameters, 1))


# Round robin.


@pytest.mark.parametrize(
    ("weights", "order"), [((5, 1, 1), "aabacaa"), ((3, 2, 1), "abacba"), ((1, 1, 1), "abc"), ((2, 1), "aba")]
)
def test_round_robin_is_smooth(weights, order):
    balancer = Balancer(servers(*[f"weight={weight}" for weight in weights]))
    assert balancer.letters(2 * len(order)) == 2 * order


def test_a_failure_lowers_the_weight_and_each_turn_gives_a_step_back():
    balancer = Balancer(servers("weight=4 max_fails=2", "weight=4"))
    first = balancer.pick()
    assert first is not None
    balancer.group.release(first, FAILED)
    assert (first.effective_weight, first.weight) == (2, 4)
    balancer.letters(2)
    assert first.effective_weight == 4


def test_a_peer_that_is_down_or_draining_gets_nothing():
    assert Balancer(servers("down", "", "drain", "")).letters(4) == "bdbd"
    balancer = Balancer(servers("down", "", "drain", ""))
    assert balancer.group.tries == 3, "as in nginx those that drain count: a session may lead there"


def test_all_peers_down_is_no_live_upstream():
    assert Balancer(servers("down", "down")).letters(2) == "--"
    assert Balancer(servers("down")).letters(1) == "-"


def test_backups_serve_when_no_primary_can():
    balancer = Balancer(servers("max_fails=1", "backup weight=2", "backup"))
    assert balancer.letters(2) == "aa"
    assert balancer.attempts(dead="a") == "ab"
    assert balancer.letters(3) == "cbb", "the backups take turns by themselves"
    balancer.clock.now += 11
    assert balancer.letters(2) == "aa"


def test_a_request_goes_on_to_a_backup_when_it_has_tried_all_primaries():
    balancer = Balancer(servers("max_fails=0", "max_fails=0", "backup"))
    assert balancer.attempts(dead="ab") in ("abc", "bac")


def test_max_conns_counts_requests_under_way():
    balancer = Balancer(servers("max_conns=1", "max_conns=2"))
    held = [balancer.pick() for _ in range(4)]
    assert sorted(map(balancer.letter, held)) == ["-", "a", "b", "b"]
    assert held[0] is not None
    balancer.group.release(held[0], ANSWERED)
    assert balancer.letters(1) == balancer.letter(held[0])


def test_max_conns_holds_for_a_peer_that_is_alone():
    balancer = Balancer(servers("max_conns=1"))
    assert balancer.pick() is not None
    assert balancer.pick() is None


def test_a_peer_may_be_drained_and_brought_back_while_it_works():
    balancer = Balancer(servers("", "", ""))
    balancer.group.peers[1].draining = True
    balancer.group.arrange()
    assert set(balancer.letters(4)) == {"a", "c"}
    balancer.group.peers[1].draining = False
    balancer.group.arrange()
    assert set(balancer.letters(6)) == {"a", "b", "c"}


# Load.


def test_least_conn_is_the_fewest_for_the_weight():
    balancer = Balancer("least_conn; " + servers("weight=2", "weight=1", "weight=1"))
    order = "".join(balancer.letter(balancer.pick()) for _ in range(12))
    assert order[:4] == "abca", "the first three are level: a, b and c in turn; then a has the fewest for its weight"
    assert Counter(order) == {"a": 6, "b": 3, "c": 3}


def test_least_conn_takes_turns_where_it_makes_no_difference():
    assert Balancer("least_conn; " + servers("", "", "")).letters(6) == "abcabc"


@pytest.mark.parametrize(("milliseconds", "counts_as"), [(0, 20), (1, 20), (19, 20), (20, 40), (5000, 5020), (5001, 5000)])
def test_times_that_are_nearly_the_same_are_the_same(milliseconds, counts_as):
    assert bucket(milliseconds) == counts_as


def test_a_new_time_counts_for_a_twentieth():
    assert average(0, 100) == 5
    assert average(100, 200) == 105
    assert average(100, 100) == 100


def test_least_time_prefers_the_quick_by_header_or_by_last_byte():
    for measure, quick in (("header", "a"), ("last_byte", "b")):
        balancer = Balancer(f"least_time {measure}; " + servers("", ""))
        for header, last_byte in ((0.02, 4.0), (2.0, 2.0)) * 3:
            peer = balancer.pick()
            assert peer is not None
            times = ((0.02, 4.0), (2.0, 2.0))[balancer.group.peers.index(peer)]
            balancer.answer(peer, *times)
        balancer.group.peers[0].times.header, balancer.group.peers[1].times.header = 20, 400
        balancer.group.peers[0].times.last_byte, balancer.group.peers[1].times.last_byte = 800, 400
        assert balancer.letters(4) == quick * 4


def test_only_answers_count_for_least_time():
    balancer = Balancer("least_time last_byte; " + servers("max_fails=0", ""))
    peer = balancer.pick()
    assert peer is not None
    attempt = Attempt(peer.name, balancer.clock.now)
    attempt.header_time = attempt.response_time = 3.0
    balancer.group.release(peer, FAILED, attempt)
    assert peer.times.last_byte == 0
    peer.connections += 1
    balancer.group.release(peer, UNBLAMED, attempt)
    assert peer.times.last_byte == 0, "an answer that was passed on to the next peer is none"
    peer.connections += 1
    balancer.group.release(peer, ANSWERED, attempt)
    assert peer.times.last_byte == 150


def test_a_slow_peer_gets_another_chance():
    times = Times()
    times.chosen(1000, 10)
    assert times.faded(800, 1010, 10) == 800
    assert times.faded(800, 1011, 10) == 400
    assert times.faded(800, 1022, 10) == 200


def test_with_inflight_a_peer_that_does_not_answer_is_slow():
    balancer = Balancer("least_time header inflight; " + servers("", ""))
    stuck = balancer.pick()
    assert stuck is not None
    balancer.clock.now += 4.0
    for _ in range(3):
        other = balancer.pick()
        assert other is not None and other is not stuck
        balancer.answer(other, 0.01, 0.01)
    assert stuck.times.inflight > 200
    balancer.answer(stuck, 4.0, 4.0)
    assert stuck.times.count == 0


# Chance.


def test_random_goes_by_weight(monkeypatch):
    monkeypatch.setattr(chance, "random", random.Random(1).random)
    count = Counter(Balancer("random; " + servers("weight=3", "weight=1", "down")).letters(4000))
    assert set(count) == {"a", "b"}
    assert 2800 < count["a"] < 3200


def test_random_two_takes_the_one_with_less_to_do(monkeypatch):
    monkeypatch.setattr(chance, "random", random.Random(2).random)
    balancer = Balancer("random two least_conn; " + servers("", "", ""))
    busy = balancer.group.peers[1]
    busy.connections = 50
    assert set(balancer.letters(200)) == {"a", "c"}


def test_random_two_with_one_usable_peer_uses_it():
    assert Balancer("random two; " + servers("down", "", "down")).letters(5) == "bbbbb"


def test_random_two_by_time(monkeypatch):
    monkeypatch.setattr(chance, "random", random.Random(3).random)
    balancer = Balancer("random two least_time=last_byte; " + servers("", ""))
    for peer in balancer.group.peers:
        peer.times.chosen(1000, 10)
    balancer.group.peers[0].times.last_byte = 400
    assert balancer.letters(20) == "b" * 20


# Keys.


@pytest.mark.parametrize(
    ("address", "what"),
    [
        (b"10.1.2.3", b"\x0a\x01\x02"),
        (b"::1", bytes(15) + b"\x01"),
        (b"unix:", bytes(3)),
    ],
)
def test_what_of_an_address_decides(address, what):
    assert address_bytes(address) == what


@pytest.mark.parametrize(
    ("server", "parts"),
    [
        ("10.0.0.1:80", (b"10.0.0.1", b"80")),
        ("backend", (b"backend", b"")),
        ("unix:/tmp/a:1", (b"/tmp/a:1", b"")),
        ("[::1]:80", (b"[::1]", b"80")),
    ],
)
def test_what_a_server_is_called_on_the_ring(server, parts):
    assert host_and_port(server) == parts


def test_clients_of_one_network_go_to_one_peer():
    balancer = Balancer("ip_hash; " + servers("", "", ""))
    for network in range(50):
        assert len({balancer.attempts(address=f"10.0.{network}.{host}") for host in range(1, 255, 50)}) == 1


def test_a_peer_more_moves_only_its_share_on_the_ring():
    keys = [str(number) for number in range(2000)]
    three = Balancer("hash $arg_k consistent; " + servers("", "", ""))
    four = Balancer("hash $arg_k consistent; " + servers("", "", "", ""))
    moved = [key for key in keys if three.attempts(key) != four.attempts(key)]
    assert {four.attempts(key) for key in moved} == {"d"}
    assert 350 < len(moved) < 650


def test_an_empty_key_belongs_to_nobody():
    for method in ("hash $arg_k", "hash $arg_k consistent"):
        assert Balancer(f"{method}; " + servers("", "", "")).letters(6) == "abcabc"


# The real nginx.

KEYS = [f"key{number}" for number in range(60)]
ADDRESSES = [f"{number * 7 % 223 + 1}.{number * 31 % 256}.{number * 57 % 256}.9" for number in range(50)] + [
    f"2001:db8:{number:x}::{number * 3:x}" for number in range(20)
]


# What a server is called below: A to C answer, X and Y refuse, U answers on a unix socket.
SEQUENCES = {
    "rr": "server A weight=5; server B; server C;",
    "rr321": "server A weight=3; server B weight=2; server C;",
    "rrdown": "server A weight=3; server B down weight=4; server C weight=2;",
    "rrdead": "server A weight=3; server X weight=4 max_fails=3 fail_timeout=100; server C weight=2;",
    "rrback": "server X fail_timeout=100; server Y weight=2 fail_timeout=100; server A backup weight=2; server B backup;",
    "rrfree": "server A; server X max_fails=0 weight=2; server B;",
    "least": "least_conn; server A weight=3; server B weight=2; server C;",
    "leastdead": "least_conn; server A; server X weight=3 fail_timeout=100 max_fails=2; server C weight=2;",
    "one": "server X; server A backup;",
    "empty": "hash $arg_none; server A; server B weight=2; server C;",
}
BY_KEY = {
    "hash": "hash $arg_k; server A; server B weight=3; server C weight=2;",
    "hashdown": "hash $arg_k; server A; server B down weight=3; server U weight=2;",
    "hashdead": "hash $arg_k; server A; server X max_fails=0 weight=3; server C weight=2; server Y max_fails=0; server U;",
    "ring": "hash $arg_k consistent; server A; server B weight=3; server U weight=2;",
    "ringdown": "hash $arg_k consistent; server A down; server B; server C weight=2; server U;",
    "ringdead": "hash $arg_k consistent; server A; server X max_fails=0 weight=3; server C; server Y max_fails=0; server U;",
}
BY_ADDRESS = {
    "ip": "ip_hash; server A; server B weight=3; server C weight=2;",
    "ipdown": "ip_hash; server A; server B down weight=3; server C;",
    "ipdead": "ip_hash; server A; server X max_fails=0 weight=3; server C; server Y max_fails=0 weight=2; server U;",
}
ROUNDS = 24


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("nginx")) as process:
        yield process


class Nginx:
    """The real one, in front of itself: every peer that answers is a server of the same process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.chmod(0o755)
        self.port = free_port()
        self.names = {letter: f"127.0.0.1:{free_port()}" for letter in "ABCXY"} | {"U": f"unix:{directory}/u.sock"}
        blocks = [f"upstream {name} {{ {self.fill(inside)} }}" for name, inside in {**SEQUENCES, **BY_KEY, **BY_ADDRESS}.items()]
        listen = " ".join(f"listen {self.names[letter]};" for letter in "ABCU")
        (directory / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log; events {{ }}\n"
            f"http {{ access_log off; client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2;\n"
            f"fastcgi_temp_path {directory}/t3; uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5;\n"
            + "\n".join(blocks)
            + f"\nserver {{ {listen} return 200; }}\n"
            f"server {{ listen 127.0.0.1:{self.port}; set_real_ip_from 127.0.0.1; real_ip_header X-Real;\n"
            "location ~ ^/(?<group>[a-z0-9]+)$ { proxy_pass http://$group; add_header X-Upstream $upstream_addr always; } } }"
        )
        self.process = subprocess.Popen(
            [NGINX, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]
        )

    def fill(self, inside: str) -> str:
        """The inside of an upstream block with addresses for letters."""
        return re.sub(r"(?<=server )([A-Z])\b", lambda match: self.names[match[1]], inside)

    def __enter__(self) -> Nginx:
        limit = time.monotonic() + 10
        while True:
            try:
                self.sock = socket.create_connection(("127.0.0.1", self.port), timeout=10)
                return self
            except OSError:
                assert self.process.poll() is None, (self.directory / "error.log").read_text()
                assert time.monotonic() < limit, "nginx does not listen"
                time.sleep(0.01)

    def __exit__(self, *error: object) -> None:
        self.sock.close()
        self.process.terminate()
        self.process.wait()

    def attempts(self, group: str, inside: str, key: str = "", address: str = "10.0.0.1") -> str:
        """One request: the places, as letters, of the servers that it was offered to."""
        if not self.process_has_connection():
            self.sock = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        self.sock.sendall(f"GET /{group}?k={key} HTTP/1.1\r\nHost: h\r\nX-Real: {address}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.sock.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        while length and len(body) < int(length[1]):
            body += self.sock.recv(65536)
        found = re.search(rb"X-Upstream: ([^\r]*)", head)
        assert found, answer
        order = [self.names[letter] for letter in re.findall(r"server ([A-Z])\b", inside)]
        shown = ""
        for name in found[1].decode().split(", "):
            shown += "abcdefgh"[order.index(name)] if name in order else "-"
        return shown

    def process_has_connection(self) -> bool:
        try:
            self.sock.setblocking(False)
            return self.sock.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.sock.settimeout(10)


def dead_places(inside: str) -> str:
    """The letters, by place, of the servers that refuse."""
    return "".join("abcdefgh"[place] for place, name in enumerate(re.findall(r"server ([A-Z])\b", inside)) if name in "XY")


@needs_nginx
@pytest.mark.parametrize("group", SEQUENCES)
def test_one_request_after_another_goes_where_nginx_sends_it(nginx, group):
    inside = SEQUENCES[group]
    ours = Balancer(nginx.fill(inside))
    dead = dead_places(inside)
    assert [ours.attempts(dead=dead) for _ in range(ROUNDS)] == [nginx.attempts(group, inside) for _ in range(ROUNDS)]


@needs_nginx
@pytest.mark.parametrize("group", BY_KEY)
def test_a_key_goes_where_nginx_sends_it(nginx, group):
    inside = BY_KEY[group]
    ours = Balancer(nginx.fill(inside))
    dead = dead_places(inside)
    theirs = {key: nginx.attempts(group, inside, key) for key in KEYS}
    assert {key: ours.attempts(key, dead=dead) for key in KEYS} == theirs
    assert len(set(theirs.values())) > 1


@needs_nginx
@pytest.mark.parametrize("group", BY_ADDRESS)
def test_an_address_goes_where_nginx_sends_it(nginx, group):
    inside = BY_ADDRESS[group]
    ours = Balancer(nginx.fill(inside))
    dead = dead_places(inside)
    theirs = {address: nginx.attempts(group, inside, address=address) for address in ADDRESSES}
    assert {address: ours.attempts(address=address, dead=dead) for address in ADDRESSES} == theirs
    assert len(set(theirs.values())) > 1


class Holding:
    """Servers that take requests and do not answer until they are told."""

    def __init__(self, count: int) -> None:
        self.listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        self.names = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in self.listening]
        self.held: list[tuple[str, socket.socket]] = []

    def next(self) -> str:
        """The letter of the server that gets the next request."""
        import select

        ready = select.select(self.listening, [], [], 10)[0]
        assert ready, "nobody got the request"
        sock = ready[0].accept()[0]
        letter = "abcdefgh"[self.listening.index(ready[0])]
        self.held.append((letter, sock))
        return letter

    def close(self) -> None:
        for sock in [*self.listening, *(sock for _, sock in self.held)]:
            sock.close()


@needs_nginx
def test_least_conn_under_load_is_nginxs(tmp_path):
    """Ten requests are held, some are answered, ten more come."""
    holding = Holding(3)
    inside = "least_conn; " + " ".join(
        f"server {name} weight={weight};" for name, weight in zip(holding.names, (3, 1, 2), strict=True)
    )
    port = free_port()
    tmp_path.chmod(0o755)
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{ }} http {{ access_log off;"
        f"client_body_temp_path {tmp_path}/t1; proxy_temp_path {tmp_path}/t2; fastcgi_temp_path {tmp_path}/t3;"
        f"uwsgi_temp_path {tmp_path}/t4; scgi_temp_path {tmp_path}/t5; upstream u {{ {inside} }}"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://u; }} }} }}"
    )
    process = subprocess.Popen(
        [NGINX, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log")]
    )
    clients: list[socket.socket] = []
    ours = Balancer(inside)
    held: list[LivePeer] = []

    def both() -> tuple[str, str]:
        client = connect_patiently(port)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        clients.append(client)
        peer = ours.pick()
        assert peer is not None
        held.append(peer)
        return holding.next(), ours.letter(peer)

    try:
        pairs = [both() for _ in range(10)]
        for place in (7, 4, 1):
            with holding.held.pop(place)[1] as answering:
                answering.sendall(b"HTTP/1.0 204 No Content\r\n\r\n")
            with clients.pop(place) as client:
                assert client.recv(65536).startswith(b"HTTP/1.1 204 ")
            ours.group.release(held.pop(place), ANSWERED)
        pairs += [both() for _ in range(10)]
        assert [their for their, _ in pairs] == [our for _, our in pairs]
    finally:
        process.terminate()
        process.wait()
        holding.close()
        for client in clients:
            client.close()


def connect_patiently(port: int) -> socket.socket:
    limit = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except OSError:
            assert time.monotonic() < limit, "nginx does not listen"
            time.sleep(0.01)
