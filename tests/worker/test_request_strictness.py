"""The request table of http1-security.md §3, row by row, end to end: what the client gets and what the upstream receives.

Behind every refused request stands another one, complete and correct. It must never be interpreted: neither the upstream nor
the access log may hear of it. That is the whole of request smuggling seen from the front.
"""

from __future__ import annotations

import pytest
from conversation import chunks, get, ok, post, refusal, sent_up, to_client

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\nX-Smuggled: yes\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"


def is_refused(s, wire: bytes, status: int, behind: bytes = SMUGGLED, slowly: bool = False) -> None:
    """The refusal goes to the client, the connection ends, nothing reaches the upstream, nothing behind it is read."""
    client = s.client()
    if slowly:
        for byte in wire + behind:
            try:
                client.sock.send(bytes([byte]))
            except OSError:
                break  # refused already, and closed
            s.settle()
    else:
        client.send(wire + behind)
    client.receives(refusal(status))
    client.is_closed()
    s.peers[0].is_unvisited()
    client.close()
    s.advance(60)
    s.peers[0].is_unvisited()
    assert not s.worker.clients.connections
    assert s.statuses() == [str(status)]
    assert s.bugs == []


def is_forwarded(s, wire: bytes, expected: bytes, behind: bytes = b"", slowly: bool = False) -> None:
    """The upstream receives exactly this; the client gets the answer, and the connection is kept for what is behind."""
    client = s.client()
    if slowly:
        client.send_slowly(wire + behind)
    else:
        client.send(wire + behind)
    upstream = s.peers[0].accept()
    upstream.receives(expected)
    upstream.send(ok())
    client.receives(to_client())
    if not behind:
        assert client.is_open()
        client.send(get(b"/next"))
        behind_expected = sent_up(b"/next")
    else:
        behind_expected = sent_up(b"/smuggled", b"X-Smuggled: yes")
    upstream.receives(behind_expected)
    upstream.send(ok(b"next"))
    client.receives(to_client(b"next"))
    assert client.is_open()


# Content-Length.

BAD_LENGTHS = [
    b"+5", b"-5", b"0x5", b"1_0", b"5.0", b"5,", b"5, 5", b",5", b"5;", b"5 5", b'"5"', b"\t5", b"5\x0b", b"\x0c5", b"5\xa0", b"\xc2\x855",
    b"\xc2\xb2", b"\xd9\xa5", b"", b" ", b"9223372036854775808", b"9" * 40, b"9" * 4400, b"five", b"5e0", b"1e3", b"0b1", b"\x00",
]  # fmt: skip


@pytest.mark.parametrize("value", BAD_LENGTHS, ids=repr)
def test_a_bad_content_length(stage, value):
    is_refused(stage(), b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + value + b"\r\n\r\nhello", 400)


@pytest.mark.parametrize(
    "fields",
    [
        (b"Content-Length: 5", b"Content-Length: 5"),
        (b"Content-Length: 5", b"Content-Length: 6"),
        (b"Content-Length:", b"Content-Length: 5"),
        (b"Content-Length: 5", b"Content-Length:"),
        (b"Content-Length: 5", b"X: y", b"content-length: 0"),
    ],
    ids=repr,
)
def test_content_length_twice(stage, fields):
    is_refused(stage(), get(b"/", *fields, method=b"POST") + b"hello", 400)


@pytest.mark.parametrize("value", [b"005", b"0000000000000005", b"5 ", b"5  ", b"   5"], ids=repr)
def test_an_honest_content_length_is_written_anew(stage, value):
    wire = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length:" + value + b"\r\n\r\nhello"
    expected = sent_up(b"/", b"Content-Length: 5", method=b"POST") + b"hello"
    is_forwarded(stage(), wire, expected, SMUGGLED)


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"OPTIONS", b"HEAD"])
def test_a_body_of_any_method_is_framed_and_forwarded(stage, method):
    """CL.0: a body that one side does not expect is where the next request hides."""
    s = stage()
    client = s.client()
    client.send(get(b"/", b"Content-Length: %d" % len(SMUGGLED), method=method) + SMUGGLED)
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: %d" % len(SMUGGLED), method=method) + SMUGGLED)
    upstream.send(ok(b""))
    client.receives(to_client(b""))
    assert s.statuses() == ["200"]


