"""TLS over the life of a master: sessions that any worker resumes, reloads, upgrades, and files that only root may read."""

from __future__ import annotations

import datetime
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from harness import Wproxy, is_alive, until

from tests.authority import Issued, authority, self_signed
from tests.whole.test_whole_tls import context_of, get

pytestmark = pytest.mark.whole

HTTP = """
[[http.server]]
listen = [["127.0.0.1:{port}", "ssl"]]
server_name = "a.test"
ssl_certificate = "a.test.pem"
ssl_certificate_key = "a.test.key"
ssl_stapling = true
ssl_stapling_file = "response.der"
location."/" = { return = [200, "$pid $ssl_session_reused"] }
[[http.server]]
listen = [["127.0.0.1:{port}", "ssl"]]
server_name = "without-tickets.test"
ssl_certificate = "a.test.pem"
ssl_certificate_key = "a.test.key"
ssl_session_tickets = false
ssl_session_cache = "shared:sessions:1m"
location."/" = { return = [200, "$pid $ssl_session_reused"] }
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """Certificates that only root may read, where a worker runs as somebody else."""
    with tempfile.TemporaryDirectory(prefix="wproxy-test-", dir="/tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        root: Issued = authority()
        issued = root.issue("a.test", ["a.test"])
        issued.write(path, "a.test")
        (path / "response.der").write_bytes(good_response(issued.certificate, root))
        (path / "a.test.pem").chmod(0o600)
        yield path


def good_response(certificate: x509.Certificate, root: Issued) -> bytes:
    """An OCSP response: the certificate is good."""
    now = datetime.datetime.now(datetime.UTC)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=certificate,
        issuer=root.certificate,
        algorithm=hashes.SHA256(),
        cert_status=ocsp.OCSPCertStatus.GOOD,
        this_update=now,
        next_update=now + datetime.timedelta(days=1),
        revocation_time=None,
        revocation_reason=None,
    )
    signed = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, root.certificate).sign(root.key, hashes.SHA256())
    return signed.public_bytes(Encoding.DER)


def started(directory: Path, workers: int = 2, daemon: bool = False) -> Wproxy:
    return Wproxy(directory, HTTP, user="nobody" if os.geteuid() == 0 else "", workers=workers, daemon=daemon)


class Client:
    """One that resumes its session."""

    def __init__(self, version: ssl.TLSVersion, name: str = "a.test") -> None:
        self.name = name
        self.context = context_of(Path(), maximum_version=version)
        self.session: ssl.SSLSession | None = None

    def ask(self, port: int) -> tuple[int, str]:
        """The worker that answered, and whether it resumed the session: `r` or `.`."""
        plain = socket.create_connection(("127.0.0.1", port), 10)
        with self.context.wrap_socket(plain, server_hostname=self.name, session=self.session) as sock:
            sock.sendall(get(self.name))
            data = b""
            while piece := sock.recv(65536):
                data += piece
            self.session = sock.session
        pid, reused = data.partition(b"\r\n\r\n")[2].split()
        return int(pid), reused.decode()


def workers_that_resume(client: Client, wproxy: Wproxy) -> set[int]:
    """Ask until both workers have answered; every one has to resume."""
    found: set[int] = set()

    def both() -> bool:
        pid, reused = client.ask(wproxy.port)
        assert reused == "r"
        found.add(pid)
        return len(found) == 2

    until(both, "answers of both workers", 30)
    return found


def test_a_session_is_resumed_by_every_worker_and_after_a_reload(directory):
    versions = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    clients = [Client(version, name) for version in versions for name in ("a.test", "without-tickets.test")]
    with started(directory) as wproxy:
        assert [client.ask(wproxy.port)[1] for client in clients] == ["."] * 4
        before = [workers_that_resume(client, wproxy) for client in clients]
        assert wproxy.reload().code == 0
        for old, client in zip(before, clients):
            assert not old & workers_that_resume(client, wproxy)
        # Other certificates: another server, as far as the client knows.
        authority("New").issue("a.test", ["a.test"]).write(directory, "a.test")
        assert wproxy.reload().code == 0
        assert [client.ask(wproxy.port)[1] for client in clients] == ["."] * 4


def test_a_session_is_resumed_after_an_upgrade(directory):
    client = Client(ssl.TLSVersion.TLSv1_3)
    with started(directory, daemon=True) as wproxy:
        client.ask(wproxy.port)
        old = wproxy.master
        assert old is not None
        assert wproxy.command("upgrade").code == 0
        new = psutil.Process(int((directory / "wproxy.pid").read_text()))
        assert new.pid != old.pid
        until(lambda: not is_alive(old), "the end of the old master", 20)
        wproxy.master = new
        assert client.ask(wproxy.port)[1] == "r"


SPOILT = (
    (lambda path: (path / "a.test.pem").write_text("no certificate"), "cannot load certificate"),
    (lambda path: (path / "a.test.key").unlink(), 'a.test.key": No such file or directory'),
    (lambda path: (path / "a.test.key").write_bytes(self_signed("other").key_pem()), "cannot load"),
)


def test_a_reload_with_a_broken_certificate_changes_nothing(directory):
    client = Client(ssl.TLSVersion.TLSv1_3)
    with started(directory) as wproxy:
        client.ask(wproxy.port)
        workers = wproxy.worker_pids()
        files = {name: (directory / name).read_bytes() for name in ("a.test.pem", "a.test.key")}
        for spoil, told in SPOILT:
            for name, content in files.items():
                (directory / name).write_bytes(content)
            spoil(directory)
            done = wproxy.reload()
            assert done.code != 0 and told in done.output + done.errors
            assert "wproxy.toml:" in done.output + done.errors
            assert wproxy.worker_pids() == workers
            assert client.ask(wproxy.port) in {(pid, "r") for pid in workers}


def test_openssl_resumes_in_each_protocol_and_gets_the_stapled_response(directory):
    with started(directory) as wproxy:
        for protocol in ("-tls1_2", "-tls1_3"):
            file = directory / f"session{protocol}"
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{wproxy.port}", "-servername", "a.test", protocol]
            said = []
            status = subprocess.run([*command, "-status"], input=b"", capture_output=True, timeout=20).stdout
            assert b"OCSP Response Status: successful" in status and b"Cert Status: good" in status
            for option in ("-sess_out", "-sess_in"):
                done = subprocess.run(
                    [*command, option, str(file), "-ign_eof"], input=get("a.test"), capture_output=True, timeout=20
                )
                said.append(done.stdout)
            assert b"\nNew, TLSv1." in said[0] and b"\nReused, TLSv1." in said[1], said[1][-800:]
            assert said[1].rstrip().endswith(b"closed") and b" r" in said[1]


def test_openssl_agrees_on_each_curve_and_old_protocols_are_refused(directory):
    with started(directory, workers=1) as wproxy:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{wproxy.port}", "-servername", "a.test"]
        for curve in ("X25519", "X448", "secp384r1", "secp521r1"):
            # In TLS 1.2 the curve of the certificate has to be among them.
            for protocol, curves in (("-tls1_2", f"{curve}:prime256v1"), ("-tls1_3", curve)):
                done = subprocess.run([*command, protocol, "-curves", curves], input=b"", capture_output=True, timeout=20)
                agreed = re.search(rb"(Server|Peer) Temp Key: ", done.stdout)  # the latter since OpenSSL 3.5
                assert agreed and b"Cipher is (NONE)" not in done.stdout, (curve, protocol)
        for protocol in ("-tls1", "-tls1_1"):
            options = [protocol, "-cipher", "ALL:@SECLEVEL=0"]
            done = subprocess.run([*command, *options], input=b"", capture_output=True, timeout=20)
            assert b"alert protocol version" in done.stderr


def test_curl_asks_for_what_it_needs(directory):
    with started(directory) as wproxy:
        authority_file = directory / "trusted.pem"
        # The certificate itself is trusted: its issuer is not at hand.
        authority_file.write_bytes((directory / "a.test.pem").read_bytes())
        resolve = ["--resolve", f"a.test:{wproxy.port}:127.0.0.1"]
        command = [
            "curl",
            "-sk",
            "--noproxy",
            "*",
            "-m",
            "10",
            *resolve,
            "-w",
            "%{http_version} %{ssl_verify_result} %{num_connects}\n",
        ]
        url = f"https://a.test:{wproxy.port}/"
        done = subprocess.run([*command, url, url], capture_output=True, text=True, timeout=20)
        first, second = done.stdout.strip().split("\n")
        assert first.endswith(("1.1 20 1", " 1")), done
        assert second.endswith(" 0"), "the second request is on the same connection"


def test_memory_stays_flat_under_half_handshakes(directory):
    with started(directory, workers=1) as wproxy:
        (pid,) = wproxy.worker_pids()
        process = psutil.Process(pid)

        def knock(count: int) -> None:
            held = []
            for _ in range(count):
                sock = socket.create_connection(("127.0.0.1", wproxy.port), 10)
                sock.sendall(b"\x16\x03\x01\x20\x00" + b"\x01\x00\x1f\xfc" + b"x" * 2000)
                held.append(sock)
            until(lambda: process.num_fds() >= count, "connections")
            for sock in held:
                sock.close()
            until(lambda: process.num_fds() < 60, "closed connections")

        knock(200)
        before = process.memory_info().rss
        for _ in range(5):
            knock(200)
        assert process.memory_info().rss - before < 3_000_000
        assert Client(ssl.TLSVersion.TLSv1_3).ask(wproxy.port)[1] == "."


def test_quit_lets_a_request_over_tls_finish(directory):
    with started(directory, workers=1) as wproxy:
        context = context_of(Path())
        plain = socket.create_connection(("127.0.0.1", wproxy.port), 10)
        with context.wrap_socket(plain, server_hostname="a.test") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a.t")
            until(lambda: wproxy.status() is not None, "a status")
            (worker,) = map(psutil.Process, wproxy.worker_pids())
            wproxy.signal(signal.SIGQUIT)
            until(lambda: "shutting down" in " ".join(worker.cmdline()), "the worker has heard of it")
            sock.sendall(b"est\r\n\r\n")
            data = b""
            while piece := sock.recv(65536):
                data += piece
            assert data.startswith(b"HTTP/1.1 200") and b"Connection: close" in data
