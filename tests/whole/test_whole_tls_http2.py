"""TLS and what comes before and after it: HTTP/2 by ALPN, and the PROXY protocol before the handshake."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Wproxy

from bench.ports import free_port
from tests.authority import authority

pytestmark = pytest.mark.whole

BEHIND = free_port()
HTTP = f"""
ssl_client_certificate = "root.pem"
[[http.server]]
listen = [["127.0.0.1:{{port}}", "ssl"], ["127.0.0.1:{BEHIND}", "ssl", "proxy_protocol"]]
server_name = "two.test"
http2 = true
ssl_certificate = "two.test.pem"
ssl_certificate_key = "two.test.key"
location."/" = {{ return = [200, "two $ssl_alpn_protocol $http2 $scheme $proxy_protocol_addr"] }}
location."/refused" = {{ return = 403 }}
location."/put/" = {{ root = "{{directory}}", dav_methods = ["PUT"], auth_request = "/refused" }}
[[http.server]]
listen = [["127.0.0.1:{{port}}", "ssl"]]
server_name = "one.test"
ssl_certificate = "one.test.pem"
ssl_certificate_key = "one.test.key"
location."/" = {{ return = [200, "one $ssl_alpn_protocol $http2"] }}
[[http.server]]
listen = [["127.0.0.1:{{port}}", "ssl"]]
server_name = "strict.test"
http2 = true
ssl_verify_client = "on"
ssl_certificate = "two.test.pem"
ssl_certificate_key = "two.test.key"
location."/" = {{ return = [200, "strict $ssl_client_verify"] }}
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Wproxy]:
    with tempfile.TemporaryDirectory(prefix="wproxy-test-", dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        root = authority()
        for host in ("one.test", "two.test"):
            root.issue(host, [host]).write(directory, host)
        root.issue("client").write(directory, "client")
        (directory / "root.pem").write_bytes(root.pem)
        with Wproxy(directory, HTTP, workers=1) as wproxy:
            yield wproxy


def curl(served: Wproxy, host: str, *options: str, port: int = 0) -> tuple[str, str]:
    """The answer, and its status with the version of HTTP."""
    port = port or served.port
    command = [
        "curl",
        "-sk",
        "-m",
        "15",
        "--noproxy",
        "*",
        "--resolve",
        f"{host}:{port}:127.0.0.1",
        "-w",
        "\n%{http_code} %{http_version}",
    ]
    done = subprocess.run([*command, *options, f"https://{host}:{port}/"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done
    body, _, status = done.stdout.rpartition("\n")
    return body, status


def test_the_protocol_is_that_of_the_server(served):
    assert curl(served, "two.test") == ("two h2 h2 https ", "200 2")
    assert curl(served, "one.test") == ("one http/1.1 ", "200 1.1")
    assert curl(served, "two.test", "--http1.1") == ("two http/1.1  https ", "200 1.1")
    assert curl(served, "two.test", "--no-alpn") == ("two   https ", "200 1.1")


def test_clients_show_certificates_with_http2_too(served):
    body, status = curl(served, "strict.test")
    assert status == "400 2" and "No required SSL certificate was sent" in body
    own = ("--cert", str(served.directory / "client.pem"), "--key", str(served.directory / "client.key"))
    assert curl(served, "strict.test", *own) == ("strict SUCCESS", "200 2")
    assert curl(served, "two.test", "-H", "Host: strict.test")[1] == "421 2"
    assert curl(served, "two.test", "-H", "Host: one.test")[1] == "421 2"


def test_the_proxy_header_comes_before_the_handshake(served):
    assert curl(served, "two.test", "--haproxy-protocol", port=BEHIND) == ("two h2 h2 https 127.0.0.1", "200 2")


@pytest.mark.parametrize("size", [3000, 300_000])
def test_curl_gets_the_answer_that_comes_before_its_body_was_read(served, size):
    # curl 7.88 loses an answer if it reads RST_STREAM in the same record, and one that is no refusal if its window is closed by then.
    (served.directory / "sent").write_bytes(bytes(size))
    sent = ("-T", str(served.directory / "sent"), "-H", "Host: two.test", "-o", "/dev/null", "-w", "%{http_code} %{exitcode}\n")
    for path, said in (*(("/put/x", "403 0\n"),) * 8, ("/", "200 0\n")):
        command = ["curl", "-sk", "-m", "15", "--noproxy", "*", "--http2", *sent, f"https://127.0.0.1:{served.port}{path}"]
        assert subprocess.run(command, capture_output=True, text=True, timeout=30).stdout == said