# Transfer-Encoding.


@pytest.mark.parametrize("order", [(b"Content-Length: 5", CHUNKED), (CHUNKED, b"Content-Length: 5")], ids=["CL.TE", "TE.CL"])
def test_length_and_coding_together(stage, order):
    is_refused(stage(), get(b"/", *order, method=b"POST") + b"0\r\n\r\n", 400)


@pytest.mark.parametrize(
    "value",
    [
        b"gzip", b"identity", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b",chunked", b"chunked,", b"chunked;a=b", b'"chunked"',
        b"chunked\x0b", b"\x0bchunked", b"chun\xc2\xadked", b"\xe2\x84\xaachunked", b"chun\xe2\x84\xaaed", b"chunked\xa0", b"\tchunked",
        b"chunked\t", b"xchunked", b"chunkedx", b"chunk", b"deflate", b"trailers", b"c h u n k e d", b"",
    ],
    ids=repr,
)  # fmt: skip
def test_any_other_coding(stage, value):
    is_refused(stage(), get(b"/", b"Transfer-Encoding: " + value, method=b"POST") + b"0\r\n\r\n", 501)


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b"CHUNKED", b"  chunked ", b"cHuNkEd"], ids=repr)
def test_chunked_in_any_case_is_decoded(stage, value):
    wire = get(b"/", b"Transfer-Encoding:" + value, method=b"POST") + chunks(b"hel", b"lo")
    is_forwarded(stage(), wire, sent_up(b"/", b"Content-Length: 5", method=b"POST") + b"hello", SMUGGLED)


def test_an_empty_coding_beside_chunked(stage):
    is_refused(stage(), get(b"/", b"Transfer-Encoding:", CHUNKED, method=b"POST") + b"0\r\n\r\n", 501)


@pytest.mark.parametrize("second", [b"chunked", b"identity", b"gzip"])
def test_coding_twice(stage, second):
    is_refused(stage(), get(b"/", CHUNKED, b"Transfer-Encoding: " + second, method=b"POST") + b"0\r\n\r\n", 400)


@pytest.mark.parametrize("fields", [(CHUNKED,), (CHUNKED, b"Content-Length: 5"), (b"Connection: keep-alive", CHUNKED)], ids=repr)
def test_a_coding_in_http_1_0(stage, fields):
    is_refused(stage(), get(b"/", *fields, method=b"POST", version=b"1.0") + b"0\r\n\r\n", 400)


def test_a_coding_named_in_connection_is_still_obeyed(stage):
    """TE.0: the client asks us to forget the framing."""
    wire = get(b"/", b"Connection: transfer-encoding", CHUNKED, method=b"POST") + chunks(b"hello")
    is_forwarded(stage(), wire, sent_up(b"/", b"Content-Length: 5", method=b"POST") + b"hello", SMUGGLED)


def test_a_length_named_in_connection_is_still_obeyed(stage):
    wire = get(b"/", b"Connection: content-length", b"Content-Length: 5", method=b"POST") + b"hello"
    is_forwarded(stage(), wire, sent_up(b"/", b"Content-Length: 5", method=b"POST") + b"hello", SMUGGLED)


# Names.


@pytest.mark.parametrize(
    "line",
    [
        b"Name : v", b"Name\t: v", b"Name\x0b: v", b"Name\x00: v", b"Na me: v", b": v", b" : v", b"Na\x01me: v", b"Na\x7fme: v",
        b"Transfer-Encoding : chunked", b"Content-Length\t: 5", b"Host : evil", b"\x00X: y",
    ],
    ids=repr,
)  # fmt: skip
def test_a_space_or_control_in_a_name(stage, line):
    is_refused(stage(), get(b"/", line), 400)


