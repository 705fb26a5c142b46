"""Access and error logs: what is in a line, when it is written, and what survives a rotation or a full disk."""

from __future__ import annotations

import json
import os
import random
import re

import pytest
from conversation import Peer, Stage, get, ok, to_client
from made_requests import make_client, make_request

from worker.logs import compile_format, escape_default, escape_json, escape_none
from wproxy.directives.log import LogFormat
from wproxy.http import Clock, Request
from wproxy.template import parse_pieces

TEXT = """\
error_log = [["{directory}/error.log", "info"]]
[http]
access_log = %s
[http.log_format]
plain = '%s'
test = '{log_format}'
[[http.server]]
listen = "127.0.0.1:8080"
server_name = "front"
[http.server.location."/"]
return = [200, "hello"]
[http.server.location."/quiet"]
access_log = "off"
return = [200, "hello"]
[http.server.location."/elsewhere"]
access_log = [["{directory}/elsewhere.log", "plain"]]
return = [200, "hello"]
"""


def logging(
    stage, log_format: str = "$request", access_log: str = '[["{directory}/access.log", "plain"]]', escape: str = ""
) -> Stage:
    text = TEXT % (access_log, log_format)
    if escape:
        text = text.replace(f"plain = '{log_format}'", f"plain = ['escape={escape}', '{log_format}']")
    return stage(peers=0, text=text)


def hello(kept: bool = True) -> bytes:
    return to_client(b"hello", content_type=b"text/plain", kept=kept)


def ask(s: Stage, *fields: bytes, target: bytes = b"/", count: int = 1, leave: bool = True) -> None:
    client = s.client()
    for _ in range(count):
        client.send(get(target, *fields))
        client.receives(hello())
    if leave:
        client.close()


def lines(s: Stage, name: str = "access.log", flush: bool = True) -> list[bytes]:
    if flush:
        s.worker.access_logs.flush()
    with open(f"{s.directory}/{name}", "rb") as file:
        return file.read().split(b"\n")[:-1]


# Escapes.


@pytest.mark.parametrize(
    ("value", "default", "as_json", "none"),
    [
        (None, b"-", b"", b""),
        (b"", b"", b"", b""),
        (b"plain ~ !", b"plain ~ !", b"plain ~ !", b"plain ~ !"),
        (b'a"b\\c', b"a\\x22b\\x5Cc", b'a\\"b\\\\c', b'a"b\\c'),
        (b"\x00\x1f\x7f", b"\\x00\\x1F\\x7F", b"\\u0000\\u001F\x7f", b"\x00\x1f\x7f"),
        (b"\r\n\t\b\f", b"\\x0D\\x0A\\x09\\x08\\x0C", b"\\r\\n\\t\\b\\f", b"\r\n\t\b\f"),
        (b"\x1b[31m", b"\\x1B[31m", b"\\u001B[31m", b"\x1b[31m"),
        ("é".encode(), b"\\xC3\\xA9", "é".encode(), "é".encode()),
        (b"\xff", b"\\xFF", b"\xff", b"\xff"),
    ],
)
def test_escapes(value, default, as_json, none):
    assert escape_default(value) == default
    assert escape_json(value) == as_json
    assert escape_none(value) == none


@pytest.mark.parametrize(
    ("escape", "expected"),
    [
        ("default", b'a:\\x22x\\x22-"plain"-\n'),
        ("json", b'a:\\"x\\"-"plain"\n'),
        ("none", b'a:"x"-"plain"\n'),
    ],
)
def test_only_values_are_escaped_and_all_of_them_where_one_has_to_be(escape, expected):
    # Two variables side by side, one at the end, text with a quote, one that is missing.
    pieces = parse_pieces('$request_method:$args-"$scheme"$remote_user', has_captures=False)
    line = compile_format(LogFormat("f", escape, "", tuple(pieces)))
    client = make_client()
    client.scheme = b"plain"
    request = make_request(client=client)
    request.method, request.args = b"a", b'"x"'
    assert line(request) == expected
    request.args = b"x"
    assert line(request) == expected.replace(b"\\x22", b"").replace(b'\\"', b"").replace(b'"x"', b"x")


def test_every_byte_is_safe_in_a_line():
    every = bytes(range(256))
    assert all(0x20 <= byte < 0x7F for byte in escape_default(every))
    assert b'"' not in escape_default(every)
    assert json.loads(b'"' + escape_json(every[:128]) + b'"') == every[:128].decode("ascii")


