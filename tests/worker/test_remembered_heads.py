"""What a connection remembers of one request must not show in the next."""

from __future__ import annotations

import gc
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conversation import End, Peer, Stage, get, ok
from like_nginx import _load_nginx_syntax, ask, needs_nginx, same_as_nginx
from made_requests import make_request

from worker.client.http1.serve import serve_connection
from worker.client.plan import ListenerPlan
from worker.http1.request import KNOWN_HEAD_BYTES, KNOWN_HEADS, HeadMemo, take_request_head
from worker.http1.response import KNOWN_HEADS as KNOWN_ANSWERS
from worker.resolver.discovery import MOST_TARGETS
from worker.stream import Stream
from worker.upstream.answers import MOST_LOCATIONS, AnswerPlan, client_fields
from worker.upstream.live_peer import LivePeer
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.peers import Group
from worker.upstream.protocols.http1 import MOST_COMPOSED
from wproxy.config.model import Location
from wproxy.http import Attempt, Client, ResponseFields

Front = Callable[..., Stage]
__all__ = ["same_as_nginx"]  # a fixture


@pytest.fixture
def front(stage, monkeypatch, tmp_path) -> Front:
    """Makes stages of what stands in a `http` block in nginx's words; ONE and TWO are the addresses of their peers."""

    def make(http: str, peers: int | list[Peer] = 2) -> Stage:
        _load_nginx_syntax(monkeypatch, Path(tmp_path))
        http = http.replace("{", "{{").replace("}", "}}").replace("ONE", "{peers[0]}").replace("TWO", "{peers[1]}")
        logs = "error_log {directory}/error.log info; events {{ }} "
        access = "log_format test '{log_format}'; access_log {directory}/access.log test;"
        return stage(peers=peers, text=f"{logs} http {{{{ {access} {http} }}}}")

    return make


def asked(end: End) -> bytes:
    """The head that an upstream has received, answered with `ok`."""
    head = end.receives_head()
    end.send(ok())
    return head


class Upstreams:
    """The connections to each peer, the last one of each kept."""

    def __init__(self, s: Stage) -> None:
        self.s = s
        self.kept: dict[int, End] = {}

    def __getitem__(self, number: int) -> End:
        accepted = self.s.peers[number]._try_accept()
        if accepted is not None:
            self.kept[number] = End(self.s, accepted, f"upstream {number}")
        if number not in self.kept:
            self.kept[number] = self.s.peers[number].accept()
        return self.kept[number]


def added(client: End) -> list[bytes]:
    """The values of the fields X-... that the client got, its whole answer taken."""
    head = client.receives_head()
    client.take()
    return re.findall(rb"\r\nX-\w+: ([^\r]*)", head)


# The target of a proxy_pass with variables ends where another location begins.

ELSEWHERE = """
upstream up { server ONE; }
server {
    listen 127.0.0.1:8080;
    location /v { proxy_pass http://up$tail; proxy_intercept_errors on; error_page 404 = @n; error_page 410 = /n/page?x;
        set $tail /tgt?id=$request_id; }
    location @n { proxy_pass http://TWO; }
    location /n { proxy_pass http://TWO; }
}
"""


def test_a_target_made_of_variables_is_not_that_of_a_named_location(front):
    s = front(ELSEWHERE)
    client, upstreams = s.client(), Upstreams(s)
    for target in (b"/v?1", b"/v?2", b"/v?2"):
        client.send(get(target))
        assert re.match(rb"GET /tgt\?id=[0-9a-f]{32} HTTP", upstreams[0].receives_head())
        upstreams[0].send(ok(status=b"404 Not Found"))
        assert asked(upstreams[1]).startswith(b"GET " + target + b" HTTP/1.1\r\n")
        client.receives_head()
        client.receives(b"ok")


def test_nor_of_where_an_error_page_is(front):
    s = front(ELSEWHERE)
    client, upstreams = s.client().send(get(b"/v")), Upstreams(s)
    upstreams[0].send(ok(status=b"410 Gone"))
    assert asked(upstreams[1]).startswith(b"GET /n/page?x HTTP/1.1\r\n")
    client.receives_head()


