"""Frames of an HTTP/2 client about its connection and its streams, good and bad: the rows of http2-rules.md.

C: the connection ends with GOAWAY. S: the stream is reset. A row that says neither leaves the connection as it is.
"""

from __future__ import annotations

import struct

import pytest
from speaking import (
    ACK,
    CONTINUATION,
    DATA,
    EH,
    ES,
    GET,
    GOAWAY,
    H2,
    HEADERS,
    OPENED,
    PADDED,
    PING,
    PREFACE,
    PRIO,
    PRIORITY,
    PUSH,
    READY,
    RST,
    SETTINGS,
    WINDOW,
    block,
    fields_of,
    frame,
    get,
    http2,
    number,
    said_to,
    settings,
)

from worker.client.http2.connection import HTTP2Connection
from worker.client.http2.serve import serve_http2

CONNECTION_FAULTS = {
    "SETTINGS of a stream": (frame(SETTINGS, 0, 1), "PROTOCOL_ERROR"),
    "SETTINGS of no whole pair": (frame(SETTINGS, 0, 0, b"12345"), "FRAME_SIZE_ERROR"),
    "SETTINGS ACK with a payload": (frame(SETTINGS, ACK, 0, b"123456"), "FRAME_SIZE_ERROR"),
    "SETTINGS ACK with another flag and a payload": (frame(SETTINGS, ACK | 2, 0, b"123456"), "FRAME_SIZE_ERROR"),
    "ENABLE_PUSH 2": (settings((2, 2)), "PROTOCOL_ERROR"),
    "a too large INITIAL_WINDOW_SIZE": (settings((4, 1 << 31)), "FLOW_CONTROL_ERROR"),
    "a too small MAX_FRAME_SIZE": (settings((5, 16383)), "PROTOCOL_ERROR"),
    "a too large MAX_FRAME_SIZE": (settings((5, 1 << 24)), "PROTOCOL_ERROR"),
    "ENABLE_CONNECT_PROTOCOL 2": (settings((8, 2)), "PROTOCOL_ERROR"),
    "a frame larger than ours may be": (frame(DATA, 0, 1, b"", 16385), "FRAME_SIZE_ERROR"),
    "a second preface": (PREFACE, "FRAME_SIZE_ERROR"),
    "PING of 7 bytes": (frame(PING, 0, 0, b"1234567"), "FRAME_SIZE_ERROR"),
    "PING of a stream": (frame(PING, 0, 1, b"12345678"), "PROTOCOL_ERROR"),
    "GOAWAY of a stream": (frame(GOAWAY, 0, 1, bytes(8)), "PROTOCOL_ERROR"),
    "GOAWAY of 7 bytes": (frame(GOAWAY, 0, 0, bytes(7)), "FRAME_SIZE_ERROR"),
    "PUSH_PROMISE": (frame(PUSH, EH, 1, number(2) + GET), "PROTOCOL_ERROR"),
    "HEADERS without a stream": (get(0), "PROTOCOL_ERROR"),
    "DATA without a stream": (frame(DATA, 0, 0, b"x"), "PROTOCOL_ERROR"),
    "RST_STREAM without a stream": (frame(RST, 0, 0, number(8)), "PROTOCOL_ERROR"),
    "PRIORITY without a stream": (frame(PRIORITY, 0, 0, bytes(5)), "PROTOCOL_ERROR"),
    "HEADERS on an even stream": (get(2), "PROTOCOL_ERROR"),
    "DATA on an idle stream": (frame(DATA, 0, 1, b"x"), "PROTOCOL_ERROR"),
    "RST_STREAM on an idle stream": (frame(RST, 0, 1, number(8)), "PROTOCOL_ERROR"),
    "WINDOW_UPDATE on an idle stream": (frame(WINDOW, 0, 1, number(8)), "PROTOCOL_ERROR"),
    "RST_STREAM of 3 bytes": (get() + frame(RST, 0, 1, b"123"), "FRAME_SIZE_ERROR"),
    "WINDOW_UPDATE 0 of the connection": (frame(WINDOW, 0, 0, number(0)), "PROTOCOL_ERROR"),
    "WINDOW_UPDATE 0 of a stream": (get() + frame(WINDOW, 0, 1, number(0)), "PROTOCOL_ERROR"),
    "WINDOW_UPDATE of 3 bytes": (frame(WINDOW, 0, 0, b"123"), "FRAME_SIZE_ERROR"),
    "a too large window of the connection": (frame(WINDOW, 0, 0, number(0x7FFFFFFF)), "FLOW_CONTROL_ERROR"),
    "PRIORITY of 4 bytes": (frame(PRIORITY, 0, 1, bytes(4)), "FRAME_SIZE_ERROR"),
    "PRIORITY on itself": (frame(PRIORITY, 0, 1, number(1) + b"\0"), "PROTOCOL_ERROR"),
    "HEADERS that depend on themselves": (get(1, EH | ES | PRIO, number(1) + b"\0" + GET), "PROTOCOL_ERROR"),
    "padded DATA without a length": (get(1, EH) + frame(DATA, PADDED, 1), "FRAME_SIZE_ERROR"),
    "padded DATA of nothing but padding and more": (get(1, EH) + frame(DATA, PADDED, 1, b"\3ab"), "PROTOCOL_ERROR"),
    "padded HEADERS of too much padding": (get(1, EH | ES | PADDED, b"\x20abc"), "PROTOCOL_ERROR"),
    "HEADERS too short for a priority": (get(1, EH | ES | PRIO, b"ab"), "FRAME_SIZE_ERROR"),
    "a lone CONTINUATION": (frame(CONTINUATION, EH, 1, GET), "PROTOCOL_ERROR"),
    "CONTINUATION after END_HEADERS": (get() + frame(CONTINUATION, EH, 1, GET), "PROTOCOL_ERROR"),
    "CONTINUATION of another stream": (get(1, ES) + frame(CONTINUATION, EH, 3, GET), "PROTOCOL_ERROR"),
    "PING within a field block": (get(1, ES) + frame(PING, 0, 0, bytes(8)), "PROTOCOL_ERROR"),
    "an unknown frame within a field block": (get(1, ES) + frame(0x20, 0, 0, bytes(8)), "PROTOCOL_ERROR"),
    "more than 4 empty CONTINUATIONs": (get(1, ES) + 5 * frame(CONTINUATION, 0, 1), "ENHANCE_YOUR_CALM"),
    "more than 32 CONTINUATIONs": (get(1, ES, b"") + 33 * frame(CONTINUATION, 0, 1, b"\0\1a\1b"), "ENHANCE_YOUR_CALM"),
    "a field block beyond 128 KB": (get(1, ES, b"") + 9 * frame(CONTINUATION, 0, 1, bytes(16384)), "ENHANCE_YOUR_CALM"),
    "index 0": (get(1, payload=b"\x80"), "COMPRESSION_ERROR"),
    "an index beyond the table": (get(1, payload=b"\xbe"), "COMPRESSION_ERROR"),
    "a block that ends inside a literal": (get(1, payload=b"\0\5ab"), "COMPRESSION_ERROR"),
    "a table larger than ours": (get(1, payload=b"\x3f\xe2\x1f" + GET), "COMPRESSION_ERROR"),
    "a table size after a field": (get(1, payload=GET + b"\x20"), "COMPRESSION_ERROR"),
    "Huffman padding of eight bits": (get(1, payload=GET + b"\0\1a\x82\x1f\xff"), "COMPRESSION_ERROR"),
}


