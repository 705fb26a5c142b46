"""A listener behind a balancer that speaks the PROXY protocol: the client's address reaches the upstream and the rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import Wproxy
from recorder import Recorder
from wire import Closed, Wire, request_bytes

pytestmark = pytest.mark.whole


def test_requests_are_those_of_the_client_that_the_header_names(start: Callable[..., Wproxy], recorder: Recorder):
    front = start(
        f"""
        [[http.server]]
        listen = [["127.0.0.1:{{port}}", "proxy_protocol"]]
        set_real_ip_from = "127.0.0.1"
        real_ip_header = "proxy_protocol"
        [http.server.location."/"]
        proxy_pass = "{recorder.url}"
        proxy_set_header = {{ X-Real-IP = "$remote_addr:$remote_port" }}
        [http.server.location."/denied"]
        deny = "192.0.2.1"
        proxy_pass = "{recorder.url}"
        """
    )
    for number in range(6):
        with Wire(front.port) as wire:
            wire.send(f"PROXY TCP4 192.0.2.{number} 192.0.2.9 5{number} 80\r\n".encode())
            for _ in range(2):
                assert wire.request("GET", f"/{number}").status == 200
            assert wire.request("GET", "/denied").status == (403 if number == 1 else 200)
    seen = {
        line.partition(": ")[2] for head in recorder.heads for line in head.decode().split("\r\n") if line.startswith("X-Real-IP")
    }
    assert seen >= {f"192.0.2.{number}:5{number}" for number in range(6)}
    with Wire(front.port) as wire:
        wire.send(request_bytes("GET", "/"))
        with pytest.raises(Closed):
            wire.answer()
    front.error_logged('broken header: "GET / HTTP/1.1" while reading PROXY protocol, client: 127.0.0.1, server: 127.0.0.1:')
