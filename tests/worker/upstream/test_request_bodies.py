"""Request bodies on their way: kept in memory or in a file, or passed on as they come (proxy.md §2)."""

from __future__ import annotations

import os
import random

import pytest
from conversation import End, Stage, chunks, get, ok, refusal, sent_up, small_disk, to_client
from hypothesis import given, settings
from hypothesis import strategies as st

import worker.pipes

CHUNKED = b"Transfer-Encoding: chunked"
BIG = random.Random(5).randbytes(300_000)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def put(*fields: bytes, target: bytes = b"/") -> bytes:
    return get(target, *fields, method=b"PUT")


def put_big(target: bytes = b"/") -> bytes:
    return put(b"Content-Length: %d" % len(BIG), target=target)


def received_by(upstream: End, size: int) -> bytes:
    """The body that an upstream gets."""
    upstream.stage.until(lambda: len(upstream.pull_all()) >= size, f"only {len(upstream.received)} of {size} bytes came")
    body = bytes(upstream.received)
    upstream.received.clear()
    return body


def log_lines(s: Stage, text: str) -> list[str]:
    return [line for line in s.error_log() if text in line]


# Keeping.


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_large_body_is_read_whole_before_anybody_is_asked(stage, framing):
    s = stage()
    client = s.client()
    head = put_big() if framing == "length" else put(CHUNKED)
    wire = BIG if framing == "length" else chunks(BIG[:100_000], BIG[100_000:])
    client.send(head + wire[:10])
    client.send(wire[10:-1])
    s.peers[0].is_unvisited()
    client.send(wire[-1:])
    upstream = s.peers[0].accept()
    assert upstream.receives_head() == sent_up(b"/", b"Content-Length: %d" % len(BIG), method=b"PUT")
    assert received_by(upstream, len(BIG)) == BIG
    upstream.send(ok())
    client.receives(to_client())
    assert len(log_lines(s, "[warn]")) == 1
    assert log_lines(s, "a client request body is buffered to a temporary file without a name in /")
    assert s.last_access()["request_length"] == str(len(head) + len(wire))
    # Nothing is left of it, and both connections go on.
    client.send(get())
    upstream.receives(sent_up())


def test_a_body_that_fits_stays_in_memory(stage):
    s = stage(location='client_body_buffer_size = "4k"\nproxy_set_header = { X-File = "$request_body_file" }')
    client = s.client()
    upstream = None
    for size in (1, 4096, 5120):
        client.send(put(b"Content-Length: %d" % size))
        client.send(b"x" * size)
        upstream = upstream or s.peers[0].accept()
        upstream.receives(sent_up(b"/", b"Content-Length: %d" % size, method=b"PUT") + b"x" * size)
        upstream.send(ok())
        client.receives(to_client())
    assert not log_lines(s, "temporary file")
    client.send(put(b"Content-Length: 5121"))
    client.send(b"x" * 5121)
    assert b"X-File: /" in upstream.receives_head()


SIZES = (0, 1, 99, 100, 101, 125, 126, 16_384, 65_535, 65_536, 65_537, 300_000)


def test_every_body_arrives_as_it_was_however_it_is_cut(stage):
    place = (
        '[http.server.location."/%s"]\nproxy_pass = "http://app"\nclient_body_buffer_size = "100"\nproxy_request_buffering = %s\n'
    )
    s = stage(locations=place % ("kept", "true") + place % ("streamed", "false"))

    @settings(max_examples=60, deadline=None)
    @given(
        target=st.sampled_from((b"/kept", b"/streamed")),
        size=st.sampled_from(SIZES),
        places=st.lists(st.integers(1, 400_000), max_size=5),
        cuts=st.lists(st.integers(1, 400_000), max_size=4),
        is_chunked=st.booleans(),
        by_splice=st.booleans(),
    )
    def send(target: bytes, size: int, places: list[int], cuts: list[int], is_chunked: bool, by_splice: bool) -> None:
        body = BIG[:size]
        ends = sorted({place for place in places if place < size} | {size})
        pieces = [body[begin:end] for begin, end in zip([0, *ends], ends)]
        framing = CHUNKED if is_chunked else b"Content-Length: %d" % size
        wire = put(framing, b"Connection: close", target=target)
        wire += chunks(*[piece for piece in pieces if piece]) if is_chunked else body
        pool = worker.pipes.pool
        if not by_splice:
            worker.pipes.pool = worker.pipes.PipePool(most=0)
        try:
            client = s.client()
            client.send_slowly(wire, [cut for cut in cuts if cut < len(wire)])
            upstream = s.peers[0].accept()
            head = upstream.receives_head()
            is_rechunked = b"chunked" in head
            assert is_rechunked or b"Content-Length: %d\r\n" % size in head
            s.until(lambda: is_whole(bytes(upstream.pull_all()), size, is_rechunked), "the body does not arrive")
        finally:
            worker.pipes.pool = pool
        assert payload(bytes(upstream.received), is_rechunked) == body
        upstream.send(ok(b"ok", b"Connection: close"))
        client.receives(to_client(kept=False))
        client.close()
        upstream.close()

    send()


