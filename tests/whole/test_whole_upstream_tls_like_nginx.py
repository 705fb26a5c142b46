"""TLS with upstreams, beside the real nginx of today: what upstreams receive, what clients get, and what the logs say.

Both serve the same configuration, with a location for each upstream; each upstream is asked through both. The status, the body,
the variables of the access log and the lines of the error log have to be the same.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import COMMAND, Program, until
from wire import Closed, ask

from bench.ports import free_port
from tests.authority import Issued, authority, self_signed
from tests.differential.fronts import new_nginx

pytestmark = pytest.mark.whole

NGINX = new_nginx()
if NGINX is None:
    pytest.skip("no nginx", allow_module_level=True)

ROOT = authority()
OTHER = authority("Other")
MIDDLE = ROOT.issue("Middle", is_authority=True)
LOWER = MIDDLE.issue("Lower", is_authority=True)
GOOD = ROOT.issue("app.example", ["app.example"])
REVOKED = ROOT.issue("app.example", ["app.example"])
VERIFY = "proxy_ssl_verify on; proxy_ssl_trusted_certificate root.pem; proxy_ssl_name app.example;"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"

Behave = Callable[[ssl.SSLSocket, bytes], None]


def answer(tls: ssl.SSLSocket, name: bytes) -> None:
    """Read a request, and answer with the name that was asked for, the certificate that was shown and the version."""
    tls.recv(65536)
    shown = tls.getpeercert() or {}
    subject = dict(pair for part in shown.get("subject", ()) for pair in part).get("commonName", "none")
    body = b"%b %b %b" % (name, subject.encode(), (tls.version() or "").encode())
    tls.sendall(OK % (len(body), body))


def cut(tls: ssl.SSLSocket, name: bytes) -> None:
    """Close without a word amid the body."""
    tls.recv(65536)
    tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


def until_close(tls: ssl.SSLSocket, name: bytes) -> None:
    """End the body by the end of the connection, which is not announced."""
    tls.recv(65536)
    tls.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")


def until_notice(tls: ssl.SSLSocket, name: bytes) -> None:
    """End the body by close_notify."""
    until_close(tls, name)
    tls.unwrap()


def silent(tls: ssl.SSLSocket, name: bytes) -> None:
    """Close instead of answering."""
    tls.recv(65536)


def corrupt(tls: ssl.SSLSocket, name: bytes) -> None:
    """Send something that is no record amid the body."""
    tls.recv(65536)
    tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    time.sleep(0.2)  # it is to come by itself
    os.write(tls.fileno(), b"no record at all")


def corrupt_at_once(tls: ssl.SSLSocket, name: bytes) -> None:
    """Send something that is no record instead of an answer."""
    tls.recv(65536)
    os.write(tls.fileno(), b"no record at all")


def garbage(sock: socket.socket) -> None:
    sock.recv(65536)  # nginx has another message for what comes before that
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    drain(sock)


def closing(sock: socket.socket) -> None:
    sock.recv(65536)


def resetting(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def alerting(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.sendall(b"\x15\x03\x03\x00\x02\x02\x28")  # handshake_failure
    drain(sock)


def waiting(sock: socket.socket) -> None:
    drain(sock)


def drain(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


@dataclass(frozen=True)
class Upstream:
    """One upstream and the location that leads to it. raw: what it does instead of TLS. url: what follows the port."""

    name: str
    settings: str = ""
    issued: Issued = GOOD
    behave: Behave = answer
    raw: Callable[[socket.socket], None] | None = None
    wants: str = ""  # optional or required: a certificate of the client's
    versions: tuple[Any, Any] = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    ciphers: str = ""


OURS = "proxy_ssl_certificate us.pem; proxy_ssl_certificate_key us.key;"
SNI = "proxy_ssl_server_name on;"
V2, V3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

UPSTREAMS = [
    Upstream("plain"),
    Upstream("named", f"{SNI} proxy_ssl_name shop.example:8443;"),
    Upstream("by-host", f"{SNI} proxy_ssl_name $http_host;"),
    Upstream("by-address", SNI),
    Upstream("verified", VERIFY),
    Upstream("verified-in-1.2", f"{VERIFY} {SNI}", versions=(V2, V2)),
    Upstream("self-signed", VERIFY, self_signed("app.example", ["app.example"])),
    Upstream("self-signed-unverified", "", self_signed("app.example", ["app.example"])),
    Upstream("stranger", VERIFY, OTHER.issue("app.example", ["app.example"])),
    Upstream("expired", VERIFY, ROOT.issue("app.example", ["app.example"], days=-1)),
    Upstream("early", VERIFY, ROOT.issue("app.example", ["app.example"], begins=0.5)),
    Upstream("wrong-name", VERIFY, ROOT.issue("app.example", ["other.example"])),
    Upstream("common-name", VERIFY, ROOT.issue("app.example")),
    Upstream("wildcard", VERIFY.replace("app.example", "a.app.example"), ROOT.issue("x", ["*.app.example"])),
    Upstream("address", VERIFY.replace("app.example", "127.0.0.1"), ROOT.issue("x", ["127.0.0.1"])),
    Upstream("no-name", VERIFY.replace("app.example", '""')),
    Upstream("one-between", VERIFY, MIDDLE.issue("app.example", ["app.example"])),
    Upstream("two-between", VERIFY, LOWER.issue("app.example", ["app.example"])),
    Upstream("two-between-allowed", f"{VERIFY} proxy_ssl_verify_depth 2;", LOWER.issue("app.example", ["app.example"])),
    Upstream("none-between-allowed", f"{VERIFY} proxy_ssl_verify_depth 0;"),
    Upstream("revoked", f"{VERIFY} proxy_ssl_crl revoked.pem;", REVOKED),
    Upstream("not-revoked", f"{VERIFY} proxy_ssl_crl revoked.pem;"),
    Upstream("shown", OURS, wants="required"),
    Upstream("shown-in-1.2", OURS, wants="required", versions=(V2, V2)),
    Upstream(
        "shown-by-argument", "proxy_ssl_certificate $arg_name.pem; proxy_ssl_certificate_key $arg_name.key;", wants="required"
    ),
    Upstream("shown-by-nothing", "proxy_ssl_certificate $arg_nothing; proxy_ssl_certificate_key $arg_nothing;", wants="optional"),
    Upstream("not-shown-in-1.2", wants="required", versions=(V2, V2)),
    Upstream("only-1.3", "proxy_ssl_protocols TLSv1.2;", versions=(V3, V3)),
    Upstream(
        "no-common-cipher",
        "proxy_ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305;",
        versions=(V2, V2),
        ciphers="ECDHE-ECDSA-AES128-GCM-SHA256",
    ),
    Upstream("garbage", raw=garbage),
    Upstream("closing", raw=closing),
    Upstream("resetting", raw=resetting),
    Upstream("alerting", raw=alerting),
    Upstream("waiting", "proxy_connect_timeout 300ms;", raw=waiting),
    Upstream("cut", behave=cut),
    Upstream("until-close", behave=until_close),
    Upstream("until-notice", behave=until_notice),
    Upstream("silent", behave=silent),
    Upstream("corrupt", behave=corrupt),
    Upstream("corrupt-at-once", behave=corrupt_at_once),
    Upstream("not-shown-in-1.3", wants="required", versions=(V3, V3)),
]


class Server:
    """An upstream at work: a thread for each connection."""

    def __init__(self, upstream: Upstream, directory: Path) -> None:
        self.upstream = upstream
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        certificate = upstream.issued.write(directory / "upstreams", upstream.name)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version, self.context.maximum_version = upstream.versions
        self.context.load_cert_chain(*certificate)
        if upstream.ciphers:
            self.context.set_ciphers(upstream.ciphers)
        if upstream.wants:
            self.context.load_verify_locations(directory / "root.pem")
            self.context.verify_mode = ssl.CERT_REQUIRED if upstream.wants == "required" else ssl.CERT_OPTIONAL
        self.names: dict[int, bytes] = {}
        self.context.sni_callback = lambda tls, name, context: self.names.__setitem__(id(tls), (name or "").encode())
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(10)
        try:
            if self.upstream.raw is not None:
                self.upstream.raw(sock)
                return
            tls = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True)
            sock = tls
            tls.do_handshake()
            self.upstream.behave(tls, self.names.get(id(tls), b"") or b"-")
        except OSError:
            time.sleep(0.3)  # a close before everything was read would be a reset, which may overtake the alert
        finally:
            sock.close()

    def close(self) -> None:
        self.listener.close()


VARIABLES = (
    "status",
    "upstream_addr",
    "upstream_status",
    "upstream_response_length",
    "upstream_bytes_sent",
    "proxy_host",
    "proxy_port",
)

CONFIGURATION = """\
worker_processes 1;
daemon off;
{user}error_log {here}/{name}.errors error;
pid {here}/{name}.pid;
events {{ }}
http {{
    log_format tls '{log}';
    access_log {here}/{name}.log tls;
    client_body_temp_path {here}/t1; proxy_temp_path {here}/t2; fastcgi_temp_path {here}/t3; uwsgi_temp_path {here}/t4;
    scgi_temp_path {here}/t5;
    proxy_next_upstream off;
    server {{
        listen 127.0.0.1:{port};
{locations}
    }}
}}
"""


class Front:
    """wproxy or nginx, with its logs."""

    def __init__(self, here: Path, name: str, servers: list[Server]) -> None:
        self.here, self.name, self.port = here, name, free_port()
        lines = [
            f"        location /{one.upstream.name} {{ {one.upstream.settings} proxy_pass https://127.0.0.1:{one.port}; }}"
            for one in servers
        ]
        file = here / f"{name}.conf"
        user = "user root;\n" if os.geteuid() == 0 else ""
        log = "|".join(f"${variable}" for variable in VARIABLES)
        places = {"here": here, "name": name, "port": self.port, "user": user, "log": log, "locations": "\n".join(lines)}
        file.write_text(CONFIGURATION.format(**places))
        command = [str(NGINX), "-e", str(here / f"{name}.errors")] if name == "nginx" else [*COMMAND, "--as-nginx"]
        self.program = Program([*command, "-p", f"{here}/", "-c", str(file)], here)
        self.program.wait_for_address(self.port)

    def ask(self, path: str) -> dict[str, Any]:
        """One request through it: what its client got, and what it logged."""
        got = ask_bluntly(self.port, path)
        log = self.here / f"{self.name}.log"
        logged = until(lambda: log.exists() and log.read_text().strip("\n"), f"a line in the log of {self.name}")
        os.truncate(log, 0)
        errors = (self.here / f"{self.name}.errors").read_text()
        os.truncate(self.here / f"{self.name}.errors", 0)
        lines = re.findall(r"\[(error|crit)\] .*?: \*\d+ (.*)", errors)
        shown = [f"{level}: {in_common_words(line)}" for level, line in lines]
        return {
            **got,
            **dict(zip(VARIABLES, logged.split("|"))),
            "errors": [line.replace(str(self.port), "PORT") for line in shown],
        }


def in_common_words(line: str) -> str:
    """Leave out what is ours alone, the setting that a timer comes from, and what depends on the version of a library."""
    line = re.sub(r" [(]proxy_[^()]*[)]$", "", line)
    line = re.sub(
        r"(?<=SSL_read[(][)] failed )[(]SSL: error:.*?(wrong version number|bad record type|record layer failure).*?[)]",
        "(no record)",
        line,
    )
    line = line.replace("not yet valid or the system clock is incorrect", "not yet valid")
    return line.replace("Operation timed out", "Connection timed out").replace("ssl/tls alert", "sslv3 alert")


def ask_bluntly(port: int, path: str) -> dict[str, Any]:
    try:
        answer = ask(port, f"/{path}?name=us", host="shop.example")
    except (Closed, OSError) as error:
        return {"answer": f"cut off: {type(error).__name__}"}
    return {"answer": answer.status, "body": answer.body if answer.status == 200 else b""}


@pytest.fixture(scope="module")
def servers(directory: Path) -> Iterator[dict[str, Server]]:
    made = {upstream.name: Server(upstream, directory) for upstream in UPSTREAMS}
    yield made
    for server in made.values():
        server.close()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("tls")
    (here / "root.pem").write_bytes(ROOT.pem)
    (here / "revoked.pem").write_bytes(ROOT.revoke(REVOKED))
    ROOT.issue("us").write(here, "us")
    return here


@pytest.fixture(scope="module")
def fronts(directory: Path, servers: dict[str, Server]) -> Iterator[tuple[Front, Front]]:
    both = Front(directory, "wproxy", list(servers.values())), Front(directory, "nginx", list(servers.values()))
    yield both
    for front in both:
        front.program.end()


@pytest.mark.parametrize("name", [upstream.name for upstream in UPSTREAMS])
def test_both_do_the_same(fronts, name):
    ours, theirs = (front.ask(name) for front in fronts)
    assert ours == theirs
