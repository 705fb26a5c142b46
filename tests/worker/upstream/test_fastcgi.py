"""Conversations with a FastCGI server: what goes up, what comes back, and what becomes of the connection."""

from __future__ import annotations

import pytest
from cgi_peers import END, err, fastcgi_pairs, out, record
from conversation import End, chunks, get

from worker.stream import SMALL_CHUNK
from wproxy.checked_health import HEALTHY, UNHEALTHY

HEAD = b"Content-Type: text/plain\r\n\r\n"
LENGTH = b"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\n"
EMPTY_STDIN = record(5)
PARAMS = 'fastcgi_param = { METHOD = "$request_method", LENGTH = "$content_length" }'


@pytest.fixture
def php(stage):
    """A stage whose upstream speaks FastCGI."""

    def php(location="", **more):
        return stage(location=f'fastcgi_pass = "app"\n{location}', **more)

    return php


def asked(upstream: End) -> tuple[bool, dict[bytes, bytes], bytes]:
    """Whether the connection is to be kept, the parameters, and the body of a request that has come whole."""
    keeps, pairs, body, ends = False, b"", b"", 0
    wire = upstream.take()
    assert wire.endswith(EMPTY_STDIN)
    while wire:
        kind, length, padding = wire[1], int.from_bytes(wire[4:6], "big"), wire[6]
        content, wire = wire[8 : 8 + length], wire[8 + length + padding :]
        keeps = bool(content[2]) if kind == 1 else keeps
        pairs += content if kind == 4 else b""
        body += content if kind == 5 else b""
        ends += kind == 5 and not length
    assert ends == 1, "a second end would be in the way of the next request"
    return keeps, dict(fastcgi_pairs(pairs)), body


def received(client: End) -> tuple[bytes, bytes]:
    """Status line and decoded body of a chunked response that is there to its end."""
    head = client.receives_head()
    wire, body = client.take(), b""
    while wire:
        size, _, rest = wire.partition(b"\r\n")
        body, wire = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return head.partition(b"\r\n")[0], body


def test_a_request_without_a_body_and_a_connection_for_it_alone(php):
    s = php(PARAMS)
    client = s.client()
    client.send(get(b"/", b"X-A: b"))
    upstream = s.peers[0].accept()
    keeps, parameters, body = asked(upstream)
    assert not keeps and not body
    assert parameters == {b"METHOD": b"GET", b"LENGTH": b"", b"HTTP_HOST": b"h", b"HTTP_X_A": b"b"}
    upstream.send(out(HEAD + b"hello") + END)
    assert received(client) == (b"HTTP/1.1 200 OK", b"hello")
    assert upstream.is_closed()
    assert s.group().idle_count == 0


def test_a_connection_is_kept_if_that_is_configured(php):
    s = php("fastcgi_keep_conn = true")
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    for number in range(3):
        keeps, _, _ = asked(upstream)
        assert keeps
        upstream.send(out(HEAD + b"answer %d" % number) + END)
        assert received(client)[1] == b"answer %d" % number
        assert s.group().idle_count == 1
        client.send(get())
    assert s.group().peers[0].counters.requests == 3


@pytest.mark.parametrize("after", [b"x", out(b"more")])
def test_a_connection_with_bytes_after_the_end_is_not_kept(php, after):
    s = php("fastcgi_keep_conn = true")
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(out(HEAD + b"hello") + END + after)
    assert received(client)[1] == b"hello"
    assert upstream.is_closed()


def test_a_kept_connection_that_has_died_is_replaced_and_blames_nobody(php):
    s = php("fastcgi_keep_conn = true")
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(out(HEAD + b"one") + END)
    received(client)
    upstream.sock.close()
    upstream.over = True
    client.send(get())
    other = s.peers[0].accept()
    asked(other)
    other.send(out(HEAD + b"two") + END)
    assert received(client)[1] == b"two"
    assert s.last_access()["upstream_status"] == "200"


def test_parameters_follow_the_request_line_and_the_header_block(php):
    s = php('fastcgi_keep_conn = true\nfastcgi_param = { U = "$request_uri", H = "$http_x_a", C = "c" }')
    client = s.client()
    upstream = None
    for target, field, more in [(b"/a", b"1", b""), (b"/b", b"1", b""), (b"/b", b"2", b""), (b"/b", b"2", b"X-B: new")]:
        client.send(get(target, *filter(None, (b"X-A: " + field, more))))
        upstream = upstream or s.peers[0].accept()
        _, parameters, _ = asked(upstream)
        assert (parameters[b"U"], parameters[b"H"], parameters[b"C"]) == (target, field, b"c")
        assert parameters.get(b"HTTP_X_B") == (b"new" if more else None)
        upstream.send(out(HEAD) + END)
        received(client)


