"""gRPC end to end: a grpcio client, wproxy, a grpcio server; and the same calls through the real nginx."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import BACKENDS, Program, Wproxy

from bench.ports import free_port
from tests.authority import authority

pytestmark = pytest.mark.whole
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"

SERVER = """
[[http.server]]
listen = "127.0.0.1:{{port}}"
http2 = true
client_max_body_size = 0
[http.server.location."/"]
grpc_pass = "grpc://127.0.0.1:{backend}"
{settings}
"""
EXPECTED = {
    "unary": "hello",
    "trailers": ["x-last-bin=b'\\x00\\xff'", "x-last='yes'"],
    "an error status": "FAILED_PRECONDITION: not now: x 100% ü",
    "a method that is not there": "UNIMPLEMENTED: Method not found!",
    "server stream": ["0", "1", "2", "3", "4"],
    "a long server stream": 5000,
    "client stream": "6",
    "both ways, in turns": ["WORD 0", "WORD 1", "WORD 2", "WORD 3"],
    "a deadline": "DEADLINE_EXCEEDED",
    "a cancelled call": 1,
    "a large answer": 3_000_000,
    "a large message": 3_000_000,
    "metadata": ["x-raw-bin=b'\\x00\\x01\\xff'", "x-text='a b'"],
    "a hundred calls at once": 100,
    "health": "0801",
}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a grpcio server."""
    port = free_port()
    program = Program([sys.executable, str(BACKENDS / "grpc_server.py"), str(port)], tmp_path_factory.mktemp("grpc"))
    program.wait_for_address(port)
    yield port
    program.end()


def calls(port: int, directory: Path, *names: str) -> dict[str, object]:
    """What became of each call of a grpcio client, or of these."""
    program = Program([sys.executable, str(BACKENDS / "grpc_client.py"), str(port), *names], directory)
    try:
        assert program.wait(120) == 0, program.errors
    finally:
        program.end()
    found: dict[str, object] = json.loads(program.output)
    return found


@pytest.mark.parametrize("settings", ["", "grpc_max_streams = 100"])
def test_calls_of_every_kind_go_through(tmp_path: Path, backend: int, settings: str) -> None:
    with Wproxy(tmp_path, SERVER.format(backend=backend, settings=settings)) as front:
        assert calls(front.port, tmp_path) == EXPECTED


def test_calls_go_to_a_server_that_speaks_tls_and_demands_a_certificate(tmp_path: Path) -> None:
    root = authority()
    (tmp_path / "root.pem").write_bytes(root.pem)
    certificate, key = root.issue("calls.example", ["calls.example"]).write(tmp_path, "calls")
    root.issue("us").write(tmp_path, "us")
    port = free_port()
    settings = (
        'grpc_ssl_name = "calls.example"\ngrpc_ssl_server_name = true\ngrpc_ssl_verify = true\n'
        'grpc_ssl_trusted_certificate = "root.pem"\ngrpc_ssl_certificate = "us.pem"\ngrpc_ssl_certificate_key = "us.key"\n'
        'health_check = ["type=grpc", "interval=1s", "mandatory"]\n'
    )
    server = Program([sys.executable, str(BACKENDS / "grpc_server.py"), *map(str, (port, key, certificate, tmp_path / "root.pem"))],
                     tmp_path)  # fmt: skip
    try:
        server.wait_for_address(port)
        http = SERVER.format(backend=port, settings=settings).replace("grpc://", "grpcs://")
        with Wproxy(tmp_path, http, workers=1) as front:
            front.error_logged("peer is healthy while checking gRPC status")
            assert calls(front.port, tmp_path) == EXPECTED
    finally:
        server.end()


def test_the_same_calls_are_the_same_without_and_behind_the_real_nginx(tmp_path: Path, backend: int) -> None:
    """The expectations are facts of gRPC, not of wproxy."""
    assert calls(backend, tmp_path) == EXPECTED
    if not shutil.which(NGINX):
        pytest.skip("the real nginx is not installed")
    port = free_port()
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/nginx.log; events {{ }} http {{ access_log off;"
        f"client_body_temp_path {tmp_path}/t; proxy_temp_path {tmp_path}/t; fastcgi_temp_path {tmp_path}/t;"
        f"uwsgi_temp_path {tmp_path}/t; scgi_temp_path {tmp_path}/t; client_max_body_size 0;"
        f"server {{ listen 127.0.0.1:{port} http2; location / {{ grpc_pass grpc://127.0.0.1:{backend}; }} }} }}"
    )
    program = Program([NGINX, "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "nginx.log")], tmp_path)
    try:
        program.wait_for_address(port)
        assert calls(port, tmp_path) == EXPECTED
    finally:
        program.end()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("", "UNAVAILABLE: Received http2 header with status: 502"),
        ("grpc_errors = true", "UNAVAILABLE: Bad Gateway"),
        ("grpc_errors = true\ndeny = 'all'", "PERMISSION_DENIED: Forbidden"),
    ],
)
def test_errors_of_ours_reach_grpc_clients(tmp_path: Path, settings: str, told: str) -> None:
    with Wproxy(tmp_path, SERVER.format(backend=free_port(), settings=settings)) as front:
        assert calls(front.port, tmp_path, "unary")["unary"] == told


def test_checks_ask_a_real_server_whether_it_serves(tmp_path: Path, backend: int) -> None:
    check = 'health_check = ["type=grpc", "interval=1s", "mandatory"{more}]'
    with Wproxy(tmp_path / "up", SERVER.format(backend=backend, settings=check.format(more="")), workers=1) as front:
        front.error_logged("peer is healthy while checking gRPC status")
        assert calls(front.port, tmp_path, "unary")["unary"] == "hello"
    wanted = check.format(more=', "grpc_status=5"')
    with Wproxy(tmp_path / "down", SERVER.format(backend=backend, settings=wanted), workers=1) as front:
        front.error_logged("peer is unhealthy while checking gRPC status")
        assert calls(front.port, tmp_path, "unary")["unary"] == "UNAVAILABLE: Received http2 header with status: 502"
