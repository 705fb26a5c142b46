"""Which server answers a request on a TLS connection, and which must not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.made_requests import make_request
from worker.tls.choice import Choice, ClearOnTls
from wproxy.config.model import Listener, Server
from wproxy.config.nginx import parse_nginx
from wproxy.config.resolve import resolve
from wproxy.http import BY_STATUS

CONFIGURATION = b"""events { } http {
    ssl_certificate site.pem; ssl_certificate_key site.key; ssl_client_certificate ours.pem;
    server { listen 127.0.0.1:8443 ssl; server_name default; }
    server { listen 127.0.0.1:8443 ssl; server_name open; }
    server { listen 127.0.0.1:8443 ssl; server_name on *.on; ssl_verify_client on; }
    server { listen 127.0.0.1:8443 ssl; server_name also; ssl_verify_client on; }
    server { listen 127.0.0.1:8443 ssl; server_name any; ssl_verify_client optional_no_ca; }
    server { listen 127.0.0.1:8443 ssl; server_name optional; ssl_verify_client optional; }
    server { listen 127.0.0.1:8443 ssl; server_name theirs; ssl_verify_client on; ssl_client_certificate theirs.pem; }
    server { listen 127.0.0.1:8443 ssl; server_name asking; ssl_verify_client on; ssl_ocsp on; }
} """
NONE, KNOWN, STRANGE, LATE, REVOKED = (b"", 0), (b"der", 0), (b"der", 20), (b"der", 10), (b"der", BY_STATUS)


@pytest.fixture(scope="module")
def listener() -> Listener:
    configuration = resolve(parse_nginx(CONFIGURATION, "nginx.conf"), "nginx.conf", "/", lambda *_: [])
    return configuration.listeners[0]


def server_of(listener: Listener, name: str) -> Server:
    return next(server for server in listener.servers.targets if server.name == name)


@pytest.mark.parametrize(
    ("shaken", "host", "shown", "answer"),
    [
        # The server of the handshake, the Host, the client's certificate and the verdict; who answers with what.
        ("open", "open", NONE, "open"),
        ("open", "default", NONE, "default"),
        ("open", "nobody", NONE, "default"),
        ("open", None, NONE, "default"),
        ("open", "on", NONE, "open 421"),
        ("open", "on", KNOWN, "open 421"),
        ("on", "on", KNOWN, "on"),
        ("on", "on", NONE, "on 496"),
        ("on", "on", STRANGE, "on 495"),
        ("on", "x.on", KNOWN, "on 421"),
        ("on", "also", KNOWN, "on 421"),
        ("on", "open", NONE, "open"),
        ("on", "open", STRANGE, "open"),
        ("optional", "optional", NONE, "optional"),
        ("optional", "optional", STRANGE, "optional 495"),
        ("any", "any", NONE, "any"),
        ("any", "any", STRANGE, "any"),
        ("any", "any", LATE, "any 495"),
        # No name, or one that no server has: the handshake was the default server's.
        ("", "on", NONE, "on 496"),
        ("", "on", KNOWN, "on"),
        ("", "any", STRANGE, "any"),
        ("", "theirs", NONE, "theirs 496"),
        ("", "theirs", KNOWN, "default 421"),
        # Nobody has asked about this client's certificate, or somebody has although nobody had to.
        ("", "asking", KNOWN, "default 421"),
        ("asking", "asking", KNOWN, "asking"),
        ("asking", "asking", REVOKED, "asking 495"),
    ],
)
def test_a_host_gets_its_server_or_a_refusal(listener, shaken, host, shown, answer):
    certificate, code = shown
    tls: Any = SimpleNamespace(certificate=certificate, verify_result=(code, "some reason" if code else "ok"))
    name = shaken.encode() if shaken else None
    choice = Choice(listener, server_of(listener, shaken or "default"), name, tls)
    server, refusal = choice.find_server(host.encode() if host else None, make_request())
    assert server.name + (f" {refusal.status}" if refusal else "") == answer
    if refusal is not None:
        assert refusal.level == "info" and refusal.reason.endswith("while reading client request headers")
        if code:
            shown_code = "some reason" if code == BY_STATUS else f"({code}:some reason)"
            assert refusal.status == 421 or f"verify error: {shown_code} while" in refusal.reason


def test_whoever_speaks_in_clear_is_told_by_the_server_of_the_host(listener):
    for host, name in ((b"on", "on"), (b"nobody", "default"), (None, "default")):
        server, refusal = ClearOnTls(listener).find_server(host, make_request())
        assert server.name == name and refusal is not None and refusal.status == 497