@pytest.mark.parametrize(("to", "expected"), [(b"@n", b"GET /v?1 "), (b"/n/x", b"GET /n/x ")])
def test_nor_of_where_an_upstream_sends_the_request(front, to, expected):
    s = front(ELSEWHERE)
    client, upstreams = s.client().send(get(b"/v?1")), Upstreams(s)
    upstreams[0].send(ok(b"ok", b"X-Accel-Redirect: " + to))
    assert asked(upstreams[1]).startswith(expected)
    client.receives_head()


def test_arguments_that_are_set_to_what_they_were_do_not_bring_back_the_target_as_it_came(front):
    """`set $args` has the target composed anew, and what is remembered for the request line is the target as it came.

    A byte on its own is one object in Python, wherever it comes from.
    """
    s = front(
        "server { listen 127.0.0.1:8080; if ($connection_requests ~ [24]) { set $args a; } location / { proxy_pass http://ONE; } }"
    )
    client, upstreams = s.client(), Upstreams(s)
    for expected in (b"/%7Ea?a", b"/~a?a", b"/%7Ea?a", b"/~a?a"):
        client.send(get(b"/%7Ea?a"))
        assert asked(upstreams[0]).startswith(b"GET " + expected + b" HTTP/1.1\r\n")
        client.receives_head()
        client.receives(b"ok")


# A connection that begins with the head with which another one began has what that head says, and nothing of that client.

CLIENTS = """
upstream one { server ONE; keepalive 4; }
geo $where { default elsewhere; 10.0.0.0/8 inside; }
server {
    listen 127.0.0.1:8080;
    proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_set_header X-Address $remote_addr; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Scheme $scheme; proxy_set_header X-Where $where;
    location / { proxy_pass http://one; add_header X-Told "$remote_addr $where"; }
}
"""


def of(address: bytes, scheme: bytes = b"http") -> Callable[..., object]:
    """Serves a client of this address."""

    def serve(stream: Stream, client: Client, plan: ListenerPlan) -> object:
        client.remote_addr, client.scheme = address, scheme
        return serve_connection(stream, client, plan)

    return serve


def test_clients_that_begin_with_the_same_head_keep_their_addresses(front):
    s = front(CLIENTS)
    upstreams = Upstreams(s)
    head = get(b"/", b"X-Forwarded-For: 192.0.2.1")

    for address, scheme, where in [
        (b"10.0.0.1", b"http", b"inside"),
        (b"192.0.2.7", b"http", b"elsewhere"),
        (b"192.0.2.7", b"https", b"elsewhere"),
        (b"10.0.0.1", b"http", b"inside"),
    ]:
        client = s.client(serve=of(address, scheme))
        for _ in range(2):
            client.send(head)
            heard = asked(upstreams[0])
            assert b"\r\nX-Address: " + address + b"\r\n" in heard
            assert b"\r\nX-Forwarded-For: 192.0.2.1, " + address + b"\r\n" in heard
            assert b"\r\nX-Scheme: " + scheme + b"\r\nX-Where: " + where + b"\r\n" in heard
            assert added(client) == [address + b" " + where]
        client.close()
    assert list(s.plans[0].limits.known_heads) == [head]


def test_nor_do_they_get_each_others_ports(front):
    s = front(CLIENTS.replace("$remote_addr;", "$remote_addr:$remote_port;"))
    upstreams = Upstreams(s)

    def of_port(port: int) -> Callable[..., object]:
        def serve(stream: Stream, client: Client, plan: ListenerPlan) -> object:
            client.remote_port = port
            return serve_connection(stream, client, plan)

        return serve

    for port in (1001, 1002, 1001):
        s.client(serve=of_port(port)).send(get(b"/"))
        assert b"\r\nX-Address: 127.0.0.1:%d\r\n" % port in asked(upstreams[0])


# Heads of one connection mostly differ in the same lines: then all between these is remembered in one piece.

