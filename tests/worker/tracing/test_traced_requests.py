"""Tracing of requests: which are traced, what goes to the upstream, and what the collector gets."""

from __future__ import annotations

import json

import pytest
from conversation import get, ok

TRACE = b"0af7651916cd43dd8448eb211c80319c"
PARENT = b"b7ad6b7169203331"
TRACEPARENT = b"traceparent: 00-%b-%b-01" % (TRACE, PARENT)


ON = 'otel_trace = "on"\n'


def test_a_traced_request_has_a_span_of_its_own_and_one_of_its_attempt(traced):
    t = traced(location=ON, http='otel_service_name = "shop"\notel_resource_attr = { zone = "a" }\n')
    head = t.exchange(b"User-Agent: curl", TRACEPARENT, target=b"/path?q=1")
    assert TRACEPARENT in head, "ignored: the client's field goes on as it is"
    t.spans()
    group = t.last.resource_spans[0]
    assert {each.key: each.value.string_value for each in group.resource.attributes} == {"service.name": "shop", "zone": "a"}
    server, attempt = t.last_spans
    port = t.s.peers[0].name.rpartition(":")[2]
    assert server.pop("net.sock.peer.port", 0) >= 0
    own = server.pop("span_id")
    trace = server.pop("trace_id")
    assert trace.hex().encode() != TRACE
    assert server == {
        "name": "/",
        "kind": 2,
        "parent_span_id": b"",
        "trace_state": "",
        "flags": 0x103,
        "status": 0,
        "http.method": "GET",
        "http.target": "/path?q=1",
        "http.route": "/",
        "http.scheme": "http",
        "http.flavor": "1.1",
        "http.user_agent": "curl",
        "http.request_content_length": 0,
        "http.response_content_length": 2,
        "http.status_code": 200,
        "net.host.name": "h",
        "net.host.port": 8080,
        "net.sock.peer.addr": "127.0.0.1",
    }
    assert attempt["parent_span_id"] == own
    assert attempt["trace_id"] == trace
    assert (attempt["kind"], attempt["name"], attempt["http.response.status_code"], attempt["server.port"]) == (
        3,
        "GET",
        200,
        int(port),
    )
    assert b"POST /v1/traces HTTP/1.1" in t.head
    assert b"Content-Type: application/x-protobuf" in t.head


@pytest.mark.parametrize(
    ("context", "is_extracted", "is_injected"),
    [("ignore", False, False), ("extract", True, False), ("inject", False, True), ("propagate", True, True)],
)
def test_contexts(traced, context, is_extracted, is_injected):
    t = traced(location=f'{ON}otel_trace_context = "{context}"\n')
    head = t.exchange(TRACEPARENT, b"tracestate: a=1", b"X: y")
    server, _ = t.spans()
    assert (server["trace_id"].hex().encode() == TRACE) == is_extracted
    assert (server["parent_span_id"].hex().encode() == PARENT) == is_extracted
    assert server["trace_state"] == ("a=1" if is_extracted else "")
    assert server["flags"] == (0x301 if is_extracted else 0x103)
    ours = f"traceparent: 00-{server['trace_id'].hex()}-{server['span_id'].hex()}-".encode()
    assert (ours in head) == is_injected
    assert (TRACEPARENT in head) != is_injected
    assert (b"tracestate: a=1" in head) == (not is_injected or is_extracted)
    assert b"X: y" in head


def test_every_request_on_a_kept_connection_has_a_span_of_its_own(traced):
    t = traced(location=f'{ON}otel_trace_context = "propagate"\n')
    client = t.s.client()
    heads, upstream = [], None
    for _ in range(3):
        client.send(get(b"/", TRACEPARENT))
        upstream = upstream or t.s.peers[0].accept()
        heads.append(upstream.receives_head())
        upstream.send(ok())
        client.receives_head()
        client.take()
    assert len(set(heads)) == 3
    assert all(b"traceparent: 00-" + TRACE in head for head in heads)


def test_what_is_not_sampled_is_not_exported_but_passed_on(traced):
    t = traced(location='otel_trace = "$arg_traced"\notel_trace_context = "propagate"\n')
    assert b"-00" in t.exchange(TRACEPARENT).partition(b"traceparent: ")[2][:60]
    assert b"-01" in t.exchange(TRACEPARENT, target=b"/?traced=on").partition(b"traceparent: ")[2][:60]
    t.exchange(TRACEPARENT, target=b"/?traced=1")
    t.exchange(TRACEPARENT, target=b"/?traced=yes")
    spans = t.spans()
    assert [span["http.target"] for span in spans if span["kind"] == 2] == ["/?traced=on", "/?traced=1"]


def test_follow_the_parent(traced):
    t = traced(location='otel_trace = "$otel_parent_sampled"\notel_trace_context = "propagate"\n')
    t.exchange(target=b"/none")
    t.exchange(TRACEPARENT[:-2] + b"00", target=b"/off")
    t.exchange(TRACEPARENT, target=b"/on")
    assert [span["http.target"] for span in t.spans() if span["kind"] == 2] == ["/on"]


