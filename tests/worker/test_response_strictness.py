"""The response table of http1-security.md §3, row by row, end to end: a hostile upstream, and what the client gets.

Every answer is followed by a second request: it must go over the same upstream connection where that was read exactly to the
end of its response, and over a fresh one in every other case.
"""

from __future__ import annotations

import pytest
from conversation import End, chunks, error_page, get, ok, post, sent_up, to_client

CHUNKED = b"Transfer-Encoding: chunked"
OK = b"HTTP/1.1 200 OK\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON"


def ask(s, request: bytes = get(), expected: bytes = sent_up(), client: End | None = None) -> tuple[End, End]:
    """A client and the upstream connection that its request has arrived on."""
    client = client or s.client()
    client.send(request)
    upstream = s.peers[0].accept()
    upstream.receives(expected)
    return client, upstream


def is_reused(s, client: End, upstream: End) -> None:
    assert client.is_open()
    client.send(get(b"/second"))
    upstream.receives(sent_up(b"/second"))
    s.peers[0].is_unvisited()
    upstream.send(ok(b"second"))
    client.receives(to_client(b"second"))


def is_not_reused(s, client: End, upstream: End) -> None:
    """The upstream connection is closed; the client's next request goes over a fresh one and gets its own answer."""
    assert upstream.is_closed()
    upstream.receives_nothing()
    if not client.is_open():
        client = s.client()
    client.send(get(b"/second"))
    fresh = s.peers[0].accept()
    fresh.receives(sent_up(b"/second"))
    fresh.send(ok(b"second"))
    client.receives(to_client(b"second"))


def say(end: End, data: bytes, slowly: bool) -> None:
    if not slowly:
        end.send(data)
        return
    for index in range(len(data)):
        try:
            end.sock.send(data[index : index + 1])
        except OSError:
            return  # refused already
        end.stage.settle()


# 502: what is not HTTP.

NOT_HTTP = {
    "a banner": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "lower case": b"http/1.1 200 OK\r\n\r\n",
    "leading CRLF": b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    "leading space": b" HTTP/1.1 200 OK\r\n\r\n",
    "no code": b"HTTP/1.1 \r\n\r\n",
    "two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "099": b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
    "000": b"HTTP/1.1 000 Odd\r\nContent-Length: 0\r\n\r\n",
    "403.1": b"HTTP/1.1 403.1 Odd\r\nContent-Length: 0\r\n\r\n",
    "a sign": b"HTTP/1.1 +20 Odd\r\nContent-Length: 0\r\n\r\n",
    "letters": b"HTTP/1.1 2x0 Odd\r\nContent-Length: 0\r\n\r\n",
    "2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "2": b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "1.10": b"HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n",
    "tab": b"HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n",
    "NUL before": b"\x00HTTP/1.1 200 OK\r\n\r\n",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x0a",
}
BAD_FIELDS = {
    "NUL in a value": b"X: a\x00b",
    "bare CR in a value": b"X: a\rb",
    "CR CR LF": b"X: a\r",
    "a fold": b"X: a\r\n b",
    "a fold at the beginning": b" X: a",
    "SP before the colon": b"X : a",
    "HTAB before the colon": b"X\t: a",
    "SP in the name": b"X Y: a",
    "a control in the name": b"X\x01: a",
    "a control in a value": b"X: a\x1bb",
    "VT in a value": b"X: a\x0bb",
    "DEL in a value": b"X: a\x7fb",
    "no name": b": a",
    "no colon": b"nocolon",
    "another status line": b"HTTP/1.1 200 OK",
    "an invalid name": b"X(Y): a",
    "an 8-bit name": b"X\xe9: a",
    "CL empty": b"Content-Length:",
    "CL negative": b"Content-Length: -1",
    "CL with a sign": b"Content-Length: +2",
    "CL not digits": b"Content-Length: 2x",
    "CL hex": b"Content-Length: 0x2",
    "CL underscore": b"Content-Length: 1_0",
    "CL a list": b"Content-Length: 2, 2",
    "CL too large": b"Content-Length: 9223372036854775808",
    "CL many digits": b"Content-Length: " + b"9" * 400,
    "CL Arabic": b"Content-Length: \xd9\xa2",
    "CL superscript": b"Content-Length: \xc2\xb2",
    "CL twice": b"Content-Length: 2\r\nContent-Length: 2",
    "CL twice different": b"Content-Length: 2\r\nContent-Length: 3",
    "CL empty and CL": b"Content-Length:\r\nContent-Length: 3",
    "CL and TE": b"Content-Length: 2\r\nTransfer-Encoding: chunked",
    "TE and CL": b"Transfer-Encoding: chunked\r\nContent-Length: 2",
    "TE gzip": b"Transfer-Encoding: gzip",
    "TE list": b"Transfer-Encoding: gzip, chunked",
    "TE chunked twice in one": b"Transfer-Encoding: chunked, chunked",
    "TE identity": b"Transfer-Encoding: identity",
    "TE empty": b"Transfer-Encoding:",
    "TE VT": b"Transfer-Encoding: \x0bchunked",
    "TE twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
}
BAD_HEADS = NOT_HTTP | {name: OK + line + b"\r\n\r\nok" for name, line in BAD_FIELDS.items()}


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize("wire", BAD_HEADS.values(), ids=BAD_HEADS.keys())
def test_a_bad_head_is_a_502_and_never_relayed(stage, wire, slowly):
    s = stage()
    client, upstream = ask(s)
    say(upstream, wire + ANSWER, slowly)
    client.receives(error_page(502))
    is_not_reused(s, client, upstream)
    assert s.statuses() == ["502", "200"]
    line = s.error_log()[0]
    assert "upstream sent" in line and "while reading response header from upstream" in line


