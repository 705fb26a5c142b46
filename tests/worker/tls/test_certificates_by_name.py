"""Certificates with variables in their names: which are loaded, kept, looked at again and forgotten."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.authority import authority
from tests.made_requests import make_request
from worker.tls.certificates import CertificateStore
from wproxy.config.nginx import parse_nginx
from wproxy.config.resolve import resolve
from wproxy.tls.contexts import NotLoaded, ServerContext, make_contexts

ROOT = authority()


class Names:
    """A server whose certificates have the client's name, and what a handshake asks of it."""

    def __init__(self, directory: Path, cache: str = "") -> None:
        self.directory = directory
        for name in ("a", "b", "c"):
            self.issue(name)
        (directory / "passwords").write_text("secret\n")
        text = f"""events {{ }} http {{ server {{ listen 127.0.0.1:8443 ssl; ssl_password_file passwords;
            ssl_certificate {directory}/$ssl_server_name.pem; ssl_certificate_key {directory}/$ssl_server_name.key; {cache} }} }}"""
        configuration = resolve(parse_nginx(text.encode(), "nginx.conf"), f"{directory}/nginx.conf", "/", lambda *_: [])
        contexts, problems = make_contexts(configuration)
        assert not problems
        found = contexts.find(configuration.servers[0], False)
        assert found is not None
        self.server: ServerContext = found
        self.store = CertificateStore()
        self.now = 100.0

    def issue(self, name: str) -> None:
        ROOT.issue(name, [name]).write(self.directory, name, "secret")

    def context(self, name: str) -> Any:
        request = make_request()
        request.client.tls = SimpleNamespace(server_name=name.encode())  # type: ignore[assignment]
        return self.store.context_of(self.server, request, self.now)


def test_without_a_cache_each_handshake_loads_its_own(tmp_path):
    names = Names(tmp_path)
    assert names.context("a") is not names.context("a")
    assert not names.store._kept


def test_a_certificate_is_kept_until_it_has_changed(tmp_path):
    names = Names(tmp_path, "ssl_certificate_cache max=10 inactive=1h valid=60s;")
    first = names.context("a")
    names.issue("a")
    names.now += 59
    assert names.context("a") is first, "it is valid for a minute, whatever happens"
    names.now += 2
    second = names.context("a")
    assert second is not first
    names.now += 61
    assert names.context("a") is second, "nothing has changed"


def test_a_file_that_vanishes_is_missed_when_its_time_is_over(tmp_path):
    names = Names(tmp_path, "ssl_certificate_cache max=10 inactive=1h valid=60s;")
    first = names.context("a")
    (tmp_path / "a.key").unlink()
    assert names.context("a") is first
    names.now += 61
    with pytest.raises(NotLoaded, match=r'cannot load certificate key ".*/a.key": No such file or directory'):
        names.context("a")


def test_no_more_are_kept_than_there_may_be_and_the_longest_unused_goes(tmp_path):
    names = Names(tmp_path, "ssl_certificate_cache max=2 inactive=1h;")
    first = {name: names.context(name) for name in ("a", "b")}
    assert names.context("a") is first["a"]
    names.context("c")
    assert len(names.store._kept) == 2
    assert names.context("a") is first["a"]
    assert names.context("b") is not first["b"]


def test_what_is_not_used_is_forgotten(tmp_path):
    names = Names(tmp_path, "ssl_certificate_cache max=5 inactive=10s;")
    names.context("a")
    names.now += 11
    names.context("b")
    assert len(names.store._kept) == 1


@pytest.mark.parametrize("name", ["nobody", ""])
def test_a_name_without_a_certificate_is_told(tmp_path, name):
    names = Names(tmp_path)
    with pytest.raises(NotLoaded, match="cannot load certificate"):
        names.context(name)


def test_passwords_are_known_though_their_file_cannot_be_read_any_more(tmp_path):
    names = Names(tmp_path)
    os.unlink(tmp_path / "passwords")
    assert names.context("a")