OTHER_LOCATIONS = """
[http.server.location."/moved"]
otel_trace = "on"
otel_span_name = "first $request_method"
try_files = ["/none", "/inside"]
[http.server.location."/inside"]
internal = true
otel_trace = "off"
otel_span_name = "inside $uri"
otel_span_attr = { where = "inside", "http.request.header.x" = "$http_x", "http.flavor" = "" }
return = [200, "x"]
[http.server.location."/503"]
otel_trace = "on"
return = 503
[http.server.location."/vars"]
return = [200, "$otel_trace_id $otel_span_id $otel_parent_id $otel_parent_sampled"]
"""


def test_the_first_location_decides_and_the_last_one_names(traced):
    t = traced(locations=OTHER_LOCATIONS)
    client = t.s.client().send(get(b"/moved", b"X: 1"))
    client.receives_head()
    (span,) = t.spans()
    assert (span["name"], span["where"], span["http.request.header.x"]) == ("inside /inside", "inside", ["1"])
    assert "http.flavor" not in span
    assert span["http.route"] == "/inside"


def test_errors_and_early_ends_have_spans(traced):
    t = traced(server='otel_trace = "on"\nclient_max_body_size = 10\n', locations=OTHER_LOCATIONS)
    for sent in (
        get(b"/503"),
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        t.s.client().send(sent).receives_head()
    bad = t.spans()
    assert [(span["http.status_code"], span["status"], span.get("error.type")) for span in bad] == [
        (503, 2, None),
        (413, 0, "cl_body_too_big"),
        (400, 0, "cl_bad_request"),
    ]


def test_retries_are_spans(traced):
    t = traced(peers=2, location=ON)
    t.s.peers[0].refuse()
    client = t.s.client().send(get())
    upstream = t.s.peers[1].accept()
    upstream.receives_head()
    upstream.send(ok())
    client.receives_head()
    server, first, second = t.spans()
    assert (server["status"], first["status"], second["status"]) == (0, 2, 0)
    assert first["error.type"] == "up_refused"
    assert "error.type" not in server
    assert (second["http.request.resend_count"], "http.request.resend_count" in first) == (1, False)


@pytest.mark.parametrize("semconv", ["stable", "both"])
def test_stable_names(traced, semconv):
    t = traced(location=f'{ON}otel_semconv = "{semconv}"\n')
    t.exchange(b"User-Agent: curl", target=b"/path?q=1")
    server = t.spans()[0]
    assert server["name"] == "GET /"
    assert ("http.method" in server) == (semconv == "both")
    for name, value in {
        "http.request.method": "GET",
        "url.path": "/path",
        "url.query": "q=1",
        "url.scheme": "http",
        "http.route": "/",
        "network.protocol.version": "1.1",
        "user_agent.original": "curl",
        "http.response.status_code": 200,
        "server.address": "h",
        "server.port": 8080,
        "network.peer.address": "127.0.0.1",
    }.items():
        assert server[name] == value


def test_variables_without_tracing(stage):
    s = stage(locations=OTHER_LOCATIONS[OTHER_LOCATIONS.index('[http.server.location."/vars"]') :])
    client = s.client().send(get(b"/vars", TRACEPARENT))
    client.receives_head()
    trace, span, sampled = client.take().split()
    assert (len(trace), len(span), sampled) == (32, 16, b"0")
    assert trace != TRACE
    assert s.worker.exporter is None


SUBREQUESTS = """
[http.server.location."/guarded"]
otel_trace = "on"
auth_request = "/auth"
proxy_pass = "http://app"
[http.server.location."/auth"]
proxy_pass = "http://app"
"""


def test_a_subrequest_is_a_span_with_its_attempts(traced):
    t = traced(locations=SUBREQUESTS)
    client = t.s.client().send(get(b"/guarded/x"))
    upstream = t.s.peers[0].accept()
    for _ in range(2):
        upstream.receives_head()
        upstream.send(ok())
    client.receives_head()
    server, attempt, inner, inner_attempt = t.spans()
    assert (inner["name"], inner["kind"], inner["url.path"]) == ("subrequest /auth", 3, "/auth")
    assert inner["http.response.status_code"] == 200
    assert inner["parent_span_id"] == attempt["parent_span_id"] == server["span_id"]
    assert inner_attempt["parent_span_id"] == inner["span_id"]
    assert len({span["trace_id"] for span in (server, attempt, inner, inner_attempt)}) == 1


def test_a_health_check_is_a_trace_of_its_own(traced):
    t = traced(location=f'{ON}health_check = ["interval=1s"]\n')
    t.s.worker.checks.start()
    t.s.settle()
    upstream = t.s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok(status=b"500 Bad"))
    t.s.settle()
    (span,) = t.spans()[:1]
    t.s.worker.checks.resign()
    assert (span["name"], span["kind"], span["parent_span_id"], span["status"]) == ("health check", 3, b"", 2)
    assert (span["wproxy.health_check"], span["http.response.status_code"]) == ("failed", 500)


def test_a_failed_request_is_listed_with_its_trace(traced):
    t = traced(
        location=f'{ON}otel_trace_context = "extract"\n', locations='[http.server.location."/see/"]\ndashboard = "write=off"\n'
    )
    t.exchange(TRACEPARENT, answer=ok(status=b"500 Own"))
    client = t.s.client().send(get(b"/see/api/9/wproxy"))
    client.receives_head()
    (failure,) = json.loads(client.take())["failures"]
    assert (failure["cause"], failure["trace_id"]) == ("up_said", TRACE.decode())