@pytest.mark.parametrize(
    ("escape", "expected"),
    [
        ("", b'"\\x5C\\x22 \\xFF" - '),
        ("default", b'"\\x5C\\x22 \\xFF" - '),
        ("json", b'"\\\\\\" \xff"  '),
        ("none", b'"\\" \xff"  '),
    ],
)
def test_the_escape_of_a_format(stage, escape, expected):
    s = logging(stage, '"$http_x" $http_missing ', escape=escape)
    ask(s, b'X: \\" \xff')
    assert lines(s) == [expected]


# Formats.


def test_combined(stage):
    s = logging(stage, access_log='"{directory}/access.log"')
    ask(s, b"Referer: http://r/?a", b"User-Agent: Test/1.0", b"Authorization: Basic YWxpY2U6c2VjcmV0", target=b"/x?y")
    ask(s)
    pattern = rb'127\.0\.0\.1 - %b \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET %b HTTP/1\.1" 200 5 "%b" "%b"'
    first, second = lines(s)
    assert re.fullmatch(pattern % (b"alice", rb"/x\?y", rb"http://r/\?a", rb"Test/1\.0"), first)
    assert re.fullmatch(pattern % (b"-", b"/", b"-", b"-"), second)


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("$remote_addr", rb"127\.0\.0\.1"),
        ("$remote_port", rb"40000"),
        ("$server_addr:$server_port", rb"127\.0\.0\.1:8080"),
        ("$server_name", rb"front"),
        ("$scheme$https", rb"http"),
        ("$host", rb"h"),
        ("$http_host", rb"h"),
        ("$request_method $uri $args $is_args", rb"GET / a=1&b=%20 \?"),
        ("$request_uri", rb"/\?a=1&b=%20"),
        ("$arg_a $arg_B $arg_c", rb"1 %20 -"),
        ("$server_protocol", rb"HTTP/1\.1"),
        ("$status $body_bytes_sent $bytes_sent", rb"200 5 \d{3}"),
        ("$connection $connection_requests", rb"1 1"),
        ("$msec", rb"\d+\.\d{3}"),
        ("$request_time", rb"0\.000"),
        ("$time_iso8601", rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"),
        ("$time_local", rb"\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"),
        ("$request_id", rb"[0-9a-f]{32}"),
        ("$upstream_addr $upstream_status", rb"- -"),
        ("$cookie_a $cookie_none", rb"1 -"),
        ("$http_x_y", rb"z"),
        ("${{status}}x", rb"200x"),
        ("$request_completion", rb"OK"),
        ("$wproxy_end_cause", rb""),
    ],
)
def test_variables_in_a_line(stage, variable, expected):
    s = logging(stage, variable)
    ask(s, b"X-Y: z", b"Cookie: b=2; a=1", target=b"/?a=1&b=%20")
    (line,) = lines(s)
    assert re.fullmatch(expected, line)


def test_off_and_elsewhere(stage):
    s = logging(stage)
    ask(s, target=b"/quiet")
    ask(s, target=b"/elsewhere")
    ask(s, target=b"/here")
    assert lines(s) == [b"GET /here HTTP/1.1"]
    assert lines(s, "elsewhere.log") == [b"GET /elsewhere HTTP/1.1"]


def test_two_logs_of_one_request(stage):
    s = logging(stage, access_log='[["{directory}/access.log", "plain"], ["{directory}/second.log", "plain"]]')
    ask(s)
    assert lines(s) == lines(s, "second.log") == [b"GET / HTTP/1.1"]


def test_one_file_under_two_formats_keeps_the_order(stage):
    s = logging(stage, access_log='[["{directory}/access.log", "plain"], ["{directory}/access.log", "combined"]]')
    ask(s, count=2)
    written = lines(s)
    assert len(written) == 4
    assert written[0] == written[2] == b"GET / HTTP/1.1"


def test_a_request_line_cannot_forge_a_line(stage):
    s = logging(stage, '"$request" "$http_user_agent"')
    ask(s, b'User-Agent: x" 200 "\xe2\x80\xa8', target=b'/"200"')
    client = s.client()
    client.send(b"BAD\x1b[2J\x00\xff\r\n\r\n")
    client.take()
    client.close()
    written = lines(s)
    assert written[0] == b'"GET /\\x22200\\x22 HTTP/1.1" "x\\x22 200 \\x22\\xE2\\x80\\xA8"'
    assert written[1] == b'"BAD\\x1B[2J\\x00\\xFF" "-"'


