"""Conversations with uwsgi and SCGI servers, which answer one request on a connection."""

from __future__ import annotations

import pytest
from conversation import chunks, get

HEAD = b"Content-Type: text/plain\r\n\r\n"
HOST_UWSGI = b"\x09\x00HTTP_HOST\x01\x00h"


@pytest.fixture
def app(stage):
    """A stage whose upstream speaks one of the two."""

    def app(module, location="", **more):
        return stage(location=f'{module}_pass = "app"\n{location}', **more)

    return app


def test_a_uwsgi_packet(app):
    s = app("uwsgi", 'uwsgi_modifier1 = 5\nuwsgi_modifier2 = 7\nuwsgi_string = "text"\nuwsgi_param = { A = "bc" }')
    client = s.client()
    client.send(get(b"/", b"Content-Length: 5", method=b"POST") + b"hello")
    upstream = s.peers[0].accept()
    length = b"\x13\x00HTTP_CONTENT_LENGTH\x01\x005"
    variables = b"\x01\x00A\x02\x00bc" + HOST_UWSGI + length + b"text"
    upstream.receives(b"\x05" + len(variables).to_bytes(2, "little") + b"\x07" + variables + b"hello")
    upstream.send(b"HTTP/1.1 201 Made\r\nContent-Length: 2\r\n\r\nhi")
    assert client.receives_head().startswith(b"HTTP/1.1 201 Made\r\n")
    client.receives(b"hi")
    assert upstream.is_closed(), "it is used once"


def test_an_scgi_request(app):
    s = app("scgi", 'scgi_param = { SCGI = "1" }')
    client = s.client()
    for body in (b"", b"hello"):
        client.send(get(b"/", *([b"Content-Length: 5"] if body else []), method=b"POST") + body)
        upstream = s.peers[0].accept()
        headers = b"CONTENT_LENGTH\0%d\0SCGI\x001\0HTTP_HOST\0h\0" % len(body)
        headers += b"HTTP_CONTENT_LENGTH\x005\0" if body else b""
        upstream.receives(b"%d:%b,%b" % (len(headers), headers, body))
        upstream.send(HEAD + b"until the end")
        client.receives_head()
        client.receives(b"d\r\nuntil the end\r\n")
        upstream.close()
        client.receives(b"0\r\n\r\n")


@pytest.mark.parametrize("module", ["uwsgi", "scgi"])
@pytest.mark.parametrize("settings", ["", 'client_body_buffer_size = "1k"', "MODULE_request_buffering = false"])
def test_a_body_of_unknown_length_is_read_first(module, settings, app):
    s = app(module, settings.replace("MODULE", module) + f'\n{module}_param = {{ LENGTH = "$content_length" }}')
    client = s.client()
    body = b"0123456789" * 5000
    client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"PUT"))
    client.send(chunks(body[:30_000], body[30_000:]))
    wire = s.peers[0].accept().take()
    assert wire.endswith(body)
    assert b"50000" in wire[:200] and b"TRANSFER" not in wire[:200]


@pytest.mark.parametrize("module", ["uwsgi", "scgi"])
def test_a_body_of_known_length_may_be_streamed(module, app):
    s = app(module, f"{module}_request_buffering = false")
    client = s.client()
    client.send(get(b"/", b"Content-Length: 10", method=b"POST"))
    upstream = s.peers[0].accept()
    assert upstream.take()
    for piece in (b"12345", b"67890"):
        client.send(piece)
        upstream.receives(piece)
    upstream.send(HEAD)
    client.receives_head()
    upstream.close()


@pytest.mark.parametrize("module", ["uwsgi", "scgi"])
@pytest.mark.parametrize("status", [b"Status: 101 Switching Protocols", b"HTTP/1.1 101 Switching Protocols"])
def test_a_tunnel_may_begin(module, status, app):
    s = app(module)
    client = s.client()
    client.send(get(b"/", b"Connection: Upgrade", b"Upgrade: websocket", b"Keep-Alive: 5"))
    upstream = s.peers[0].accept()
    assert b"HTTP_UPGRADE" in upstream.take()
    upstream.send(status + b"\r\nUpgrade: websocket\r\n\r\nearly")
    assert client.receives_head().startswith(b"HTTP/1.1 101 ")
    client.receives(b"early")
    client.send(b"up")
    upstream.receives(b"up")
    upstream.send(b"down")
    client.receives(b"down")
    upstream.close()
    assert client.is_closed()


@pytest.mark.parametrize("module", ["uwsgi", "scgi"])
def test_an_unasked_tunnel_is_a_502(module, app):
    s = app(module)
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.take()
    upstream.send(b"Status: 101 Switching Protocols\r\n\r\n")
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("module", ["uwsgi", "scgi"])
def test_fields_that_connection_names_end_here(module, app):
    s = app(module)
    client = s.client()
    client.send(get(b"/", b"Connection: X-Secret, keep-alive", b"X-Secret: 1", b"X-Other: 2"))
    wire = s.peers[0].accept().take()
    assert b"HTTP_X_OTHER" in wire
    assert b"HTTP_X_SECRET" not in wire


def test_a_request_that_is_too_big_for_uwsgi_is_a_500(app):
    s = app("uwsgi", http='large_client_header_buffers = [8, "64k"]')
    client = s.client()
    client.send(get(b"/", b"X-A: " + b"v" * 40_000, b"X-B: " + b"v" * 40_000))
    assert client.receives_head().startswith(b"HTTP/1.1 500 ")
    assert "uwsgi request is too big: 800" in "".join(s.error_log())


@pytest.mark.parametrize("module", ["uwsgi", "scgi"])
def test_a_server_that_closes_without_an_answer_is_a_502(module, app):
    s = app(module)
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.take()
    upstream.close()
    assert client.receives_head().startswith(b"HTTP/1.1 502 ")
    (line,) = [line for line in s.error_log() if "prematurely" in line]
    assert f'upstream: "{module}://' in line


def test_an_answer_with_a_length_ends_there(app):
    s = app("uwsgi")
    client = s.client()
    client.send(get())
    upstream = s.peers[0].accept()
    upstream.take()
    upstream.send(b"Content-Length: 5\r\n\r\nhel")
    client.receives_head()
    client.receives(b"hel")
    upstream.send(b"lo")
    client.receives(b"lo")
    assert upstream.is_closed()
