"""TLS with upstreams, end to end: real TLS servers behind a real wproxy whose workers cannot read the keys."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Program, Wproxy
from wire import ask

from bench.ports import free_port
from tests.authority import authority
from tests.differential.fronts import OLD_NGINX, new_nginx

pytestmark = pytest.mark.whole

NGINX = new_nginx() or OLD_NGINX
OPENSSL = shutil.which("openssl")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="no nginx")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="no openssl")

BEHIND = """\
{user}daemon off;
master_process off;
pid {here}/nginx.pid;
error_log {here}/nginx-error.log info;
events {{}}
http {{
    log_format tls "$ssl_protocol $ssl_session_reused $connection_requests $ssl_server_name $ssl_client_verify $ssl_client_s_dn";
    access_log {here}/nginx-access.log tls;
    client_body_temp_path {here}/nginx-body;
    proxy_temp_path {here}/nginx-proxy;
    fastcgi_temp_path {here}/nginx-fastcgi;
    uwsgi_temp_path {here}/nginx-uwsgi;
    scgi_temp_path {here}/nginx-scgi;
    keepalive_timeout 60s;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {here}/app.pem;
        ssl_certificate_key {here}/app.key;
        ssl_client_certificate {here}/root.pem;
        ssl_verify_client on;
        ssl_session_cache shared:tls:1m;
        http2 on;
        client_max_body_size 0;
        root {here}/www;
        location /closing {{ keepalive_timeout 0; return 200 "closed"; }}
        location /echo {{ return 200 "$request_body"; }}
        location = /protocol {{ return 200 "$server_protocol $ssl_alpn_protocol"; }}
        location / {{ return 200 "$host $ssl_client_s_dn"; }}
        location /big {{ }}
    }}
}}
"""
FRONT = """\
[http.upstream.app]
server = "127.0.0.1:{{behind}}"

[[http.server]]
listen = "127.0.0.1:{port}"

[http.server.location."/"]
proxy_pass = "https://app"
proxy_ssl_name = "app.example"
proxy_ssl_server_name = true
proxy_ssl_verify = true
proxy_ssl_trusted_certificate = "root.pem"
proxy_ssl_certificate = "us.pem"
proxy_ssl_certificate_key = "us.key"
proxy_ssl_protocols = {{protocols}}