def test_the_log_names_what_was_wrong(stage):
    s = stage()
    client, upstream = ask(s)
    upstream.send(OK + b"Bad\x1b[31m: x\r\n\r\n")
    client.receives(error_page(502))
    (line,) = s.error_log()
    assert 'upstream sent invalid header: "Bad\\x1b..." while reading response header from upstream, client: 127.0.0.1' in line
    assert s.last_access()["upstream_status"] == "502"


# Accepted as they are.


@pytest.mark.parametrize(
    ("head", "status", "fields"),
    [
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n", b"200 ", ()),
        (b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n", b"200 ", ()),
        (b"HTTP/1.1   200 OK\r\nContent-Length: 2\r\n\r\n", b"200 OK", ()),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n", b"200 OK", ()),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\n", b"200 OK", ()),
        (b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n", b"999 Odd", ()),
        (b"HTTP/1.1 200 All \xe9 right\r\nContent-Length: 2\r\n\r\n", b"200 All \xe9 right", ()),
        (b"HTTP/1.1 200 OK\r\nX_Y: \t a \t\r\nContent-Length: 2\r\nX@[Z]: b\r\n\r\n", b"200 OK", (b"X_Y: a", b"X@[Z]: b")),
        (b"HTTP/1.1 200 OK\r\nX: a\r\nContent-Length: 02\r\nX: b\r\nEmpty:\r\n\r\n", b"200 OK", (b"X: a", b"X: b", b"Empty: ")),
        (b"HTTP/1.3 200 OK\r\nContent-Length: 2\r\n\r\n", b"200 OK", ()),
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("slowly", [False, True])
def test_an_unusual_head_is_written_anew(stage, head, status, fields, slowly):
    s = stage()
    client, upstream = ask(s)
    say(upstream, head + b"ok", slowly)
    client.receives(to_client(b"ok", *fields, status=status))
    is_reused(s, client, upstream)


@pytest.mark.parametrize("byte", [0, 1, 7, 8, 0x0B, 0x1B, 0x1F, 0x7F, 0x0D])
def test_a_control_in_the_reason_is_not_relayed(stage, byte):
    s = stage()
    client, upstream = ask(s)
    upstream.send(b"HTTP/1.1 200 O" + bytes([byte]) + b"K\r\nContent-Length: 2\r\n\r\nok")
    reply = client.take()
    assert reply in (to_client(b"ok", status=b"200 "), to_client(b"ok"), error_page(502))


@pytest.mark.parametrize(
    "name", [b"Server", b"Date", b"X-Pad", b"X-Accel-Limit-Rate", b"X-Accel-Expires", b"X-Accel-Buffering", b"X-Accel-Charset"]
)
def test_hidden_fields_do_not_reach_the_client(stage, name):
    s = stage(location='proxy_ignore_headers = "X-Accel-Redirect"')
    client, upstream = ask(s)
    upstream.send(ok(b"ok", b"A: 1", b"X-Accel-Redirect: /x", name + b": hidden", b"B: 2"))
    client.receives(to_client(b"ok", b"A: 1", b"B: 2"))


def test_hop_by_hop_fields_do_not_reach_the_client(stage):
    s = stage()
    client, upstream = ask(s)
    fields = (b"Connection: X-Hop, keep-alive", b"Keep-Alive: timeout=50", b"X-Hop: 1", b"Proxy-Connection: x", b"X-Stays: 2")
    upstream.send(ok(b"ok", *fields))
    client.receives(to_client(b"ok", b"X-Stays: 2"))
    is_reused(s, client, upstream)


@pytest.mark.parametrize("name", [b"Content-Type", b"Location", b"ETag", b"Last-Modified", b"Expires", b"Refresh"])
def test_of_some_fields_the_first_counts(stage, name):
    s = stage()
    client, upstream = ask(s)
    upstream.send(ok(b"ok", name + b": first", name.lower() + b": second"))
    if name == b"Content-Type":
        client.receives(to_client(b"ok", content_type=b"first"))
    else:
        client.receives(to_client(b"ok", name + b": first"))
    client.send(get(b"/again"))
    upstream.receives_head()
    upstream.send(ok(b"ok", name + b": first", name.lower() + b": second"))
    client.take()
    lower, name = name.lower().decode(), name.decode()
    text = f'upstream sent duplicate header line: "{lower}: second", previous value: "{name}: first", ignored'
    said = [line for line in s.error_log() if f"{text} while reading response header from upstream, client: " in line]
    assert len(said) == 2


def test_all_cookies_pass(stage):
    s = stage()
    client, upstream = ask(s)
    upstream.send(ok(b"ok", b"Set-Cookie: a=1", b"Set-Cookie: b=2"))
    client.receives(to_client(b"ok", b"Set-Cookie: a=1", b"Set-Cookie: b=2"))


# Lengths.


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize("size", [0, 1, 2, 100])
def test_a_body_of_known_length(stage, size, slowly):
    s = stage()
    client, upstream = ask(s)
    say(upstream, ok(b"x" * size), slowly)
    client.receives(to_client(b"x" * size))
    is_reused(s, client, upstream)


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize("pieces", [(), (b"hello",), (b"hel", b"lo"), (b"x" * 3000,)], ids=["none", "one", "two", "big"])
def test_a_chunked_body(stage, pieces, slowly):
    s = stage()
    client, upstream = ask(s)
    if slowly and len(pieces) == 1:
        pieces = (pieces[0][:100],)
    say(upstream, OK + CHUNKED + b"\r\n\r\n" + chunks(*pieces), slowly)
    body = b"".join(pieces)
    head = to_client(None, chunked=True)
    reply = client.take()
    assert reply.startswith(head)
    assert unchunked(reply[len(head) :]) == body
    is_reused(s, client, upstream)


def unchunked(wire: bytes) -> bytes:
    """An independent little decoder: whole body, exact."""
    body = b""
    while True:
        size, _, wire = wire.partition(b"\r\n")
        count = int(size, 16)
        body += wire[:count]
        assert wire[count : count + 2] == b"\r\n"
        wire = wire[count + 2 :]
        if not count:
            assert not wire
            return body


def test_trailers_and_extensions_of_an_upstream_are_dropped(stage):
    s = stage()
    client, upstream = ask(s)
    upstream.send(OK + CHUNKED + b"\r\n\r\n2;ext=1\r\nok\r\n0;x\r\nX-Trailer: a\r\nContent-Length: 7\r\n\r\n")
    client.receives(to_client(chunks(b"ok"), chunked=True))
    is_reused(s, client, upstream)


def test_a_body_until_close(stage):
    s = stage()
    client, upstream = ask(s)
    upstream.send(OK + b"\r\nhel")
    client.receives(to_client(chunks(b"hel", last=False), chunked=True))
    upstream.send(b"lo")
    client.receives(chunks(b"lo", last=False))
    upstream.close()
    client.receives(chunks())
    access = s.last_access()
    assert access["request_completion"] == "OK"
    assert access["body_bytes_sent"] == str(len(chunks(b"hel", b"lo")))
    assert client.is_open()


def test_a_body_until_close_with_the_end_at_once(stage):
    s = stage()
    client, upstream = ask(s)
    upstream.sock.send(OK + b"\r\nhello")
    upstream.end_sending()
    client.receives(to_client(chunks(b"hello"), chunked=True))
    is_not_reused(s, client, upstream)


def test_a_connection_whose_end_was_the_end_of_a_body_is_not_pooled(stage):
    """It must not push a good idle connection out of a full pool."""
    s = stage(upstream="keepalive = 1")
    first, good = ask(s)
    second, ending = ask(s, get(b"/b"), sent_up(b"/b"))
    good.send(ok())
    first.receives(to_client())
    ending.send(OK + b"\r\nhello")
    ending.close()
    assert second.take().endswith(chunks(b"hello"))
    assert good.is_open()
    is_reused(s, first, good)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_an_http_1_0_answer_or_one_that_says_close_is_not_reused(stage, version):
    s = stage()
    client, upstream = ask(s)
    if version == b"1.0":
        upstream.send(ok(b"ok", b"Connection: keep-alive", version=b"1.0"))
    else:
        upstream.send(ok(b"ok", b"Connection: Close"))
    client.receives(to_client())
    is_not_reused(s, client, upstream)


def test_an_http_1_0_answer_may_be_chunked(stage):
    s = stage()
    client, upstream = ask(s)
    upstream.send(b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n\r\n" + chunks(b"ok"))
    client.receives(to_client(chunks(b"ok"), chunked=True))
    is_not_reused(s, client, upstream)


# Cut bodies.


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("sent", [b"", b"hel"], ids=["nothing", "a part"])
def test_a_body_that_is_too_short_is_cut_visibly(stage, sent, end):
    s = stage()
    client, upstream = ask(s)
    upstream.send(OK + b"Content-Length: 5\r\n\r\n" + sent)
    client.receives(to_client(sent, length=5))
    upstream.close() if end == "close" else upstream.reset()
    client.is_closed()
    client.receives_nothing()
    access = s.last_access()
    assert access["status"] == "200"
    assert access["request_completion"] == ""
    assert "while reading upstream" in s.error_log()[0]
    if end == "close":
        assert access["wproxy_end_cause"] == "upstream: upstream prematurely closed connection while reading upstream"


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("sent", [b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n"], ids=repr)
def test_a_chunked_body_without_its_end_is_cut_visibly(stage, sent, end):
    s = stage()
    client, upstream = ask(s)
    upstream.send(OK + CHUNKED + b"\r\n\r\n" + sent)
    upstream.close() if end == "close" else upstream.reset()
    client.is_closed()
    reply = client.take()
    assert reply.startswith(to_client(None, chunked=True))
    assert not reply.endswith(b"0\r\n\r\n")
    assert s.last_access()["request_completion"] == ""


BAD_CHUNKS = [
    b"zz\r\nhello",
    b"5\nhello",
    b"5\r\nhelloX",
    b"5\r\nhello\n",
    b"-5\r\nhello",
    b"0\nX",
    b"0\r\nno colon\r\n\r\n",
    b"10000000000000000\r\n",
]


@pytest.mark.parametrize("bad", BAD_CHUNKS, ids=repr)
def test_a_bad_chunk_before_a_head_was_sent_is_a_502(stage, bad):
    s = stage()
    client, upstream = ask(s)
    upstream.send(OK + CHUNKED + b"\r\n\r\n" + bad)
    client.receives(error_page(502))
    is_not_reused(s, client, upstream)
    assert "upstream sent invalid chunked response" in s.error_log()[0]


@pytest.mark.parametrize("bad", BAD_CHUNKS, ids=repr)
def test_a_bad_chunk_after_it_cuts_the_body(stage, bad):
    s = stage()
    client, upstream = ask(s)
    upstream.send(OK + CHUNKED + b"\r\n\r\n" + chunks(b"good", last=False))
    client.receives(to_client(chunks(b"good", last=False), chunked=True))
    upstream.send(bad)
    client.is_closed()
    reply = client.take()
    assert b"0\r\n\r\n" not in reply
    assert upstream.is_closed()
    assert s.last_access()["request_completion"] == ""


def test_an_upstream_that_ends_before_its_head(stage):
    s = stage()
    client, upstream = ask(s)
    upstream.send(b"HTTP/1.1 200 O")
    upstream.close()
    client.receives(error_page(502))
    assert "upstream prematurely closed connection while reading response header from upstream" in s.error_log()[0]


# Surplus bytes.

EXACT = {
    "length": (get(), sent_up(), ok(b"ok"), to_client(b"ok")),
    "length 0": (get(), sent_up(), ok(b""), to_client(b"")),
    "chunked": (get(), sent_up(), OK + CHUNKED + b"\r\n\r\n" + chunks(b"ok"), to_client(chunks(b"ok"), chunked=True)),
    "204": (get(), sent_up(), b"HTTP/1.1 204 No Content\r\n\r\n", to_client(None, status=b"204 No Content", length=-1)),
    "304": (get(), sent_up(), b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", to_client(None, b"ETag: x", status=b"304 Not Modified", length=-1)),
    "HEAD": (get(method=b"HEAD"), sent_up(method=b"HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", to_client(None, length=5)),
    "HEAD chunked": (get(method=b"HEAD"), sent_up(method=b"HEAD"), OK + CHUNKED + b"\r\n\r\n", to_client(None, length=-1)),
    "HEAD bare": (get(method=b"HEAD"), sent_up(method=b"HEAD"), OK + b"\r\n", to_client(None, length=-1)),
}  # fmt: skip


@pytest.mark.parametrize("case", EXACT)
@pytest.mark.parametrize("slowly", [False, True])
def test_a_response_read_exactly_leaves_its_connection_for_the_next(stage, case, slowly):
    request, expected, answer, reply = EXACT[case]
    s = stage()
    client, upstream = ask(s, request, expected)
    say(upstream, answer, slowly)
    if case == "chunked" and slowly:
        reply = to_client(chunks(b"o", b"k"), chunked=True)
    client.receives(reply)
    is_reused(s, client, upstream)


@pytest.mark.parametrize("case", EXACT)
@pytest.mark.parametrize("surplus", [b"x", ANSWER, b"\r\n"], ids=["a byte", "a response", "CRLF"])
def test_surplus_at_once(stage, case, surplus):
    request, expected, answer, reply = EXACT[case]
    s = stage()
    client, upstream = ask(s, request, expected)
    upstream.send(answer + surplus)
    client.receives(reply)
    is_not_reused(s, client, upstream)
    (line,) = s.error_log()
    told = "data after final chunk" if case == "chunked" else 'more data than specified in "Content-Length" header'
    assert "[warn]" in line and f"upstream sent {told} while reading upstream, client: " in line


@pytest.mark.parametrize("framing", [b"Content-Length: 300", CHUNKED])
def test_surplus_at_the_end_of_a_body_that_was_not_whole_with_its_head(stage, framing):
    s = stage()
    client, upstream = ask(s)
    upstream.send(OK + framing + b"\r\n\r\n" + (b"x" if framing != CHUNKED else chunks(b"x", last=False)))
    assert client.take()
    upstream.send(b"x" * 300 if framing != CHUNKED else b"0\r\n\r\ny")
    assert client.take()
    is_not_reused(s, client, upstream)
    assert "upstream sent " in s.error_log()[0] and " while reading upstream" in s.error_log()[0]


@pytest.mark.parametrize("case", EXACT)
@pytest.mark.parametrize("surplus", [b"x", ANSWER], ids=["a byte", "a response"])
def test_surplus_later_on_an_idle_connection(stage, case, surplus):
    request, expected, answer, reply = EXACT[case]
    s = stage()
    client, upstream = ask(s, request, expected)
    upstream.send(answer)
    client.receives(reply)
    upstream.send(surplus)
    is_not_reused(s, client, upstream)


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_surplus_in_the_very_turn_of_the_next_request(stage, method):
    """The event of the surplus is told before any task runs, so the connection is out of the pool."""
    s = stage()
    client, upstream = ask(s)
    upstream.send(ok())
    client.receives(to_client())
    upstream.sock.send(ANSWER)
    wire = get(b"/second") if method == b"GET" else post(b"b", b"/second")
    client.sock.send(wire)
    fresh = s.peers[0].accept()
    assert b"/second" in fresh.receives_head()
    fresh.send(ok(b"right"))
    client.receives(to_client(b"right"))
    assert upstream.is_closed()


def race(s, client: End, upstream: End, surplus: bytes, request: bytes) -> None:
    """The surplus arrives after the loop has asked for events, and before the client's task takes a connection."""

    async def send_surplus() -> None:
        upstream.sock.send(surplus)

    client.sock.send(request)
    s.loop.spawn(send_surplus(), "race")
    s.settle()


def test_surplus_between_the_events_and_a_request_that_cannot_be_repeated(stage):
    """A look at the socket is taken anyway before a POST: bytes waiting there are as bad as its end."""
    s = stage()
    client, upstream = ask(s)
    upstream.send(ok())
    client.receives(to_client())
    race(s, client, upstream, ANSWER, post(b"b", b"/second"))
    reply = client.take()
    assert b"POISON" not in reply
    fresh = s.peers[0].accept()
    assert b"/second" in fresh.receives_head()
    fresh.send(ok(b"right"))
    client.receives(to_client(b"right"))


@pytest.mark.parametrize("case", ["204", "304", "HEAD"])
def test_a_body_after_a_bodiless_answer_is_never_relayed(stage, case):
    request, expected, _, _ = EXACT[case]
    s = stage()
    client, upstream = ask(s, request, expected)
    status = {"204": b"204 No Content", "304": b"304 Not Modified", "HEAD": b"200 OK"}[case]
    upstream.send(ok(b"BODY", status=status))
    reply = client.take()
    assert b"BODY" not in reply
    assert reply.endswith(b"\r\n\r\n")
    is_not_reused(s, client, upstream)


def test_304_keeps_its_content_length_and_204_has_none(stage):
    s = stage()
    client, upstream = ask(s)
    upstream.send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n")
    client.receives(to_client(None, status=b"304 Not Modified", length=100))
    client.send(get())
    upstream.receives(sent_up())
    upstream.send(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
    reply = client.take()
    assert reply == to_client(None, status=b"204 No Content", length=-1)


# Interim responses.


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n",
    ],
    ids=repr,
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_interim_heads_are_consumed(stage, interim, slowly, version):
    s = stage()
    client, upstream = ask(s, get(b"/", b"Connection: keep-alive", version=version))
    say(upstream, interim, slowly)
    client.receives_nothing()
    say(upstream, ok(), slowly)
    client.receives(to_client())
    is_reused(s, client, upstream)


@pytest.mark.parametrize("count", [32, 33])
@pytest.mark.parametrize("slowly", [False, True])
def test_no_more_than_32_of_them(stage, count, slowly):
    s = stage()
    client, upstream = ask(s)
    say(upstream, b"HTTP/1.1 100 C\r\n\r\n" * count + ok(), slowly)
    if count == 32:
        client.receives(to_client())
    else:
        client.receives(error_page(502))
        assert upstream.is_closed()


def test_interim_heads_share_proxy_buffer_size(stage):
    s = stage()
    client, upstream = ask(s)
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 1000 + b"\r\n\r\n"
    for _ in range(10):
        say(upstream, hint, slowly=False) if upstream.is_open() else None
    if upstream.is_open():
        say(upstream, ok(), slowly=False)
    assert client.take() == error_page(502)
    assert upstream.is_closed()


def test_interim_heads_do_not_extend_proxy_read_timeout(stage):
    s = stage(location='proxy_read_timeout = "5s"')
    client, upstream = ask(s)
    for _ in range(4):
        s.advance(1)
        upstream.send(b"HTTP/1.1 102 Processing\r\n\r\n")
    s.advance(1.5)
    client.receives(error_page(504))


@pytest.mark.parametrize("slowly", [False, True])
def test_101_that_nobody_asked_for(stage, slowly):
    s = stage()
    client, upstream = ask(s)
    say(upstream, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + ANSWER, slowly)
    client.receives(error_page(502))
    is_not_reused(s, client, upstream)


def test_101_when_the_upgrade_was_stripped(stage):
    """The client asked, the proxy did not: what follows is a tunnel to nobody's knowledge (http1-security.md §1: 101)."""
    s = stage()
    client, upstream = ask(s, get(b"/", b"Connection: upgrade", b"Upgrade: x"))
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
    assert client.take() == error_page(502)
    assert upstream.is_closed()


# Sizes.


def head_of(size: int) -> bytes:
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize("slowly", [False, True])
def test_a_head_of_exactly_proxy_buffer_size(stage, slowly):
    s = stage(location="proxy_buffer_size = 512")
    client, upstream = ask(s)
    say(upstream, head_of(512) + b"ok", slowly)
    field = head_of(512).split(b"\r\n")[2]
    client.receives(to_client(b"ok", field))
    is_reused(s, client, upstream)


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize(
    "wire",
    [head_of(513), b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200, b"HTTP/1.1 200 " + b"O" * 1000],
    ids=["over", "endless", "line"],
)
def test_a_head_over_proxy_buffer_size(stage, wire, slowly):
    s = stage(location="proxy_buffer_size = 512")
    client, upstream = ask(s)
    say(upstream, wire, slowly)
    client.receives(error_page(502))
    assert upstream.is_closed()
    (line,) = s.error_log()
    assert "upstream sent too big header while reading response header" in line
    assert line.endswith(f"(proxy_buffer_size 512: {s.position('proxy_buffer_size')})")


# Clients that cannot read chunks.


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
def test_chunked_for_a_1_0_client_is_unchunked_and_closed(stage, connection, slowly):
    s = stage()
    client, upstream = ask(s, get(b"/", b"Connection: " + connection, version=b"1.0"))
    say(upstream, OK + CHUNKED + b"\r\n\r\n" + chunks(b"hel", b"lo"), slowly)
    reply = client.take()
    assert b"chunked" not in reply.lower()
    assert reply.endswith(b"\r\n\r\nhello")
    if b"Connection: close" in reply:
        assert reply == to_client(b"hello", kept=False, length=-1)
        client.is_closed()


def test_until_close_for_a_1_0_client(stage):
    s = stage()
    client, upstream = ask(s, get(b"/", b"Connection: keep-alive", version=b"1.0"))
    upstream.send(OK + b"\r\nhel")
    upstream.send(b"lo")
    upstream.close()
    client.receives(to_client(b"hello", kept=False, length=-1))
    client.is_closed()


def test_a_cut_body_of_unknown_length_looks_incomplete_to_a_1_1_client_only(stage):
    """An HTTP/1.0 client cannot tell, and its connection is closed in any case."""
    s = stage()
    client, upstream = ask(s)
    upstream.send(OK + CHUNKED + b"\r\n\r\n" + b"5\r\nhel")
    upstream.close()
    client.receives(to_client(chunks(b"hel", last=False), chunked=True))
    client.is_closed()


@pytest.mark.parametrize("fields", [(b"Date: Mon, 01 Jan 2024 00:00:00 GMT",), ()])
def test_a_passed_date_or_server_is_sent_once(stage, fields):
    s = stage(location='proxy_pass_header = ["Date", "Server"]')
    client, upstream = ask(s)
    upstream.send(ok(b"ok", b"Server: theirs", *fields))
    reply = client.take()
    assert reply.lower().count(b"\r\ndate:") == 1
    assert reply.lower().count(b"\r\nserver:") == 1
    assert b"Server: theirs" in reply


def test_what_is_hidden_and_what_is_passed_are_inherited_each_as_a_whole(stage):
    s = stage(
        server='proxy_hide_header = "X-Outer"\nproxy_pass_header = "Server"',
        location='proxy_hide_header = "X-Inner"',
    )
    client, upstream = ask(s)
    upstream.send(ok(b"ok", b"Server: theirs", b"X-Outer: 1", b"X-Inner: 2"))
    reply = client.take()
    assert b"\r\nServer: theirs\r\n" in reply
    assert b"X-Outer: 1" in reply
    assert b"X-Inner" not in reply


def test_upgrade_of_an_ordinary_answer_passes(stage):
    s = stage()
    client, upstream = ask(s)
    upstream.send(ok(b"ok", b"Upgrade: h2c"))
    client.receives(to_client(b"ok", b"Upgrade: h2c"))


def test_hidden_by_configuration(stage):
    s = stage(location='proxy_hide_header = ["X-Powered-By", "set-cookie"]')
    client, upstream = ask(s)
    upstream.send(ok(b"ok", b"X-POWERED-BY: php", b"Set-Cookie: a", b"X: y"))
    client.receives(to_client(b"ok", b"X: y"))