def test_a_repeated_request_has_the_parameters_of_its_own_way(php):
    params = 'fastcgi_param = { U = "$uri", A = "$args", M = "$request_method", L = "$content_length", F = "$request_filename" }'
    s = php(f'fastcgi_keep_conn = true\nroot = "/srv"\nrewrite = ["^/old$", "/new?b=2", "break"]\n{params}')
    client = s.client()
    upstream = None
    plain = {b"U": b"/a", b"A": b"x=1", b"M": b"GET", b"L": b"", b"F": b"/srv/a", b"HTTP_HOST": b"h"}
    rewritten = {**plain, b"U": b"/new", b"A": b"b=2", b"F": b"/srv/new"}
    other = {**plain, b"A": b"x=2"}
    rows = [(b"/a?x=1", plain), (b"/a?x=2", other), (b"/old", rewritten)]
    for target, expected in [row for row in (*rows, *rows[::-1]) for _ in range(2)]:
        client.send(get(target))
        upstream = upstream or s.peers[0].accept()
        _, parameters, _ = asked(upstream)
        assert parameters == expected
        upstream.send(out(HEAD) + END)
        received(client)


@pytest.mark.parametrize("length", [3, 5])
def test_chunked_bodies_of_different_lengths_are_told_apart(php, length):
    s = php(f"fastcgi_keep_conn = true\n{PARAMS}")
    client = s.client()
    upstream = None
    for size in (length, 1, length):
        client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + chunks(b"x" * size))
        upstream = upstream or s.peers[0].accept()
        _, parameters, body = asked(upstream)
        assert (parameters[b"LENGTH"], body) == (b"%d" % size, b"x" * size)
        upstream.send(out(HEAD) + END)
        received(client)


@pytest.mark.parametrize("size", [1, 5])
def test_records_may_come_in_pieces(php, size):
    s = php()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    wire = err(b"oh dear\n") + out(b"Status: 202 Fine\r\n") + out(HEAD + b"hel") + err(b"within") + out(b"lo") + END
    upstream.send_slowly(wire, list(range(size, len(wire), size)))
    assert received(client) == (b"HTTP/1.1 202 Fine", b"hello")
    lines = [line for line in s.error_log() if "FastCGI sent" in line]
    assert 'FastCGI sent in stderr: "oh dear" while reading response header from upstream, client: ' in lines[0]
    assert 'FastCGI sent in stderr: "within" while reading upstream, client: ' in lines[1]
    assert f'upstream: "fastcgi://{s.peers[0].name}"' in lines[0]


@pytest.mark.parametrize("keep", [False, True])
def test_answers_may_become_larger_than_the_first_one(php, keep):
    s = php(f"fastcgi_keep_conn = {str(keep).lower()}")
    client, upstream = s.client(), None
    around = len(out(HEAD) + END)
    for size in (5, SMALL_CHUNK - around, 7, SMALL_CHUNK - around + 1, 5_000, 5, 40_000):
        client.send(get())
        upstream = upstream if upstream and keep else s.peers[0].accept()
        asked(upstream)
        upstream.send(out(HEAD + b"x" * size) + END)
        assert received(client) == (b"HTTP/1.1 200 OK", b"x" * size)


def test_output_is_passed_on_as_it_is_flushed(php):
    s = php()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(out(HEAD + b"one"))
    client.receives_head()
    client.receives(b"3\r\none\r\n")
    upstream.send(out(b"two"))
    client.receives(b"3\r\ntwo\r\n")
    upstream.send(END)
    client.receives(b"0\r\n\r\n")


@pytest.mark.parametrize("keep", ["", "fastcgi_keep_conn = true"])
def test_an_output_longer_than_announced_is_cut(php, keep):
    s = php(keep)
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(out(LENGTH + b"hel"))
    upstream.send(out(b"lo and more") + END)
    client.receives_head()
    client.receives(b"hello")
    assert any("upstream sent more data than specified" in line for line in s.error_log())
    assert s.group().idle_count == (1 if keep else 0), "the end of the answer is certain"


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (END, "upstream prematurely closed FastCGI request"),
        (out(b""), "upstream prematurely closed FastCGI stdout"),
        (None, "upstream prematurely closed connection"),
    ],
)
def test_an_output_shorter_than_announced_cuts_the_client(php, rest, reason):
    s = php()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(out(LENGTH + b"he"))
    client.receives_head()
    if rest is None:
        upstream.close()
    else:
        upstream.send(rest)
    client.receives(b"he")
    assert client.is_closed()
    assert any(f"{reason} while reading upstream" in line for line in s.error_log())


