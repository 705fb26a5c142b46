"""The way of requests in a location with a cache, with both sides scripted: who asks the upstream, who waits, and who gets what."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import conversation
import pytest
from conversation import End, Stage, get, ok, small_disk, to_client

from worker.pipes import Pipe
from wproxy.config.nginx import parse_nginx
from wproxy.config.resolve import resolve

HOUR = b"Cache-Control: max-age=3600"
OLD = b"X-Accel-Expires: @1"


@pytest.fixture
def cached(stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stage]]:
    """Makes a worker with a cache, before one peer. In the end no file of the cache is open."""
    stages: list[Stage] = []

    def load(text: bytes, file: str, prefix: str, look_up: object) -> object:
        return resolve(parse_nginx(text, "nginx.conf"), file, f"{prefix}/", look_up)  # type: ignore[arg-type]

    monkeypatch.setattr(conversation, "load_text", load)

    def make(settings: str = "", peers: int = 1, more: str = "") -> Stage:
        servers = " ".join(f"server {{peers[{number}]}};" for number in range(peers))
        text = (
            "error_log {directory}/error.log info; events {{ }} http {{ log_format test '{log_format}';"
            "access_log {directory}/access.log test; proxy_cache_path {directory}/cache levels=1:2 keys_zone=z:1m;"
            f"upstream app {{{{ {servers} }}}} server {{{{ listen 127.0.0.1:8080; server_name front;"
            "add_header X-Cache $upstream_cache_status; add_header X-Why $wproxy_cache_reason;"
            f"location / {{{{ proxy_pass http://app; proxy_cache z; {settings} }}}} {more} }}}} }}}}"
        )
        stages.append(made := stage(peers=peers, text=text))
        os.mkdir(f"{made.directory}/cache")
        return made

    yield make
    for made in stages:
        for end in made.ends:
            end.close()
        made.advance(100)
        assert [path for path in open_files() if path.startswith(f"{made.directory}/cache")] == []


def open_files() -> list[str]:
    """The paths of this process's descriptors."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return found


class Calendar:
    """Unix time that goes on with the clock of a stage."""

    front: Stage | None = None

    def __init__(self) -> None:
        self.began = time.time()

    def read(self) -> float:
        return self.began + (self.front.now - 1_000_000.0 if self.front is not None else 0.0)


def files(front: Stage) -> list[str]:
    return [name for _, _, names in os.walk(f"{front.directory}/cache") for name in names]


def asked(front: Stage) -> End:
    """The next connection to the upstream, over which it has been asked."""
    upstream = front.peers[0].accept()
    upstream.receives_head()
    return upstream


def status(client: End) -> str:
    """X-Cache of the next answer; its head is taken, its body stays."""
    head = client.receives_head().decode()
    return head.partition("X-Cache: ")[2].partition("\r\n")[0]


def store(front: Stage, body: bytes = b"old", *fields: bytes) -> End:
    """Have a response to `/` stored; the connection to the upstream, which is kept."""
    client = front.client().send(get())
    upstream = asked(front)
    upstream.send(ok(body, *fields))
    assert status(client) == "MISS"
    client.receives(body).close()
    return upstream


def test_one_of_many_requests_for_an_absent_key_goes_upstream(cached):
    front = cached("proxy_cache_lock on;")
    clients = [front.client().send(get()) for _ in range(50)]
    upstream = asked(front)
    assert front.peers[0].is_unvisited()
    upstream.send(ok(b"new", HOUR))
    assert sorted(status(client) for client in clients) == ["HIT"] * 49 + ["MISS"]
    assert front.peers[0].is_unvisited()


def test_those_who_wait_get_a_response_that_has_expired_meanwhile(cached):
    front = cached("proxy_cache_lock on; proxy_cache_use_stale updating;")
    clients = [front.client().send(get()) for _ in range(3)]
    upstream = asked(front)
    upstream.send(ok(b"old", OLD))
    assert status(clients[0]) == "MISS"
    upstream.receives_head()
    first, second = sorted(clients[1:], key=lambda client: not client.pull_all())
    assert status(first) == "UPDATING"
    upstream.send(ok(b"new", HOUR))
    assert status(second) == "EXPIRED"