BAD_NAMES = [bytes([byte]) for byte in b'()<>@,;\\"/[]?={}'] + [b"\x80", b"\xff", b"\xc2\xa0"]


@pytest.mark.parametrize("part", BAD_NAMES, ids=repr)
def test_a_line_with_an_invalid_name_is_dropped(stage, part):
    wire = get(b"/", b"A: 1", b"X" + part + b"Y: evil", b"B: 2")
    is_forwarded(stage(), wire, sent_up(b"/", b"A: 1", b"B: 2"))


@pytest.mark.parametrize("name", [b"x_foo", b"x.foo", b".foo", b"X+", b"!x", b"x~y", b"|"], ids=repr)
def test_an_unusual_name_passes_where_the_configuration_says_so(stage, name):
    s = stage(server="ignore_invalid_headers = false")
    is_forwarded(s, get(b"/", b"A: 1", name + b": z"), sent_up(b"/", b"A: 1", name + b": z"))


@pytest.mark.parametrize("part", BAD_NAMES, ids=repr)
def test_or_refused_where_the_configuration_says_so(stage, part):
    s = stage(server="ignore_invalid_headers = false")
    is_refused(s, get(b"/", b"X" + part + b"Y: evil"), 400)


@pytest.mark.parametrize(
    "line",
    [
        b"Content_Length: 100", b"X_Real_IP: 1.2.3.4", b"Transfer_Encoding: chunked", b"Transfer.Encoding: chunked",
        b"Content+Length: 100", b"X!Y: z", b"Content~Length: 9", b"_: x",
    ],
    ids=repr,
)  # fmt: skip
def test_underscores_and_exotic_tokens_are_dropped(stage, line):
    is_forwarded(stage(), get(b"/", b"A: 1", line, b"B: 2"), sent_up(b"/", b"A: 1", b"B: 2"), SMUGGLED)


def test_underscores_pass_where_the_configuration_says_so(stage):
    s = stage(server="underscores_in_headers = true")
    is_forwarded(s, get(b"/", b"X_Y: z"), sent_up(b"/", b"X_Y: z"))


@pytest.mark.parametrize("lines", [b"Transfer-\r\nEncoding: chunked", b"nocolon", b"X\r\n: y", b"GET / HTTP/1.1"], ids=repr)
def test_a_line_without_colon(stage, lines):
    is_refused(stage(), get(b"/", lines), 400)


# Values.


@pytest.mark.parametrize("lines", [b"X: a\r\n b", b"X: a\r\n\tb", b"Host: h\r\n evil", b" X: first", b"X: a\r\n \r\n"], ids=repr)
def test_folded_lines(stage, lines):
    is_refused(stage(), b"GET / HTTP/1.1\r\n" + lines + b"\r\n\r\n", 400)


CONTROLS = [byte for byte in [*range(0x20), 0x7F] if byte not in b"\t\r\n"]


@pytest.mark.parametrize("byte", CONTROLS)
def test_a_control_in_a_value(stage, byte):
    is_refused(stage(), get(b"/", b"X: a" + bytes([byte]) + b"b"), 400)


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\rX: a\r\n\r\n",
        b"GET / HTTP/1.1\rHost: h\r\n\r\n",
        b"GET /\r HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\rX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\rX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\r\n\r\n",
        b"GET / HTTP/1.1\r\r\nHost: h\r\n\r\n",
        b"\rGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
    ids=repr,
)
def test_a_bare_cr(stage, wire):
    is_refused(stage(), wire, 400)


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\nHost: h\nX: y\n\n",
        b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\nHost: h\r\nX: y\r\n\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: y\n\r\n",
    ],
    ids=repr,
)
@pytest.mark.parametrize("slowly", [False, True])
def test_bare_lf_in_a_head_is_normalised(stage, wire, slowly):
    is_forwarded(stage(), wire, sent_up(b"/", b"X: y"), SMUGGLED, slowly)


