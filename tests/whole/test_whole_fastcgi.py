"""A real master before FastCGI, uwsgi and SCGI servers: requests, uploads, reloads, a server that goes away and comes back."""

from __future__ import annotations

import pytest
from harness import Wproxy
from wire import ask

from tests.worker.upstream.cgi_peers import FastcgiServer, ScgiServer, UwsgiServer, err, out, record

pytestmark = pytest.mark.whole

HTTP = """
client_max_body_size = "8m"
client_body_buffer_size = "16k"
[http.upstream.php]
server = ["unix:HERE/fastcgi.sock", "unix:HERE/other.sock"]
keepalive = 4
[[http.server]]
listen = "127.0.0.1:{port}"
[http.server.location."/php/"]
include = "fastcgi.conf"
fastcgi_pass = "php"
fastcgi_keep_conn = KEEP
[http.server.location."/log/"]
fastcgi_pass = "php"
fastcgi_param = { ANSWER = "log" }
[http.server.location."/uwsgi/"]
include = "uwsgi_params"
uwsgi_pass = "unix:HERE/uwsgi.sock"
[http.server.location."/scgi/"]
include = "scgi_params"
scgi_pass = "unix:HERE/scgi.sock"
"""
BODY = bytes(range(256)) * 12_000
END = record(3, bytes(8))
LOG = err(b"something is wrong\n") + out(b"Content-Type: text/plain\r\n\r\nall the same") + END


@pytest.fixture
def servers(tmp_path):
    tmp_path.chmod(0o755)
    names = {"fastcgi": FastcgiServer, "other": FastcgiServer, "uwsgi": UwsgiServer, "scgi": ScgiServer}
    made = {name: kind(tmp_path / f"{name}.sock", {"log": LOG}) for name, kind in names.items()}
    yield made
    for server in made.values():
        server.close()


def http(directory, keep: str) -> str:
    return HTTP.replace("HERE", str(directory)).replace("KEEP", keep)


def test_requests_and_uploads_over_all_protocols_and_reloads(tmp_path, servers):
    with Wproxy(tmp_path, http(tmp_path, "true")) as front:
        for keep in ("true", "false", "true"):
            for path in ("/php/x.php?a=1", "/uwsgi/x?a=1", "/scgi/x?a=1"):
                answer = ask(front.port, path)
                assert answer.status == 201
                assert b"REQUEST_URI=%b\n" % path.encode() in answer.body and b"QUERY_STRING=a=1\n" in answer.body
                answer = ask(front.port, path, "POST", BODY)
                assert answer.status == 201 and answer.body.endswith(BODY)
            assert ask(front.port, "/log/").body == b"all the same"
            assert front.reload(http(tmp_path, {"true": "false", "false": "true"}[keep])).code == 0
        line = front.error_logged("FastCGI sent in stderr", 3)
        assert (
            'FastCGI sent in stderr: "something is wrong" while reading response header from upstream, client: 127.0.0.1' in line
        )
        assert 'upstream: "fastcgi://unix:' in line


def test_a_server_that_has_gone_is_left_out(tmp_path, servers):
    with Wproxy(tmp_path, http(tmp_path, "true")) as front:
        servers["other"].close()
        (tmp_path / "other.sock").unlink()
        assert [ask(front.port, "/php/x.php").status for _ in range(12)] == [201] * 12
        assert len(servers["fastcgi"].requests) == 12
