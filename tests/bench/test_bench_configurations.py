"""The configurations of the contestants: wproxy reads what nginx reads; HAProxy is told the same, as far as it can do it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from bench.configurations import PEERS, SITES, SMALL_BODY, haproxy, nginx_backend, nginx_proxy
from bench.contestants import SYSTEM_PATH
from wproxy.config.load import load_text


@pytest.mark.parametrize(
    ("site", "listen"), [*((site, "http") for site in SITES), ("plain", "h2c")], ids=lambda value: str(value)
)
def test_wproxy_reads_it_whole(site, listen, tmp_path):
    text = nginx_proxy(str(tmp_path), 8080, 3000, is_root=False, site=site, listen=listen, shows="metrics")
    configuration = load_text(text.encode(), "nginx.conf", str(tmp_path), lambda host, port: [])
    assert len(configuration.servers) == (1001 if site == "servers" else 1)
    (backend,) = (upstream for upstream in configuration.upstreams if upstream.name == "backend")
    assert len(backend.peers) == (len(PEERS) if site == "peers" else 1)
    (listener,) = configuration.listeners
    assert ("http2" in listener.protocols) is (listen == "h2c")
    assert ("location = /metrics" in text) is (site == "metrics")
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize(("listen", "parameters"), [("http", ""), ("tls", " ssl"), ("h2c", " http2"), ("h2", " ssl http2")])
def test_a_way_of_listening_has_what_it_needs(listen, parameters):
    text = nginx_proxy("/tmp/x", 8080, 3000, is_root=False, listen=listen)
    assert f"listen 127.0.0.1:8080 backlog=4096{parameters};" in text
    server = text.partition("server {")[2]
    assert ("ssl_certificate /tmp/x/certificate.pem;" in server) is ("ssl" in parameters)
    assert ("keepalive_requests 1000000000;" in server) is ("http2" in parameters)


def test_no_counters_are_shown_where_there_is_no_directive_for_it():
    assert "metrics" not in nginx_proxy("/tmp/x", 1, 2, is_root=False, site="metrics", shows="")
    assert "{ stub_status; }" in nginx_proxy("/tmp/x", 1, 2, is_root=False, site="metrics", shows="stub_status")


def test_a_user_is_named_to_root_only():
    assert re.search(r"^user root;$", nginx_proxy("/tmp/x", 1, 2, is_root=True), re.MULTILINE)
    assert "user" not in nginx_proxy("/tmp/x", 1, 2, is_root=False).replace("$http_user", "")


def test_nginx_keeps_its_files_in_the_folder():
    for text in (nginx_proxy("/tmp/x", 1, 2, is_root=False, site="access_log"), nginx_backend("/tmp/x", 1, is_root=False)):
        assert set(re.findall(r"(?:pid|_temp_path|error_log|access_log) (/[^/]+/[^/]+)/", text)) == {"/tmp/x"}
        assert text.count("{") == text.count("}")


def test_the_small_body_has_forty_bytes():
    assert len(SMALL_BODY) == 40
    assert SMALL_BODY in nginx_backend("/tmp/x", 1, is_root=False)


def test_the_backend_listens_where_the_hundred_peers_are():
    assert set(re.findall(r"listen (127\.0\.1\.\d+):3000 ", nginx_backend("/tmp/x", 3000, is_root=False))) == set(PEERS)


@pytest.mark.skipif(not shutil.which("haproxy", path=SYSTEM_PATH), reason="haproxy is not installed")
@pytest.mark.parametrize("site", ["plain", "peers"])
@pytest.mark.parametrize("listen", ["http", "h2c"])
def test_haproxy_reads_its_own(site, listen, tmp_path):
    (tmp_path / "haproxy.cfg").write_text(haproxy(str(tmp_path), 8080, 3000, site=site, listen=listen))
    done = subprocess.run(
        [shutil.which("haproxy", path=SYSTEM_PATH) or "", "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_this_interpreter_can_be_described():
    from bench.contestants import environment_of, identity_of_python

    assert re.fullmatch(r"CPython \d+\.\d+\.\d+\S* \((its distribution's, )?with(out)? PGO\)", identity_of_python(sys.executable))
    assert environment_of(sys.executable) == {}
