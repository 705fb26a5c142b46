"""The clients of `tls-connect`: every connection is a full handshake, and an answer that is none is a failure."""

import socket
import ssl
import threading
from pathlib import Path

import pytest

from bench.handshakes import Clients
from bench.workloads import WORKLOADS
from bench.wrk import command, parse_output
from tests.authority import self_signed


def serve(answers: list[bytes], folder: Path) -> tuple[int, threading.Thread, list[bool]]:
    """Answer one connection after another; return the port, the thread, and a list of whether each has resumed a session."""
    certificate, key = self_signed("localhost").write(folder, "leaf")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening = socket.create_server(("127.0.0.1", 0))
    resumed: list[bool] = []

    def run() -> None:
        with listening:
            for answer in answers:
                with context.wrap_socket(listening.accept()[0], server_side=True) as sock:
                    sock.recv(65536)
                    sock.sendall(answer)
                    resumed.append(bool(sock.session_reused))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return listening.getsockname()[1], thread, resumed


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_no_connection_resumes_the_one_before(tmp_path):
    port, thread, resumed = serve([GOOD, GOOD], tmp_path)
    clients = Clients(port, "/")
    assert clients.ask() == clients.ask() == len(GOOD)
    thread.join(10)
    assert resumed == [False, False]


def test_another_status_is_a_failure(tmp_path):
    port, thread, _ = serve([b"HTTP/1.1 502 Bad Gateway\r\n\r\n"], tmp_path)
    with pytest.raises(ValueError, match="502"):
        Clients(port, "/").run(1, 10)
    thread.join(10)


def test_the_module_is_called_as_wrk_is_and_prints_what_wrk_does():
    assert command(WORKLOADS["tls-connect"], 8080, 3)[1:] == ["-m", "bench.handshakes", "8080", "/", "16", "3"]
    assert parse_output("  12 requests in 1.02s, 2400B read\n").bytes_read == 2400
