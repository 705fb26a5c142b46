"""Conversations with memcached."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from conversation import get
from hypothesis import given
from hypothesis import strategies as st

from worker.upstream.protocols.memcached import read_line

WHOLE = b"VALUE a 0 12\r\nhello\r\nEND\r\n\r\nEND\r\n"


@pytest.fixture
def cache(stage):
    """A stage whose upstream is memcached, asked for the query of a request."""

    def cache(location="", **more):
        settings = 'set = ["$memcached_key", "$args"]\nmemcached_pass = "app"\n'
        return stage(location=settings + location, **more)

    return cache


def test_a_connection_is_kept_after_values_and_after_none(cache):
    s = cache()
    client = s.client()
    client.send(get(b"/?a"))
    upstream = s.peers[0].accept()
    for _ in range(2):
        upstream.receives(b"get a\r\n")
        upstream.send(b"VALUE a 0 5\r\nhello\r\nEND\r\n")
        assert b"Content-Length: 5\r\n" in client.receives_head()
        client.receives(b"hello")
        client.send(get(b"/?none"))
        upstream.receives(b"get none\r\n")
        upstream.send(b"END\r\n")
        assert client.receives_head().startswith(b"HTTP/1.1 404 ")
        client.take()
        assert s.group().idle_count == 1
        client.send(get(b"/?a"))
    assert any("[info]" in line and 'key: "none" was not found by memcached while' in line for line in s.error_log())


@pytest.mark.parametrize("size", [1, 2, 7])
def test_an_answer_may_come_in_pieces(cache, size):
    s = cache()
    client = s.client()
    client.send(get(b"/?a"))
    upstream = s.peers[0].accept()
    upstream.take()
    wire = b"VALUE a 0 12\r\nhello\r\nEND\r\n\r\nEND\r\n"
    upstream.send_slowly(wire, list(range(size, len(wire), size)))
    client.receives_head()
    client.receives(b"hello\r\nEND\r\n")
    assert s.group().idle_count == 1


@pytest.mark.parametrize("rest", [b"\r\nEnd\r\n", b"\r\nEND\r\nEND\r\n"])
def test_a_wrong_end_only_ends_the_connection(cache, rest):
    s = cache()
    client = s.client()
    client.send(get(b"/?a"))
    upstream = s.peers[0].accept()
    upstream.take()
    upstream.send(b"VALUE a 0 5\r\nhel")
    upstream.send(b"lo" + rest)
    client.receives_head()
    client.receives(b"hello")
    assert upstream.is_closed()
    assert any("memcached sent invalid trailer while reading upstream" in line for line in s.error_log())


def test_a_value_that_breaks_off_cuts_the_client(cache):
    s = cache()
    client = s.client()
    client.send(get(b"/?a"))
    upstream = s.peers[0].accept()
    upstream.take()
    upstream.send(b"VALUE a 0 50\r\nhello")
    client.receives_head()
    upstream.close()
    client.receives(b"hello")
    assert client.is_closed()


def test_big_values_are_moved_whole(cache):
    s = cache()
    client = s.client(tcp=True)
    big = bytes(range(256)) * 4000
    client.send(get(b"/?a"))
    upstream = s.peers[0].accept()
    upstream.take()
    upstream.send(b"VALUE a 0 %d\r\n%b\r\nEND\r\n" % (len(big), big))
    client.receives_head()
    client.receives(big)
    assert s.group().idle_count == 1


def test_the_other_server_is_asked_for_what_one_does_not_have(cache):
    s = cache('memcached_next_upstream = ["not_found", "invalid_response"]', peers=2)
    for bad in (b"END\r\n", b"ERROR\r\n"):
        client = s.client()
        client.send(get(b"/?a"))
        first, second = None, None
        for answer in (bad, b"VALUE a 0 2\r\nhi\r\nEND\r\n"):
            s.settle()
            ends = [end for peer in s.peers if (end := peer._try_accept())]
            upstream = open_ends(s, ends) if ends else second
            upstream.receives(b"get a\r\n")
            upstream.send(answer)
            first, second = upstream, first
        client.receives_head()
        client.receives(b"hi")
        client.close()
        s.group().close_expired()
        s.advance(61)
    assert [line["upstream_status"] for line in s.access_log()] == ["404, 200", "502, 200"]


def open_ends(s, socks):
    from conversation import End

    (sock,) = socks
    return End(s, sock, "upstream")


@pytest.mark.parametrize("query", [b"", b"?"])
def test_without_a_key_there_is_nothing_to_ask(cache, query):
    s = cache()
    client = s.client()
    client.send(get(b"/" + query))
    assert client.receives_head().startswith(b"HTTP/1.1 500 ")
    assert any('the "$memcached_key" variable is not set' in line for line in s.error_log())


def test_only_get_and_head_are_known(cache):
    s = cache()
    client = s.client()
    client.send(get(b"/?a", b"Content-Length: 1", method=b"POST") + b"x")
    assert client.receives_head().startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"END\r", None),
        (b"VALUE key 0 0\r", (0, 0)),
        (b"VALUE key 65535 12\r", (65535, 12)),
        (b"VALUE key 2 999999999999999999\r", (2, 999999999999999999)),
        (b"END", "invalid response"),
        (b"ERROR\r", "invalid response"),
        (b"", "invalid response"),
        (b"\r", "invalid response"),
        (b"END \r", "invalid response"),
        (b"VALUE key\r", "invalid response"),
        (b"VALUE key 0\r", "invalid response"),
        (b"VALUE keys 0 1\r", "invalid response"),
        (b"VALUE other 0 1\r", "invalid key"),
        (b"VALUE KEY 0 1\r", "invalid key"),
        (b"VALUE key 0 -1\r", "invalid length"),
        (b"VALUE key 0 1 7\r", "invalid length"),
        (b"VALUE key 0 0x1\r", "invalid length"),
        (b"VALUE key 0 1000000000000000000\r", "invalid length"),
        (b"VALUE key  1\r", "invalid flags"),
        (b"VALUE key +1 1\r", "invalid flags"),
    ],
)
def test_the_line_before_a_value(line, found):
    if isinstance(found, str):
        with pytest.raises(ValueError, match=f"^memcached sent {found}"):
            read_line(line, b"key")
    else:
        assert read_line(line, b"key") == found


@given(st.lists(st.sampled_from([b"VALUE", b"END", b" ", b"key", b"0", b"7", b"-", b"\r", b"\0", b"\xff"]), max_size=12))
def test_no_line_raises_anything_but_what_is_wrong_with_it(pieces):
    try:
        found = read_line(b"".join(pieces), b"key")
    except ValueError as error:
        assert str(error).startswith("memcached sent invalid ")
    else:
        assert found is None or min(found) >= 0


@pytest.mark.parametrize("seed", range(40))
def test_whatever_comes_in_place_of_a_value_is_no_more_than_was_announced(cache, seed):
    s = cache()
    chance = random.Random(seed)
    wire = bytearray(WHOLE)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(wire))
        wire[at : at + chance.randrange(3)] = chance.choice([b"", b"\r", b"\n", b"\r\n", b"9", b"END\r\n", chance.randbytes(3)])
    client = s.client()
    client.send(get(b"/?a"))
    upstream = s.peers[0].accept()
    upstream.take()
    with suppress(BrokenPipeError):  # what nobody understands is not read to its end
        upstream.send_slowly(bytes(wire), sorted(chance.sample(range(1, len(wire)), min(5, len(wire) - 1))))
    upstream.close()
    head = client.receives_head()
    status = head.split()[1]
    assert status in (b"200", b"404", b"502")
    s.settle()
    if status == b"200":
        length = int(head.partition(b"Content-Length: ")[2].split()[0])
        body = client.take()
        assert bytes(wire).partition(b"\n")[2].startswith(body) and len(body) <= length
        assert len(body) == length or client.is_closed()
    # The next request gets nothing of this answer.
    other = s.client()
    other.send(get(b"/?b"))
    again = s.peers[0].accept()
    again.receives(b"get b\r\n")
    again.send(b"VALUE b 0 2\r\nok\r\nEND\r\n")
    other.receives_head()
    other.receives(b"ok")