GAPS = """
upstream one { server ONE; keepalive 8; }
map $cookie_a $mapped { default none; 1 one; 2 two; }
server {
    listen 127.0.0.1:8080; server_name a b;
    proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_set_header X-Address $remote_addr; proxy_set_header Host $host;
    set_real_ip_from 127.0.0.1; real_ip_header X-Real;
    location / { proxy_pass http://one; }
    location /reads { proxy_pass http://one; proxy_set_header X-Cookie $cookie_a; proxy_set_header X-Map $mapped; }
    location /drops { proxy_pass http://one; proxy_set_header Cookie ""; proxy_set_header Host $host; }
    location /some { proxy_pass http://one; proxy_set_header Referer "own"; proxy_set_header X-Address "$remote_addr $http_referer"; }
    location /moves { rewrite ^ /reads/moved; }
    location /part { proxy_pass http://one/; }
    location /none { proxy_pass http://one; proxy_pass_request_headers off; proxy_set_header X-Port $remote_port; }
}
server { listen 127.0.0.1:8080; server_name other; proxy_set_header X-Other $http_cookie; location / { proxy_pass http://one; } }
"""


def test_values_in_the_gaps_of_a_head_are_those_of_its_own_request(front):
    """Each request goes upstream as if it were the first one of its connection, whatever the ones before it were."""
    s = front(GAPS)
    upstreams = Upstreams(s)
    chance = random.Random(19)
    kept = {address: s.client(serve=of(address)) for address in (b"127.0.0.1", b"10.0.0.1")}
    for number in range(150):
        address = chance.choice(list(kept))
        path = chance.choice([b"/", b"/reads", b"/drops", b"/some", b"/moves", b"/part", b"/none"])
        lines = [
            b"User-Agent: x",
            b"Referer: http://a/%d" % (number if chance.random() < 0.7 else 1),
            b"X-Real: 192.0.2.%d" % (1 if chance.random() < 0.8 else number % 7),
            b"Cookie: a=%d" % (number % 3 if chance.random() < 0.8 else 1),
            *([b"X-More: 1"] if chance.random() < 0.1 else []),
        ]
        host = chance.choices([b"a", b"b", b"other"], [8, 1, 1])[0]
        body = b"hello" if chance.random() < 0.1 else b""
        if body:
            lines.append(b"Content-Length: 5")
        head = get(path + b"/%d" % chance.randrange(20), *lines, host=host, method=b"POST" if body else b"GET") + body
        heard = []
        for client in (kept[address], fresh := s.client(serve=of(address))):
            client.send(head)
            heard.append(upstreams[0].receives_head())
            if body:
                upstreams[0].receives(body)
            upstreams[0].send(ok())
            client.receives_head()
            client.receives(b"ok")
        assert heard[0] == heard[1], head
        fresh.close()
    assert any(connection.shape is not None for connection in s.worker.clients.connections)


def test_pipelined_heads_of_one_form_are_told_apart(front):
    s = front(GAPS)
    client, upstreams = s.client(), Upstreams(s)
    heads = [get(b"/%d" % number, b"A: 1", b"Cookie: a=%d" % number, b"B: 1", host=b"a") for number in range(9)]
    for group in (heads[:1], heads[1:2], heads[2:3], heads[3:5], heads[5:8], heads[8:]):
        client.send(b"".join(group))
        for head in group:
            heard = asked(upstreams[0])
            assert heard.split(b" HTTP")[0] == head.split(b" HTTP")[0]
            assert re.search(rb"\r\nCookie: [^\r]*\r\n", heard)[0] == re.search(rb"\r\nCookie: [^\r]*\r\n", head)[0]
            client.receives_head()
            client.receives(b"ok")


def test_heads_of_one_form_are_remembered_for_few_locations(front):
    names = range(2 * MOST_COMPOSED)
    locations = " ".join(f"location /{name}/ {{ proxy_pass http://ONE; proxy_set_header X-Own {name}; }}" for name in names)
    s = front(f"server {{ listen 127.0.0.1:8080; {locations} }}")
    client, upstreams = s.client(), Upstreams(s)
    for turn, name in enumerate((0, 0, *names, *names, 0)):
        client.send(get(b"/%d/" % name, b"A: 1", b"Cookie: a=%d" % turn, b"B: 1"))
        heard = upstreams[0].receives_head()
        assert b"\r\nX-Own: %d\r\n" % name in heard and b"\r\nA: 1\r\nCookie: a=%d\r\nB: 1\r\n" % turn in heard
        upstreams[0].send(ok())
        client.receives_head()
        client.receives(b"ok")
    (connection,) = s.worker.clients.connections
    assert len(connection.shape.cache) <= MOST_COMPOSED


