"""auth_request as a conversation: what the asked upstream gets, and what becomes of both connections."""

from __future__ import annotations

import pytest
from conversation import SERVER, get

ASKING = """
auth_request = "/auth"
[http.server.location."= /auth"]
proxy_pass = "http://app"
[http.server.location."= /open"]
auth_request = "off"
return = [200, "open"]
"""


@pytest.fixture
def asking(stage):
    def make(**settings):
        settings.setdefault("location", ASKING)
        return stage(peers=1, **settings)

    return make


def refusal(status: bytes, *lines: bytes) -> bytes:
    page = b"<html>\r\n<head><title>%b</title></head>\r\n<body>\r\n<center><h1>%b</h1></center>\r\n<hr><center>%b</center>\r\n" % (
        status, status, SERVER,
    ) + b"</body>\r\n</html>\r\n"  # fmt: skip
    head = [b"HTTP/1.1 " + status.replace(b"Authorization Required", b"Unauthorized"), b"Server: " + SERVER, b"Date: now"]
    head += [b"Content-Type: text/html", b"Content-Length: %d" % len(page), b"Connection: keep-alive", *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + page


def test_the_question_goes_first_and_its_connection_is_kept(asking):
    s = asking()
    client = s.client().send(get(b"/a?b"))
    upstream = s.peers[0].accept()
    assert upstream.receives_head().startswith(b"GET /auth HTTP/1.1\r\n")
    client.receives_nothing()
    upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert upstream.receives_head().startswith(b"GET /a?b HTTP/1.1\r\n")
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert client.receives_head().startswith(b"HTTP/1.1 200 OK\r\n")


def test_every_challenge_of_a_401_reaches_the_client(asking):
    s = asking()
    client = s.client().send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nSet-Cookie: a=b\r\nwww-authenticate: Bearer\r\nContent-Length: 2\r\n\r\nno"
    )
    lines = b"WWW-Authenticate: Basic realm=x", b"WWW-Authenticate: Bearer"
    client.receives(refusal(b"401 Authorization Required", *lines))
    assert s.last_access()["wproxy_end_cause"] == f"client: auth_request was answered with 401 ({s.position('auth_request')})"
    assert s.last_access()["wproxy_end_code"] == "deny_auth"
    client.send(get())  # the connection is kept, and so is the upstream's
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    client.receives(refusal(b"403 Forbidden"))


def test_the_question_has_no_body_and_announces_none(asking):
    """nginx passes the Content-Length on without a body, and the asked upstream waits for it."""
    s = asking()
    client = s.client().send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
    upstream = s.peers[0].accept()
    head = upstream.receives_head()
    assert head.startswith(b"GET /auth ") and b"ontent-" not in head and b"ransfer-" not in head
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    client.send(b"hello")
    head = upstream.receives_head()
    assert head.startswith(b"POST / ") and b"Content-Length: 5\r\n" in head
    upstream.receives(b"hello")


def test_a_client_that_leaves_takes_the_question_along(asking):
    s = asking()
    client = s.client().send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    client.close()
    assert upstream.is_closed()
    assert s.statuses() == ["499"]


def test_a_long_answer_is_not_read(asking):
    s = asking()
    client = s.client().send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\nbegin")
    assert upstream.is_closed()
    s.peers[0].accept().receives_head()
    client.close()


def test_an_upgrade_lets_nobody_in(asking):
    s = asking(
        location=ASKING.replace(
            'proxy_pass = "http://app"',
            'proxy_pass = "http://app"\nproxy_set_header = { Upgrade = "$http_upgrade", Connection = "upgrade" }',
        )
    )
    client = s.client().send(b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    assert client.receives_head().startswith(b"HTTP/1.1 500 ")
    assert upstream.is_closed()


def test_a_silent_upstream_ends_in_500_and_the_log_says_which_request_of_ours_it_was(asking):
    s = asking()
    client = s.client().send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    s.advance(61)
    assert client.receives_head().startswith(b"HTTP/1.1 500 ")
    assert upstream.is_closed()
    (line,) = (line for line in s.error_log() if "timed out" in line)
    assert ', request: "GET / HTTP/1.1", subrequest: "/auth", upstream: "http://' in line


def test_log_subrequest_logs_the_question_in_its_own_location(asking):
    s = asking(location=ASKING, http='log_subrequest = "on"')
    client = s.client().send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    client.receives_head()
    first, second = s.access_log()
    assert (first["status"], first["upstream_status"], first["request_length"]) == ("403", "403", "0")
    assert (second["status"], second["upstream_status"]) == ("403", "-")


LIMITED = """
location / { auth_request /auth; limit_req zone=one; root /nowhere; }
location = /auth { limit_req zone=two; alias FILE; }
location = /open { auth_request /auth; return 200; }
location /free { auth_request /auth; root /nowhere; }
"""


def test_a_limit_decides_once_about_a_request_and_its_question(front):
    zones = "".join(f"limit_req_zone $host zone={name}:1m rate=1r/m; " for name in ("one", "two"))
    s = front(f"{zones} server {{ listen 127.0.0.1:8080; {LIMITED.replace('FILE', __file__)} }}")
    statuses = []
    for path in (b"/", b"/", b"/free", b"/free"):
        client = s.client().send(get(path))
        statuses.append(client.receives_head()[9:12])
    # The zone of the asked location has not counted the first two: the limit of their own location has decided.
    assert statuses == [b"404", b"503", b"404", b"500"]