def is_whole(wire: bytes, size: int, is_chunked: bool) -> bool:
    """Whether a body has come to its end."""
    return wire.endswith(b"0\r\n\r\n") if is_chunked else len(wire) >= size


def payload(wire: bytes, is_chunked: bool) -> bytes:
    """What is in a body."""
    if not is_chunked:
        return wire
    pieces = []
    while True:
        line, _, wire = wire.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return b"".join(pieces)
        pieces.append(wire[:size])
        wire = wire[size + 2 :]


@pytest.mark.parametrize("mode", ["off", "on", "clean"])
def test_client_body_in_file_only(stage, tmp_path, mode):
    place = tmp_path / "bodies"
    s = stage(
        location=f'client_body_temp_path = ["{place}", "1", "2"]\nclient_body_in_file_only = "{mode}"\n'
        'client_body_buffer_size = "1k"\nproxy_set_header = { X-File = "$request_body_file" }'
    )
    client = s.client()
    client.send(put(b"Content-Length: 2000"))
    client.send(b"y" * 2000)
    upstream = s.peers[0].accept()
    head = upstream.receives_head()
    name = head.partition(b"X-File: ")[2].partition(b"\r\n")[0].decode()
    number = os.path.basename(name)
    assert name == f"{place}/{number[-1]}/{number[-3:-1]}/{number}"
    assert received_by(upstream, 2000) == b"y" * 2000
    assert os.path.exists(name) == (mode != "off")
    if mode != "off":
        assert os.stat(name).st_mode & 0o777 == 0o600
    upstream.send(ok())
    client.receives(to_client())
    assert os.path.exists(name) == (mode == "on")
    client.send(put(b"Content-Length: 5") + b"small")
    assert (b"X-File: " in upstream.receives_head()) == (mode != "off")


def test_no_descriptor_is_left_of_bodies_in_files(stage):
    s = stage(location='client_body_buffer_size = "1k"')

    def upload_and_leave() -> None:
        client = s.client(tcp=True)
        client.send(put_big())
        client.send(BIG)
        upstream = s.peers[0].accept()
        upstream.receives_head()
        client.close()
        upstream.is_closed()

    upload_and_leave()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        upload_and_leave()
    for _ in range(3):  # one that never comes whole
        client = s.client(tcp=True)
        client.send(put_big())
        client.send(BIG[:50_000])
        client.close()
    s.until(lambda: not s.worker.clients.connections, "connections stay")
    opened = len(os.listdir("/proc/self/fd")) - before
    assert opened <= 3 + 3, "the test's own ends, and nothing of the worker's"


# Sending again.


@pytest.mark.parametrize("end", ["refused", "reset after the head", "reset in the body", "503"])
def test_a_kept_body_goes_to_another_peer(stage, end):
    s = stage(peers=2, location='proxy_next_upstream = ["error", "http_503"]')
    if end == "refused":
        s.peers[0].refuse()
    client = s.client()
    client.send(put_big())
    client.send(BIG)
    if end != "refused":
        first = s.peers[0].accept()
        first.receives_head()
        if end == "503":
            received_by(first, len(BIG))
            first.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        else:
            if end == "reset in the body":
                first.pull(1000)
            first.reset()
    second = s.peers[1].accept()
    assert second.receives_head() == sent_up(b"/", b"Content-Length: %d" % len(BIG), method=b"PUT")
    assert received_by(second, len(BIG)) == BIG
    second.send(ok())
    client.receives(to_client())


