"""What logs tell of attempts at upstreams and of bodies, number for number as nginx 1.31 does."""

from __future__ import annotations

import pytest
from conversation import Stage, chunks, get, ok, sent_up, to_client

TEXT = """\
error_log = [["{directory}/error.log", "info"]]
[http]
access_log = [["{directory}/access.log", "test"]]
[http.log_format]
test = '%s'
[http.upstream.app]
server = ["{peers[0]}"]
keepalive = 4
[[http.server]]
listen = "127.0.0.1:8080"
server_name = "front"
proxy_set_header = {{ Host = "app", Upgrade = "$http_upgrade" }}
[http.server.location."/"]
proxy_pass = "http://app"
[http.server.location."/mapped/"]
proxy_pass = "http://app/to/"
error_page = [[502, "/nowhere"]]
[http.server.location."/variable"]
proxy_pass = "http://$http_to/there?a=1"
[http.server.location."/unbuffered"]
proxy_pass = "http://app"
proxy_request_buffering = false
[http.server.location."/text"]
return = [200, "text"]
[http.server.location."/nowhere"]
root = "{directory}/nowhere"
[http.server.location."/file"]
alias = "{directory}/text"
add_header = [["Seen", "$sent_http_accept_ranges|$sent_http_content_range|$sent_http_last_modified"]]
"""


def front(stage, log_format: str) -> Stage:
    return stage(text=TEXT % log_format)


def logged(s: Stage) -> list[str]:
    s.worker.access_logs.flush()
    with open(f"{s.directory}/access.log") as file:
        return file.read().splitlines()


def test_a_client_that_leaves_before_the_head_has_waited_for_so_long(stage):
    s = front(stage, "$status $upstream_status $upstream_connect_time $upstream_header_time $upstream_response_time")
    client = s.client().send(get())
    s.peers[0].accept().receives_head()
    s.advance(2)
    client.close()
    (line,) = logged(s)
    status, of_upstream, connecting, head, whole = line.split()
    assert (status, of_upstream, connecting, head) == ("499", "-", "0.000", "-")
    assert 2 <= float(whole) < 2.1


def test_a_connection_that_was_open_took_no_time_to_connect(stage):
    s = front(stage, "$upstream_connect_time")
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    for _ in range(2):
        upstream.receives_head()
        upstream.send(ok())
        client.receives_head()
        client.take()
        client.send(get())
    s.peers[0].refuse()
    upstream.close()
    client.receives_head()
    assert logged(s) == ["0.000", "0.000", "-"]


def test_what_goes_through_a_tunnel_is_counted_with_the_upstream(stage):
    s = front(
        stage, "$status $request_length $upstream_bytes_sent $upstream_bytes_received $body_bytes_sent $upstream_response_length"
    )
    asked = get(b"/", b"Connection: upgrade", b"Upgrade: tcp")
    client = s.client().send(asked)
    upstream = s.peers[0].accept()
    sent = upstream.receives_head()
    answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n"
    upstream.send(answer)
    client.receives_head()
    client.send(b"0123456789")
    upstream.receives(b"0123456789")
    upstream.send(b"b" * 20)
    client.receives(b"b" * 20)
    upstream.close()
    assert client.is_closed()
    assert logged(s) == [f"101 {len(asked)} {len(sent) + 10} {len(answer) + 20} 20 0"]


@pytest.mark.parametrize(
    ("target", "later", "counted"),
    [
        (b"/", False, True),
        (b"/", True, True),
        (b"/unbuffered", False, True),
        (b"/unbuffered", True, True),
        (b"/text", False, False),  # nobody has read it
        (b"/text", True, False),
    ],
)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_the_length_of_a_request_is_that_of_its_bytes(stage, target, later, counted, is_chunked):
    s = front(stage, "$request_length")
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: 6"
    head = get(target, framing, method=b"POST")
    body = chunks(b"abc", b"def") if is_chunked else b"abcdef"
    client = s.client().send(head + body[:4]).send(body[4:]) if later else s.client().send(head + body)
    if counted:
        upstream = s.peers[0].accept()
        upstream.receives_head()
        s.until(lambda: upstream.pull_all().endswith((b"def", b"0\r\n\r\n")), "the body")
        upstream.take()
        upstream.send(ok())
    client.receives_head()
    client.take()
    # Nothing that comes with a pipelined request is counted twice.
    client.send(get(b"/text"))
    client.receives_head()
    assert logged(s) == [str(len(head) + len(body) * counted), str(len(get(b"/text")))]


