"""sticky, queue and slow_start as clients and peers see them."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from conversation import End, Stage, error_page, get, ok, to_client
from test_balance import Balancer, servers
from test_proxy import Pool

from worker.upstream.sticky import cookie_time
from wproxy.config.tree import ConfigurationError


def sid(s: Stage, number: int) -> bytes:
    return hashlib.md5(s.peers[number].name.encode()).hexdigest().encode()


class Cookies(Pool):
    """The pool, and one client that keeps its connection."""

    def __init__(self, s: Stage) -> None:
        super().__init__(s)
        self.client = s.client()

    def ask(self, *fields: bytes, target: bytes = b"/") -> tuple[int, list[bytes]]:
        """The number of the peer that got the request, and the cookies of the answer."""
        self.client.send(get(target, *fields))
        number = self.serve()
        head = self.client.receives_head()
        assert head.startswith(b"HTTP/1.1 200 ")
        self.client.receives(b"ok")
        return number, re.findall(rb"Set-Cookie: ([^\r]*)", head)


# Cookies.


def test_every_response_sets_the_cookie_and_the_cookie_leads_back(stage):
    s = stage(peers=3, upstream='sticky = ["cookie", "srv"]')
    pool = Cookies(s)
    seen = [pool.ask() for _ in range(3)]
    assert seen == [(number, [b"srv=" + sid(s, number)]) for number in (0, 1, 2)]
    for _ in range(4):
        assert pool.ask(b"Cookie: a=b; srv=" + sid(s, 1)) == (1, [b"srv=" + sid(s, 1)])


def test_a_cookie_that_nobody_knows_means_nothing(stage):
    pool = Cookies(stage(peers=2, upstream='sticky = ["cookie", "srv"]'))
    assert [pool.ask(b"Cookie: srv=nobody")[0] for _ in range(4)] == [0, 1, 0, 1]


def test_attributes_of_the_cookie_come_in_nginxs_order(stage):
    parameters = '"path=/x", "samesite=lax", "secure", "httponly", "domain=.$host", "expires=1h"'
    s = stage(upstream=f'sticky = ["cookie", "srv", {parameters}]')
    [(_, [cookie])] = [Cookies(s).ask()]
    wall = s.loop.clock.wall
    expected = cookie_time(int(wall) + 3600)
    assert cookie == (
        b"srv=%b; expires=%b; max-age=3600; domain=.h; httponly; secure; samesite=lax; path=/x" % (sid(s, 0), expected)
    )


def test_expires_max_is_for_ever(stage):
    s = stage(upstream='sticky = ["cookie", "srv", "expires=max"]')
    assert Cookies(s).ask()[1] == [b"srv=" + sid(s, 0) + b"; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000"]


@pytest.mark.parametrize(
    ("second", "text"), [(784111777, b"Sun, 06-Nov-94 08:49:37 GMT"), (2145916800, b"Fri, 01-Jan-2038 00:00:00 GMT")]
)
def test_the_time_of_a_cookie(second, text):
    assert cookie_time(second) == text


def test_a_route_is_the_value_of_the_cookie(stage):
    s = stage(peers=2, upstream='sticky = ["cookie", "srv"]', peer_parameters=('route = "a"', 'route = "b"'))
    pool = Cookies(s)
    assert [pool.ask() for _ in range(2)] == [(0, [b"srv=a"]), (1, [b"srv=b"])]
    assert pool.ask(b"Cookie: srv=b")[0] == 1


def test_when_the_peer_of_a_session_fails_another_one_takes_over_and_says_so(stage):
    s = stage(peers=2, upstream='sticky = ["cookie", "srv"]')
    s.peers[1].refuse()
    pool = Cookies(s)
    assert pool.ask(b"Cookie: srv=" + sid(s, 1)) == (0, [b"srv=" + sid(s, 0)])
    assert s.last_access()["upstream_status"] == "502, 200"


def test_a_failure_of_ours_sets_the_cookie_of_the_peer_that_failed(stage):
    s = stage(upstream='sticky = ["cookie", "srv"]')
    s.peers[0].refuse()
    client = s.client().send(get())
    head = client.receives_head()
    assert head.startswith(b"HTTP/1.1 502 ") and b"\r\nSet-Cookie: srv=" + sid(s, 0) + b"\r\n" in head
    client.take()


def test_a_peer_that_drains_keeps_its_sessions_and_gets_no_new_ones(stage):
    s = stage(peers=2, upstream='sticky = ["cookie", "srv"]', peer_parameters=("drain = true",))
    pool = Cookies(s)
    assert [pool.ask()[0] for _ in range(3)] == [1, 1, 1]
    assert pool.ask(b"Cookie: srv=" + sid(s, 0))[0] == 0


def test_requests_of_a_session_count_as_turns_of_its_peer():
    balancer = Balancer("sticky route $arg_k; " + servers("route=a", "route=b"))
    order = "".join(balancer.attempts(key) for key in ("a", "", "", ""))
    assert order == "abab", "without a session the first would have been the turn of a"


def test_sessions_of_one_peer_take_only_one_turn_in_advance():
    balancer = Balancer("sticky route $arg_k; " + servers("route=a", "route=b"))
    for _ in range(20):
        assert balancer.attempts("a") == "a"
    assert "".join(balancer.attempts() for _ in range(4)) == "baba"


# Routes.


def test_the_first_route_that_is_not_empty_counts(stage):
    s = stage(peers=2, upstream='sticky = ["route", "$cookie_r", "$arg_r"]', peer_parameters=('route = "a"', 'route = "b"'))
    pool = Cookies(s)
    assert [pool.ask(target=b"/?r=b")[0] for _ in range(3)] == [1, 1, 1]
    assert pool.ask(b"Cookie: r=a", target=b"/?r=b") == (0, []), "and nothing is said to the client"


def test_sticky_goes_with_any_method():
    for method in ("least_conn", "ip_hash", "hash $arg_none", "hash $uri consistent", "random two", "least_time header"):
        balancer = Balancer(f"{method}; sticky route $arg_k; " + servers("route=a", "route=b", "route=c"))
        assert {balancer.attempts("c") for _ in range(10)} == {"c"}, method


# Learning.

LEARN = 'sticky = ["learn", "create=$upstream_cookie_session", "lookup=$cookie_session", "zone=sessions:64k", "timeout=10m"]'


def learn(pool: Cookies, session: bytes) -> int:
    """A request whose answer creates a session; the number of its peer."""
    pool.client.send(get())
    number = None
    for index, peer in enumerate(pool.s.peers):
        pool.s.settle()
        accepted = peer._try_accept()
        if accepted is not None:
            pool.ends.setdefault(index, []).append(End(pool.s, accepted, f"upstream {index}"))
        for end in pool.ends.get(index, ()):
            if b"\r\n\r\n" in end.pull():
                end.received.clear()
                end.send(ok(b"ok", b"Set-Cookie: session=" + session))
                number = index
    assert number is not None
    pool.client.receives(to_client(b"ok", b"Set-Cookie: session=" + session))
    return number


def test_a_session_stays_where_it_was_created(stage):
    s = stage(peers=3, upstream=LEARN.replace("sessions", "stays"))
    pool = Cookies(s)
    homes = {session: learn(pool, session) for session in (b"one", b"two", b"three")}
    assert sorted(homes.values()) == [0, 1, 2]
    for session, home in homes.items():
        for _ in range(2):
            assert pool.ask(b"Cookie: session=" + session)[0] == home


def test_a_session_is_forgotten_when_it_is_not_used_for_long(stage):
    s = stage(peers=2, upstream=LEARN.replace("sessions", "forgotten") + '\nkeepalive_timeout = "1h"')
    pool = Cookies(s)
    home = learn(pool, b"one")
    for _ in range(3):
        s.now += 540  # used every nine minutes it lives on
        s.settle()
        pool.client = s.client()
        assert pool.ask(b"Cookie: session=one")[0] == home
    s.now += 601
    s.settle()
    pool.client = s.client()
    assert {pool.ask(b"Cookie: session=one")[0] for _ in range(2)} == {0, 1}


def four_at_once(s: Stage) -> list[int]:
    """The peers of four requests with one new session, each answered up to the middle of its body."""
    numbers, clients, ends = [], [], []
    for _ in range(4):
        client = s.client().send(get(b"/", b"Cookie: session=new"))
        found = s.until(lambda: [(n, sock) for n, peer in enumerate(s.peers) if (sock := peer._try_accept())], "nobody is asked")
        number, sock = found[0]
        end = End(s, sock, f"upstream {number}")
        end.receives_head()
        end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
        client.receives_head()
        numbers.append(number)
        clients.append(client)
        ends.append(end)
    for client, end in zip(clients, ends):
        end.send(b"lf")
        client.receives(b"half")
    return numbers


@pytest.mark.parametrize(("more", "expected"), [("", [0, 1, 0, 1]), (', "header"', [0, 0, 0, 0])])
def test_a_session_is_learnt_when_its_answer_ends_unless_the_head_is_to_count(stage, more, expected):
    """As nginx 1.31 has it for an answer that is not buffered."""
    plan = LEARN.replace("create=$upstream_cookie_session", "create=$cookie_session").replace(
        "sessions:64k", f"at{len(more)}:64k"
    )
    plan = plan.replace(', "timeout=10m"', f', "timeout=10m"{more}')
    s = stage(peers=2, upstream=f"keepalive = 0\n{plan}")
    assert four_at_once(s) == expected
    pool = Cookies(s)
    assert len({pool.ask(b"Cookie: session=new")[0] for _ in range(3)}) == 1, "and from then on it has its peer"


def test_a_session_whose_answer_was_cut_is_learnt_too(stage):
    plan = LEARN.replace("create=$upstream_cookie_session", "create=$cookie_session").replace("sessions:64k", "cut:64k")
    s = stage(peers=2, upstream=plan)
    client = s.client().send(get(b"/", b"Cookie: session=new"))
    end = s.peers[0].accept()
    end.receives_head()
    end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
    client.receives_head()
    client.close()
    s.settle()
    pool = Cookies(s)
    assert [pool.ask(b"Cookie: session=new")[0] for _ in range(3)] == [0, 0, 0]


# The queue.


def test_a_request_waits_until_the_peer_has_room(stage):
    s = stage(upstream="queue = 2", peer_parameters=("max_conns = 1",))
    first, second, third = s.client(), s.client(), s.client()
    first.send(get(b"/1"))
    upstream = s.peers[0].accept()
    assert b"GET /1 " in upstream.receives_head()
    second.send(get(b"/2"))
    third.send(get(b"/3"))
    assert s.peers[0].is_unvisited() and len(s.group().queue) == 2
    for client, target in ((first, b"/2"), (second, b"/3"), (third, b"")):
        upstream.send(ok())
        client.receives(to_client())
        if target:
            assert b"GET %b " % target in upstream.receives_head(), "in the order of their coming"
    assert not len(s.group().queue)


def test_a_full_queue_is_no_live_upstream(stage):
    s = stage(upstream="queue = 1", peer_parameters=("max_conns = 1",))
    first, second, third = s.client(), s.client(), s.client()
    first.send(get())
    upstream = s.peers[0].accept()
    second.send(get())
    third.send(get()).receives(error_page(502))
    assert any("no live upstreams while connecting to upstream" in line for line in s.error_log())
    for client in (first, second):
        upstream.receives_head()
        upstream.send(ok())
        client.receives(to_client())


def test_waiting_in_the_queue_has_an_end(stage):
    s = stage(upstream='queue = [1, "timeout=3s"]', peer_parameters=("max_conns = 1",))
    first, second = s.client(), s.client()
    first.send(get())
    upstream = s.peers[0].accept()
    second.send(get())
    s.advance(2.5)
    assert not second.take()
    s.advance(0.6)
    second.receives(error_page(502))
    upstream.receives_head()
    upstream.send(ok())
    first.receives(to_client())


def test_a_client_that_leaves_the_queue_gives_its_place_up(stage):
    s = stage(upstream="queue = 5", peer_parameters=("max_conns = 1",))
    first, second, third = s.client(), s.client(), s.client()
    first.send(get(b"/1"))
    upstream = s.peers[0].accept()
    second.send(get(b"/2"))
    third.send(get(b"/3"))
    second.close()
    s.settle()
    assert len(s.group().queue) == 1
    upstream.receives_head()
    upstream.send(ok())
    first.receives(to_client())
    assert b"GET /3 " in upstream.receives_head()
    upstream.send(ok())
    third.receives(to_client())
    assert "499" in s.statuses()


def test_one_that_waits_notices_that_a_peer_is_back(stage):
    s = stage(peers=2, upstream="queue = 5", peer_parameters=("fail_timeout = 5", "fail_timeout = 5"))
    for peer in s.peers:
        peer.refuse()
    s.client().send(get()).receives(error_page(502))
    client = s.client().send(get())
    s.peers[0].listen_again()
    s.peers[1].listen_again()
    pool = Pool(s)
    for _ in range(8):
        s.advance(1.0)
    pool.serve()
    client.receives(to_client())


# Slow start.


def test_a_peer_that_comes_back_warms_up():
    balancer = Balancer(servers("slow_start=20 fail_timeout=5", ""))
    assert balancer.letters(4) == "abab"
    assert balancer.attempts(dead="a") == "ab"
    assert balancer.letters(3) == "bbb"
    balancer.clock.now += 6
    assert "a" in balancer.letters(3), "the probe; it finds the peer well"
    shares = []
    for _ in range(5):
        shares.append(balancer.letters(100).count("a"))
        balancer.clock.now += 5
    assert shares[0] <= 3 and shares == sorted(shares) and shares[-1] in (50, 51)
    assert 15 <= shares[1] <= 25 and 28 <= shares[2] <= 38, "a quarter of its weight against a whole one, then a half"


def test_slow_start_leaves_the_proportions_of_a_group_as_they_are():
    assert Balancer(servers("weight=5 slow_start=10", "", "")).letters(7) == "aabacaa"


def test_slow_start_means_nothing_for_a_peer_that_is_alone():
    balancer = Balancer(servers("slow_start=20"))
    assert balancer.attempts(dead="a") == "a"
    assert balancer.letters(3) == "aaa"


# What may be written.


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        ("ip_hash; server 10.0.0.1 backup; server 10.0.0.2;", 'balancing method does not support parameter "backup"'),
        ("hash $uri; server 10.0.0.1 backup; server 10.0.0.2;", 'balancing method does not support parameter "backup"'),
        ("random; server 10.0.0.1 slow_start=3s;", 'balancing method does not support parameter "slow_start=3s"'),
        ("hash $uri foo; server 10.0.0.1;", 'invalid parameter "foo"'),
        ("hash; server 10.0.0.1;", 'invalid number of arguments in "hash" directive'),
        ("hash $nothing; server 10.0.0.1;", 'unknown "nothing" variable'),
        ("random three; server 10.0.0.1;", 'invalid parameter "three"'),
        ("random two foo; server 10.0.0.1;", 'invalid parameter "foo"'),
        ("random two least_time=foo; server 10.0.0.1;", 'invalid parameter "least_time=foo"'),
        ("least_conn x; server 10.0.0.1;", 'invalid number of arguments in "least_conn" directive'),
        ("least_time foo; server 10.0.0.1;", 'invalid value "foo"'),
        ("sticky foo bar; server 10.0.0.1;", 'unknown parameter "foo"'),
        ('sticky cookie ""; server 10.0.0.1;', '"sticky" directive empty cookie name'),
        ("sticky cookie a expires=x; server 10.0.0.1;", '"sticky" directive invalid "expires" parameter value'),
        ("sticky cookie a path=/ path=/; server 10.0.0.1;", '"sticky" directive parameter "path" is duplicate'),
        ("sticky cookie a domain=; server 10.0.0.1;", '"sticky" directive no value for "domain"'),
        ("sticky cookie a samesite=x; server 10.0.0.1;", '"sticky" directive invalid "samesite" parameter value'),
        ("sticky route a; server 10.0.0.1;", 'invalid variable name "a"'),
        ("sticky learn create=$arg_a; server 10.0.0.1;", '"sticky" directive "lookup" parameter is not specified'),
        ("sticky learn create=a; server 10.0.0.1;", '"sticky" directive missing variable in the "create" parameter'),
        ("sticky learn zone=a; server 10.0.0.1;", '"sticky" directive zone size is not specified'),
        ("sticky learn zone=a:1k; server 10.0.0.1;", '"sticky" directive zone is too small'),
        ("queue 0; server 10.0.0.1;", "value must be between 1 and 2147483647"),
        ("queue 1 time=3; server 10.0.0.1;", 'invalid parameter "time=3"'),
        ("server 10.0.0.1 weight=0;", 'invalid parameter "weight=0"'),
        ("server 10.0.0.1 route=;", 'invalid parameter "route="'),
        ("server 10.0.0.1 service=http;", 'service upstream "10.0.0.1" requires "resolve" parameter'),
        ("server 10.0.0.1 slow_start=x;", 'invalid parameter "slow_start=x"'),
    ],
)
def test_what_makes_no_sense_is_refused_in_nginxs_words(inside, text):
    with pytest.raises(ConfigurationError) as caught:
        Balancer(inside)
    assert [problem.text for problem in caught.value.problems] == [text]


def warnings_of(inside: str) -> list[str]:
    from wproxy.config.nginx import parse_nginx
    from wproxy.config.resolve import resolve

    text = f"events {{ }} http {{ upstream u {{ {inside} }} server {{ listen 1; location / {{ proxy_pass http://u; }} }} }}"
    found: Any = resolve(parse_nginx(text.encode(), "test"), "test", "/", None)  # type: ignore[arg-type]
    return [problem.text for problem in found.warnings]


@pytest.mark.parametrize(
    ("inside", "texts"),
    [
        ("least_conn; server 10.0.0.1; ip_hash;", ["load balancing method redefined"]),
        ("ip_hash; least_conn; server 10.0.0.1 backup; server 10.0.0.2;", ["load balancing method redefined"]),
        ("server 10.0.0.1 backup; server 10.0.0.2; ip_hash;", []),
        ("sticky route $arg_r; least_conn; server 10.0.0.1;", []),
    ],
)
def test_what_is_odd_is_warned_of(inside, texts):
    assert warnings_of(inside) == texts


def test_the_last_method_counts():
    assert Balancer("ip_hash; least_conn; " + servers("", "")).letters(4) == "abab"