def test_a_kept_body_goes_along_to_an_error_page(stage):
    s = stage(
        location='proxy_intercept_errors = true\nerror_page = [["404", "@other"]]',
        locations='[http.server.location."@other"]\nproxy_pass = "http://app"',
    )
    client = s.client()
    client.send(put_big())
    client.send(BIG)
    upstream = s.peers[0].accept()
    upstream.receives_head()
    assert received_by(upstream, len(BIG)) == BIG
    upstream.send(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    second = s.peers[0].accept()
    assert second.receives_head() == sent_up(b"/", b"Content-Length: %d" % len(BIG), method=b"PUT")
    assert received_by(second, len(BIG)) == BIG
    second.send(ok())
    client.receives(to_client(status=b"404 Not Found"))


def test_an_early_answer_ends_the_sending_of_a_kept_body(stage):
    s = stage(location="client_max_body_size = 0")
    client = s.client()
    size = 20_000_000
    client.send(put(b"Content-Length: %d" % size))
    client.send(b"x" * size)
    upstream = s.peers[0].accept()
    upstream.pull(1000)
    upstream.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
    client.receives(to_client(b"no", status=b"403 No"))
    assert upstream.is_closed()
    assert len(upstream.received) < size


# Refusing.


def test_a_chunk_that_leads_beyond_the_limit_is_refused_when_it_is_announced(stage):
    s = stage(location='client_max_body_size = "1000"')
    client = s.client()
    client.send(put(CHUNKED) + b"258\r\n" + b"x" * 600 + b"\r\n")
    client.receives_nothing()
    client.send(b"191\r\n")
    client.receives(refusal(413))
    assert log_lines(s, "client intended to send too large chunked body: 600+401 bytes")
    s.peers[0].is_unvisited()


def test_nobody_is_told_to_go_on_with_a_body_that_is_too_large(stage):
    s = stage(location='client_max_body_size = "1000"')
    client = s.client()
    client.send(put(b"Content-Length: 1001", b"Expect: 100-continue"))
    assert client.take().startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("buffering", ["true", "false"])
@pytest.mark.parametrize("word", [b"100-continue", b"100-CONTINUE"])
def test_who_waits_for_100_is_told_to_go_on(stage, buffering, word):
    s = stage(location=f"proxy_request_buffering = {buffering}")
    client = s.client()
    client.send(put(b"Content-Length: 3", b"Expect: " + word))
    client.receives(CONTINUE)
    client.send(b"abc")
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: 3", method=b"PUT") + b"abc")
    upstream.send(ok())
    client.receives(to_client())


def test_who_does_not_wait_for_100_keeps_the_connection(stage):
    s = stage()
    client = s.client()
    client.send(put(b"Content-Length: 3", b"Expect: 100-continue") + b"abc")
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: 3", method=b"PUT") + b"abc")
    upstream.send(ok())
    client.receives(to_client())
    assert client.is_open()


def test_a_pause_in_a_kept_body_ends_without_a_word(stage):
    s = stage(location='client_body_timeout = "5s"')
    client = s.client()
    client.send(put_big())
    client.send(BIG[:100_000])
    s.advance(4)
    client.send(BIG[100_000:150_000])
    s.advance(4)
    assert client.is_open()
    s.advance(2)
    assert client.is_closed()
    client.receives_nothing()
    assert s.statuses() == ["408"]
    s.peers[0].is_unvisited()


def test_a_client_that_leaves_in_the_middle_of_a_kept_body_is_a_400_in_the_log(stage):
    s = stage()
    client = s.client()
    client.send(put_big())
    client.send(BIG[:100_000])
    client.end_sending()
    s.until(lambda: s.statuses() == ["400"], "no line in the log")
    s.peers[0].is_unvisited()


# The disk.


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_full_disk_is_a_500_and_one_line(stage, framing):
    s = stage()
    client = s.client()
    client.send(put_big() if framing == "length" else put(CHUNKED))
    with small_disk(65536):
        client.send_some(BIG if framing == "length" else chunks(BIG))
    assert client.take().startswith(b"HTTP/1.1 500 ")
    assert len(log_lines(s, "[crit]")) == 1
    assert log_lines(s, "(27: File too large) while buffering the request body")
    s.peers[0].is_unvisited()
    assert s.statuses() == ["500"]
    other = s.client()
    other.send(get())
    s.peers[0].accept().receives(sent_up())


def test_a_place_that_cannot_be_had_is_a_500_and_one_line(stage):
    s = stage(location='client_body_temp_path = "/proc/none"')
    client = s.client()
    client.send(put_big())
    client.send_some(BIG)
    assert client.take().startswith(b"HTTP/1.1 500 ")
    assert len(log_lines(s, "[crit]")) == 1
    assert log_lines(s, '"/proc/none" failed (')


# As it comes.


def test_without_buffering_an_upstream_is_asked_at_once(stage):
    s = stage(location="proxy_request_buffering = false")
    client = s.client()
    client.send(put(CHUNKED) + b"3\r\nabc\r\n")
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", CHUNKED, method=b"PUT") + b"3\r\nabc\r\n")
    client.send(b"2;x=y\r\nde\r\n")
    upstream.receives(b"2\r\nde\r\n")
    client.send(b"0\r\nX-T: 1\r\n\r\n")
    upstream.receives(b"0\r\n\r\n")
    upstream.send(ok())
    client.receives(to_client())


def test_without_buffering_what_came_with_the_head_may_be_sent_again(stage):
    s = stage(peers=2, location="proxy_request_buffering = false")
    client = s.client()
    client.send(put(b"Content-Length: 6") + b"abc")
    first = s.peers[0].accept()
    first.receives(sent_up(b"/", b"Content-Length: 6", method=b"PUT") + b"abc")
    first.close()
    second = s.peers[1].accept()
    second.receives(sent_up(b"/", b"Content-Length: 6", method=b"PUT") + b"abc")
    client.send(b"def")
    second.receives(b"def")


def test_without_buffering_a_body_that_is_gone_is_not_sent_again(stage):
    s = stage(
        location='proxy_request_buffering = false\nproxy_intercept_errors = true\nerror_page = [["404", "@other"]]',
        locations='[http.server.location."@other"]\nproxy_pass = "http://app"',
    )
    client = s.client()
    client.send(put(b"Content-Length: 6"))
    client.send(b"abcdef")
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: 6", method=b"PUT") + b"abcdef")
    upstream.send(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert log_lines(s, "was not kept (proxy_request_buffering off)")


# What takes the place of a body or a method.


def test_the_length_of_a_body_that_is_not_passed_is_not_passed(stage):
    s = stage(location="proxy_pass_request_body = false")
    client = s.client()
    client.send(put_big())
    client.send(BIG)
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(method=b"PUT"))
    upstream.send(ok())
    client.receives(to_client())


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding"])
def test_a_body_whose_end_the_location_tells_itself_ends_the_connection_of_the_upstream(stage, name):
    s = stage(location=f'proxy_set_header = {{ "{name}" = "$arg_none" }}')
    client = s.client()
    client.send(put(b"Content-Length: 4") + b"body")
    upstream = s.peers[0].accept()
    assert upstream.take().endswith(b"\r\n\r\nbody")
    upstream.send(ok())
    client.receives(to_client())
    assert upstream.is_closed(), "the upstream could take the body for the next request"
    client.send(get() + get())
    upstream = s.peers[0].accept()
    for _ in range(2):
        upstream.receives(sent_up())
        upstream.send(ok())
        client.receives(to_client())


def test_the_answer_to_a_head_that_was_sent_as_get_ends_the_connection_of_the_upstream_alone(stage):
    s = stage(location='proxy_method = "GET"')
    client = s.client()
    client.send(get(method=b"HEAD"))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert client.take().endswith(b"Content-Length: 5\r\nConnection: keep-alive\r\n\r\n")
    assert upstream.is_closed()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    upstream.send(ok())
    client.receives(to_client())


@pytest.mark.parametrize("method", ["HEAD", "$http_x_method"])
def test_the_answer_to_a_get_that_was_sent_as_head_has_no_body(stage, method):
    s = stage(location=f'proxy_method = "{method}"\nproxy_pass_request_headers = false')
    client = s.client()
    client.send(get(b"/", b"X-Method: HEAD"))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(method=b"HEAD"))
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert client.is_closed()
    assert client.take().endswith(b"\r\n\r\n")