@pytest.mark.parametrize("row", CONNECTION_FAULTS)
def test_a_fault_of_the_connection_ends_it_with_its_code(stage, row):
    wire, code = CONNECTION_FAULTS[row]
    h2, said = said_to(stage, wire)
    farewell = [word for word in said if word.startswith("GOAWAY")]
    assert [word.split()[2] for word in farewell] == [code], said
    assert said[-1] == "end"
    assert any("while processing HTTP/2 connection" in line for line in h2.stage.error_log())
    h2.end.close()


# Streams of which our side and the client's have ended.


def after_an_answer(stage, *wire: bytes) -> list[str]:
    h2, said = said_to(stage, get())
    assert said == ["1: 200", "1: +5."]
    said = h2.send(*wire).news()
    h2.end.close()
    return said


@pytest.mark.parametrize("late", [frame(DATA, 0, 1, b"x"), frame(HEADERS, EH | ES, 1, GET)], ids=["DATA", "HEADERS"])
def test_data_and_headers_on_a_stream_that_both_have_ended_are_a_fault(stage, late):
    assert after_an_answer(stage, late) == ["GOAWAY 1 STREAM_CLOSED", "end"]


@pytest.mark.parametrize(
    "late", [frame(WINDOW, 0, 1, number(9)), frame(RST, 0, 1, number(8)), frame(PRIORITY, 0, 1, bytes(4) + b"\7")]
)
def test_other_frames_on_a_stream_that_both_have_ended_are_dropped(stage, late):
    assert after_an_answer(stage, late, get(3)) == ["3: 200", "3: +5."]


