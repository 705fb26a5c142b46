"""The local authority of `wproxy proxy --tls`, made by either of the two ways, and taken for what it is by OpenSSL."""

from __future__ import annotations

import os
import shutil
import ssl
import time
from pathlib import Path

import pytest

import master.local_authority as local
from master.local_authority import CannotCertify, provide_certificate, usual_directory
from master.local_authority.by_cryptography import ByCryptography
from master.local_authority.by_openssl import ByOpenSSL
from master.local_authority.names import may_certify, names_of_this_machine
from wproxy.certificate import read_certificates

MAKERS = [ByCryptography()]
if shutil.which("openssl"):
    MAKERS.append(ByOpenSSL(shutil.which("openssl")))


@pytest.fixture(params=MAKERS, ids=lambda maker: type(maker).__name__)
def maker(request, monkeypatch):
    monkeypatch.setattr(local, "find_maker", lambda: request.param)
    return request.param


def shakes_hands(certificate: Path | str, key: Path | str, authority: Path | str, name: str) -> None:
    """A handshake of one who trusts the authority; raises ssl.SSLError."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(authority))
    server.load_cert_chain(certificate, key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name)
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (theirs, ours, theirs, ours):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass


@pytest.mark.parametrize("name", ["localhost", "shop.localhost", "127.0.0.1", "::1"])
def test_whoever_trusts_the_authority_accepts_this_machine(maker, tmp_path, name):
    made = provide_certificate(str(tmp_path / "wproxy"), "8443", ["shop.localhost"], time.time())
    assert made.is_new
    shakes_hands(made.certificate, made.key, made.authority, name)


def test_it_is_made_once(maker, tmp_path):
    first = provide_certificate(str(tmp_path), "8443", (), time.time())
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    again = provide_certificate(str(tmp_path), "8443", (), time.time())
    assert (first.is_new, again.is_new) == (True, False)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_the_keys_are_for_their_owner_alone(maker, tmp_path):
    provide_certificate(str(tmp_path / "new" / "wproxy"), "8443", (), time.time())
    place = tmp_path / "new" / "wproxy"
    assert {file.name: file.stat().st_mode & 0o777 for file in place.iterdir()} == {
        "authority.pem": 0o644,
        "authority.key": 0o600,
        "localhost.pem": 0o644,
        "localhost.key": 0o600,
    }
    assert place.stat().st_mode & 0o777 == 0o700


def test_another_name_and_the_approaching_end_make_a_new_certificate_under_the_same_authority(maker, tmp_path):
    now = time.time()
    made = provide_certificate(str(tmp_path), "8443", (), now)
    authority = Path(made.authority).read_bytes()
    with_name = provide_certificate(str(tmp_path), "8443", ["shop.test"], now)
    assert "shop.test" in read_certificates(Path(with_name.certificate).read_bytes())[0].names
    shakes_hands(with_name.certificate, with_name.key, with_name.authority, "shop.test")
    before = Path(made.certificate).read_bytes()
    provide_certificate(str(tmp_path), "8443", (), now + 360 * 86400)
    assert Path(made.certificate).read_bytes() == before, "a year is not over yet"
    provide_certificate(str(tmp_path), "8443", (), now + 370 * 86400)
    assert Path(made.certificate).read_bytes() != before
    assert Path(made.authority).read_bytes() == authority


@pytest.mark.parametrize(
    ("listen", "name"),
    [("box.test:8443", "box.test"), ("10.1.2.3:8443", "10.1.2.3"), ("[fd00::7]:8443", "fd00::7")],
)
def test_the_name_that_is_listened_on_is_certified(maker, tmp_path, listen, name):
    made = provide_certificate(str(tmp_path), listen, (), time.time())
    shakes_hands(made.certificate, made.key, made.authority, name)


@pytest.mark.parametrize("listen", ["8443", "*:8443", "0.0.0.0:8443", "[::]:8443", "unix:/run/x.sock", "8.8.8.8:443"])
def test_what_cannot_be_certified_of_it_is_passed_over(tmp_path, listen):
    made = provide_certificate(str(tmp_path), listen, (), time.time())
    assert set(read_certificates(Path(made.certificate).read_bytes())[0].all_names) == set(names_of_this_machine())


def test_a_broken_file_is_made_anew(maker, tmp_path):
    made = provide_certificate(str(tmp_path), "8443", (), time.time())
    Path(made.certificate).write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    again = provide_certificate(str(tmp_path), "8443", (), time.time())
    assert not again.is_new
    shakes_hands(again.certificate, again.key, again.authority, "localhost")


def test_a_stolen_key_certifies_no_name_of_the_internet(maker, tmp_path):
    provide_certificate(str(tmp_path), "8443", (), time.time())
    authority, key = (tmp_path / "authority.pem").read_bytes(), (tmp_path / "authority.key").read_bytes()
    forged, forged_key = maker.issue(authority, key, ("example.com",), 30)
    (tmp_path / "forged.pem").write_bytes(forged)
    (tmp_path / "forged.key").write_bytes(forged_key)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        shakes_hands(tmp_path / "forged.pem", tmp_path / "forged.key", tmp_path / "authority.pem", "example.com")


def test_a_public_name_is_refused_with_what_to_do(maker, tmp_path):
    with pytest.raises(CannotCertify, match=r'"shop\.example\.com" needs a certificate of its own'):
        provide_certificate(str(tmp_path), "8443", ["shop.example.com"], time.time())
    assert not list(tmp_path.iterdir())


def test_without_a_way_to_make_them_both_are_named(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "master.local_authority.by_cryptography", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotCertify, match=r"cryptography \(pip install 'wproxy-server\[tls\]'\) or the program openssl"):
        local.find_maker()
    (tmp_path / "openssl").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "openssl").chmod(0o755)
    assert isinstance(local.find_maker(), ByOpenSSL)
    with pytest.raises(CannotCertify, match="genpkey"):
        provide_certificate(str(tmp_path / "data"), "8443", (), time.time())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written_is_named(maker, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CannotCertify, match="Permission denied"):
        provide_certificate(str(tmp_path / "wproxy"), "8443", (), time.time())


def test_the_directory_is_the_user_s_own(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert usual_directory() == "/data/wproxy"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert usual_directory() == "/home/me/.local/share/wproxy"


@pytest.mark.parametrize(
    ("name", "may"),
    [
        *(
            (name, True)
            for name in ("localhost", "a.b.localhost", "box.local", "x.TEST.", "192.168.1.7", "10.0.0.1", "::1", "fd00::1")
        ),
        *(
            (name, False)
            for name in ("example.com", "localhost.example.com", "notlocal", "8.8.8.8", "172.32.0.1", "2001:db8::1", "")
        ),
    ],
)
def test_names_that_nobody_has_on_the_internet(name, may):
    assert may_certify(name) is may


def test_all_names_of_this_machine_may_be_certified():
    names = names_of_this_machine()
    assert names[:3] == ("localhost", "127.0.0.1", "::1")
    assert all(map(may_certify, names)) and len(set(names)) == len(names)