def test_the_method_that_was_sent_is_that_of_its_location_alone(stage):
    """An error page of another upstream has the body that its own request asks for."""
    s = stage(
        location='proxy_method = "HEAD"\nproxy_intercept_errors = true\nerror_page = [["404", "@n"]]',
        locations='[http.server.location."@n"]\nproxy_pass = "http://app"\nproxy_request_buffering = false',
    )
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(method=b"HEAD"))
    upstream.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n")
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    upstream.send(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    assert b"\r\nhi\r\n" in client.take()


# Closing.


@pytest.mark.parametrize(("mode", "waits"), [("off", False), ("on", False), ("always", True)])
def test_lingering_close_always_waits_for_the_client(stage, mode, waits):
    s = stage(location=f'lingering_close = "{mode}"\nlingering_timeout = "5s"')
    client = s.client(tcp=True)
    client.send(get(b"/", b"Connection: close"))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up())
    upstream.send(ok())
    client.stage.until(lambda: client.pull_all() and client.saw_end, "no answer")
    assert bool(s.worker.clients.connections) == waits
    s.advance(6)
    assert not s.worker.clients.connections


def test_lingering_close_off_closes_at_once(stage):
    s = stage(location='lingering_close = "off"\nclient_max_body_size = "10"')
    client = s.client(tcp=True)
    client.send(put(b"Content-Length: 100000") + b"x" * 100)
    s.until(lambda: not s.worker.clients.connections, "it lingers")