@pytest.mark.parametrize("late", [frame(DATA, 0, 1, b"x"), frame(HEADERS, EH | ES, 1, GET)], ids=["DATA", "HEADERS"])
def test_data_and_headers_after_the_end_of_a_request_are_a_fault(stage, late):
    h2 = H2(http2(stage))
    h2.ask()
    upstream = h2.stage.peers[0].accept()
    assert h2.send(late).news() == ["GOAWAY 1 STREAM_CLOSED", "end"]
    assert upstream.is_closed()
    assert h2.stage.statuses() == ["499"]
    h2.end.close()


def test_a_stream_number_below_the_last_is_a_fault(stage):
    h2, said = said_to(stage, get(5))
    assert said == ["5: 200", "5: +5."]
    assert h2.send(get(3)).news() == ["GOAWAY 5 PROTOCOL_ERROR", "end"]
    h2.end.close()


@pytest.mark.parametrize("late", [frame(DATA, 0, 1, bytes(100)), frame(HEADERS, EH, 1, GET), frame(RST, 0, 1, number(0))])
def test_what_was_under_way_to_a_stream_that_we_reset_is_dropped(stage, late):
    h2, said = said_to(stage, get(1, EH))  # a request whose body is not wanted
    assert said == [f"1: {OPENED}", "1: 200", "1: +5."]
    h2.stage.advance(0.3)
    assert h2.news() == ["1: RST NO_ERROR"]
    assert h2.send(late, get(3)).news() == ["3: 200", "3: +5."]


def test_a_reset_is_never_answered_by_a_reset(stage):
    h2 = H2(http2(stage))
    h2.ask(1, end=False)
    h2.send(frame(RST, 0, 1, number(8)))
    assert h2.is_alive() and not [word for word in h2.news() if "RST" in word]
    assert h2.stage.statuses() == ["499"]


@pytest.mark.parametrize("code", [0, 8, 0xFFFFFFFF])
def test_a_request_that_is_reset_ends_with_499_and_its_upstream_is_closed(stage, code):
    h2 = H2(http2(stage))
    h2.ask()
    upstream = h2.stage.peers[0].accept()
    upstream.receives_head()
    h2.send(frame(RST, 0, 1, number(code)))
    assert upstream.is_closed()
    assert h2.stage.statuses() == ["499"]
    assert any("client canceled stream 1, so upstream connection is closed too" in line for line in h2.stage.error_log())
    assert h2.is_alive()


def test_a_request_that_is_reset_in_the_same_piece_of_bytes_is_logged_as_any_other(stage):
    h2 = H2(http2(stage))
    assert h2.send(get(), frame(RST, 0, 1, number(8))).news() == []
    assert h2.stage.statuses() == ["499"] and h2.stage.peers[0].is_unvisited()


def test_ignore_client_abort_lets_the_upstream_finish(stage):
    h2 = H2(http2(stage, location="proxy_ignore_client_abort = true"))
    h2.ask()
    upstream = h2.stage.peers[0].accept()
    upstream.receives_head()
    h2.send(frame(RST, 0, 1, number(8)))
    assert upstream.is_open()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert h2.is_alive() and h2.news() == []
    assert h2.stage.statuses() == ["499"]


