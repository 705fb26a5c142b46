"""The files of the program disappear below a running master: its workers, and their successors, do not need them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import pytest
from harness import Wproxy, until
from wire import ask

from bench.ports import free_port
from tests.authority import authority
from tests.public_python import parts_of_the_house
from tests.worker.upstream.cgi_peers import FastcgiServer

pytestmark = pytest.mark.whole

SECURE = free_port()
HTTP = f"""
limit_req_zone = [["$arg_who", "zone=each:1m", "rate=1r/m"]]
limit_conn_zone = [["$arg_who", "zone=open:1m"]]
proxy_cache_path = [["HERE/cache", "keys_zone=pages:1m"]]
[http.upstream.php]
server = "unix:HERE/fastcgi.sock"
[[http.server]]
listen = ["127.0.0.1:{{port}}", ["127.0.0.1:{SECURE}", "ssl"]]
http2 = true
ssl_certificate = "site.test.pem"
ssl_certificate_key = "site.test.key"
gzip = true
gzip_min_length = 1
[http.server.location."/"]
return = [200, "$http2 $ssl_protocol"]
[http.server.location."/cached/"]
proxy_pass = "https://127.0.0.1:{SECURE}/"
proxy_cache = "pages"
proxy_cache_valid = "1h"
add_header = [["X-Cache", "$upstream_cache_status"]]
[http.server.location."/php/"]
include = "fastcgi.conf"
fastcgi_pass = "php"
[http.server.location."/limited"]
limit_req = "zone=each"
limit_conn = [["open", "5"]]
root = "HERE"
sub_filter = [["a", "b"]]
sub_filter_types = "*"
[http.server.location."/api/"]
api = true
[http.server.location."/state/"]
dashboard = true
[http.server.location."/metrics"]
metrics = true
[http.server.location."/files/"]
root = "HERE"
autoindex = true
"""


def curl(*options: str) -> str:
    done = subprocess.run(["curl", "-sk", "-m", "15", "--noproxy", "*", *options], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_successor_of_a_killed_worker_serves_all_that_is_configured_without_the_files(tmp_path):
    tmp_path.chmod(0o755)
    house = tmp_path / "house"
    house.mkdir()
    for part in parts_of_the_house():
        (shutil.copy if part.is_file() else shutil.copytree)(part, house / part.name)
    authority().issue("site.test", ["site.test"]).write(tmp_path, "site.test")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("aaa")
    (tmp_path / "limited").write_text("a")
    fastcgi = FastcgiServer(tmp_path / "fastcgi.sock", {})
    try:
        with Wproxy(tmp_path, HTTP.replace("HERE", str(tmp_path)), workers=1, house=house) as front:
            for part in house.iterdir():
                part.unlink() if part.is_file() else shutil.rmtree(part)
            (first,) = front.worker_pids()
            os.kill(first, signal.SIGKILL)
            (second,) = until(lambda: front.worker_pids() - {first}, lambda: f"a successor:\n{front.error_log}")
            until(lambda: front.status()["workers"][0]["state"] == "serving", "a successor that serves")
            secure = f"https://127.0.0.1:{SECURE}"
            assert curl("--http2", f"{secure}/") == "h2 TLSv1.3"
            assert curl("--http1.1", "--compressed", f"{secure}/") == " TLSv1.3"
            assert curl("--http2-prior-knowledge", f"http://127.0.0.1:{front.port}/") == "h2c "
            assert [ask(front.port, "/cached/x")["X-Cache"] for _ in range(2)] == ["MISS", "HIT"]
            assert ask(front.port, "/php/x.php?a=1").status == 201
            assert [ask(front.port, "/limited?who=me").status for _ in range(2)] == [200, 503]
            assert ask(front.port, "/limited?who=you").body == b"b"
            for path in ("/state/", "/api/9/http/upstreams", "/api/9/http/caches", "/metrics", "/files/"):
                assert ask(front.port, path).status == 200, path
            assert "annot import" not in front.error_log and "No such file" not in front.error_log
            assert front.worker_pids() == {second}
            # A reload that needs what has not been loaded changes nothing: of what workers import, and of what reads a file.
            for location in ('"/ssi"]\nssi = true', "'~ ^/\\p{L}+$']\nreturn = 200"):
                done = front.reload(f"{front.http}[http.server.location.{location}\n")
                assert done.code == 1 and '; if the files of the program have been replaced, "wproxy upgrade"' in done.errors
                assert front.worker_pids() == {second} and ask(front.port).status == 200
    finally:
        fastcgi.close()