def test_without_a_lock_all_go_upstream(cached):
    front = cached()
    clients = [front.client().send(get()) for _ in range(3)]
    for _ in clients:
        upstream = asked(front)
        upstream.send(ok(b"new", HOUR))
    assert [status(client) for client in clients] == ["MISS"] * 3
    assert len(files(front)) == 1


def test_those_who_wait_go_upstream_when_the_answer_is_not_stored(cached):
    front = cached("proxy_cache_lock on;")
    clients = [front.client().send(get()) for _ in range(2)]
    for _ in clients:
        upstream = asked(front)
        upstream.send(ok(b"mine", b"Set-Cookie: a=b", b"Connection: close"))
    assert [status(client) for client in clients] == ["MISS"] * 2
    assert files(front) == []


def test_a_wait_ends_with_proxy_cache_lock_timeout(cached):
    front = cached("proxy_cache_lock on; proxy_cache_lock_timeout 3s; proxy_cache_lock_age 1h;")
    first, second = [front.client().send(get()) for _ in range(2)]
    slow = asked(front)
    front.advance(2)
    assert front.peers[0].is_unvisited()
    front.advance(1.1)
    other = asked(front)
    other.send(ok(b"other", HOUR))
    assert b"X-Why: cache lock timeout" in second.receives_head()
    assert files(front) == []
    slow.send(ok(b"slow", HOUR))
    assert status(first) == "MISS"
    assert len(files(front)) == 1


def test_a_lock_that_is_too_old_lets_the_next_one_try(cached, monkeypatch):
    monkeypatch.setattr("worker.loop.time", (clock := Calendar()).read)
    front = clock.front = cached("proxy_cache_lock on; proxy_cache_lock_timeout 1h; proxy_cache_lock_age 3s;")
    first, second = [front.client().send(get()) for _ in range(2)]
    slow = front.peers[0].accept()
    front.advance(3.6)
    other = asked(front)
    other.send(ok(b"other", HOUR))
    assert status(second) == "MISS"
    slow.receives_head()
    slow.send(ok(b"slow", HOUR))
    assert status(first) == "MISS"


def test_a_response_expires(cached, monkeypatch):
    monkeypatch.setattr("worker.loop.time", (clock := Calendar()).read)
    front = clock.front = cached()
    upstream = store(front, b"old", b"Cache-Control: max-age=60")
    client = front.client().send(get())
    assert status(client) == "HIT"
    client.receives(b"old")
    front.advance(62)
    client = front.client().send(get())
    front.until(lambda: upstream.pull() or upstream.saw_end, "it is asked for")
    if upstream.saw_end:
        upstream = front.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok(b"new", HOUR))
    assert status(client) == "EXPIRED"


def test_one_of_many_requests_updates_an_expired_response_and_the_others_get_it_as_it_is(cached):
    front = cached("proxy_cache_use_stale updating;")
    upstream = store(front, b"old", OLD)
    clients = [front.client().send(get()) for _ in range(20)]
    upstream.receives_head()
    assert [status(client) for client in clients[1:]] == ["UPDATING"] * 19
    assert front.peers[0].is_unvisited()
    upstream.send(ok(b"new", HOUR))
    assert status(clients[0]) == "EXPIRED"
    late = front.client().send(get())
    assert status(late) == "HIT"
    late.receives(b"new")


def test_without_use_stale_all_ask_for_what_is_expired(cached):
    front = cached()
    upstream = store(front, b"old", OLD)
    clients = [front.client().send(get()) for _ in range(2)]
    upstream.receives_head()
    other = asked(front)
    for each in (upstream, other):
        each.send(ok(b"new", HOUR))
    assert [status(client) for client in clients] == ["EXPIRED"] * 2


def test_an_update_in_the_background_holds_nobody_up(cached):
    front = cached("proxy_cache_use_stale updating; proxy_cache_background_update on;")
    upstream = store(front, b"old", OLD)
    client = front.client().send(get())
    assert status(client) == "STALE"
    client.receives(b"old")
    upstream.receives_head()
    assert status(client.send(get())) == "UPDATING"
    client.receives(b"old")
    upstream.send(ok(b"new", HOUR))
    assert status(client.send(get())) == "HIT"
    client.receives(b"new").close()
    assert front.statuses() == ["200"] * 4


