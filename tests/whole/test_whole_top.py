"""`wproxy top` on a terminal of its own: it draws, and puts everything back."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import termios

import pytest
from harness import COMMAND, Wproxy, until
from wire import Wire

pytestmark = pytest.mark.whole

HTTP = """
[http.upstream.app]
server = "127.0.0.1:1"
[[http.server]]
listen = "127.0.0.1:{port}"
[http.server.location."/"]
proxy_pass = "http://app"
"""


def test_top_for_scripts_and_for_people(tmp_path):
    with Wproxy(tmp_path, HTTP) as front:
        done = front.command("top", "--json")
        assert json.loads(done.output)["upstreams"]["app"]["peers"]["127.0.0.1:1"]["state"] == "up"
        ours, theirs = pty.openpty()
        before = termios.tcgetattr(theirs)
        command = subprocess.Popen([*COMMAND, "top", "-c", str(front.file)], stdin=theirs, stdout=theirs, stderr=theirs)
        try:
            said = b""
            while b"app 127.0.0.1:1" not in said:
                assert select.select([ours], [], [], 20)[0], said
                said += os.read(ours, 65536)
            assert said.startswith(b"\x1b[?1049h\x1b[?25l")
            os.write(ours, b"q")
            while b"\x1b[?1049l" not in said:
                assert select.select([ours], [], [], 20)[0], said
                said += os.read(ours, 65536)
            assert command.wait(20) == 0
            assert termios.tcgetattr(theirs) == before
        finally:
            command.kill()
            command.wait()
            os.close(ours)
            os.close(theirs)


def test_metrics_in_a_terminal(tmp_path):
    with Wproxy(tmp_path, HTTP) as front:
        assert "no location has metrics, api, dashboard or status_zone" in front.command("metrics").errors
        front.reload(front.http.replace("proxy_pass", 'status_zone = "all"\nproxy_pass'))
        with Wire(front.port) as wire:
            assert wire.request("GET", "/").status == 502

        def page() -> str:
            return front.command("metrics", "wproxy_http_requests", "nginx_up").output

        counted = 'wproxy_http_requests_total{server="_",location="/",code="502"} 1'
        until(lambda: counted in page().splitlines(), "the request is counted, and that is published")
        assert "nginx_up 1" in page() and "wproxy_workers" not in page()
        assert front.command("metrics", "--openmetrics", "nginx_up").output.endswith("# EOF\n")