def test_8_bit_bytes_in_a_value_pass(stage):
    every = bytes(range(0x80, 0x100))
    is_forwarded(stage(), get(b"/", b"X: " + every), sent_up(b"/", b"X: " + every))


def test_values_are_trimmed_and_tabs_inside_kept(stage):
    is_forwarded(stage(), get(b"/", b"X: \t a\tb \t", b"Empty:", b"Y:z"), sent_up(b"/", b"X: a\tb", b"Empty: ", b"Y: z"))


# The request line.


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.01", b"GET / HTTP/1.10", b"GET / HTTP/1.1 ", b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b" GET / HTTP/1.1",
        b"GET / HTTP/0.9", b"GET /", b"GET / HTTP/1", b"GET / HTTP/.1", b"GET / http/1.1", b"GET / HTTP/1.x", b"GET / HTTP/01.1", b"GET / HTP/1.1",
        b"GET\t/ HTTP/1.1", b"GET /\tHTTP/1.1", b"GET\x0b/ HTTP/1.1", b"GET\x00/ HTTP/1.1", b"GET /\x0bHTTP/1.1", b"GET /a b HTTP/1.1",
        b"GET /\x01 HTTP/1.1", b"GET /\x7f HTTP/1.1", b"GET /\x00 HTTP/1.1",
        b"get / HTTP/1.1", b"Get / HTTP/1.1", b"G3T / HTTP/1.1", b"G:T / HTTP/1.1", b"G!T / HTTP/1.1", b"/ HTTP/1.1", b"A" * 33 + b" / HTTP/1.1",
        b"GET #frag HTTP/1.1", b"GET http://h#c HTTP/1.1", b"GET /% HTTP/1.1", b"GET /%zz HTTP/1.1", b"GET /%0 HTTP/1.1", b"GET /%00 HTTP/1.1",
        b"GET /.. HTTP/1.1", b"GET /../etc HTTP/1.1", b"GET /a/../../b HTTP/1.1", b"GET /%2e%2e/x HTTP/1.1", b"GET /..%2fx HTTP/1.1",
        b"GET * HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET x HTTP/1.1", b"GET ?a HTTP/1.1", b"GET //../.. HTTP/1.1",
        b"GET http://u@h/ HTTP/1.1", b"GET http://u:p@h/ HTTP/1.1", b"GET http:///x HTTP/1.1", b"GET http://h:99999/ HTTP/1.1",
        b"GET http://h:x/ HTTP/1.1", b"GET http://h:+80/ HTTP/1.1", b"GET ftp://h/ HTTP/1.1", b"GET file:///etc HTTP/1.1", b"GET http://a_b/ HTTP/1.1",
        b"GET http:// HTTP/1.1", b"GET http://[::1/ HTTP/1.1", b"GET http://a..b/ HTTP/1.1", b"GET http://h/%zz HTTP/1.1",
    ],
    ids=repr,
)  # fmt: skip
def test_a_bad_request_line(stage, line):
    is_refused(stage(), line + b"\r\nHost: h\r\n\r\n", 400)


@pytest.mark.parametrize("version", [b"2.0", b"9.9", b"3.1"])
def test_another_major_version(stage, version):
    is_refused(stage(), get(version=version), 505)


@pytest.mark.parametrize("version", [b"1.2", b"1.9"])
def test_versions_after_1_1_are_served_as_1_1(stage, version):
    is_forwarded(stage(), get(version=version), sent_up(), SMUGGLED)


@pytest.mark.parametrize(
    "wire",
    [
        b"GET /x\r\n",
        b"GET /x\r\n HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 40,
        b"\x00\n",
    ],
    ids=repr,
)
def test_http_0_9_and_what_is_not_http(stage, wire):
    is_refused(stage(), wire, 400)


