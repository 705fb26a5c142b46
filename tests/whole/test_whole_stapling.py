"""`ssl_stapling` without a file: a real responder (`openssl ocsp`) is asked, and `openssl s_client` sees its answer."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Wproxy, until
from ocsp_responder import Responder

from bench.ports import free_port
from tests.authority import authority

pytestmark = pytest.mark.whole

SERVER = """
[[http.server]]
listen = [["127.0.0.1:{port}", "ssl"]]
server_name = "NAME"
ssl_certificate = "NAME.pem"
ssl_certificate_key = "NAME.key"
ssl_trusted_certificate = "root.pem"
ssl_stapling = true
EXTRA
location."/" = { return = 204 }
"""
EXTRAS = {"a.test": "ssl_stapling_verify = true", "b.test": 'ssl_stapling_responder = "{responder}"', "c.test": ""}
HTTP = 'resolver = "local=on"' + "".join(SERVER.replace("NAME", name).replace("EXTRA", extra) for name, extra in EXTRAS.items())


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="wproxy-test-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def wproxy(directory: Path) -> Iterator[Wproxy]:
    """a.test is good, b.test is revoked, c.test names nobody who could be asked."""
    directory.chmod(0o755)
    port = free_port()
    url = f"http://localhost:{port}/"
    root = authority()
    root.write(directory, "root")
    good, revoked = root.issue("a.test", ["a.test"], ocsp=url), root.issue("b.test", ["b.test"])
    for name, issued in {"a.test": good, "b.test": revoked, "c.test": root.issue("c.test", ["c.test"])}.items():
        issued.write(directory, name)
    (directory / "root.pem").write_bytes(root.pem)
    responder = Responder(directory, root, port, [good], [revoked])
    try:
        with Wproxy(directory, HTTP.replace("{responder}", f"http://127.0.0.1:{port}"), workers=1) as started:
            yield started
    finally:
        responder.program.end()


def status_of(wproxy: Wproxy, name: str) -> str:
    """What a client is told about the certificate of a server."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{wproxy.port}", "-servername", name, "-status"]
    return subprocess.run(command, input=b"", capture_output=True, timeout=20).stdout.decode()


def test_clients_get_the_answer_of_the_responder_that_the_certificate_names(wproxy):
    said = until(lambda: "Cert Status: good" in (text := status_of(wproxy, "a.test")) and text, lambda: wproxy.error_log)
    assert "OCSP Response Status: successful" in said and "Next Update:" in said


def test_an_answer_that_is_not_good_is_logged_and_not_sent(wproxy, directory):
    wproxy.error_logged(
        'certificate status "revoked" in the OCSP response while requesting certificate status, responder: 127.0.0.1'
    )
    assert "OCSP response: no response sent" in status_of(wproxy, "b.test")


def test_a_certificate_that_names_no_responder_is_told_at_the_start(wproxy, directory):
    text = (
        f'"ssl_stapling" ignored, no OCSP responder URL in the certificate "{directory}/c.test.pem" in {directory}/wproxy.toml:'
    )
    assert text in wproxy.error_log
    assert "OCSP response: no response sent" in status_of(wproxy, "c.test")


def test_a_reload_asks_again(wproxy):
    assert wproxy.reload().code == 0
    until(lambda: "Cert Status: good" in status_of(wproxy, "a.test"), lambda: wproxy.error_log)
