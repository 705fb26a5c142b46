"""certbot's nginx plugin against a link named nginx: its `-V`, its `-t`, its edits and its `-s reload`, up to a certificate that an
authority on this machine has issued, that clients get, and that is renewed.
"""

import argparse
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from as_nginx import Nginx
from cryptography import x509
from harness import ENVIRONMENT, PATIENCE, accepts, until
from wire import ask

from bench.ports import free_port
from tests.authority import authority

pytestmark = pytest.mark.whole

errors = pytest.importorskip("certbot.errors")
pytest.importorskip("certbot.plugins.nginx")


# As nginx, it tells an ordinary user in the words of a log, with the time and its pid, when the log that is built in cannot be opened.
EMERGENCY = r"\[emerg\] (?:\d+#\d+: )?"
SITES = """\
pid {here}/nginx.pid;
error_log {here}/error.log notice;
events {}
http {
    access_log off;
    include {here}/sites-enabled/*;
}
"""
SITE = """\
# the shop
server {
    listen 127.0.0.1:{port};
    server_name shop.example www.shop.example;
    location / { return 200 "shop"; }
}
"""
OTHER = """\
server {
    listen 127.0.0.1:{port};
    server_name other.example;
    location / { return 200 "other"; }
}
"""


@pytest.fixture
def nginx(tmp_path):
    nginx = Nginx(tmp_path / "etc")
    user = "user root;\n" if os.geteuid() == 0 else ""
    nginx.write(user + SITES)
    nginx.write(SITE, "sites-enabled/shop")
    nginx.write(OTHER, "sites-enabled/other")
    done = nginx.run("-c", str(nginx.directory / "nginx.conf"))
    assert done.code == 0, done  # who may not write the log that is built in is told so, and goes on
    yield nginx
    nginx.end()


@pytest.fixture
def tls_port():
    """Where the plugin lets a site with a certificate listen."""
    return free_port()


@pytest.fixture
def configurator(nginx, tls_port, tmp_path, monkeypatch):
    """Makes the plugin's configurator, as certbot does."""
    from certbot import configuration, util
    from certbot._internal import constants
    from certbot.display import util as display
    from certbot.plugins.nginx import ENTRYPOINT

    monkeypatch.setattr(display, "notify", lambda message: None)
    # The program that is run must find our modules, as everything that these tests start does.
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])

    def make():
        directories = {name: str(tmp_path / name) for name in ("config_dir", "work_dir", "logs_dir")}
        for directory in directories.values():
            Path(directory).mkdir(exist_ok=True)
        settings = {
            **constants.CLI_DEFAULTS,
            **directories,
            "nginx_server_root": str(nginx.directory),
            "nginx_ctl": str(nginx.link),
            "nginx_sleep_seconds": 0,
            "http01_port": nginx.port,
            "https_port": tls_port,
            "domains": ["shop.example"],
        }
        settings["server"] = "https://ca.example/directory"
        return ENTRYPOINT(configuration.NamespaceConfig(argparse.Namespace(**settings)), name="nginx")

    yield make
    util._release_locks()  # otherwise only at the end of this process


def test_certbot_tests_the_configuration_and_learns_the_versions(configurator):
    plugin = configurator()
    plugin.config_test()
    plugin.prepare()
    assert plugin.version == (1, 31, 5)
    assert plugin.openssl_version == ssl.OPENSSL_VERSION.split()[1]


def test_certbot_finds_the_names_that_are_served(configurator):
    plugin = configurator()
    plugin.prepare()
    assert plugin.get_all_names() == {"shop.example", "www.shop.example", "other.example"}


def test_a_broken_file_is_told_to_certbot_in_nginx_s_words(nginx, configurator):
    nginx.write("server { listen\n", "sites-enabled/broken")
    with pytest.raises(errors.MisconfigurationError, match="unexpected end of file"):
        configurator().prepare()


def test_certbot_s_http_challenge_is_served_and_taken_away(nginx, configurator):
    import josepy
    from acme import challenges, messages
    from certbot import achallenges
    from cryptography.hazmat.primitives.asymmetric import rsa

    plugin = configurator()
    plugin.prepare()
    key = josepy.JWKRSA(key=rsa.generate_private_key(65537, 2048))
    token = b"x" * 32
    body = messages.ChallengeBody(
        chall=challenges.HTTP01(token=token), uri="https://ca.example/1", status=messages.STATUS_PENDING
    )
    name = messages.Identifier(typ=messages.IDENTIFIER_FQDN, value="shop.example")
    try:
        challenge = achallenges.KeyAuthorizationAnnotatedChallenge(challb=body, identifier=name, account_key=key)
    except TypeError:  # certbot before it had identifiers
        challenge = achallenges.KeyAuthorizationAnnotatedChallenge(challb=body, domain="shop.example", account_key=key)
    path = body.chall.path
    before = ask(nginx.port, path, host="shop.example")
    assert before.body == b"shop"
    (response,) = plugin.perform([challenge])
    until(
        lambda: ask(nginx.port, path, host="shop.example").body == response.key_authorization.encode(),
        lambda: f"the answer to the challenge:\n{nginx.errors}",
    )
    assert ask(nginx.port, "/", host="shop.example").body == b"shop"
    assert ask(nginx.port, "/", host="other.example").body == b"other"
    plugin.cleanup([challenge])
    until(lambda: ask(nginx.port, path, host="shop.example").body == b"shop", "the site as it was")
    assert (nginx.directory / "sites-enabled" / "shop").read_text() == SITE.replace("{port}", str(nginx.port))