@pytest.mark.parametrize("behind", [b"", SMUGGLED])
def test_a_tls_hello_is_refused_before_its_end(stage, behind):
    is_refused(stage(), b"\x16\x03\x01", 400, behind)


@pytest.mark.parametrize(
    "line",
    [b"TRACE / HTTP/1.1", b"CONNECT h:80 HTTP/1.1", b"TRACE http://h/ HTTP/1.1", b"CONNECT evil.example:443 HTTP/1.1"],
    ids=repr,
)
def test_trace_and_connect(stage, line):
    is_refused(stage(), line + b"\r\nHost: h\r\n\r\n", 405)


@pytest.mark.parametrize("method", [b"PROPFIND", b"M-SEARCH", b"MY_METHOD", b"A" * 32])
def test_any_method_of_capitals_is_forwarded(stage, method):
    is_forwarded(stage(), get(method=method), sent_up(method=method))


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n" * 8, b"\n", b"\n\r\n"], ids=repr)
@pytest.mark.parametrize("slowly", [False, True])
def test_empty_lines_before_a_request_are_skipped(stage, before, slowly):
    is_forwarded(stage(), before + get(), sent_up(), SMUGGLED, slowly)


def test_but_no_more_than_eight(stage):
    is_refused(stage(), b"\r\n" * 9 + get(), 400)


@pytest.mark.parametrize(
    "target",
    [
        b"/\x80\xff",
        b"/a%20b",
        b"/%41",
        b"/a/./b/../c",
        b"//a",
        b"/a?%zz&\"'<>",
        b'/"<>\\^`{|}',
        b"/?",
        b"/?a=/../..",
        b"/" + b"a" * 8000,
    ],
    ids=lambda target: repr(target[:20]),
)
def test_targets_go_upstream_as_they_came(stage, target):
    is_forwarded(stage(), get(target), sent_up(target), SMUGGLED)


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (b"GET http://h/a HTTP/1.1", b"/a"),
        (b"GET HTTPS://H:8080/a?b HTTP/1.1", b"/a?b"),
        (b"GET http://h HTTP/1.1", b"/"),
        (b"GET http://h?q HTTP/1.1", b"/?q"),
        (b"GET http://[::1]:80/x HTTP/1.1", b"/x"),
        (b"GET http://h./x HTTP/1.1", b"/x"),
    ],
    ids=repr,
)
def test_absolute_form_becomes_origin_form(stage, line, target):
    is_forwarded(stage(), line + b"\r\nHost: h\r\n\r\n", sent_up(target), SMUGGLED)


def test_the_authority_wins_over_host_everywhere(stage):
    s = stage(
        location='proxy_set_header = { Host = "$host", X-Http-Host = "$http_host" }',
        locations='[[http.server]]\nlisten = "127.0.0.1:8080"\nserver_name = "other"\n[http.server.location."/"]\nreturn = [200, "the other server"]',
    )
    client = s.client()
    client.send(b"GET http://FRONT/x HTTP/1.1\r\nHost: other\r\n\r\n")
    upstream = s.peers[0].accept()
    upstream.receives(b"GET /x HTTP/1.1\r\nHost: front\r\nX-Http-Host: other\r\n\r\n")
    upstream.send(ok())
    client.receives(to_client())
    client.send(b"GET http://other/x HTTP/1.1\r\nHost: front\r\n\r\n")
    client.receives(to_client(b"the other server", content_type=b"text/plain"))
    client.send(b"GET /x HTTP/1.1\r\nHost: other\r\n\r\n")
    client.receives(to_client(b"the other server", content_type=b"text/plain"))
    client.send(b"GET /x HTTP/1.1\r\nHost: front\r\n\r\n")
    upstream.receives(b"GET /x HTTP/1.1\r\nHost: front\r\nX-Http-Host: front\r\n\r\n")
    upstream.send(ok())
    client.receives(to_client())