def test_connections_that_begin_with_the_same_head_find_their_own_way(front):
    """What is known of a first head is where it leads: not the captures of a regex, not another path, not another Host."""
    s = front(
        "server { listen 127.0.0.1:8080; server_name a; location /x { return 200 a-x; } location / { return 200 a; }"
        "location ~ ^/re/(.*) { return 200 re-$1-$connection; } }"
        "server { listen 127.0.0.1:8080; server_name ~^(?<sub>.)[.]b$; location / { return 200 b-$sub-$connection; } }"
        "server { listen 127.0.0.1:8080; server_name steps; set $n $connection; return 200 steps-$n; }"
    )
    serial = 0
    for _ in range(3):
        for host, path, told in [
            (b"a", b"/", b"a"),
            (b"a", b"/x", b"a-x"),
            (b"a", b"/re/one", b"re-one-%d"),
            (b"a", b"/re/two", b"re-two-%d"),
            (b"s.b", b"/", b"b-s-%d"),
            (b"t.b", b"/", b"b-t-%d"),
            (b"steps", b"/", b"steps-%d"),
        ]:
            serial += 1
            client = s.client().send(get(path, host=host))
            client.receives_head()
            assert client.take() == (told % serial if b"%d" in told else told)
            # And the requests after it find theirs.
            client.send(get(b"/x", host=b"a"))
            client.receives_head()
            assert client.take() == b"a-x"
            client.close()


def test_first_heads_that_are_nearly_the_same_are_told_apart(front):
    s = front(CLIENTS)
    upstreams = Upstreams(s)
    whole = get(b"/a?b", b"X-A: 1", b"Cookie: c=1")
    for head in (whole, whole.replace(b"c=1", b"c=2"), whole.replace(b"/a?b", b"/a?c"), whole.replace(b"X-A", b"x-a"), whole):
        for _ in range(2):
            client = s.client().send(head)
            heard = asked(upstreams[0])
            assert heard.startswith(head.split(b"\r\n")[0])
            assert all(line in heard for line in head.split(b"\r\n")[2:])
            client.receives_head()
            client.close()
    # One that has only begun like a known one is still waited for, and what follows it is the next request.
    client = s.client().send(whole[:-2])
    s.settle()
    client.send(whole[-2:] + whole.replace(b"/a?b", b"/next"))
    assert asked(upstreams[0]).startswith(b"GET /a?b ")
    assert asked(upstreams[0]).startswith(b"GET /next ")


def test_first_heads_take_a_bounded_room(front):
    s = front(CLIENTS)
    limits = ListenerPlan(s.configuration.listeners[0].servers.default, s.worker.clients).limits
    for number in range(3 * KNOWN_HEADS):
        assert take_request_head(get(b"/%d" % number), limits, HeadMemo()) is not None
        assert len(limits.known_heads) <= KNOWN_HEADS
    take_request_head(get(b"/large", b"X-A: " + b"a" * KNOWN_HEAD_BYTES), limits, HeadMemo())
    assert all(len(head) <= KNOWN_HEAD_BYTES for head in limits.known_heads)


def test_heads_of_answers_are_known_to_all_connections_of_a_group_and_bounded(front):
    s = front("upstream one { server ONE; } server { listen 127.0.0.1:8080; location / { proxy_pass http://one; } }")
    group = s.worker.groups["one"]
    client, upstreams = s.client(), Upstreams(s)
    for number in range(KNOWN_ANSWERS + 5):
        for _ in range(2):
            client.send(get(b"/"))
            upstreams[0].receives_head()
            upstreams[0].send(ok(b"ok", b"X-N: %d" % number)).close()
            assert added(client) == [b"%d" % number]
    assert 0 < len(group.known_heads) <= KNOWN_ANSWERS
    block, head = next(iter(group.known_heads.items()))
    assert block == head.block


