"""certbot's nginx plugin against a link named nginx: its `-V`, its `-t`, its edits and its `-s reload`.

No certificate authority is asked. The plugin's HTTP-01 challenge is carried out to the answer that an authority would fetch. TLS is
not there yet: `-V` does not promise it, which certbot takes as a reason not to go on; told the version instead, it edits a
certificate in, the test of the file succeeds and names what is not effective, and the reload is refused rather than serving in the
clear what was meant to be secret.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
from as_nginx import Nginx
from harness import ENVIRONMENT, until
from wire import ask

from tests.example_copies import make_certificate

pytestmark = pytest.mark.whole

pytest.importorskip("certbot.plugins.nginx")

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
def configurator(nginx, tmp_path, monkeypatch):
    """Makes the plugin's configurator, as certbot does; with a version it does not ask for that."""
    from certbot import configuration, util
    from certbot._internal import constants
    from certbot.display import util as display
    from certbot.plugins.nginx import ENTRYPOINT

    monkeypatch.setattr(display, "notify", lambda message: None)
    # The program that is run must find our modules, as everything that these tests start does.
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])

    def make(**version):
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
            "https_port": nginx.port + 1,
            "domains": ["shop.example"],
        }
        settings["server"] = "https://ca.example/directory"
        return ENTRYPOINT(configuration.NamespaceConfig(argparse.Namespace(**settings)), name="nginx", **version)

    yield make
    util._release_locks()  # otherwise only at the end of this process


VERSION = {"version": (1, 31, 5), "openssl_version": "3.0.0"}


def test_certbot_tests_the_configuration_and_is_told_that_there_is_no_tls(nginx, configurator):
    from certbot import errors

    plugin = configurator()
    plugin.config_test()
    with pytest.raises(errors.PluginError, match="missing SSL module"):
        plugin.prepare()
    assert "nginx version: nginx/1.31.5\n" in plugin._nginx_version()


def test_certbot_finds_the_names_that_are_served(configurator):
    plugin = configurator(**VERSION)
    plugin.prepare()
    assert plugin.get_all_names() == {"shop.example", "www.shop.example", "other.example"}


def test_a_broken_file_is_told_to_certbot_in_nginx_s_words(nginx, configurator):
    from certbot import errors

    nginx.write("server { listen\n", "sites-enabled/broken")
    with pytest.raises(errors.MisconfigurationError, match="unexpected end of file"):
        configurator(**VERSION).prepare()


def test_certbot_s_http_challenge_is_served_and_taken_away(nginx, configurator):
    import josepy
    from acme import challenges, messages
    from certbot import achallenges
    from cryptography.hazmat.primitives.asymmetric import rsa

    plugin = configurator(**VERSION)
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


def test_a_certificate_is_edited_in_tested_and_never_served_in_the_clear(nginx, configurator, tmp_path):
    from certbot import errors

    plugin = configurator(**VERSION)
    plugin.prepare()
    public, private = make_certificate()
    for name in ("cert.pem", "privkey.pem", "chain.pem", "fullchain.pem"):
        (tmp_path / name).write_bytes(private if name == "privkey.pem" else public)
    paths = [str(tmp_path / name) for name in ("cert.pem", "privkey.pem", "chain.pem", "fullchain.pem")]
    plugin.deploy_cert("shop.example", *paths)
    plugin.save("a certificate for the shop")
    text = (nginx.directory / "sites-enabled" / "shop").read_text()
    assert "ssl_certificate " in text and " ssl;" in text
    # The file is right, and certbot goes on; what is not effective is named.
    plugin.config_test()
    tested = nginx.run("-t", "-c", str(nginx.directory / "nginx.conf"))
    assert "[warn]" in tested.errors and "ssl" in tested.errors
    with pytest.raises(errors.MisconfigurationError, match=r"\[emerg\].*ssl"):
        plugin.restart()
    assert ask(nginx.port, "/", host="shop.example").body == b"shop"
    # certbot takes its edits back after such a failure, and all is as before.
    plugin.rollback_checkpoints()
    plugin.restart()
    assert (nginx.directory / "sites-enabled" / "shop").read_text() == SITE.replace("{port}", str(nginx.port))
    assert ask(nginx.port, "/", host="shop.example").body == b"shop"


def test_the_command_certbot_does_not_offer_the_plugin_until_there_is_tls(nginx, tmp_path):
    command = [sys.executable, "-c", "from certbot.main import main; raise SystemExit(main())", "plugins", "--prepare"]
    options = ["--nginx-server-root", nginx.directory, "--nginx-ctl", nginx.link, "--non-interactive"]
    directories = [part for name in ("config", "work", "logs") for part in (f"--{name}-dir", tmp_path / name)]
    done = subprocess.run(
        [*command, *map(str, [*options, *directories])], capture_output=True, text=True, env=ENVIRONMENT, timeout=60
    )
    assert "* standalone" in done.stdout and "* nginx" not in done.stdout
    assert "missing SSL module" in (tmp_path / "logs" / "letsencrypt.log").read_text()
