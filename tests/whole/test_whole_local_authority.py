"""`wproxy proxy --tls`: HTTPS at once, trusted by whoever trusts the authority that it names."""

from __future__ import annotations

import os
import re
import socket
import ssl
from pathlib import Path

import pytest
from harness import COMMAND, ENVIRONMENT, PATIENCE, Program, until, wproxy
from wire import ask

from bench.ports import free_port

pytestmark = pytest.mark.whole


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of our own for the authority."""
    monkeypatch.setitem(ENVIRONMENT, "XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def ask_over_tls(port: int, name: str, authority: Path, request: bytes) -> bytes:
    """One request by a client that trusts this authority; the answer until the end of the connection."""
    context = ssl.create_default_context(cafile=str(authority))
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock, context.wrap_socket(sock, server_hostname=name) as tls:
        tls.sendall(request)
        answer = b""
        while piece := tls.recv(65536):
            answer += piece
        return answer


def test_a_developer_has_https_in_one_command(home, recorder):
    port = free_port()
    words = [
        "proxy",
        "--tls",
        f"127.0.0.1:{port}",
        f"127.0.0.1:{recorder.port}",
        "--workers",
        "1",
        "--tls-name",
        "shop.localhost",
    ]
    program = Program([*COMMAND, *words], home)
    try:
        program.wait_for_address(port)
        advice = next(line for line in program.errors.splitlines() if "local authority" in line)
        authority = Path(re.search(r"local authority (\S+):", advice)[1])
        assert authority.parent == home / "data" / "wproxy"
        for name in ("localhost", "shop.localhost", "127.0.0.1"):
            request = f"GET /x HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
            answer = ask_over_tls(port, name, authority, request)
            assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"ok")
        assert recorder.requests[-1].all("X-Forwarded-Proto") == ["https"]
        # Whoever forgets the s is led to the right place.
        clear = ask(port, "/cart?a=1", host=f"localhost:{port}")
        assert (clear.status, clear.all("Location")) == (307, [f"https://localhost:{port}/cart?a=1"])
        until(lambda: "GET shop.localhost/x" in program.output, "an access line")
    finally:
        program.end()
    assert "Traceback" not in program.errors


def test_a_name_of_the_internet_is_refused_in_one_line(home):
    done = wproxy("proxy", "--tls", "--tls-name", "example.com", "8443", "127.0.0.1:3000")
    assert done.code == 1 and done.output == ""
    (line,) = done.errors.splitlines()
    assert line.startswith("wproxy: [emerg] --tls is for this machine") and '"example.com" needs a certificate' in line
    assert not os.path.exists(home / "data")