# What a location decides does not hold for the block.

LOCATIONS = """
map $proxy_host $m { default $proxy_host; }
upstream one { server ONE; } upstream two { server TWO; }
server {
    listen 127.0.0.1:8080;
    proxy_set_header M "$m $proxy_host $proxy_port";
    add_header X-Is "$m $proxy_host";
    location /a { proxy_pass http://one; }
    location /b { proxy_pass http://two; }
    location /v { if ($arg_to) { set $to $arg_to; } proxy_pass http://$to; }
    location /a/n { proxy_pass http://one; proxy_intercept_errors on; error_page 404 = @n; }
    location /b/n { proxy_pass http://two; proxy_intercept_errors on; error_page 404 = @n; }
    location @n { proxy_pass http://one; }
}
"""


def test_values_of_a_location_are_not_those_of_another_with_the_same_block(front):
    s = front(LOCATIONS)
    client, upstreams = s.client(), Upstreams(s)
    for target, number, name in [
        (b"/a", 0, b"one"),
        (b"/b", 1, b"two"),
        (b"/a", 0, b"one"),
        (b"/v?to=one", 0, b"one"),
        (b"/v?to=two", 1, b"two"),
        (b"/v?to=two", 1, b"two"),
        (b"/v?to=one", 0, b"one"),
    ]:
        client.send(get(target))
        assert b"\r\nM: %b %b 80\r\n" % (name, name) in asked(upstreams[number]), target
        assert added(client) == [b"%b %b" % (name, name)], target


def test_a_map_that_was_read_in_the_location_before_is_kept_for_its_request_alone(front):
    s = front(LOCATIONS)
    client, upstreams = s.client(), Upstreams(s)
    for target, number, kept in [(b"/a/n", 0, b"one"), (b"/b/n", 1, b"two"), (b"/a/n", 0, b"one")]:
        client.send(get(target))
        upstreams[number].receives_head()
        upstreams[number].send(ok(status=b"404 Not Found"))
        assert b"\r\nM: %b one 80\r\n" % kept in asked(upstreams[0]), target
        assert added(client) == [kept + b" one"], target


@needs_nginx
def test_both_are_as_in_nginx(same_as_nginx):
    http = LOCATIONS.replace("ONE", "BACK").replace("TWO", "BACK").replace("127.0.0.1:8080", "127.0.0.1:PORT")
    failing = "X-Status: 404 Not Found"
    cases = [ask("/a"), ask("/b"), ask("/v?to=one"), ask("/v?to=two"), ask("/a/n", failing), ask("/b/n", failing)]
    same_as_nginx(http, cases)


# A field that tells of one that was added before it.


@needs_nginx
def test_a_map_of_what_was_added_sees_it(same_as_nginx):
    same_as_nginx(
        "map $sent_http_x_one $m { default m-$sent_http_x_one; } map $m $n { default n-$m; } server { listen 127.0.0.1:PORT;"
        "location /m { add_header X-One 1; add_header X-Two $m; return 200 ok; }"
        "location /n { add_header X-One 1; add_header X-Two $n; add_header X-Three $sent_http_x_two; return 200 ok; } }",
        ["/m", "/n", "/m"],
    )


# The limit of a location holds for an answer that another location has seen.

BUFFERS = """
upstream up { server ONE; }
server {
    listen 127.0.0.1:8080;
    location /large { proxy_pass http://up; proxy_buffer_size 8k; }
    location /small { proxy_pass http://up; proxy_buffer_size 1k; proxy_buffers 8 1k; }
    location /named { set $to up; proxy_pass http://$to; proxy_buffer_size 1k; proxy_buffers 8 1k; }
}
"""