# What a client does in the middle of a body that goes upstream as it comes.


def halfway(s: Stage, framing: bytes = b"Content-Length: 1000", more: bytes = b"") -> tuple[End, End]:
    """A client that has sent the beginning of a body, and the upstream that has it."""
    client = s.client(tcp=True)
    client.send(put(framing) + more + b"x" * 600)
    upstream = s.peers[0].accept()
    s.until(lambda: b"x" * 600 in upstream.pull_all(), "the upstream has not got it")
    return client, upstream


def test_too_large_a_body_is_a_413_and_the_upstream_is_given_up(stage):
    s = stage(location='client_max_body_size = "1000"\nproxy_request_buffering = false')
    client, upstream = halfway(s, CHUNKED, b"258\r\n")
    client.send(b"\r\n191\r\n")
    assert client.take().startswith(b"HTTP/1.1 413 ")
    assert upstream.is_closed()
    assert not bytes(upstream.received).endswith(b"0\r\n\r\n"), "what the upstream has is no complete request"


def test_a_pause_ends_the_request_and_the_upstream_is_given_up(stage):
    s = stage(location='client_body_timeout = "5s"\nproxy_request_buffering = false')
    client, upstream = halfway(s)
    s.advance(6)
    assert upstream.is_closed()
    assert client.is_closed()
    assert s.statuses() == ["408"]
    assert "(client_body_timeout 5: " in s.last_access()["wproxy_end_cause"]
    assert s.last_access()["wproxy_end_code"] == "cl_body_timeout"


def test_a_client_that_leaves_is_a_400_and_the_upstream_is_given_up(stage):
    s = stage(location="proxy_request_buffering = false")
    client, upstream = halfway(s)
    client.close()
    assert upstream.is_closed()
    assert s.statuses() == ["400"]


@pytest.mark.parametrize("buffering", ["true", "false"])
def test_trailers_and_extensions_of_a_client_do_not_reach_the_upstream(stage, buffering):
    s = stage(location=f"proxy_request_buffering = {buffering}")
    client = s.client()
    client.send(put(CHUNKED) + b"5;extension=1\r\nhello\r\n")
    client.send(b"0\r\nX-Trailer: 1\r\n\r\n")
    upstream = s.peers[0].accept()
    s.until(lambda: bytes(upstream.pull_all()).endswith((b"hello", b"0\r\n\r\n")), "not all has come")
    assert b"railer" not in upstream.received
    assert b"extension" not in upstream.received
    upstream.take()
    upstream.send(ok())
    client.receives(to_client())


# What variables tell of a body.


@pytest.mark.parametrize("buffering", ["true", "false"])
def test_a_chunked_body_that_came_with_its_head_is_known_whole(stage, buffering):
    """In nginx too, whatever proxy_request_buffering says."""
    s = stage(location=f"proxy_request_buffering = {buffering}\nproxy_set_header = {{ X-Length = '$content_length' }}")
    client = s.client()
    client.send(get(b"/", CHUNKED, method=b"POST") + chunks(b"hello", b"world"))
    upstream = s.peers[0].accept()
    assert b"\r\nX-Length: 10\r\n" in upstream.receives_head()
    upstream.send(ok())
    client.receives(to_client())
    assert s.last_access()["request_body"] == "helloworld"


def test_a_chunked_body_that_is_sent_on_as_it_comes_is_not_kept_and_its_length_is_known_at_the_end(stage):
    s = stage(
        location="proxy_request_buffering = false\nproxy_set_header = { X-Length = '$content_length' }\n"
        "add_header = [['X-Length', '$content_length']]"
    )
    client = s.client()
    client.send(get(b"/", CHUNKED, method=b"POST"))
    upstream = s.peers[0].accept()
    assert b"X-Length" not in upstream.receives_head()
    client.send(chunks(b"hello", last=False))
    client.send(chunks(b"world"))
    upstream.receives(chunks(b"hello", b"world"))
    upstream.send(ok())
    client.receives(to_client(b"ok", b"X-Length: 10"))
    assert s.last_access()["request_body"] == "-"