UP = """[http.server.location."/up"]
proxy_pass = "http://{peers[0]}"
"""


def test_lines_of_a_head_that_comes_again_and_again_differ_where_the_answers_do(stage):
    """From the third request on the rest of the line is remembered."""
    log_format = '100%% $remote_addr "$request" $status 5%b $body_bytes_sent $time_local "$http_user_agent" $http_x_none'
    s = stage(peers=1, text=TEXT % ('[["{directory}/access.log", "plain"]]', log_format) + UP)
    client = s.client()
    upstream = None
    for body, status in (
        (b"a", b"200 OK"),
        (b"bb", b"404 Not Found"),
        (b"ccc", b"200 OK"),
        (b"", b"503 No"),
        (b"e" * 70, b"200 OK"),
    ):
        for target in (b"/up?%b", b"/up?%d"):  # another one in between is not taken for it
            client.send(get(target, b'User-Agent: %s %% "q" \xff'))
            upstream = upstream or s.peers[0].accept()
            upstream.take()
            upstream.send(ok(body, status=status))
            client.take()
            client.send(get(target, b'User-Agent: %s %% "q" \xff'))
            upstream.take()
            upstream.send(ok(body, status=status))
            client.take()
    expected = [
        b'100%%%% 127.0.0.1 "GET %b HTTP/1.1" %b 5%%b %d TIME "%%s %%%% \\x22q\\x22 \\xFF" -' % (target, status, size)
        for size, status in ((1, b"200"), (2, b"404"), (3, b"200"), (0, b"503"), (70, b"200"))
        for target in (b"/up?%b", b"/up?%b", b"/up?%d", b"/up?%d")
    ]
    assert [re.sub(rb"\d+/\w+/\d+:[\d:]+ [+-]\d+", b"TIME", line) for line in lines(s)] == expected


@pytest.mark.parametrize("more", ["", "$bytes_sent $request_length", "$request_time", "$msec", "$time_iso8601 $http_x"])
def test_a_line_that_is_kept_is_the_one_that_would_be_composed(more):
    text = f'$remote_addr "$request" $status $body_bytes_sent [$time_local] {more} 100%'
    pieces = tuple(parse_pieces(text, has_captures=False))
    line = compile_format(LogFormat("own", "default", text, pieces))
    clock = Clock(1000.0)
    clients = [make_client(clock), make_client(clock)]
    first = make_request("/a", "X: %b")
    others = [first, make_request("/b")]
    chance = random.Random(7)
    for _ in range(500):
        request = Request(chance.choice(clients), chance.choice(others).line, first.fields, clock.now - chance.choice((0.0, 0.5)))
        request.status, request.forced_status = chance.choice((200, 200, 304)), chance.choice((0, 0, 0, 404))
        request.bytes_sent, request.body_bytes_sent, request.request_length = (chance.choice((7, 7, 7, 8)) for _ in range(3))
        expected = b"".join(piece if isinstance(piece, bytes) else escape_default(piece.read(request)) for piece in pieces)
        assert line(request) == expected + b"\n"
        if not chance.randrange(10):
            clock.set_wall(clock.wall + chance.choice((0.25, 1.0)))


def test_the_time_of_a_line_moves_on(stage):
    s = logging(stage, "$time_iso8601 $request")
    client = s.client()
    for _ in range(4):
        client.send(get())
        client.receives(hello())
        s.loop.clock.set_wall(s.loop.clock.wall + 1.0)
    seconds = [line[17:19] for line in lines(s)]
    assert len(set(seconds)) == 4


# When lines are written.


def test_lines_are_gathered_and_flushed_after_a_pause(stage):
    s = logging(stage)
    logs = s.worker.access_logs
    logs.flush_if_due()
    ask(s, count=3, leave=False)
    assert logs.flush_if_due() is True
    assert lines(s, flush=False) == []
    s.advance(0.2)
    assert logs.flush_if_due() is False
    assert len(lines(s, flush=False)) == 3
    assert logs.flush_if_due() is False