@pytest.mark.parametrize("small", [b"/small", b"/named"])
def test_a_head_too_large_for_a_location_is_too_large_though_another_has_passed_it(front, small):
    s = front(BUFFERS)
    client, upstreams = s.client(), Upstreams(s)
    answer = ok(b"ok", b"X-Long: " + b"x" * 2000)
    for target, status in [(b"/large", b"200 OK"), (b"/large", b"200 OK"), (small, b"502 Bad Gateway"), (b"/large", b"200 OK")]:
        client.send(get(target))
        upstreams[0].receives_head()
        upstreams[0].send(answer)
        assert client.receives_head().startswith(b"HTTP/1.1 " + status)
        client.take()
        if status.startswith(b"5"):
            assert "upstream sent too big header" in s.error_log()[-1]


# What clients can choose does not fill the memory.

CHOSEN = """
server {
    listen 127.0.0.1:8080;
    location /to { proxy_pass http://$arg_to; add_header X-To $proxy_host always; proxy_connect_timeout 1s; }
    location /unix { proxy_pass http://unix:HERE/$arg_to:/; }
}
"""


def living(*kinds: type) -> int:
    gc.collect()
    return sum(isinstance(thing, kinds) for thing in gc.get_objects())


def test_targets_that_clients_choose_take_a_bounded_room(front):
    """The third round of as many new targets as there is room for leaves nothing that the second has not left."""
    s = front(CHOSEN)
    client = s.client()
    counts = []
    for begin in range(0, 3 * MOST_TARGETS, MOST_TARGETS):
        for number in range(begin, begin + MOST_TARGETS):
            client.send(get(b"/to?to=127.9.%d.%d:1" % divmod(number, 256)))
            assert client.receives_head().startswith(b"HTTP/1.1 502 ")
            client.take()
        counts.append(living(Group, LivePeer, Location, ResponseFields, Attempt))
    assert counts[2] <= counts[1] + 8
    assert len(s.worker.groups) == 0
    assert len(s.worker.discovery._targets) <= MOST_TARGETS


def test_an_answer_that_many_locations_have_seen_keeps_the_fields_of_some(front):
    s = front(CHOSEN)
    client, upstreams = s.client(), Upstreams(s)
    for _ in range(3):
        client.send(get(b"/to?to=" + s.peers[0].name.encode()))
        asked(upstreams[0])
        assert client.receives_head().startswith(b"HTTP/1.1 200 ")
        client.take()
    (head,) = (
        idle.last_head
        for group in [target.group for target in s.worker.discovery._targets.values()]
        for idle in group.peers[0].idle
    )
    (plan,) = head.cache  # one for all targets
    for _ in range(3 * MOST_LOCATIONS):
        client_fields(head, AnswerPlan(ModuleSettings(plan.location, "proxy"), b"wproxy"), make_request())
    assert len(head.cache) <= MOST_LOCATIONS


def test_a_target_that_lost_its_room_is_proxied_to_all_the_same(front):
    s = front(CHOSEN)
    client, upstreams = s.client(), Upstreams(s)
    name = s.peers[0].name.encode()
    for _ in range(2):
        client.send(get(b"/to?to=" + name))
        asked(upstreams[0])
        assert client.receives_head().startswith(b"HTTP/1.1 200 ")
        client.take()
        for number in range(MOST_TARGETS):
            client.send(get(b"/to?to=127.9.%d.%d:1" % divmod(number, 256)))
            client.receives_head()
            client.take()
        assert upstreams[0].is_closed(), "its idle connection went with it"


def test_sockets_whose_paths_differ_in_case_are_two(front, tmp_path):
    peers = [Peer(f"{tmp_path}/{name}") for name in "aA"]
    s = front(CHOSEN.replace("HERE", str(tmp_path)), peers=peers)
    client, upstreams = s.client(), Upstreams(s)
    for target, number in [(b"/unix?to=a", 0), (b"/unix?to=A", 1), (b"/unix?to=a", 0)]:
        client.send(get(target))
        asked(upstreams[number])
        client.receives_head()
        client.take()


# An idle connection is taken only by a request that would have opened it so.