@pytest.mark.parametrize("size", [3, 10], ids=["in its header", "in its content"])
def test_an_answer_that_breaks_off_within_a_record_is_not_whole(php, size):
    s = php()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(out(b"Content-Type: a/b\r\n\r\nhel"))
    client.receives_head()
    client.receives(b"3\r\nhel\r\n")
    upstream.send(out(b"lo and more")[:size])
    upstream.close()
    assert client.is_closed()
    assert not client.take().endswith(b"0\r\n\r\n")
    assert any("upstream prematurely closed connection while reading upstream" in line for line in s.error_log())


def test_a_kept_connection_has_to_end_its_answer(php):
    s = php("fastcgi_keep_conn = true")
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(out(HEAD + b"half"))
    client.receives_head()
    client.receives(b"4\r\nhalf\r\n")
    upstream.close()
    assert client.is_closed()
    assert client.take() == b""


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_answers_without_a_body_have_none(php, status):
    s = php("fastcgi_keep_conn = true")
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(out(b"Status: " + status + b"\r\n\r\nsurplus") + END)
    assert client.receives_head().startswith(b"HTTP/1.1 " + status)
    client.receives(b"")
    assert s.group().idle_count == 1


def test_the_answer_to_a_head_is_a_head(php):
    s = php("fastcgi_keep_conn = true")
    client = s.client()
    client.send(get(method=b"HEAD"))
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(out(HEAD + b"not wanted") + END)
    assert b"Content-Type: text/plain" in client.receives_head()
    client.receives(b"")
    assert s.group().idle_count == 1


@pytest.mark.parametrize("settings", ["", 'client_body_buffer_size = "1k"', "fastcgi_request_buffering = false"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_bodies_go_up_from_memory_from_a_file_and_as_they_come(php, settings, is_chunked):
    s = php(f"{PARAMS}\nclient_max_body_size = 0\n{settings}")
    client = s.client()
    body = b"0123456789" * 9000
    if is_chunked:
        client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"PUT"))
        client.send(chunks(body[:30_000], body[30_000:]))
    else:
        client.send(get(b"/", b"Content-Length: %d" % len(body), method=b"PUT"))
        client.send(body)
    upstream = s.peers[0].accept()
    _, parameters, sent = asked(upstream)
    assert sent == body
    assert parameters[b"LENGTH"] == b"90000", "PHP reads as much as it is told"
    assert b"HTTP_TRANSFER_ENCODING" not in parameters
    upstream.send(out(HEAD + b"thanks") + END)
    assert received(client)[1] == b"thanks"


@pytest.mark.parametrize("settings", ["", 'client_body_in_file_only = "on"', "fastcgi_request_buffering = false"])
@pytest.mark.parametrize("wire", [b"Content-Length: 0\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"])
def test_an_empty_body_has_one_end_wherever_it_was_kept(php, settings, wire):
    s = php(f"{PARAMS}\nfastcgi_keep_conn = true\n{settings}")
    client = s.client()
    upstream = None
    for _ in range(2):
        client.send(get(method=b"PUT")[:-2] + wire)
        upstream = upstream or s.peers[0].accept()
        _, parameters, sent = asked(upstream)
        assert (parameters[b"LENGTH"], sent) == (b"0", b"")
        upstream.send(out(HEAD + b"hello") + END)
        assert received(client)[1] == b"hello"


def test_another_server_is_asked_after_a_failure(php):
    s = php('fastcgi_next_upstream = ["error", "invalid_header", "http_503"]\nfastcgi_catch_stderr = "Fatal"', peers=2)
    for bad in (
        None,
        out(b"Status: 503 No\r\n\r\n") + END,
        err(b"PHP Fatal error") + out(HEAD) + END,
        b"HTTP/1.1 200 OK\r\n\r\n",
    ):
        client = s.client()
        client.send(get())
        first = accepted(s)
        asked(first)
        if bad is None:
            first.close()
        else:
            first.send(bad)
        second = accepted(s)
        asked(second)
        second.send(out(HEAD + b"second") + END)
        assert received(client)[1] == b"second"
        client.close()
        s.advance(61)
    assert [line["upstream_status"] for line in s.access_log()] == ["502, 200", "503, 200", "502, 200", "502, 200"]


def accepted(s) -> End:
    s.settle()
    return next(End(s, sock, "upstream") for peer in s.peers if (sock := peer._try_accept()))