def test_lines_are_written_before_the_loop_waits(stage):
    s = logging(stage)
    s.worker.access_logs.flush_if_due()
    client = s.client()
    for count in (1, 2):
        client.send(get())
        client.receives(hello())
        assert len(lines(s, flush=False)) == count - 1
        s.worker.turn(0.0)
        assert len(lines(s, flush=False)) == count


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (get(b"/", b"Connection: close"), b"200"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", b"200"),  # it lingers
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
    ],
)
def test_who_sees_a_connection_end_finds_its_line(stage, sent, status):
    s = logging(stage, "$status")
    s.worker.access_logs.flush_if_due()
    client = s.client().send(sent)
    s.until(client._ended, "the end of the connection")
    assert lines(s, flush=False) == [status]


def test_lines_that_gather_do_not_keep_the_worker_awake(stage):
    s = logging(stage, access_log='[["{directory}/access.log", "plain", "buffer=4k", "flush=5s"]]')
    ask(s)
    before = s.loop.turns
    s.worker.turn(0.0)
    assert s.loop.turns <= before + 2
    assert lines(s, flush=False) == []


def test_a_full_buffer_is_written_at_once_in_whole_lines(stage):
    s = logging(stage, "$http_x")
    s.worker.access_logs.flush_if_due()
    ask(s, b"X: " + b"x" * 7000, count=15, leave=False)
    with open(f"{s.directory}/access.log", "rb") as file:
        written = file.read()
    assert written.count(b"\n") in range(9, 15)
    assert set(written.split(b"\n")[:-1]) == {b"x" * 7000}
    assert written.endswith(b"\n")
    assert len(lines(s)) == 15


def test_a_rotation_loses_nothing(stage):
    s = logging(stage, "$arg_n")
    client = s.client()

    def count_to(first: int, last: int) -> None:
        for number in range(first, last):
            client.send(get(b"/?n=%d" % number))
            client.receives(hello())

    count_to(0, 5)
    os.rename(f"{s.directory}/access.log", f"{s.directory}/access.1")
    count_to(5, 8)
    s.worker.reopen_logs()
    count_to(8, 10)
    assert lines(s, "access.1") == [b"%d" % number for number in range(8)]
    assert lines(s) == [b"8", b"9"]


def test_a_rotation_of_the_error_log(stage):
    s = logging(stage)
    s.worker.error_log.write("error", "before")
    os.rename(f"{s.directory}/error.log", f"{s.directory}/error.1")
    s.worker.error_log.write("error", "between")
    s.worker.reopen_logs()
    s.worker.error_log.write("error", "after")
    with open(f"{s.directory}/error.1") as file:
        assert [line.rpartition(" ")[2] for line in file.read().split("\n")[:-1]] == ["before", "between"]
    assert [line.rpartition(" ")[2] for line in s.error_log()] == ["after"]


def test_reopening_keeps_descriptors_few(stage):
    s = logging(stage)
    ask(s)
    s.worker.reopen_logs()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        s.worker.reopen_logs()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_log_that_cannot_be_reopened_stays_as_it_was(stage):
    s = logging(stage)
    ask(s)
    os.rename(s.directory, f"{s.directory}-away")
    try:
        s.worker.reopen_logs()
    except OSError:
        pass  # whether it is told by an exception or a line is not our business here
    ask(s, target=b"/still")
    s.worker.access_logs.flush()
    with open(f"{s.directory}-away/access.log", "rb") as file:
        assert file.read() == b"GET / HTTP/1.1\nGET /still HTTP/1.1\n"
    os.rename(f"{s.directory}-away", s.directory)


def test_signals_for_rotation_are_survived_when_the_directory_is_gone(stage):
    """SIGUSR1 reaches `reopen_logs` inside a task: an OSError there must not end the task that obeys signals."""
    s = logging(stage)
    os.rename(s.directory, f"{s.directory}-away")
    try:
        s.worker.reopen_logs()
    except OSError as error:
        pytest.xfail(f"reopen_logs raises {error!r} into the task that obeys signals")
    finally:
        os.rename(f"{s.directory}-away", s.directory)


def test_a_full_disk_is_survived(stage):
    s = logging(stage, access_log='[["/dev/full", "plain"], ["{directory}/access.log", "plain"]]')
    ask(s, count=3)
    s.worker.access_logs.flush()
    ask(s, count=2)
    assert lines(s) == [b"GET / HTTP/1.1"] * 5
    assert s.bugs == []


def test_a_full_disk_under_the_error_log_is_survived(stage):
    text = TEXT.replace('"{directory}/error.log"', '"/dev/full"') % ('"off"', "$request")
    s = stage(peers=0, text=text)
    client = s.client()
    client.send(b"BAD\r\n\r\n")
    assert client.take().startswith(b"HTTP/1.1 400 ")
    ask(s)
    assert s.bugs == []