def test_an_update_in_the_background_goes_on_without_its_client(cached):
    front = cached("proxy_cache_background_update on;")
    upstream = store(front, b"old", b"Cache-Control: max-age=1, stale-while-revalidate=2000000000", OLD)
    client = front.client().send(get())
    assert status(client) == "STALE"
    client.close()
    upstream.receives_head()
    upstream.send(ok(b"new", HOUR))
    late = front.client().send(get())
    assert status(late) == "HIT"
    late.receives(b"new")


def test_a_large_stale_response_outlives_its_update(cached):
    front = cached("proxy_cache_use_stale updating; proxy_cache_background_update on;")
    old = os.urandom(3_000_000)
    upstream = store(front, old, OLD)
    client = front.client(tcp=True, receive_buffer=4096).send(get())
    assert status(client) == "STALE"
    upstream.receives_head()
    upstream.send(ok(b"new", HOUR))
    assert status(front.client().send(get())) == "HIT"
    client.receives(old)


def test_a_failed_update_leaves_what_is_stored(cached):
    front = cached("proxy_cache_use_stale updating error; proxy_cache_background_update on;")
    upstream = store(front, b"old", OLD)
    client = front.client().send(get())
    assert status(client) == "STALE"
    client.receives(b"old")
    upstream.receives_head()
    upstream.close()
    again = front.peers[0].accept()  # the connection may have died while it was idle
    again.receives_head()
    again.close()
    assert status(client.send(get())) == "STALE"
    client.receives(b"old")
    third = asked(front)
    third.send(ok(b"new", HOUR))
    assert status(client.send(get())) == "HIT"


def test_what_is_stored_is_sent_after_a_failure(cached):
    front = cached("proxy_cache_use_stale timeout; proxy_read_timeout 5s;")
    upstream = store(front, b"old", OLD)
    client = front.client().send(get())
    upstream.receives_head()
    front.advance(5.1)
    assert status(client) == "STALE"
    client.receives(b"old")
    assert front.last_access()["upstream_status"] == "504"


def test_stale_if_error_allows_it_too(cached):
    front = cached()
    upstream = store(front, b"old", b"Cache-Control: stale-if-error=2000000000", OLD)
    client = front.client().send(get())
    upstream.receives_head()
    upstream.send(b"nonsense\r\n\r\n")
    assert status(client) == "STALE"


def test_another_peer_is_asked_before_what_is_stored_is_sent(cached):
    front = cached("proxy_cache_use_stale error http_500; proxy_next_upstream error http_500;", peers=2)
    client = front.client().send(get())
    first = asked(front)
    first.send(ok(b"old", OLD))
    assert status(client) == "MISS"
    client.receives(b"old").send(get())
    second = front.peers[1].accept()
    second.receives_head()
    second.send(ok(b"no", status=b"500 Oh"))
    first.receives_head()
    first.send(ok(b"no", status=b"500 Oh"))
    assert status(client) == "STALE"
    client.receives(b"old")


BIG = os.urandom(5_000_000)


def test_a_large_response_is_stored_while_it_is_passed_on(cached):
    front = cached()
    client = front.client(tcp=True).send(get())
    upstream = asked(front)
    upstream.send(ok(BIG, HOUR)[:100_000])
    assert status(client) == "MISS"
    front.until(lambda: len(client.pull_all()) > 50_000, "the client gets what has come")
    upstream.send(ok(BIG, HOUR)[100_000:])
    client.receives(BIG)
    again = front.client(tcp=True).send(get())
    assert status(again) == "HIT"
    again.receives(BIG)
    part = front.client().send(get(b"/", b"Range: bytes=4000000-4000009"))
    assert status(part) == "HIT"


