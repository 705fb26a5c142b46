"""A listener behind a balancer that speaks the PROXY protocol: the client's address reaches the upstream and the rules."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from example_copies import make_certificate
from harness import Wproxy
from recorder import Recorder
from wire import Closed, Wire, request_bytes

pytestmark = pytest.mark.whole


def test_requests_are_those_of_the_client_that_the_header_names(start: Callable[..., Wproxy], recorder: Recorder):
    front = start(
        f"""
        [[http.server]]
        listen = [["127.0.0.1:{{port}}", "proxy_protocol"]]
        set_real_ip_from = "127.0.0.1"
        real_ip_header = "proxy_protocol"
        [http.server.location."/"]
        proxy_pass = "{recorder.url}"
        proxy_set_header = {{ X-Real-IP = "$remote_addr:$remote_port" }}
        [http.server.location."/denied"]
        deny = "192.0.2.1"
        proxy_pass = "{recorder.url}"
        """
    )
    for number in range(6):
        with Wire(front.port) as wire:
            wire.send(f"PROXY TCP4 192.0.2.{number} 192.0.2.9 5{number} 80\r\n".encode())
            for _ in range(2):
                assert wire.request("GET", f"/{number}").status == 200
            assert wire.request("GET", "/denied").status == (403 if number == 1 else 200)
    seen = {
        line.partition(": ")[2] for head in recorder.heads for line in head.decode().split("\r\n") if line.startswith("X-Real-IP")
    }
    assert seen >= {f"192.0.2.{number}:5{number}" for number in range(6)}
    with Wire(front.port) as wire:
        wire.send(request_bytes("GET", "/"))
        with pytest.raises(Closed):
            wire.answer()
    front.error_logged('broken header: "GET / HTTP/1.1" while reading PROXY protocol, client: 127.0.0.1, server: 127.0.0.1:')


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    ("kind", "options"),
    [("ssl", ["--http1.1"]), ("ssl", ["--http2"]), ("plain", ["--http2-prior-knowledge"]), ("plain", ["--http1.1"])],
)
def test_the_header_comes_before_tls_and_before_http_2(
    start: Callable[..., Wproxy], tmp_path: Path, kind: str, options: list[str]
):
    certificate, key = make_certificate()
    (tmp_path / "c.pem").write_bytes(certificate)
    (tmp_path / "k.pem").write_bytes(key)
    tls = f'ssl_certificate = "{tmp_path}/c.pem"\nssl_certificate_key = "{tmp_path}/k.pem"' if kind == "ssl" else ""
    front = start(
        f"""
        [[http.server]]
        listen = [["127.0.0.1:{{port}}", "proxy_protocol"{', "ssl"' if tls else ""}]]
        http2 = true
        {tls}
        location."/" = {{ return = [200, "$proxy_protocol_addr $proxy_protocol_server_port $server_protocol"] }}
        """
    )
    scheme = "https" if tls else "http"
    command = ["curl", "-sk", "--max-time", "20", "--haproxy-protocol", *options, f"{scheme}://127.0.0.1:{front.port}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    version = "HTTP/1.1" if "--http1.1" in options else "HTTP/2.0"
    assert done.stdout == f"127.0.0.1 {front.port} {version}"