def test_a_certificate_is_edited_in_tested_and_served(nginx, configurator, tls_port, tmp_path):
    plugin = configurator()
    plugin.prepare()
    root = authority()
    issued = root.issue("shop.example", ["shop.example"])
    files = {"cert.pem": issued.pem, "privkey.pem": issued.key_pem(), "chain.pem": root.pem, "fullchain.pem": issued.chain}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "root.pem").write_bytes(root.pem)
    plugin.deploy_cert("shop.example", *(str(tmp_path / name) for name in files))
    plugin.save("a certificate for the shop")
    assert "ssl_certificate " in (nginx.directory / "sites-enabled" / "shop").read_text()
    plugin.config_test()
    plugin.restart()
    until(
        lambda: accepts(tls_port) and served_certificate(tls_port, "shop.example", tmp_path / "root.pem"),
        lambda: f"a certificate:\n{nginx.errors}",
    )
    assert served_certificate(tls_port, "shop.example", tmp_path / "root.pem") == issued.certificate
    assert ask(nginx.port, "/", host="shop.example").body == b"shop"
    # A certificate that cannot be loaded changes nothing.
    (tmp_path / "fullchain.pem").write_text("nothing")
    with pytest.raises(errors.MisconfigurationError, match=rf"{EMERGENCY}cannot load certificate .*fullchain\.pem"):
        plugin.config_test()
    told = nginx.run("-s", "reload", "-c", str(nginx.directory / "nginx.conf"))
    assert told.code == 1 and "fullchain.pem" in told.errors
    with pytest.raises(errors.MisconfigurationError):
        plugin.restart()
    assert "reconfiguring" not in nginx.errors.rpartition("serves")[2], "no signal was sent"
    assert served_certificate(tls_port, "shop.example", tmp_path / "root.pem") == issued.certificate
    plugin.rollback_checkpoints()
    plugin.restart()
    assert (nginx.directory / "sites-enabled" / "shop").read_text() == SITE.replace("{port}", str(nginx.port))


def test_the_command_certbot_offers_the_plugin(nginx, certbot):
    done = certbot("plugins", "--prepare")
    assert "* nginx" in done.stdout, done


# A certificate, from the order to the connection of a client.


@pytest.fixture
def acme(nginx):
    from acme_authority import AcmeAuthority

    served = AcmeAuthority(nginx.port)
    yield served
    served.close()


@pytest.fixture
def certbot(nginx, tmp_path):
    """Runs the command certbot, as an operator does."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from certbot.main import main; raise SystemExit(main())", *words, "--non-interactive"]
        options = ["--nginx-server-root", nginx.directory, "--nginx-ctl", nginx.link]
        options += [part for name in ("config", "work", "logs") for part in (f"--{name}-dir", tmp_path / name)]
        return subprocess.run([*command, *map(str, options)], capture_output=True, text=True, env=ENVIRONMENT, timeout=120)

    return run


def served_certificate(port: int, name: str, root: Path) -> x509.Certificate:
    """The certificate that a client gets who trusts this root and asks for this name."""
    context = ssl.create_default_context(cafile=str(root))
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock, context.wrap_socket(sock, server_hostname=name) as tls:
        found = tls.getpeercert(True)
        assert found is not None
        return x509.load_der_x509_certificate(found)


@pytest.mark.soak  # the command takes long to start
def test_certbot_installs_a_certificate_and_renews_it_while_clients_are_served(nginx, acme, certbot, tmp_path):
    https = free_port()
    root = tmp_path / "root.pem"
    root.write_bytes(acme.root.pem)
    ports = ("--http-01-port", str(nginx.port), "--https-port", str(https))
    account = ("--agree-tos", "--register-unsafely-without-email", "--server", acme.directory)
    done = certbot("--nginx", "-d", "shop.example", "-d", "www.shop.example", "--no-redirect", *account, *ports)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{acme.problems}{nginx.errors}"
    assert sorted(acme.fetched) == ["shop.example", "www.shop.example"]
    for name in ("shop.example", "www.shop.example"):
        assert served_certificate(https, name, root) == acme.issued[0].certificate
    # The challenges are gone, and all sites are there as before.
    assert ask(nginx.port, "/", host="shop.example").body == b"shop"
    assert ask(nginx.port, "/", host="other.example").body == b"other"
    # What is being sent while the certificate is renewed goes on.
    context = ssl.create_default_context(cafile=str(root))
    with (
        socket.create_connection(("127.0.0.1", https), PATIENCE) as sock,
        context.wrap_socket(sock, server_hostname="shop.example") as kept,
    ):
        kept.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        assert kept.recv(65536).endswith(b"shop")
        done = certbot("renew", "--force-renewal", "--no-random-sleep-on-renew")
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{acme.problems}{nginx.errors}"
    assert len(acme.issued) == 2
    until(
        lambda: served_certificate(https, "shop.example", root) == acme.issued[1].certificate,
        lambda: f"the renewed certificate:\n{nginx.errors}",
    )
    assert "[alert]" not in nginx.errors and "[emerg]" not in nginx.errors
