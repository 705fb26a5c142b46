"""Field lists of requests: every row of http2-rules.md, "Request fields" and "Downgrade smuggling"."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_requests import attributes_of, facts_of_fields

from worker.http1.fields import VALUE_BYTES
from worker.http1.request_values import HeadLimits
from worker.http2.request_head import RequestHead, RequestReader, as_upgrade, read_trailers
from wproxy.failures import ClientError

Pairs = list[tuple[bytes, bytes]]

METHOD, SCHEME, PATH, AUTHORITY = (
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":path", b"/a?b"),
    (b":authority", b"Example.org"),
)
PSEUDO = [METHOD, SCHEME, PATH, AUTHORITY]


def read(fields: Pairs, end_stream: bool = True, offers_connect: bool = False, **limits: object) -> RequestHead:
    reader = RequestReader(HeadLimits(**limits), offers_connect)  # type: ignore[arg-type]
    return reader.read(fields, sum(len(name) + len(value) for name, value in fields), end_stream)


def refusal(fields: Pairs, **how: object) -> ClientError:
    with pytest.raises(ClientError) as refused:
        read(fields, **how)  # type: ignore[arg-type]
    return refused.value


def with_pseudo(name: bytes, *values: bytes) -> Pairs:
    """The usual head with other values of one pseudo-header; none to leave it out."""
    return [pair for pair in PSEUDO if pair[0] != name] + [(name, value) for value in values]


def test_a_head_is_that_of_http1():
    head = read([*PSEUDO, (b"accept", b"*/*"), (b"x-a", b"1"), (b"x-a", b"2")])
    line, fields = head.line, head.fields
    assert (line.line, line.method, line.version) == (b"GET /a?b HTTP/2.0", b"GET", 20)
    assert (line.target, line.origin, line.path, line.args) == (b"/a?b", b"/a?b", b"/a", b"b")
    assert (line.authority, line.has_escapes, line.raw_ok) == (None, False, True)
    assert fields.lines == (
        (b"host", b"host", b"Example.org"),
        (b"accept", b"accept", b"*/*"),
        (b"x-a", b"x-a", b"1"),
        (b"x-a", b"x-a", b"2"),
    )
    assert fields.values == {b"host": b"Example.org", b"accept": b"*/*", b"x-a": b"1, 2"}
    assert (fields.host, fields.host_port, fields.content_length, fields.chunked) == (b"example.org", None, -1, False)
    assert (head.scheme, head.protocol) == (b"https", None)


def test_pseudo_headers_come_in_any_order():
    assert read(PSEUDO[::-1]).line.line == b"GET /a?b HTTP/2.0"


MALFORMED = {
    # names
    "upper case": [*PSEUDO, (b"Accept", b"a")],
    "a name of length 0": [*PSEUDO, (b"", b"a")],
    "a space in a name": [*PSEUDO, (b"a b", b"a")],
    "a space after a name": [*PSEUDO, (b"a ", b"a")],
    "TAB after a name": [*PSEUDO, (b"a\t", b"a")],
    "DEL in a name": [*PSEUDO, (b"a\x7f", b"a")],
    "NUL in a name": [*PSEUDO, (b"a\0", b"a")],
    "a colon in a name": [*PSEUDO, (b"a:b", b"a")],
    "CR LF in a name": [*PSEUDO, (b"a: b\r\nx", b"a")],
    "a whole line in a name": [*PSEUDO, (b"transfer-encoding: chunked", b"a")],
    "an eight-bit name": [*PSEUDO, (b"\xe2transfer-encoding", b"a")],
    # values
    "CR LF in a value": [*PSEUDO, (b"a", b"b\r\nx: y")],
    "LF in a value": [*PSEUDO, (b"a", b"b\nx: y")],
    "CR in a value": [*PSEUDO, (b"a", b"b\rc")],
    "NUL in a value": [*PSEUDO, (b"a", b"b\0")],
    "CR LF before a value": [*PSEUDO, (b"a", b"\r\nb")],
    "CR LF after a value": [*PSEUDO, (b"a", b"b\r\n")],
    "LF in a cookie": [*PSEUDO, (b"cookie", b"a=b\nx: y")],
    "a space before a value": [*PSEUDO, (b"a", b" b")],
    "TAB after a value": [*PSEUDO, (b"a", b"b\t")],
    "a space after a cookie": [*PSEUDO, (b"cookie", b"a ")],
    "VT in a value": [*PSEUDO, (b"a", b"b\x0bc")],
    "0x01 in a value": [*PSEUDO, (b"a", b"b\x01c")],
    # pseudo-headers
    "an unknown pseudo-header": [*PSEUDO, (b":x", b"a")],
    ":status": [*PSEUDO, (b":status", b"200")],
    "a colon alone": [*PSEUDO, (b":", b"a")],
    ":METHOD": [(b":METHOD", b"GET"), SCHEME, PATH, AUTHORITY],
    "a pseudo-header after a field": [METHOD, SCHEME, PATH, (b"a", b"b"), AUTHORITY],
    "an unknown pseudo-header after a field": [*PSEUDO, (b"a", b"b"), (b":x", b"a")],
    "two :path": [*PSEUDO, PATH],
    "two :method": [METHOD, *PSEUDO],
    "no :method": PSEUDO[1:],
    "no :scheme": [METHOD, PATH, AUTHORITY],
    "no :path": [METHOD, SCHEME, AUTHORITY],
    "nothing": [],
    "no host at all": [METHOD, SCHEME, PATH],
    ":protocol that was not offered": [*PSEUDO, (b":protocol", b"websocket")],
    # Host
    "another Host": [*PSEUDO, (b"host", b"other.org")],
    "another port in Host": [*PSEUDO, (b"host", b"example.org:8443")],
    "the port of the other scheme": [*PSEUDO, (b"host", b"example.org:80")],
    "Host twice": [*PSEUDO, (b"host", b"example.org"), (b"host", b"example.org")],
    "an empty Host": [METHOD, SCHEME, PATH, (b"host", b"")],
    "an empty Host beside :authority": [*PSEUDO, (b"host", b"")],
    # the connection
    "connection": [*PSEUDO, (b"connection", b"close")],
    "connection: content-length": [*PSEUDO, (b"connection", b"content-length")],
    "keep-alive": [*PSEUDO, (b"keep-alive", b"timeout=1")],
    "proxy-connection": [*PSEUDO, (b"proxy-connection", b"close")],
    "transfer-encoding: chunked": [*PSEUDO, (b"transfer-encoding", b"chunked")],
    "transfer-encoding: identity": [*PSEUDO, (b"transfer-encoding", b"identity")],
    "upgrade": [*PSEUDO, (b"upgrade", b"websocket")],
    "te: chunked": [*PSEUDO, (b"te", b"chunked")],
    "te: trailers, deflate": [*PSEUDO, (b"te", b"trailers, deflate")],
    "an empty te": [*PSEUDO, (b"te", b"")],
    "te twice": [*PSEUDO, (b"te", b"trailers"), (b"te", b"trailers")],
    # lengths
    "two lengths": [*PSEUDO, (b"content-length", b"5"), (b"content-length", b"5")],
    "a list of lengths": [*PSEUDO, (b"content-length", b"5,5")],
    "+5": [*PSEUDO, (b"content-length", b"+5")],
    "-1": [*PSEUDO, (b"content-length", b"-1")],
    "0x5": [*PSEUDO, (b"content-length", b"0x5")],
    "an empty length": [*PSEUDO, (b"content-length", b"")],
    "2**63": [*PSEUDO, (b"content-length", b"%d" % 2**63)],
    # other fields of which there is one
    "two authorizations": [*PSEUDO, (b"authorization", b"a"), (b"authorization", b"b")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("ignore_invalid_headers", [True, False])
def test_a_malformed_request_is_400(fields, ignore_invalid_headers):
    refused = refusal(fields, end_stream=False, ignore_invalid_headers=ignore_invalid_headers)
    assert refused.status == 400
    assert refused.reason.startswith("client sent ")
    assert refused.reason.isprintable()


BAD_PSEUDO = [
    *((b":path", path) for path in (
        b"", b"echo", b"http://example.org/", b"*", b"/a b", b"/a\tb", b"/ HTTP/1.1", b"/a\r\nx: y", b"/\0", b"/\x7f", b"/%00",
        b"/..", b"/a/../../b", b"@evil/", b"?a", b"/%", b"/%zz", b"/a\nb",
    )),
    *((b":method", method) for method in (b"", b"get", b"G1T", b"GET /x HTTP/1.1", b"GET\r\nx: y", b"GET ", b"A" * 33)),
    *((b":scheme", scheme) for scheme in (b"", b"1x", b"http://x/", b"http://evil/?", b"https\r\n", b"https\r\nx: y")),
    *((b":authority", authority) for authority in (
        b"", b"user@a", b"a b", b"a/b", b"a?b", b"a#b", b'a"b', b"a\x80", b"a:99999", b"a:b", b"a..b", b"a,b", b"a\r\nb", b"a:1:2",
    )),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD_PSEUDO)
def test_a_wrong_pseudo_header_is_400(name, value):
    assert refusal(with_pseudo(name, value)).status == 400


def test_options_for_the_whole_server_is_refused_as_in_http1():
    assert refusal([(b":method", b"OPTIONS"), SCHEME, (b":path", b"*"), AUTHORITY]).status == 400


GOOD_PSEUDO = [
    (b":path", b"/\xc3\xa9"), (b":path", b"//x"), (b":path", b"/%0d%0a"), (b":path", b"/?"),
    (b":method", b"M-SEARCH"), (b":method", b"A_B"),
    (b":scheme", b"ftp"), (b":scheme", b"HTTP"), (b":scheme", b"http"),
    (b":authority", b"a:443"), (b":authority", b"[::1]:80"), (b":authority", b"a."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), GOOD_PSEUDO)
def test_an_unusual_pseudo_header_passes(name, value):
    head = read(with_pseudo(name, value))
    assert {b":path": head.line.target, b":method": head.line.method, b":scheme": head.scheme}.get(
        name, head.fields.values[b"host"]
    ) == value


def test_a_path_is_decoded_as_in_http1():
    line = read(with_pseudo(b":path", b"//a/%2e%2e/b%20c?x=%20")).line
    assert (line.path, line.args, line.target, line.has_escapes) == (b"/b c", b"x=%20", b"//a/%2e%2e/b%20c?x=%20", True)
    assert read(with_pseudo(b":path", b"//a"), merge_slashes=False).line.path == b"//a"
    assert read(with_pseudo(b":path", b"//a")).line.path == b"/a"


def test_a_fragment_does_not_go_upstream():
    line = read(with_pseudo(b":path", b"/a?b#/../c")).line
    assert (line.origin, line.path, line.args) == (b"/a?b", b"/a", b"b")


@pytest.mark.parametrize("value", [b"b\x80\xff", b"NEL \xc2\x85 here", "嘍嘊".encode(), b"a\tb", b"", b'"'])
def test_unusual_values_pass_as_they_are(value):
    assert read([*PSEUDO, (b"a", value)]).fields.get(b"a") == value


@pytest.mark.parametrize("name", [b"x_a", b"x(a)", b"x.a", b"transfer_encoding", b"content_length"])
def test_unusual_names_are_a_matter_of_policy(name):
    pair = (name, b"1")
    assert read([*PSEUDO, pair]).fields.get(name) is None
    is_token = b"(" not in name
    if is_token:
        assert read([*PSEUDO, pair], ignore_invalid_headers=False).fields.get(name) == b"1"
    else:
        assert refusal([*PSEUDO, pair], ignore_invalid_headers=False).status == 400
    if b"_" in name:
        assert read([*PSEUDO, pair], underscores_in_headers=True).fields.get(name) == b"1"


@pytest.mark.parametrize("name", [b"proxy", b"http2-settings"])
def test_fields_that_deceive_are_dropped(name):
    assert read([*PSEUDO, (name, b"1")]).fields.get(name) is None


def test_te_trailers_is_kept():
    assert read([*PSEUDO, (b"te", b"Trailers")]).fields.get(b"te") == b"Trailers"


HOSTS = [
    (b"https", b"a:443", b"A"),
    (b"https", b"A", b"a:443"),
    (b"http", b"a:80", b"a"),
    (b"https", b"a:8443", b"A:8443"),
]


@pytest.mark.parametrize(("scheme", "authority", "host"), HOSTS)
def test_host_and_authority_may_be_spelled_differently_and_authority_counts(scheme, authority, host):
    head = read([METHOD, (b":scheme", scheme), PATH, (b":authority", authority), (b"x", b"y"), (b"host", host)])
    assert head.fields.lines == ((b"x", b"x", b"y"), (b"host", b"host", authority))
    assert head.fields.get(b"host") == authority


def test_host_alone_is_enough():
    fields = read([METHOD, SCHEME, PATH, (b"host", b"Example.org:81")]).fields
    assert (fields.host, fields.host_port, fields.get(b"host")) == (b"example.org", 81, b"Example.org:81")


def test_crumbs_of_a_cookie_are_joined_and_go_last():
    crumbs = [(b"cookie", b"a=b"), (b"x", b"y"), (b"cookie", b""), (b"cookie", b"c=d")]
    fields = read([*PSEUDO, *crumbs]).fields
    assert fields.lines[1:] == ((b"x", b"x", b"y"), (b"cookie", b"cookie", b"a=b; c=d"))
    assert fields.get(b"cookie") == b"a=b; c=d"
    assert read([*PSEUDO, (b"cookie", b"")]).fields.get(b"cookie") is None


@pytest.mark.parametrize(("value", "length"), [(b"0", 0), (b"005", 5), (b"%d" % (2**63 - 1), 2**63 - 1)])
def test_a_length_is_a_number(value, length):
    fields = read([*PSEUDO, (b"content-length", value)], end_stream=False).fields
    assert (fields.content_length, fields.chunked) == (length, False)


def test_a_length_without_a_body_is_malformed():
    assert refusal([*PSEUDO, (b"content-length", b"5")]).status == 400
    assert read([*PSEUDO, (b"content-length", b"0")]).fields.content_length == 0


def test_a_body_of_unknown_length_is_told():
    assert read(PSEUDO, end_stream=False).fields.chunked
    assert not read(PSEUDO, end_stream=True).fields.chunked


def test_an_expectation_is_told():
    assert read([*PSEUDO, (b"expect", b"100-Continue")], end_stream=False).fields.expects_continue


@pytest.mark.parametrize(
    ("method", "others", "status"),
    [
        (b"TRACE", [SCHEME, PATH, AUTHORITY], 405),
        (b"CONNECT", [(b":authority", b"a:443")], 405),
        (b"CONNECT", [SCHEME, PATH, AUTHORITY], 405),
        (b"CONNECT", [SCHEME, PATH], 400),
        (b"CONNECT", [(b":authority", b"a b")], 400),
    ],
)
def test_connect_and_trace_are_not_served(method, others, status):
    assert refusal([(b":method", method), *others]).status == status


CONNECT = [(b":method", b"CONNECT"), (b":protocol", b"WebSocket"), SCHEME, PATH, AUTHORITY]


def test_an_extended_connect_is_a_get_with_an_upgrade():
    head = read(
        [*CONNECT, (b"sec-websocket-version", b"13"), (b"sec-websocket-key", b"x")], end_stream=False, offers_connect=True
    )
    assert (head.protocol, head.line.line, head.line.method) == (b"websocket", b"CONNECT /a?b HTTP/2.0", b"GET")
    fields = as_upgrade(head, b"a2V5a2V5a2V5a2V5a2V5IQ==")
    assert fields.lines == (
        (b"host", b"host", b"Example.org"),
        (b"sec-websocket-version", b"sec-websocket-version", b"13"),
        (b"connection", b"connection", b"upgrade"),
        (b"upgrade", b"upgrade", b"websocket"),
        (b"sec-websocket-key", b"sec-websocket-key", b"a2V5a2V5a2V5a2V5a2V5IQ=="),
    )
    assert fields.upgrade == b"websocket"
    assert (fields.content_length, fields.chunked, fields.keeps) == (-1, False, 0)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([METHOD, *CONNECT[1:]], 400),
        ([pair for pair in CONNECT if pair[0] != b":scheme"], 400),
        ([pair for pair in CONNECT if pair[0] != b":path"], 400),
        ([pair for pair in CONNECT if pair[0] != b":authority"], 400),
        ([*CONNECT, (b":protocol", b"websocket")], 400),
        ([(name, b"connect-udp") if name == b":protocol" else (name, value) for name, value in CONNECT], 501),
    ],
)
def test_a_wrong_extended_connect_is_refused(fields, status):
    assert refusal(fields, offers_connect=True).status == status


def test_an_extended_connect_does_not_teach_a_line_to_plain_requests():
    read(CONNECT, offers_connect=True)
    assert refusal(CONNECT).status == 400
    assert refusal([(b":method", b"CONNECT"), SCHEME, PATH, AUTHORITY], offers_connect=True).status == 405


def test_limits_are_those_of_http1():
    assert refusal([*PSEUDO, (b"a", b"b" * 8192)]).status == 494
    assert read([*PSEUDO, (b"a", b"b" * 8191)]).fields.get(b"a") == b"b" * 8191
    assert refusal([*PSEUDO, *((b"a", b"b" * 8000) for _ in range(5))]).status == 494
    assert refusal([*PSEUDO, *((b"a", b"b") for _ in range(997))]).status == 494
    assert refusal([*PSEUDO, *((b"cookie", b"") for _ in range(997))]).status == 494
    assert refusal(with_pseudo(b":path", b"/" + b"a" * 8192)).status == 414
    long = with_pseudo(b":path", b"/" + b"a" * 400)
    assert read(long).line.path == b"/" + b"a" * 400
    assert refusal(long, line=200).status == 414


def test_a_repeated_list_is_the_same_head():
    reader = RequestReader(HeadLimits())
    head = reader.read(PSEUDO, 50, True)
    assert reader.read(PSEUDO, 50, True) is head
    other = reader.read(PSEUDO, 50, False)
    assert (other.fields.chunked, other.line) == (True, head.line)
    assert reader.read(list(PSEUDO), 50, True).line is head.line


def trailers(fields: Pairs, end_stream: bool = True) -> tuple[tuple[bytes, bytes, bytes], ...]:
    return read_trailers(fields, sum(len(name) + len(value) for name, value in fields), end_stream, HeadLimits())


def test_trailers_are_kept_without_those_that_frame_or_route():
    sent = [(b"grpc-status", b"0"), (b"content-length", b"5"), (b"host", b"evil"), (b"x-forwarded-for", b"1"), (b"x_y", b"z")]
    assert trailers(sent) == ((b"grpc-status", b"grpc-status", b"0"),)
    assert trailers([]) == ()


@pytest.mark.parametrize(
    ("fields", "end_stream"),
    [
        ([(b"a", b"b")], False),
        ([(b":path", b"/")], True),
        ([(b":x", b"/")], True),
        ([(b"transfer-encoding", b"chunked")], True),
        ([(b"connection", b"close")], True),
        ([(b"a", b"b\r\n")], True),
        ([(b"A", b"b")], True),
    ],
)
def test_wrong_trailers_are_malformed(fields, end_stream):
    with pytest.raises(ClientError) as refused:
        trailers(fields, end_stream)
    assert refused.value.status == 400


def test_too_many_trailers_are_refused():
    for fields in ([(b"a", b"b" * 8192)], [(b"a", b"b" * 8000)] * 5, [(b"a", b"b")] * 1001):
        with pytest.raises(ClientError) as refused:
            trailers(fields)
        assert refused.value.status == 494


NAMES = st.sampled_from(
    (b":method", b":path", b":scheme", b":authority", b":protocol", b"host", b"cookie", b"te", b"content-length", b"expect", b"a")
) | st.binary(max_size=4)
VALUES = st.sampled_from((b"GET", b"/", b"http", b"a", b"5", b"trailers", b"CONNECT", b"websocket", b"a\r\nb")) | st.binary(
    max_size=6
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.booleans(), st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_passes_can_be_written_in_http1(extra, usual, end_stream, offers_connect, ignores):
    fields = [*PSEUDO, *extra] if usual else extra
    try:
        head = read(fields, end_stream, offers_connect, ignore_invalid_headers=ignores)
    except ClientError as refused:
        assert refused.status in (400, 405, 494, 501)
        return
    for lower, name, value in head.fields.lines:
        assert lower == name == name.lower()
        assert not set(name) & set(b"\0\r\n :\t")
        assert not value.translate(None, VALUE_BYTES)
        assert value.strip(b" \t") == value
        assert lower not in (b"transfer-encoding", b"connection", b"upgrade")
    assert [lower for lower, _, _ in head.fields.lines].count(b"host") == 1
    assert [lower for lower, _, _ in head.fields.lines].count(b"content-length") <= 1
    assert head.line.origin.startswith(b"/")
    assert not set(head.line.origin) & set(b"\0\r\n\t #")
    assert head.line.method.isascii()


BASES = st.sampled_from(
    (
        [*PSEUDO, (b"accept", b"*/*"), (b"referer", b"/x"), (b"cookie", b"a")],
        [*PSEUDO, (b"cookie", b"a"), (b"cookie", b"b"), (b"x", b"y")],
        [*PSEUDO, (b"host", b"example.org"), (b"content-length", b"5"), (b"te", b"trailers")],
        [*PSEUDO, (b"x", b"1"), (b"x", b"2"), (b"x_y", b"dropped")],
        [METHOD, SCHEME, PATH, (b"host", b"a"), (b"expect", b"100-continue"), (b"proxy", b"dropped"), (b"z", b"")],
    )
)
OTHER_VALUES = st.sampled_from((b"/other?x", b"", b"7", b" 7", b"trailers", b"a\nb", b"\x80", b"b.org", b"/\x01", b"POST", b"0"))
CHANGES = st.lists(st.tuples(st.integers(0, 6), OTHER_VALUES), max_size=3)


def meaning(reader: RequestReader, fields: Pairs, end_stream: bool) -> tuple[object, ...]:
    try:
        head = reader.read(fields, 100, end_stream)
    except ClientError as refused:
        return refused.status, refused.reason
    line, read = head.line, head.fields
    slots = [getattr(line, name) for name in attributes_of(type(line))]
    return (
        *slots,
        *facts_of_fields(read),
        head.scheme,
        head.protocol,
    )


@given(BASES, st.lists(st.tuples(CHANGES, st.booleans()), max_size=4))
@settings(max_examples=150, deadline=None)
def test_a_head_means_the_same_whatever_came_before_it(fields, steps):
    reader = RequestReader(HeadLimits())
    meaning(reader, fields, True)
    for changes, end_stream in steps:
        fields = list(fields)
        for index, value in changes:
            if index < len(fields):
                fields[index] = (fields[index][0], value)
        assert meaning(reader, fields, end_stream) == meaning(RequestReader(HeadLimits()), fields, end_stream)


PATHS = st.sampled_from((b"/", b"/a?b", b"/%41", b"", b"*", b"no slash", b"/" * 9000))


@given(st.lists(st.tuples(BASES, st.integers(0, 5), PATHS, st.booleans()), max_size=6))
@settings(max_examples=150, deadline=None)
def test_a_path_means_the_same_whatever_list_it_was_in_before(steps):
    """Lists of several lengths, whose :path stands in several places."""
    reader = RequestReader(HeadLimits())
    for fields, place, path, is_short in steps:
        others = [field for field in (fields[:4] if is_short else fields) if field[0] != b":path"]
        varied = [*others[:place], (b":path", path), *others[place:]]
        assert meaning(reader, varied, True) == meaning(RequestReader(HeadLimits()), varied, True)


def test_another_path_with_another_method_is_another_method():
    reader = RequestReader(HeadLimits())
    for path in (b"/1", b"/2"):
        assert reader.read([METHOD, SCHEME, AUTHORITY, (b":path", path)], 100, True).line.path == path
    line = reader.read([(b":method", b"POST"), SCHEME, AUTHORITY, (b":path", b"/3")], 100, True).line
    assert (line.method, line.path) == (b"POST", b"/3")
    for path in (b"/4", b"/5"):
        assert reader.read([METHOD, SCHEME, (b":path", path), (b"host", b"a")], 100, True).line.path == path


def test_only_another_path_leaves_the_fields_as_they_are():
    reader = RequestReader(HeadLimits())
    fields = [*PSEUDO, (b"a", b"b"), (b"c", b"d"), (b"cookie", b"e")]
    first = reader.read(fields, 100, True)
    second = reader.read([*with_pseudo(b":path", b"/other"), *fields[4:]], 100, True)
    third_fields = [*PSEUDO, (b"a", b"b"), (b"c", b"D"), (b"cookie", b"E")]
    # The pseudo-headers stand in another order in the second list, so that it was read anew.
    assert second.fields is not first.fields
    assert reader.read([*with_pseudo(b":path", b"/third"), *fields[4:]], 100, True).fields is second.fields
    reader.read(fields, 100, True)
    third = reader.read(third_fields, 100, True).fields
    assert third.lines[1:] == ((b"a", b"a", b"b"), (b"c", b"c", b"D"), (b"cookie", b"cookie", b"E"))
    assert third.difference is not None
    assert third.difference[0] == [2, 3]


def test_crumbs_of_a_cookie_may_vary_without_reading_the_rest_again():
    reader = RequestReader(HeadLimits())
    fields = [*PSEUDO, (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"), (b"cookie", b"c=3")]
    reader.read(fields, 100, True)
    varied = [*PSEUDO, (b"cookie", b"a=7"), (b"x", b"y"), (b"cookie", b"b=8"), (b"cookie", b"c=3")]
    found = reader.read(varied, 100, True).fields
    assert found.lines[1:] == ((b"x", b"x", b"y"), (b"cookie", b"cookie", b"a=7; b=8; c=3"))
    assert found.get(b"cookie") == b"a=7; b=8; c=3"
    assert found.difference is not None and found.difference[0] == [2]
    without = [*PSEUDO, (b"cookie", b"a=7"), (b"x", b"y"), (b"cookie", b""), (b"cookie", b"c=3")]
    assert reader.read(without, 100, True).fields.get(b"cookie") == b"a=7; c=3"