@pytest.mark.parametrize("target", [b"/", b"/unbuffered"])
@pytest.mark.parametrize("end", ["close", "end_sending", "reset"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_that_breaks_off_is_a_bad_request_that_nobody_hears_of(stage, target, end, is_chunked):
    s = front(stage, "$status $body_bytes_sent $bytes_sent [$request_completion]")
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: 6"
    client = s.client(tcp=True).send(get(target, framing, method=b"POST") + b"5\r\na")
    getattr(client, end)()
    s.until(lambda: not s.worker.clients.connections, "the end")
    if end == "end_sending":
        assert client.is_closed()
        assert client.take() == b""
    assert logged(s) == ["400 0 0 []"]
    assert "[info]" in s.error_log()[-1]
    assert " while sending the request body, client: " in s.error_log()[-1]
    assert ('upstream: "http' in s.error_log()[-1]) == (target == b"/unbuffered")


def test_a_line_names_the_upstream_that_was_asked_and_the_path_it_got(stage):
    s = front(stage, "$status")
    s.peers[0].refuse()
    client = s.client().send(get(b"/mapped/x%20y?q"))
    client.receives_head()
    url = f'upstream: "http://{s.peers[0].name}/to/x%20y?q", host: "h"'
    failed, missing = s.error_log()
    assert "connect() failed" in failed and url in failed
    # As with nginx it is named from then on, whatever the line is about.
    assert "nowhere" in missing and url in missing


def test_a_line_names_the_path_of_a_target_with_variables(stage):
    s = front(stage, "$status")
    client = s.client().send(get(b"/variable", b"To: 127.0.0.1:1"))
    client.receives_head()
    assert 'upstream: "http://127.0.0.1:1/there?a=1"' in s.error_log()[0]


def test_surplus_and_departures_are_told_with_the_upstream(stage):
    s = front(stage, "$status")
    url = f'upstream: "http://{s.peers[0].name}/to/x", host: "h"'
    client = s.client().send(get(b"/mapped/x"))
    upstream = s.peers[0].accept()
    upstream.receives(sent_up(b"/to/x"))
    upstream.send(ok() + b"surplus")
    client.receives(to_client())
    client.send(get(b"/mapped/x"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    client.close()
    s.until(lambda: not s.worker.clients.connections, "the end")
    surplus, left = s.error_log()
    assert "sent more data than specified" in surplus and url in surplus
    assert "is closed too while sending request to upstream" in left and url in left


def test_an_invalid_body_is_told_with_the_upstream_that_is_getting_it(stage):
    s = front(stage, "$status")
    client = s.client().send(get(b"/unbuffered", b"Transfer-Encoding: chunked", method=b"POST"))
    s.peers[0].accept().receives_head()
    client.send(b"zz\r\n")
    client.receives_head()
    assert f'upstream: "http://{s.peers[0].name}/unbuffered"' in s.error_log()[-1]


def test_fields_that_tell_of_ranges_and_dates_have_values_in_logs(stage):
    """add_header sees none of ranges, as with nginx: they come after it."""
    s = front(stage, "$status $sent_http_accept_ranges $sent_http_content_range [$sent_http_last_modified]")
    with open(f"{s.directory}/text", "w") as file:
        file.write("text of a file\n")
    client = s.client()
    for fields in ((), (b"Range: bytes=0-3",)):
        client.send(get(b"/file", *fields))
        head = client.receives_head()
        date = head.partition(b"Last-Modified: ")[2].partition(b"\r\n")[0].decode()
        assert f"Seen: ||{date}\r\n".encode() in head
        client.take()
        line = logged(s)[-1]
        if fields:
            assert line.startswith("206 - bytes 0-3/") and line.endswith(f" [{date}]")
        else:
            assert line == f"200 bytes - [{date}]"