def test_the_kernel_moves_a_large_response_into_its_file_and_out_of_it(cached, monkeypatch):
    moved, sent = [], []
    drain, sendfile = Pipe.drain_to_file, os.sendfile
    monkeypatch.setattr(Pipe, "drain_to_file", lambda pipe, file, offset: moved.append(drain(pipe, file, offset)) or moved[-1])
    monkeypatch.setattr(os, "sendfile", lambda *arguments: sent.append(sendfile(*arguments)) or sent[-1])
    front = cached()
    client = front.client(tcp=True).send(get())
    upstream = asked(front)
    upstream.send(ok(BIG, HOUR))
    assert status(client) == "MISS"
    client.receives(BIG)
    assert sum(moved) > len(BIG) * 0.9
    assert sum(sent) > len(BIG) * 0.9
    sent.clear()
    assert status(client.send(get())) == "HIT"
    client.receives(BIG)
    assert sum(sent) == len(BIG)


def test_chunks_are_stored_without_their_framing(cached):
    front = cached()
    client = front.client(tcp=True).send(get())
    upstream = asked(front)
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n3\r\nabc\r\n")
    assert status(client) == "MISS"
    client.receives(b"3\r\nabc\r\n")
    upstream.send(b"186a0\r\n" + BIG[:100_000] + b"\r\n0\r\n\r\n")
    front.until(lambda: client.pull_all().endswith(b"0\r\n\r\n"), "the end of the chunks")
    again = front.client(tcp=True).send(get())
    head = again.receives_head()
    assert b"Content-Length: 100003" in head
    again.receives(b"abc" + BIG[:100_000])


def test_the_upstream_does_not_wait_for_a_slow_client(cached):
    front = cached()
    client = front.client(tcp=True, receive_buffer=4096, send_buffer=4096).send(get())
    upstream = asked(front)
    upstream.send(ok(BIG, HOUR))
    assert len(files(front)) == 1
    assert status(front.client().send(get(method=b"HEAD"))) == "HIT"
    assert status(client) == "MISS"
    client.receives(BIG)


def test_a_client_that_leaves_does_not_keep_its_response_from_being_stored(cached):
    front = cached()
    client = front.client(tcp=True).send(get())
    upstream = asked(front)
    upstream.send(ok(BIG, HOUR)[:200_000])
    assert status(client) == "MISS"
    client.reset()
    upstream.send(ok(BIG, HOUR)[200_000:])
    again = front.client(tcp=True).send(get())
    assert status(again) == "HIT"
    again.receives(BIG)


def test_a_client_that_leaves_before_the_head_does_not_either(cached):
    front = cached()
    client = front.client().send(get())
    upstream = asked(front)
    client.close()
    upstream.send(ok(b"new", HOUR))
    assert status(front.client().send(get())) == "HIT"


def test_a_client_that_leaves_ends_what_is_not_stored(cached):
    front = cached()
    client = front.client().send(get())
    upstream = asked(front)
    upstream.send(ok(b"x" * 100, b"X-Accel-Buffering: no")[:120])
    assert status(client) == "MISS"
    client.close()
    assert upstream.is_closed()


def test_a_response_that_breaks_off_is_not_stored(cached):
    front = cached("proxy_cache_lock on;")
    client = front.client(tcp=True).send(get())
    upstream = asked(front)
    upstream.send(ok(BIG, HOUR)[:200_000])
    upstream.close()
    assert status(client) == "MISS"
    assert client.is_closed()
    assert files(front) == []
    assert any("cache MISS: not stored: upstream prematurely closed connection" in line for line in front.error_log())
    other = front.client().send(get())
    upstream = asked(front)
    upstream.send(ok(b"whole", HOUR))
    assert status(other) == "MISS"


def test_a_full_disk_costs_the_client_nothing(cached):
    front = cached()
    client = front.client(tcp=True).send(get())
    upstream = asked(front)
    with small_disk(1_000_000):
        upstream.send(ok(BIG, HOUR))
        assert status(client) == "MISS"
        client.receives(BIG)
    assert files(front) == []
    assert any("[crit]" in line and "cannot be stored" in line for line in front.error_log())


def test_head_stores_the_body_for_others(cached):
    front = cached()
    client = front.client().send(get(method=b"HEAD"))
    upstream = front.peers[0].accept()
    assert upstream.receives_head().startswith(b"GET / ")
    upstream.send(ok(BIG, HOUR)[:200_000])
    assert status(client) == "MISS"
    client.receives_nothing()
    upstream.send(ok(BIG, HOUR)[200_000:])
    again = front.client(tcp=True).send(get())
    assert status(again) == "HIT"
    again.receives(BIG)


CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=3600\r\n\r\n"


def test_an_answer_to_head_of_unknown_length_does_not_answer_get(cached):
    front = cached("proxy_cache_convert_head off; proxy_cache_key $uri;")
    upstream = front.peers[0]
    client = front.client().send(get(method=b"HEAD"))
    first = upstream.accept()
    assert first.receives_head().startswith(b"HEAD / ")
    first.send(CHUNKED_HEAD)
    assert status(client) == "MISS"
    assert files(front) == []
    client = front.client().send(get())
    assert first.receives_head().startswith(b"GET / ")
    first.send(ok(b"body", HOUR))
    assert status(client) == "MISS"
    client.receives(b"body")
    client = front.client().send(get(method=b"HEAD"))
    assert status(client) == "HIT"


def test_an_answer_to_head_is_stored_where_the_key_has_the_method(cached):
    front = cached("proxy_cache_convert_head off; proxy_cache_key $request_method$uri;")
    client = front.client().send(get(method=b"HEAD"))
    asked(front).send(CHUNKED_HEAD)
    assert status(client) == "MISS"
    assert status(front.client().send(get(method=b"HEAD"))) == "HIT"


def test_head_does_not_empty_an_expired_response(cached):
    front = cached("proxy_cache_convert_head off; proxy_cache_key $uri; proxy_cache_use_stale http_500;")
    upstream = store(front, b"body", OLD)
    client = front.client().send(get(method=b"HEAD"))
    upstream.receives_head()
    upstream.send(CHUNKED_HEAD)
    assert status(client) == "EXPIRED"
    client = front.client().send(get())
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
    assert status(client) == "STALE"
    client.receives(b"body")


def test_purging(cached):
    front = cached("proxy_cache_purge $http_x_purge; proxy_cache_key $uri;")
    upstream = store(front, b"old", HOUR)
    client = front.client().send(get(b"/", b"X-Purge: 1"))
    assert client.receives_head().startswith(b"HTTP/1.1 204 ")
    assert files(front) == []
    assert client.send(get(b"/", b"X-Purge: 1")).receives_head().startswith(b"HTTP/1.1 404 ")
    other = front.client()
    for name in (b"/a/1", b"/a/2", b"/b"):
        other.send(get(name))
        upstream.receives_head()
        upstream.send(ok(b"x", HOUR))
        assert status(other) == "MISS"
        other.receives(b"x")
    another = front.client().send(get(b"/a/*", b"X-Purge: 1"))
    assert another.receives_head().startswith(b"HTTP/1.1 204 ")
    assert len(files(front)) == 1


def test_a_key_with_a_body_that_is_in_a_file_is_no_key(cached):
    """Otherwise all such requests would have the same: nginx answers the second one with what the first one got."""
    front = cached("proxy_cache_methods POST; proxy_cache_key $uri$request_body; client_body_buffer_size 1k;")
    for letter in (b"a", b"b"):
        client = front.client().send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n\r\n" + letter)
        front.settle()
        client.send(letter * 2999)
        if letter == b"a":
            upstream = front.peers[0].accept()
        upstream.receives_head()
        upstream.receives(letter * 3000)
        upstream.send(ok(letter, HOUR))
        assert status(client) == "BYPASS"
        client.receives(letter).close()
    assert files(front) == []
    assert "cache BYPASS: $request_body is not in memory" in front.error_log()[-1]


def test_the_reason_is_said_in_one_line(cached):
    front = cached()
    store(front, b"mine", b"Set-Cookie: a=b")
    lines = [line for line in front.error_log() if " cache " in line]
    assert len(lines) == 1
    assert "[info]" in lines[0]
    assert "cache MISS: it is not stored; not stored: upstream sent Set-Cookie" in lines[0]