[http.server.location."/unverified"]
proxy_pass = "https://app"
"""


@pytest.fixture
def here(public_path: Path) -> Path:
    """A directory with certificates that every user may enter; the keys are for root alone."""
    path = public_path
    root = authority()
    (path / "root.pem").write_bytes(root.pem)
    root.issue("app.example", ["app.example"]).write(path, "app")
    root.issue("us.example").write(path, "us")
    (path / "www").mkdir()
    (path / "www" / "big").write_bytes(os.urandom(3_000_000))
    return path


@pytest.fixture
def behind(here: Path) -> Iterator[int]:
    """The port of an nginx that speaks TLS and demands certificates."""
    assert NGINX is not None
    port = free_port()
    user = "user root;\n" if os.geteuid() == 0 else ""
    (here / "behind.conf").write_text(BEHIND.format(here=here, port=port, user=user))
    program = Program([NGINX, "-e", str(here / "nginx-error.log"), "-p", str(here), "-c", str(here / "behind.conf")], here)
    program.wait_for_address(port)
    yield port
    program.end()


def front(here: Path, behind: int, protocols: str = '["TLSv1.2", "TLSv1.3"]', workers: int = 1) -> Wproxy:
    """A wproxy whose workers are nobody, if we are root."""
    http = FRONT.replace("{{behind}}", str(behind)).replace("{{protocols}}", protocols)
    return Wproxy(here, http, user="nobody" if os.geteuid() == 0 else "", workers=workers)


def tls_lines(here: Path) -> list[list[str]]:
    return [line.split() for line in (here / "nginx-access.log").read_text().splitlines()]


@needs_nginx
@pytest.mark.parametrize("protocol", ["TLSv1.2", "TLSv1.3"])
def test_nginx_behind_sees_our_certificate_our_name_kept_connections_and_resumed_sessions(here, behind, protocol):
    with front(here, behind, f'"{protocol}"') as proxy:
        assert ask(proxy.port, "/").body == b"app CN=us.example"
        assert ask(proxy.port, "/").body == b"app CN=us.example"
        assert ask(proxy.port, "/closing").body == b"closed"
        assert ask(proxy.port, "/closing").body == b"closed"
        assert ask(proxy.port, "/big").body == (here / "www" / "big").read_bytes()
        proxy.logged("/big")
    seen = tls_lines(here)
    assert {(line[0], line[3], line[4], line[5]) for line in seen} == {(protocol, "app.example", "SUCCESS", "CN=us.example")}
    assert [line[2] for line in seen] == ["1", "2", "3", "1", "1"], "connections are kept"
    assert [line[1] for line in seen] == [".", ".", ".", "r", "r"], "sessions are resumed"


@needs_nginx
def test_a_peer_that_demands_a_certificate_and_gets_none_answers_for_itself(here, behind):
    with front(here, behind) as proxy:
        assert ask(proxy.port, "/unverified").status == 400


@needs_nginx
def test_http2_is_asked_for_in_the_handshake(here, behind):
    proxy = front(here, behind)
    plain = proxy.http
    with proxy:
        assert ask(proxy.port, "/protocol").body == b"HTTP/1.1 "
    proxy.http = plain.replace('proxy_ssl_name = "app', 'proxy_http_version = "2"\nproxy_ssl_name = "app', 1)
    with proxy:
        assert ask(proxy.port, "/protocol").body == b"HTTP/2.0 h2"
        assert ask(proxy.port, "/big").body == (here / "www" / "big").read_bytes()


@needs_nginx
def test_workers_serve_with_keys_that_only_root_may_read_and_a_reload_without_them_changes_nothing(here, behind):
    with front(here, behind, workers=2) as proxy:
        assert ask(proxy.port, "/").status == 200
        (here / "us.key").rename(here / "away.key")
        done = proxy.reload()
        assert done.code == 1
        assert "us.key" in done.errors
        assert ask(proxy.port, "/").status == 200
        (here / "away.key").rename(here / "us.key")
        assert proxy.reload().code == 0
        assert ask(proxy.port, "/").status == 200


@needs_nginx
def test_health_checks_go_over_tls(here, behind):
    with front(here, behind) as proxy:
        pass
    http = proxy.http.replace("[[http.server]]", '[http.upstream.dead]\nserver = "127.0.0.1:{behind}"\n\n[[http.server]]')
    http = http.replace("{behind}", str(behind)) + (
        '[http.server.location."/checked"]\nhealth_check = ["interval=1s", "mandatory"]\nproxy_ssl_certificate = "us.pem"\n'
        'proxy_ssl_certificate_key = "us.key"\nproxy_pass = "https://dead"\n'
    )
    with Wproxy(here, http, user="nobody" if os.geteuid() == 0 else "", workers=1) as proxy:
        proxy.error_logged("peer is healthy")
        assert ask(proxy.port, "/checked").status == 200


@needs_openssl
@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"), 200, ""),
        (("-tls1_3",), 200, ""),
        (("-tls1_3", "-groups", "P-384"), 200, ""),
        (("-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"), 502, "SSL_do_handshake() failed"),
    ],
    ids=["TLS 1.2", "TLS 1.3", "another group", "an old version"],
)
def test_openssl_behind_speaks_each_version(here, options, status, told):
    port = free_port()
    command = [OPENSSL, "s_server", "-accept", f"127.0.0.1:{port}", "-cert", "app.pem", "-key", "app.key", "-www", "-quiet"]
    program = Program([*command, *options], here / "logs", cwd=here)
    try:
        program.wait_for_address(port)
        with front(here, port) as proxy:
            answer = ask(proxy.port, "/")
            assert answer.status == status
            if told:
                assert told in proxy.error_logged("while SSL handshaking to upstream")
            else:
                assert b"Ciphers supported in s_server binary" in answer.body
    finally:
        program.end()