# What the real nginx 1.22 logs of the same bytes, sent after one good request.
@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        (b"garbage\r\n\r\n", "400|-|-|-|-|-|garbage|2|0"),
        (b"get / HTTP/1.1\r\n\r\n", "400|-|-|-|-|-|get / HTTP/1.1|2|0"),
        (b"POST /x%zz HTTX/1.1\r\n\r\n", "400|-|-|-|-|-|POST /x%zz HTTX/1.1|2|0"),
        (b"PUT /x?y HTTP/1.1\r\n\r\n", "400|PUT|/x?y|/x|y|HTTP/1.1|PUT /x?y HTTP/1.1|2|21"),
        (b"FOO / HTTP/1.1\r\nHost: a b\r\n\r\n", "400|FOO|/|/|-|HTTP/1.1|FOO / HTTP/1.1|2|27"),
        (b"\r\nPUT / HTTP/1.0\r\nA: \0\r\n\r\n", "400|PUT|/|/|-|HTTP/1.0|PUT / HTTP/1.0|2|16"),
    ],
)
def test_of_a_request_that_cannot_be_read_what_could_be_is_logged(stage, sent, logged):
    variables = "status request_method request_uri uri args server_protocol request connection_requests request_length"
    s = logging(stage, "|".join(f"${name}" for name in variables.split()))
    client = s.client()
    client.send(get(b"/"))
    client.receives(hello())
    client.send(sent)
    assert client.take().startswith(b"HTTP/1.1 400 ")
    assert lines(s)[-1].decode() == logged


def test_a_line_that_does_not_end_in_time_is_logged_without_a_method(stage):
    s = logging(stage, "$status|$request_method|$request|$connection_requests")
    client = s.client()
    client.send(b"DELETE / HTTP/1.1")
    s.advance(61)
    assert lines(s) == [b"408|-|DELETE / HTTP/1.1|1"]


# Error lines.


def test_an_error_line(stage):
    s = stage()
    s.peers[0].refuse()
    client = s.client()
    client.send(get(b"/x?y", b"Referer: http://r/"))
    client.take()
    (line,) = s.error_log()
    assert re.fullmatch(
        r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[error\] \d+#\d+: \*1 connect\(\) failed \(111: Connection refused\) while connecting to upstream, "
        r'client: 127\.0\.0\.1, server: front, request: "GET /x\?y HTTP/1\.1", '
        rf'upstream: "http://{re.escape(s.peers[0].name)}/x\?y", host: "h", referrer: "http://r/"',
        line,
    )


HOSTILE = b'\x80\x9b31m\xff"\\'


@pytest.mark.parametrize("place", ["referer", "host", "target"])
def test_error_lines_escape_what_a_terminal_or_a_parser_would_take(stage, place):
    s = stage()
    s.peers[0].refuse()
    client = s.client()
    if place == "referer":
        client.send(get(b"/", b"Referer: " + HOSTILE))
    elif place == "host":
        client.send(get(b"/", b"X: y", host=b"h:80"))
    else:
        client.send(get(b"/" + HOSTILE))
    client.take()
    with open(f"{s.directory}/error.log", "rb") as file:
        written = file.read()
    assert all(0x20 <= byte < 0x7F for byte in written.replace(b"\n", b""))
    assert written.count(b"\n") == 1
    quoted = re.sub(rb'"[^"]*"', b"", written)
    assert b'"' not in quoted


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\nX\x1b[31m: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: \x1b]0;evil\x07\r\n\r\n",
        b"\x1b[2J / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x1b[31m\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\x1b[31m\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\x1b[31m: x\r\n\r\n",
    ],
    ids=repr,
)
def test_error_lines_about_bad_requests_are_clean(stage, wire):
    s = stage()
    client = s.client()
    client.send(wire)
    assert client.take().startswith(b"HTTP/1.1 ")
    with open(f"{s.directory}/error.log", "rb") as file:
        written = file.read()
    assert written.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in written.replace(b"\n", b""))


@pytest.mark.parametrize(
    "wire",
    [b"\x1b[31mHTTP\x9b\r\n\r\n", b"HTTP/1.1 200 OK\r\nX\x1b: y\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x1b\r\n\r\n"],
    ids=repr,
)
def test_error_lines_about_bad_upstreams_are_clean(stage, wire):
    s = stage()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(wire)
    assert client.take().startswith(b"HTTP/1.1 502 ")
    with open(f"{s.directory}/error.log", "rb") as file:
        written = file.read()
    assert all(0x20 <= byte < 0x7F for byte in written.replace(b"\n", b""))