# Host.


@pytest.mark.parametrize(
    "fields",
    [(), (b"Host: h", b"Host: h"), (b"Host: h", b"host: other"), (b"Host:",), (b"Host: ",)],
    ids=repr,
)
def test_no_host_or_two(stage, fields):
    is_refused(stage(), b"\r\n".join([b"GET / HTTP/1.1", *fields]) + b"\r\n\r\n", 400)


def test_no_host_with_an_absolute_target_either(stage):
    is_refused(stage(), b"GET http://h/ HTTP/1.1\r\n\r\n", 400)


@pytest.mark.parametrize(
    "host",
    [
        b"a, b", b"a b", b"a@b", b"a/b", b"a\\b", b"a?b", b"a#b", b"a<b", b'a"b', b"a{b", b"a\x01b", b"a\tb", b"h:99999", b"h:+80", b"h:-1", b"h:8 0",
        b"[::1", b"::1", b"a..b", b".", b"..", b"a,b", b"a;b", b"a=b", b"a*b", b"a%41", b"%zz", b"a!b", b"a$b", b"a&b", b"a'b", b"(a)", b"a+b",
        b"[::g]", b"[1.2.3.4]", b"[]", b"h:80:80", b":80", b"h:\xd9\xa5", b"\xe2\x84\xaa", b"\thost", b"host\t", b"[::1]x",
    ],
    ids=repr,
)  # fmt: skip
def test_a_bad_host(stage, host):
    is_refused(stage(), get(host=host), 400)


@pytest.mark.parametrize(
    "host", [b"h", b"H.Example", b"a-b_c.d~e", b"h:80", b"h:", b"h.", b"[::1]", b"[2001:db8::1]:8080", b"127.0.0.1"], ids=repr
)
def test_a_good_host(stage, host):
    is_forwarded(stage(), get(host=host), sent_up())


# Chunks.


def chunked(wire: bytes) -> bytes:
    return get(b"/", CHUNKED, method=b"POST") + wire


@pytest.mark.parametrize(
    "body",
    [
        b"+5\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"1_0\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n", b"\t5\r\nhello\r\n0\r\n\r\n", b"\r\nhello\r\n0\r\n\r\n", b"5\x00\r\nhello\r\n0\r\n\r\n",
        b"5\x0b\r\nhello\r\n0\r\n\r\n", b"\xc2\xb2\r\nhe\r\n0\r\n\r\n", b"8000000000000000\r\nhello", b"ffffffffffffffff\r\nhello",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n", b"5 junk\r\nhello\r\n0\r\n\r\n", b"5,5\r\nhello\r\n0\r\n\r\n", b"g\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello\r\n0\n\r\n",
        b"5\r\nhello\r\n0\r\n\n", b"5\rhello\r\n0\r\n\r\n", b"0\r\nX: y\n\r\n", b"2;\nxx\r\n0\r\n\r\n", b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5;a\x00b\r\nhello\r\n0\r\n\r\n", b"5;\x01\r\nhello\r\n0\r\n\r\n", b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"5;\r\rhello\r\n0\r\n\r\n",
        b"0\r\nGET /admin HTTP/1.1\r\nHost: h\r\n\r\n", b"0\r\nnocolon\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\nX: a\x00b\r\n\r\n", b"0\r\n X: y\r\n\r\n",
        b"0\r\nXX", b"0\r\n\rX\r\n\r\n",
    ],
    ids=repr,
)  # fmt: skip
def test_bad_chunks(stage, body):
    is_refused(stage(), chunked(body), 400)