def test_the_file_and_the_key_are_variables(cached):
    front = cached("add_header X-File $wproxy_cache_file; add_header X-Key $wproxy_cache_key;")
    client = front.client().send(get(b"/a"))
    upstream = asked(front)
    upstream.send(ok(b"x", HOUR))
    assert b"X-Key: http://app/a\r\n" in client.receives_head()
    client.receives(b"x")
    (name,) = files(front)
    for _ in range(2):
        head = client.send(get(b"/a")).receives_head()
        assert re.search(rb"X-File: \S+/cache/./../%b\r\nX-Key: http://app/a\r\n" % name.encode(), head)
        client.receives(b"x")


def test_a_hit_costs_no_upstream_and_is_whole(cached):
    front = cached()
    store(front, b"old", HOUR)
    client = front.client()
    for _ in range(2):
        client.send(get()).receives(to_client(b"old", HOUR, b"X-Cache: HIT"))
    assert front.last_access()["upstream_addr"] == "-"


def test_what_was_just_sent_is_not_sent_any_more_when_it_is_purged(cached):
    front = cached("proxy_cache_purge $http_x_purge; proxy_cache_key $uri;")
    upstream = store(front, b"old", HOUR)
    client = front.client()
    for _ in range(3):
        client.send(get()).receives(to_client(b"old", HOUR, b"X-Cache: HIT"))
    client.send(get(b"/", b"If-None-Match: *"))
    assert client.receives_head().startswith(b"HTTP/1.1 304 ")
    assert front.client().send(get(b"/", b"X-Purge: 1")).receives_head().startswith(b"HTTP/1.1 204 ")
    client.send(get())
    upstream.receives_head()
    upstream.send(ok(b"new", HOUR))
    assert status(client) == "MISS"


def test_what_an_operator_deletes_is_sent_for_a_second_at_most(cached, monkeypatch):
    monkeypatch.setattr("worker.loop.time", (clock := Calendar()).read)
    front = clock.front = cached()
    upstream = store(front, b"old", HOUR)
    client = front.client().send(get())
    assert status(client) == "HIT"
    client.receives(b"old")
    for directory, _, names in os.walk(f"{front.directory}/cache"):
        for name in names:
            os.unlink(os.path.join(directory, name))
    front.advance(1.1)
    client.send(get())
    upstream.receives_head()
    upstream.send(ok(b"new", HOUR))
    assert status(client) == "MISS"


def test_a_file_that_is_cut_short_is_not_sent(cached):
    front = cached()
    upstream = store(front, b"old and whole", HOUR)
    for directory, _, names in os.walk(f"{front.directory}/cache"):
        for name in names:
            path = os.path.join(directory, name)
            os.truncate(path, os.path.getsize(path) - 3)
    client = front.client().send(get())
    assert upstream.receives_head().startswith(b"GET")
    upstream.send(ok(b"new", HOUR))
    assert status(client) == "MISS"
    client.receives(b"new")


@pytest.mark.parametrize(("rule", "answer"), [("allow 127.0.0.1", b"204"), ("deny all", b"403")])
def test_access_rules_apply_to_purges(cached, rule, answer):
    front = cached(f"proxy_cache_key $uri; proxy_cache_purge $http_x_purge; limit_except GET HEAD {{{{ {rule}; }}}}")
    store(front, b"old", HOUR)
    client = front.client().send(get(b"/", b"X-Purge: 1", method=b"PURGE"))
    assert client.receives_head().startswith(b"HTTP/1.1 " + answer)
    assert len(files(front)) == (answer == b"403")


def test_a_request_that_the_cache_is_not_for_says_why(cached):
    """A method beyond proxy_cache_methods, and a zone that a variable does not name: no status, and one reason."""
    elsewhere = "location /chosen {{ proxy_pass http://app; proxy_cache $arg_zone; }}"
    front = cached(more=elsewhere, settings="add_header X-Key $wproxy_cache_key always; add_header X-Why $wproxy_cache_reason;")
    for request, reason in (
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "the method is not among those of proxy_cache_methods"),
        (get(b"/chosen?zone=off"), "proxy_cache names no zone for this request"),
    ):
        client = front.client().send(request)
        upstream = asked(front)
        upstream.send(ok(b"new", HOUR))
        head = client.receives_head().decode()
        assert f"X-Why: {reason}\r\n" in head
        assert "X-Cache" not in head and "X-Key" not in head
        client.close()
        upstream.close()
    assert files(front) == []