@pytest.mark.parametrize(("level", "count"), [("emerg", 0), ("error", 0), ("warn", 0), ("notice", 0), ("info", 1), ("debug", 1)])
def test_levels(stage, level, count):
    text = TEXT.replace('"info"', f'"{level}"') % ('"off"', "$request")
    s = stage(peers=0, text=text)
    client = s.client()
    client.send(b"BAD\r\n\r\n")
    client.take()
    assert len(s.error_log()) == count


def test_a_bug_is_logged_as_an_alert_with_its_trace(stage):
    s = stage()

    async def fail() -> None:
        raise ZeroDivisionError("oh")

    s.loop.spawn(fail(), "something")
    s.settle()
    (line,) = [line for line in s.error_log() if "[alert]" in line]
    assert "a bug ended something" in line
    assert any("ZeroDivisionError: oh" in line for line in s.error_log())
    s.bugs.clear()


def test_a_unix_peer_in_an_error_line_has_a_colon(stage, tmp_path):
    peer = Peer(f"{tmp_path}/up.sock")
    s = stage(peers=[peer])
    client = s.client()
    client.send(get(b"/x"))
    upstream = peer.accept()
    upstream.receives_head()
    upstream.close()
    client.take()
    assert f'upstream: "http://unix:{tmp_path}/up.sock:/x"' in s.error_log()[0]


def test_the_variables_of_an_upstream_in_a_line(stage):
    s = stage()
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok(b"ok", b"X-Cache: hit", b"X-Cache: miss"))
    client.take()
    access = s.last_access()
    assert access["upstream_addr"] == s.peers[0].name
    assert access["upstream_response_length"] == "2"


# What the error log says of limits and targets.


@pytest.mark.parametrize(
    ("location", "told"), [('client_max_body_size = "2k"', "client_max_body_size 2k: "), ("", "client_max_body_size 1m: default")]
)
def test_sizes_are_told_as_sizes(stage, location, told):
    s = stage(location=location)
    s.client().send(get(b"/", b"Content-Length: 2000000", method=b"POST")).take()
    assert f"({told}" in s.error_log()[0]


def test_an_invalid_chunked_body_is_an_error(stage):
    s = stage()
    s.client().send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"zz\r\n").take()
    assert "[error]" in s.error_log()[0]
    assert "client sent invalid chunked body" in s.error_log()[0]


def test_a_space_in_a_variable_target_is_told_with_the_way_out(stage):
    place = '[http.server.location."/v/"]\nset = [["$target", "127.0.0.1:1"]]\nproxy_pass = "http://$target$uri"'
    s = stage(locations=place)
    client = s.client().send(get(b"/v/a%20b"))
    assert client.take().startswith(b"HTTP/1.1 500 ")
    assert 'invalid URI in "http://127.0.0.1:1/v/a b"' in s.error_log()[0]
    assert "$request_uri has it as %20" in s.error_log()[0]


@pytest.mark.parametrize(
    ("sent", "access", "error"),
    [
        # As nginx 1.22 logs them, but for the reason.
        (b"GET /partial", "400|-|front|-|0", 'while reading client request line, *, request: "GET /partial"'),
        (
            b"GET /part HTTP/1.1\r\nHost: xy\r\nFoo",
            "400|GET|xy|xy|30",
            'while reading client request headers, *, request: "GET /part HTTP/1.1", host: "xy"',
        ),
        (
            b"PUT / HTTP/1.1\r\nHost: a b\r\nX: y\r\n\r\n",
            "400|PUT|front|a b|27",
            'while reading client request headers, *, request: "PUT / HTTP/1.1", host: "a b"',
        ),
        (b"PUT / HTTP/1.1\r\n\r\n", "400|PUT|front|-|18", 'while reading client request headers, *, request: "PUT / HTTP/1.1"'),
    ],
)
def test_what_could_be_read_of_a_broken_head_is_told(stage, sent, access, error):
    s = logging(stage, "$status|$request_method|$host|$http_host|$request_length")
    client = s.client().send(sent)
    client.close()
    assert lines(s)[-1].decode() == access
    before, _, after = error.partition("*")
    (line,) = s.error_log()
    assert before in line
    assert line.endswith(after)