def test_ignore_client_abort_lets_the_upstream_finish_after_the_end_of_the_connection_too(stage):
    h2 = H2(http2(stage, location="proxy_ignore_client_abort = true"))
    h2.ask()
    upstream = h2.stage.peers[0].accept()
    upstream.receives_head()
    h2.end.close()
    assert upstream.is_open()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    h2.stage.until(lambda: h2.stage.statuses() == ["499"], "no end")
    assert not h2.stage.worker.clients.connections


@pytest.mark.parametrize("leaves", [False, True])
def test_half_a_body_is_not_waited_for_where_ignore_client_abort_is_on(stage, leaves):
    h2 = H2(http2(stage, location="proxy_ignore_client_abort = true\nproxy_request_buffering = false"))
    h2.ask(1, b"/", (b"content-length", b"100"), method=b"POST", end=False).data(1, b"half")
    upstream = h2.stage.peers[0].accept()
    upstream.receives_head()
    if leaves:
        h2.end.close()
    else:
        h2.send(frame(RST, 0, 1, number(8)))
    assert upstream.is_closed()
    assert h2.stage.statuses() == ["400"]


# Frames that are fine.


HARMLESS = {
    "an unknown frame on an idle stream": frame(0x20, 0xFF, 99, b"what"),
    "PRIORITY on an idle stream": frame(PRIORITY, 0, 77, number(3) + b"\7"),
    "PRIORITY_UPDATE": frame(0x10, 0, 0, number(1) + b"u=1"),
    "unknown settings": settings((99, 5), (0, 1), (6, 1), (3, 0)),
    "a superfluous ACK": frame(SETTINGS, ACK | 0x40, 0),
    "a PING ACK of no PING": frame(PING, ACK, 0, bytes(8)),
    "the reserved bit": frame(PING, ACK, 0x80000000, bytes(8)),
}


@pytest.mark.parametrize("row", HARMLESS)
def test_what_means_nothing_is_ignored(stage, row):
    _, said = said_to(stage, HARMLESS[row], get())
    assert [word for word in said if word != "SETTINGS ACK"] == ["1: 200", "1: +5."]


def test_the_first_frame_must_be_settings(stage):
    for wire in (get(), frame(PING, 0, 0, bytes(8)), frame(SETTINGS, ACK, 0)):
        h2 = H2(http2(stage, location=READY), begins=False)
        h2.send(PREFACE + wire)
        assert h2.news()[2:] == ["GOAWAY 0 PROTOCOL_ERROR", "end"]
        h2.end.close()


def test_a_ping_is_answered_with_its_bytes(stage):
    assert said_to(stage, frame(PING, 0, 0, b"\1\2\3\4\5\6\7\x08"))[1] == ["PING ACK 0102030405060708"]


def test_padding_priority_and_continuations_of_a_head(stage):
    padded = b"\x05" + number(0) + b"\x10" + GET + bytes(5)
    h2, said = said_to(stage, get(1, EH | ES | PADDED | PRIO, padded))
    assert said == ["1: 200", "1: +5."]
    pieces = [frame(CONTINUATION, 0, 3, GET[at : at + 5]) for at in range(0, len(GET), 5)]
    assert h2.send(get(3, ES | PADDED, b"\0"), *pieces, frame(CONTINUATION, EH | ES, 3)).news() == ["3: 200", "3: +5."]


def test_a_smaller_table_is_confirmed_at_the_beginning_of_the_next_head(stage):
    h2 = H2(http2(stage, location=READY), (1, 0))
    h2.decoder.max_allowed_table_size = 0
    h2.ask()
    assert h2.answer() == (200, b"ready")
    assert h2.decoder.header_table_size == 0


def test_a_stream_with_the_last_number_is_served_and_then_the_connection_ends(stage):
    h2, said = said_to(stage, get(0x7FFFFFFF))
    assert said[-2:] == ["2147483647: 200", "2147483647: +5."] and "GOAWAY 2147483647 NO_ERROR" in said
    h2.send(frame(PING, ACK, 0, b"leaving\0"))
    assert h2.is_closed()


