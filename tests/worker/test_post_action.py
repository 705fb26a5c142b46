"""post_action: a request to another location after each request, and one line in the access log for both (subrequests.md §3)."""

from __future__ import annotations

from conversation import get, ok, to_client

ACTION = """
post_action = "/done"
[http.server.location."= /done"]
post_action = "off"
proxy_pass = "http://app"
proxy_set_header = { X-Status = "$status", X-Bytes = "$body_bytes_sent", X-Completion = "$request_completion", X-URI = "$request_uri" }
"""


def test_the_action_knows_how_the_request_ended_and_the_client_does_not_wait(stage):
    s = stage(location=ACTION)
    client = s.client().send(get(b"/a?b"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok())
    client.receives(to_client())
    head = upstream.receives_head()
    assert head.startswith(b"GET /done HTTP/1.1\r\n")
    for line in (b"X-Status: 200", b"X-Bytes: 2", b"X-Completion: OK", b"X-URI: /a?b"):
        assert b"\r\n" + line + b"\r\n" in head
    assert s.access_log() == []
    client.send(get())  # the next one is served meanwhile
    other = s.peers[0].accept()
    other.receives_head()
    upstream.send(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
    line = s.last_access()
    assert (line["status"], line["upstream_status"], line["request"]) == ("200", "200 : 500", "GET /a?b HTTP/1.1")
    other.send(ok())
    client.receives(to_client())


def test_a_client_that_leaves_starts_it_too_and_its_status_takes_the_place_of_499(stage):
    s = stage(location=ACTION)
    client = s.client().send(get())
    s.peers[0].accept().receives_head()
    client.close()
    action = s.peers[0].accept()
    assert b"X-Status: 499" in action.receives_head()
    action.send(b"HTTP/1.1 204 No\r\n\r\n")
    assert s.statuses() == ["204"]


def test_the_body_goes_along_even_from_a_file(stage):
    body = b"0123456789abcdef" * 4096
    s = stage(location='client_body_buffer_size = "1k"\n' + ACTION)
    client = s.client().send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.receives(body)
    upstream.send(ok())
    client.receives(to_client())
    client.close()
    assert upstream.receives_head().startswith(b"POST /done ")
    upstream.receives(body)
    upstream.send(ok())
    assert s.statuses() == ["200"]


def test_one_that_leads_to_itself_ends_after_ten_rounds(stage):
    s = stage(location='[http.server.location."/round"]\npost_action = "/round"\nreturn = [200, "x"]')
    client = s.client().send(get(b"/round"))
    client.receives_head()
    s.settle()
    assert s.statuses() == ["500"]
    assert any('rewrite or internal redirection cycle while internally redirecting to "/round"' in line for line in s.error_log())


def test_a_named_location_keeps_the_arguments(stage):
    named = '[http.server.location."/n"]\npost_action = "@after"\nreturn = [200, "x"]\n[http.server.location."@after"]\nproxy_pass = "http://app"'
    s = stage(location=named)
    client = s.client().send(get(b"/n?a=b"))
    client.receives_head()
    upstream = s.peers[0].accept()
    assert upstream.receives_head().startswith(b"GET /n?a=b ")
    upstream.send(ok())
    assert s.statuses() == ["200"]
