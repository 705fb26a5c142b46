"""The exporter: batches, failures of the collector, and that no request ever waits for it."""

from __future__ import annotations

import json

import pytest
from conversation import get

HELLO = """
[http.server.location."/hello"]
otel_trace = "on"
return = [200, "hello"]
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def ask(t, count=1):
    client = t.s.client()
    for _ in range(count):
        client.send(get(b"/hello"))
        client.receives_head()
        client.take()
    client.close()


def count_of(request) -> int:
    return sum(len(scope.spans) for group in request.resource_spans for scope in group.scope_spans)


def failures(t):
    return [line.partition("failure: ")[2] for line in t.s.error_log() if "OTel export failure" in line]


def test_a_full_batch_is_sent_at_once_and_the_rest_after_the_interval(traced):
    t = traced(locations=HELLO, exporter="batch_size = 3\n")
    ask(t, 4)
    assert count_of(t.export_now(OK)) == 3
    t.end.receives_nothing()
    assert count_of(t.export()) == 1
    assert t.s.worker.exporter.sent == 4
    assert t.s.worker.exporter.is_done


@pytest.mark.parametrize("status", [b"429", b"502", b"503", b"504"])
def test_a_failure_that_may_pass_is_tried_again(traced, status):
    t = traced(locations=HELLO)
    ask(t)
    first = t.export(b"HTTP/1.1 %b Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n" % status)
    t.s.advance(6)
    t.end.receives_nothing()
    t.s.advance(1)
    assert t.export_now(OK) == first
    assert failures(t) == [f"HTTP status {status.decode()}"]
    assert (t.s.worker.exporter.sent, t.s.worker.exporter.failed) == (1, 0)


def test_another_failure_is_not_tried_again(traced):
    t = traced(locations=HELLO)
    ask(t)
    t.export(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
    t.s.advance(60)
    t.end.receives_nothing()
    assert failures(t) == ["HTTP status 400"]
    assert t.s.worker.exporter.failed == 1


def test_a_collector_that_is_down_is_tried_until_it_is_up(traced):
    t = traced(locations=HELLO)
    t.collector.refuse()
    ask(t)
    t.s.advance(5)
    assert "connect() failed (111: Connection refused)" in failures(t)[0]
    ask(t)  # requests go on
    t.collector.listen_again()
    t.s.advance(1)
    assert count_of(t.export_now(OK)) == 1
    assert count_of(t.export()) == 1


def test_a_lost_connection_is_replaced(traced):
    t = traced(locations=HELLO)
    ask(t)
    t.export()
    t.end.close()
    t.s.settle()
    t.end = None
    ask(t)
    assert count_of(t.export()) == 1
    assert failures(t) == []


def test_memory_is_bounded_and_requests_never_wait(traced):
    t = traced(locations=HELLO, exporter="batch_size = 2\nbatch_count = 2\n")
    ask(t, 20)
    exporter = t.s.worker.exporter
    assert (len(exporter.current), len(exporter.waiting)) == (2, 2)
    (line,) = [line for line in t.s.error_log() if "OTel dropped" in line]
    assert "[notice]" in line
    assert line.endswith("OTel dropped records: 1")
    t.s.advance(2)
    ask(t)
    assert t.s.error_log()[-1].endswith("OTel dropped records: 14"), "at most one line a second"
    assert count_of(t.export_now(OK)) == 2
    assert count_of(t.export_now(OK)) == 2
    assert count_of(t.export()) == 2
    assert exporter.is_done


def test_a_slow_collector_is_given_up_after_its_timeout(traced):
    t = traced(locations=HELLO)
    ask(t)
    t.s.advance(5)
    t.collector.accept().receives_head()
    t.s.advance(10)
    assert "upstream timed out (110: Connection timed out)" in failures(t)[0]


def test_a_partial_success_is_told_and_not_repeated(traced):
    t = traced(locations=HELLO)
    ask(t)
    t.export(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\x0a\x07\x08\x05\x12\x03old")
    assert t.s.error_log()[-1].endswith("OTel collector rejected 5 records: old")
    assert t.s.worker.exporter.is_done


def test_json_and_header_fields(traced):
    t = traced(locations=HELLO, path="/my/path", exporter='protocol = "http/json"\nheader = { X-Key = "secret" }\n')
    ask(t)
    t.s.advance(5)
    end = t.collector.accept()
    head = end.receives_head()
    assert head.startswith(b"POST /my/path HTTP/1.1\r\nHost: " + t.collector.name.encode())
    assert b"\r\nContent-Type: application/json\r\n" in head
    assert b"\r\nX-Key: secret\r\n" in head
    (span,) = json.loads(end.take())["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert span["name"] == "/hello"


def test_what_is_left_is_sent_when_the_worker_leaves(traced):
    t = traced(locations=HELLO)
    ask(t)
    t.s.worker.exporter.finish()
    assert count_of(t.export_now(OK)) == 1
    assert t.s.worker.exporter.is_done