@pytest.mark.parametrize(
    "body",
    [
        b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
        (b"1;" + b"a" * 4000 + b"\r\nx\r\n") * 20,
        b"0" * 5000 + b"5\r\nhello\r\n0\r\n\r\n",
        b"0\r\n" + b"X: y\r\n" * 20_000,
        b"0\r\nX: " + b"y" * 5000,
    ],
    ids=["a long extension", "many extensions", "zeros", "many trailers", "a long trailer"],
)
def test_chunk_lines_without_end(stage, body):
    is_refused(stage(), chunked(body), 400)


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b"5\t \r\nhello\r\n0 \r\n\r\n", b"5;ext\r\nhello\r\n0;last\r\n\r\n",
        b"5 ; a=\"b c\"\r\nhello\r\n0\r\n\r\n", b"0000000000000005\r\nhello\r\n000\r\n\r\n", b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n", b"5\r\nhello\r\n0\r\nContent-Length: 100\r\nHost: evil\r\nTransfer-Encoding: x\r\nX-Real-IP: 1\r\n\r\n",
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("slowly", [False, True])
def test_good_chunks_are_decoded_and_trailers_dropped(stage, body, slowly):
    is_forwarded(stage(), chunked(body), sent_up(b"/", b"Content-Length: 5", method=b"POST") + b"hello", SMUGGLED, slowly)


def test_bad_chunks_after_a_body_too_large_for_the_buffer_cut_the_upstream(stage):
    """What was sent upstream is not a complete request: the upstream must see the connection end inside the body."""
    s = stage(location="proxy_request_buffering = false")
    client = s.client()
    client.send(chunked(chunks(b"x" * 200, last=False)))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", CHUNKED, method=b"POST") + chunks(b"x" * 200, last=False))
    client.send(b"zz\r\n" + SMUGGLED)
    client.receives(refusal(400))
    upstream.receives_nothing()
    assert upstream.is_closed()
    client.close()
    s.advance(60)
    assert s.statuses() == ["400"]


# What is stripped.


@pytest.mark.parametrize(
    "lines",
    [
        (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        (b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        (b"Upgrade: websocket", b"Connection: upgrade"),
        (b"Proxy: http://evil",),
        (b"Proxy-Connection: keep-alive",),
        (b"Keep-Alive: timeout=5",),
        (b"TE: trailers",),
        (b"Expect: 200-maybe",),
        (b"Connection: keep-alive",),
    ],
    ids=repr,
)
def test_hop_by_hop_fields_are_dropped(stage, lines):
    is_forwarded(stage(), get(b"/", b"A: 1", *lines, b"B: 2"), sent_up(b"/", b"A: 1", b"B: 2"), SMUGGLED)


def test_fields_named_in_connection_are_removed(stage):
    wire = get(b"/", b"Connection: X-Secret, x-other ,keep-alive", b"X-Secret: s", b"X-OTHER: o", b"X-Stays: y")
    is_forwarded(stage(), wire, sent_up(b"/", b"X-Stays: y"))


def test_but_not_those_that_policy_needs(stage):
    kept = (
        b"Cookie: a=b",
        b"Authorization: Basic eDp5",
        b"X-Forwarded-For: 1.2.3.4",
        b"X-Forwarded-Proto: https",
        b"X-Real-IP: 1.2.3.4",
    )
    named = b"Connection: cookie, authorization, x-forwarded-for, x-forwarded-proto, x-real-ip, host, content-length, transfer-encoding"
    is_forwarded(stage(), get(b"/", named, *kept), sent_up(b"/", *kept))


def test_a_field_that_the_proxy_sets_cannot_be_named_away(stage):
    s = stage(location='proxy_set_header = { X-Set = "by us" }')
    client = s.client()
    client.send(get(b"/", b"Connection: X-Set", b"X-Set: by them"))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", b"X-Set: by us"))
    upstream.send(ok())
    client.receives(to_client())


def test_expect_twice(stage):
    is_refused(stage(), get(b"/", b"Expect: 100-continue", b"Expect: 100-continue"), 400)


def test_expect_continue_is_answered_and_not_forwarded(stage):
    s = stage()
    client = s.client()
    client.send(get(b"/", b"Content-Length: 5", b"Expect: 100-continue", method=b"POST"))
    client.receives(b"HTTP/1.1 100 Continue\r\n\r\n")
    s.peers[0].is_unvisited()
    client.send(b"hello" + SMUGGLED)
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/", b"Content-Length: 5", method=b"POST") + b"hello")
    upstream.send(ok())
    client.receives(to_client())
    upstream.receives(sent_up(b"/smuggled", b"X-Smuggled: yes"))
    upstream.send(ok())
    client.receives(to_client())


# Limits.


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (get(b"/" + b"a" * 9000), 414),
        (b"GET /" + b"a" * 9000, 414),
        (get(b"/", b"X: " + b"a" * 9000), 494),
        (get(b"/", *[b"X%d: " % number + b"a" * 4000 for number in range(10)]), 494),
        (get(b"/", *[b"X: y"] * 1001), 494),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 9000, 494),
    ],
    ids=["line", "unfinished line", "field", "total", "count", "unfinished field"],
)
def test_too_large_a_head(stage, wire, status):
    s = stage()
    client = s.client()
    client.send(wire + b"\r\n\r\n" + SMUGGLED)
    client.receives(refusal(status))
    client.is_closed()
    s.peers[0].is_unvisited()
    assert s.statuses() == [str(400 if status == 494 else status)]