def test_more_streams_than_allowed_are_refused_and_one_that_goes_on_is_sent_away(stage):
    h2 = H2(http2(stage, "http2_max_concurrent_streams = 2"))
    for stream in (1, 3, 5):
        h2.ask(stream)
    assert h2.news() == ["5: RST REFUSED_STREAM"]
    upstreams = [h2.stage.peers[0].accept() for _ in range(2)]
    upstreams[0].receives_head()
    upstreams[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    h2.stage.until(lambda: any("200" in word for word in h2.hear()), "no answer")
    h2.news()
    h2.ask(7)
    assert h2.is_alive() and h2.news() == []
    for stream in range(9, 9 + 2 * 102, 2):
        h2.ask(stream)
    assert h2.news()[-2:] == ["GOAWAY 211 NO_ERROR", "end"]
    h2.end.close()


# The preface.


def test_the_preface_may_come_byte_by_byte(stage):
    s = http2(stage, location=READY)
    h2 = H2(s, begins=False)
    h2.end.send_slowly(PREFACE + settings() + get())
    assert h2.news()[-2:] == ["1: 200", "1: +5."]


def test_a_client_of_http_1_is_served_on_the_same_port(stage):
    s = http2(stage, location=READY)
    h2 = H2(s, begins=False)
    h2.end.send_slowly(b"POST / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
    assert h2.end.take().startswith(b"HTTP/1.1 200 OK\r\n")
    h2.end.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert h2.end.take().endswith(b"\r\n\r\nready")


WRONG = [
    (PREFACE[:-4] + b"XX\r\n", b"400"),
    (b"PRI * HTTP/2.0\r\n\r\n" + b"x" * 9, b"400"),
    (b"PRI * HTTP/1.1\r\n\r\n", b"400"),
    (b"PRI /\r\n\r\n", b"400"),
]


@pytest.mark.parametrize(("wrong", "status"), WRONG)
def test_what_only_begins_like_a_preface_is_http_1(stage, wrong, status):
    h2 = H2(http2(stage, location=READY), begins=False)
    h2.end.send(wrong)
    assert h2.end.take().startswith(b"HTTP/1.1 " + status)
    assert h2.end.is_closed()


def test_a_lone_p_waits_and_no_longer_than_a_head_may_take(stage):
    s = http2(stage, "client_header_timeout = 5", location=READY)
    h2 = H2(s, begins=False)
    h2.end.send(b"P")
    s.advance(4)
    assert h2.end.is_open()
    s.advance(2)
    assert h2.end.is_closed()
    assert s.statuses() == ["408"]


def test_without_http2_the_preface_is_refused(stage):
    s = stage(location=READY)
    client = s.client()
    client.send(PREFACE + settings())
    assert client.take().startswith(b"HTTP/1.1 400 ")


def test_a_client_that_says_nothing_or_leaves_costs_nothing(stage):
    s = http2(stage, location=READY)
    for wire in (b"", b"PRI * HT", PREFACE, PREFACE + settings() + get(1, ES)):
        h2 = H2(s, begins=False)
        h2.end.send(wire)
        h2.end.close()
        s.settle()
        assert not s.worker.clients.connections


def test_with_alpn_there_is_no_other_protocol_than_http_2(stage):
    h2 = H2(http2(stage, location=READY), begins=False, serve=serve_http2)
    h2.end.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert h2.news() == ["SETTINGS", "0: WINDOW 2147418112", "GOAWAY 0 PROTOCOL_ERROR", "end"]
    h2.end.close()


# Time.


def test_an_idle_connection_is_closed_in_time_and_pings_do_not_extend_it(stage):
    h2 = H2(http2(stage, "keepalive_timeout = 5", location=READY))
    h2.ask()
    h2.answer()
    h2.stage.advance(4)
    assert h2.is_alive()
    h2.news()
    h2.stage.advance(2)
    assert h2.news() == ["GOAWAY 1 NO_ERROR", "end"]
    h2.end.close()


def test_a_first_request_has_to_come_in_time(stage):
    h2 = H2(http2(stage, "client_header_timeout = 5", location=READY))
    h2.stage.advance(6)
    assert h2.news() == ["GOAWAY 0 NO_ERROR", "end"]
    h2.end.close()


def test_a_field_block_that_dribbles_in_has_one_deadline(stage):
    h2 = H2(http2(stage, "client_header_timeout = 5", location=READY))
    h2.send(get(1, ES, GET[:4]))
    for at in (4, 5, 6):
        h2.stage.advance(1.5)
        h2.send(frame(CONTINUATION, 0, 1, GET[at : at + 1]))
    h2.stage.advance(1)
    assert h2.news() == ["GOAWAY 0 PROTOCOL_ERROR", "end"]
    assert any("client timed out" in line and "client_header_timeout" in line for line in h2.stage.error_log())
    h2.end.close()


def test_a_connection_with_a_request_is_not_idle(stage):
    h2 = H2(http2(stage, "keepalive_timeout = 5"))
    h2.ask()
    upstream = h2.stage.peers[0].accept()
    h2.stage.advance(30)
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert h2.answer() == (200, b"ok")


# Floods.


def test_pings_and_settings_have_a_budget(stage):
    for wire, many in ((frame(PING, 0, 0, bytes(8)), 1001), (settings(), 201), (frame(PRIORITY, 0, 3, bytes(5)), 1001)):
        h2 = H2(http2(stage, location=READY))
        h2.end.send_some(wire * many)
        assert h2.news()[-2:] == ["GOAWAY 0 ENHANCE_YOUR_CALM", "end"]
        assert any("client sent too many" in line for line in h2.stage.error_log())
        h2.end.close()


def test_a_client_that_reads_no_answers_is_not_read_any_more(stage):
    h2 = H2(
        http2(stage, location=READY, locations='[http.server.location."/big"]\nreturn = [200, "%s"]\n' % ("x" * 60000)), tcp=True
    )
    h2.open_windows()
    (connection,) = h2.stage.worker.clients.connections
    for stream in range(1, 200, 2):
        h2.end.send_some(frame(HEADERS, EH | ES, stream, block(fields_of(b"/big"))))
    assert connection.sender.unsent < 400_000
    assert len(connection.reader._buffer) < 300_000
    h2.end.close()


def test_empty_data_and_unknown_frames_have_a_budget(stage):
    h2 = H2(http2(stage, location="client_max_body_size = 0\nproxy_request_buffering = false"))
    h2.ask(1, end=False, method=b"POST")
    h2.end.send_some(frame(DATA, 0, 1) * 5000 + frame(0x77, 0, 0, b"x") * 5100)
    assert h2.news()[-2:] == ["GOAWAY 1 ENHANCE_YOUR_CALM", "end"]
    h2.end.close()


def test_streams_that_are_reset_before_their_answer_have_a_budget(stage):
    h2 = H2(http2(stage, location="proxy_ignore_client_abort = false"))
    wire = b"".join(get(stream) + frame(RST, 0, stream, number(8)) for stream in range(1, 2 * 500, 2))
    h2.end.send_some(wire)
    h2.stage.until(lambda: "end" in h2.hear(), "the flood goes on")
    assert any(word.startswith("GOAWAY") and word.endswith("ENHANCE_YOUR_CALM") for word in h2.said)
    assert 150 < len(h2.stage.access_log()) < 260, "and only the first ones cost anything"
    h2.end.close()


def test_window_overflows_of_streams_are_a_fault_of_the_connection_the_second_time(stage):
    h2 = H2(http2(stage))
    for stream in (1, 3):
        h2.ask(stream)
    assert h2.send(frame(WINDOW, 0, 1, number(0x7FFFFFFF))).news() == ["1: RST FLOW_CONTROL_ERROR"]
    assert h2.stage.statuses() == ["499"]
    assert h2.send(frame(WINDOW, 0, 3, number(0x7FFFFFFF))).news() == ["GOAWAY 3 FLOW_CONTROL_ERROR", "end"]
    h2.end.close()


def test_malformed_requests_use_the_budget_of_resets(stage):
    h2 = H2(http2(stage, location=READY))
    bad = block(fields_of(b"/", (b"te", b"chunked")))
    for stream in range(1, 2 * 202, 2):
        h2.end.send_some(get(stream, payload=bad))
        if "end" in h2.hear():
            break
    assert "GOAWAY 401 ENHANCE_YOUR_CALM" in h2.said
    h2.end.close()


@pytest.mark.interpreted_only("a method is replaced to be counted")
def test_not_more_than_32_requests_begin_for_one_piece_of_bytes(stage, monkeypatch):
    h2 = H2(http2(stage, location=READY))
    started: list[int] = []
    original = HTTP2Connection.receive

    def receive(connection: HTTP2Connection) -> bool:
        before = connection.client.requests
        more = original(connection)
        started.append(connection.client.requests - before)
        return more

    monkeypatch.setattr(HTTP2Connection, "receive", receive)
    h2.send(b"".join(get(stream) for stream in range(1, 201, 2)))
    assert sum(started) == 100 and max(started) == 32
    assert len(h2.stage.access_log()) == 100


def test_a_window_that_is_lowered_below_what_was_sent_waits_until_it_is_positive(stage, tmp_path):
    (tmp_path / "file").write_bytes(bytes(100_000))
    h2 = H2(http2(stage, locations=f'[http.server.location."/file"]\nroot = "{tmp_path}"\n'), (4, 30_000))
    h2.ask(1, b"/file")
    assert sum(int(word[4:]) for word in h2.news() if "+" in word) == 30_000
    h2.send(settings((4, 10_000)), frame(WINDOW, 0, 1, number(20_000)))
    assert h2.news() == ["SETTINGS ACK"]
    h2.send(settings((4, 40_000)))
    assert sum(int(word[4:]) for word in h2.news() if "+" in word) == 30_000
    h2.open_windows(1)
    assert h2.answer() == (200, bytes(100_000))


def test_settings_in_force_say_the_same_id_twice_and_the_last_counts(stage, tmp_path):
    (tmp_path / "file").write_bytes(bytes(1000))
    h2 = H2(http2(stage, locations=f'[http.server.location."/file"]\nroot = "{tmp_path}"\n'), (4, 0), (4, 100), (4, 1000))
    h2.ask(1, b"/file")
    assert h2.news() == ["1: 200", "1: +1000."]


def test_a_window_of_nothing_lets_heads_through(stage):
    h2 = H2(http2(stage, location=READY), (4, 0))
    h2.ask()
    assert h2.news() == ["1: 200"]
    h2.send(settings((4, 100)))
    assert h2.news() == ["SETTINGS ACK", "1: +5."]


def test_more_bytes_than_the_window_of_a_stream_are_a_fault(stage):
    h2 = H2(http2(stage, "http2_body_preread_size = 70000"))
    h2.ask(1, end=False, method=b"POST")
    (connection,) = h2.stage.worker.clients.connections
    window = connection.streams.live[1].body.window.left
    assert window >= 70_000
    h2.end.send_some(frame(DATA, 0, 1, bytes(16384)) * (window // 16384 * 3))
    assert h2.news()[-1] != "end", "a body that is being read has its window opened"
    slow = H2(
        http2(stage, "http2_body_preread_size = 70000", location="proxy_request_buffering = false\nclient_max_body_size = 0")
    )
    slow.ask(1, end=False, method=b"POST")
    upstream = slow.stage.peers[0].accept()
    slow.end.send_some(frame(DATA, 0, 1, bytes(16384)) * 4000)
    assert any(word.endswith("FLOW_CONTROL_ERROR") for word in slow.news())
    assert upstream is not None
    slow.end.close()


def test_the_code_of_a_goaway_of_the_client_does_not_matter(stage):
    for code in (0, 2, 99):
        h2 = H2(http2(stage))
        h2.ask()
        h2.send(frame(GOAWAY, 0, 0, struct.pack(">II", 0, code)))
        upstream = h2.stage.peers[0].accept()
        upstream.receives_head()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert h2.answer() == (200, b"ok")
        assert h2.is_closed()