BOUND = """
upstream up { server ONE; }
server {
    listen 127.0.0.1:8080;
    location /a { proxy_pass http://up; proxy_bind 127.0.0.2; }
    location /b { proxy_pass http://up; proxy_bind 127.0.0.3; }
    location /any { proxy_pass http://up; }
    location /too { proxy_pass http://up; proxy_bind off; }
    location /chosen { proxy_pass http://up; proxy_bind $arg_from; }
    location /named { set $to up; proxy_pass http://$to; proxy_bind 127.0.0.2; }
    location /kept { proxy_pass http://up; proxy_socket_keepalive on; }
}
"""
# Target, and the address that it has to come from.
FROM = [
    (b"/a", "127.0.0.2"),
    (b"/b", "127.0.0.3"),
    (b"/any", "127.0.0.1"),
    (b"/too", "127.0.0.1"),
    (b"/chosen?from=127.0.0.2", "127.0.0.2"),
    (b"/chosen?from=127.0.0.4", "127.0.0.4"),
    (b"/chosen", "127.0.0.1"),
    (b"/named", "127.0.0.2"),
]


def test_a_connection_comes_from_where_its_request_says_whatever_is_idle(front):
    s = front(BOUND)
    client = s.client()
    ends: list[End] = []
    for target, address in [*FROM, *reversed(FROM), *FROM[::3]]:
        client.send(get(target))
        (heard,) = s.until(lambda: [end for end in accepted(s, ends) if end.pull_all()], f"nobody asks for {target!r}")
        assert heard.sock.getpeername()[0] == address, target
        asked(heard)
        client.receives_head()
        client.take()
    assert len(ends) == 4, "and every address has one connection, which is used again"


def accepted(s: Stage, ends: list[End]) -> list[End]:
    """All connections to the first peer."""
    while (sock := s.peers[0]._try_accept()) is not None:
        ends.append(End(s, sock, "upstream"))
    return ends


def test_a_connection_with_tcp_keepalive_is_none_without(front):
    s = front(BOUND)
    client = s.client()
    ends: list[End] = []
    for target, count in [(b"/any", 1), (b"/kept", 2), (b"/any", 2), (b"/kept", 2)]:
        client.send(get(target))
        (heard,) = s.until(lambda: [end for end in accepted(s, ends) if end.pull_all()], "nobody asks")
        asked(heard)
        client.receives_head()
        client.take()
        assert len(ends) == count, target


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may bind to any address")
def test_a_connection_that_may_come_from_anywhere_is_not_one_that_comes_from_here(front):
    s = front(
        "upstream up { server ONE; } server { listen 127.0.0.1:8080; proxy_bind 127.0.0.2; location / { proxy_pass http://up; }"
        "location /t { proxy_pass http://up; proxy_bind 127.0.0.2 transparent; } }"
    )
    client = s.client()
    ends: list[End] = []
    for target, count in [(b"/", 1), (b"/t", 2), (b"/", 2), (b"/t", 2)]:
        client.send(get(target))
        (heard,) = s.until(lambda: [end for end in accepted(s, ends) if end.pull_all()], "nobody asks")
        assert heard.sock.getpeername()[0] == "127.0.0.2"
        asked(heard)
        client.receives_head()
        client.take()
        assert len(ends) == count, target


def test_where_all_open_them_alike_nobody_looks(front):
    s = front(
        "upstream up { server ONE; } server { listen 127.0.0.1:8080; proxy_bind 127.0.0.2; location /a { proxy_pass http://up; }"
        "location /b { proxy_pass http://up; } }"
    )
    assert s.group("up").manners is None


def test_connections_of_before_a_target_was_named_are_taken_by_who_would_have_opened_them(front):
    """The location that names the group at run time is one more that leads there."""
    s = front(
        "upstream up { server ONE; } server { listen 127.0.0.1:8080; location /a { proxy_pass http://up; }"
        "location /named { set $to up; proxy_pass http://$to; proxy_bind 127.0.0.2; } }"
    )
    client = s.client()
    ends: list[End] = []
    for target, count in [(b"/a", 1), (b"/named", 2), (b"/a", 2), (b"/named", 2)]:
        client.send(get(target))
        (heard,) = s.until(lambda: [end for end in accepted(s, ends) if end.pull_all()], "nobody asks")
        asked(heard)
        client.receives_head()
        client.take()
        assert len(ends) == count, target