def test_a_thousand_lines_are_not_too_many(stage):
    lines = [b"X%d: y" % number for number in range(999)]
    is_forwarded(stage(), get(b"/", *lines), sent_up(b"/", *lines))


# The invariant, in other settings.

REFUSED = [
    (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    (b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405),
    (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
    (b"GET /" + b"a" * 9000, 414),
    (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n", 413),
]


@pytest.mark.parametrize(("wire", "status"), REFUSED, ids=lambda value: repr(value)[:60])
@pytest.mark.parametrize("slowly", [False, True])
def test_what_comes_behind_a_refusal_is_never_read(stage, wire, status, slowly):
    if slowly and len(wire) > 1000:
        wire = wire[:8193]
    is_refused(stage(), wire, status, SMUGGLED * 3, slowly)


@pytest.mark.parametrize(("wire", "status"), REFUSED, ids=lambda value: repr(value)[:60])
def test_nor_when_it_comes_later(stage, wire, status):
    s = stage()
    client = s.client()
    client.send(wire)
    client.receives(refusal(status))
    try:
        client.send(SMUGGLED)
    except OSError:
        pass
    s.settle()
    client.receives_nothing()
    s.peers[0].is_unvisited()
    client.close()
    s.advance(60)
    assert s.statuses() == [str(status)]


@pytest.mark.parametrize(("wire", "status"), REFUSED, ids=lambda value: repr(value)[:60])
def test_a_good_request_before_a_bad_one_is_answered(stage, wire, status):
    s = stage()
    client = s.client()
    client.send(get(b"/good") + wire + SMUGGLED)
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/good"))
    upstream.send(ok(b"good"))
    client.receives(to_client(b"good") + refusal(status))
    client.is_closed()
    upstream.receives_nothing()
    s.peers[0].is_unvisited()
    assert s.statuses() == ["200", str(status)]


@pytest.mark.parametrize("repeat", [2, 5])
def test_pipelined_good_requests_are_not_mixed(stage, repeat):
    s = stage()
    client = s.client()
    body = SMUGGLED
    client.send(b"".join(post(body, b"/%d" % number) for number in range(repeat)))
    upstream = None
    for number in range(repeat):
        upstream = upstream or s.peers[0].accept()
        upstream.receives(sent_up(b"/%d" % number, b"Content-Length: %d" % len(body), method=b"POST") + body)
        upstream.send(ok(b"%d" % number))
        client.receives(to_client(b"%d" % number))
    assert s.statuses() == ["200"] * repeat