def test_a_message_that_is_caught_is_named_when_there_is_no_other_server(php):
    s = php('fastcgi_catch_stderr = ["PHP Fatal error", "nothing like it"]')
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(err(b"PHP Fatal error: it is over") + out(HEAD) + END)
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")
    assert "fastcgi_catch_stderr" in s.last_access()["wproxy_end_cause"]
    assert s.last_access()["wproxy_end_code"] == "up_bad_head"


def test_timers_are_told_by_the_names_of_its_directives(php):
    s = php('fastcgi_read_timeout = "5s"')
    client = s.client()
    client.send(get())
    asked(s.peers[0].accept())
    s.advance(6)
    assert client.receives_head().startswith(b"HTTP/1.1 504 ")
    (line,) = [line for line in s.error_log() if "timed out" in line]
    assert "(fastcgi_read_timeout 5: " in line


def test_parameters_that_do_not_fit_are_a_500(php):
    s = php(f'fastcgi_param = {{ A = "{"a" * 3000}$http_x_a" }}', http='large_client_header_buffers = [8, "64k"]')
    client = s.client()
    client.send(get(b"/", b"X-A: " + b"v" * 40_000))
    assert client.receives_head().startswith(b"HTTP/1.1 500 ")
    assert "fastcgi request record is too big: 8" in "".join(s.error_log())


def test_filters_change_what_it_says(php):
    s = php('sub_filter = [["hello", "bye"]]\nsub_filter_types = "*"')
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(out(HEAD + b"hel"))
    upstream.send(out(b"lo") + END)
    assert received(client)[1] == b"bye"


def test_the_length_in_the_log_is_that_of_the_answer_as_it_came(php):
    s = php()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(err(b"x" * 8) + out(HEAD + b"hello", padding=3) + END)
    received(client)
    assert s.last_access()["upstream_response_length"] == str(5 + 3 + 16)
    assert s.last_access()["upstream_bytes_received"] == str(16 + 8 + len(HEAD) + 5 + 3 + 16)


def test_a_target_may_be_computed(stage):
    s = stage(locations='[http.server.location."/v/"]\nfastcgi_pass = "$arg_to"')
    client = s.client()
    client.send(get(b"/v/?to=app"))
    upstream = s.peers[0].accept()
    asked(upstream)
    upstream.send(out(HEAD + b"hello") + END)
    assert received(client)[1] == b"hello"
    for bad in (b"127.0.0.1", b"http://app", b""):
        client = s.client()
        client.send(get(b"/v/?to=" + bad))
        assert client.receives_head().startswith(b"HTTP/1.1 500 ")


def test_a_slow_client_does_not_hold_the_server(php):
    from worker.upstream.proxied_body import PATIENCE

    s = php()
    client = s.client(tcp=True, receive_buffer=4096, send_buffer=4096)
    client.send(get())
    upstream = s.peers[0].accept()
    asked(upstream)
    big = bytes(range(256)) * 20_000
    wire = out(HEAD) + b"".join(out(big[begin : begin + 60_000]) for begin in range(0, len(big), 60_000)) + END
    left = memoryview(wire)
    left = left[upstream.send_some(left) :]
    assert left
    s.advance(PATIENCE)
    upstream.send(left)
    assert upstream.is_closed(), "the upstream is done"
    assert received(client)[1] == big


def test_a_health_check_asks_with_the_parameters_of_its_location(php):
    params = 'fastcgi_param = { SCRIPT_NAME = "$fastcgi_script_name", METHOD = "$request_method" }'
    s = php(f'health_check = ["interval=5s", "uri=/ping"]\n{params}')
    s.worker.checks.start()
    s.settle()
    try:
        for answer, state in ((b"Content-Type: text/plain\r\n\r\npong", HEALTHY), (b"Status: 500 Oh\r\n\r\n", UNHEALTHY)):
            upstream = s.peers[0].accept()
            _, parameters, _ = asked(upstream)
            assert (parameters[b"SCRIPT_NAME"], parameters[b"METHOD"]) == (b"/ping", b"GET")
            upstream.send(out(answer) + END)
            assert upstream.is_closed()
            assert s.group().peers[0].health.record.state == state
            s.advance(5)
    finally:
        s.worker.checks.resign()


@pytest.mark.parametrize("missing", [1, 4, 12])
def test_a_head_does_not_end_in_the_padding(php, missing):
    s = php()
    client = s.client()
    whole = out(HEAD) + END
    size = len(HEAD) - missing
    for wire in (whole, whole, whole, whole, bytes((1, 6, 0, 1, 0, size, missing, 0)) + HEAD + END):
        client.send(get())
        upstream = s.peers[0].accept()
        asked(upstream)
        upstream.send(wire)
        if wire is whole:
            assert received(client) == (b"HTTP/1.1 200 OK", b"")
    assert client.receives_head().startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
