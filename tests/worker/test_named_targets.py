"""proxy_pass to a name that only a request knows: which of its addresses are asked."""

from __future__ import annotations

import socket

import pytest
from conversation import End, Peer, Stage, get, ok
from test_remembered_heads import front

from bench.ports import free_port
from tests.name_server import NameServer, addresses
from wproxy.dns import A

__all__ = ["front"]


class Container(Peer):
    """A peer on an address of its own, which may be started later."""

    def __init__(self, s: Stage, address: str, port: int) -> None:
        self.stage = s
        self.sock = socket.create_server((address, port))
        self.sock.setblocking(False)
        self.name = f"{address}:{port}"
        s.peers.append(self)


@pytest.fixture
def names():
    with NameServer().in_background() as server:
        yield server


def test_containers_that_restart_together_are_asked_as_soon_as_they_are_back(front, names):
    port = free_port()
    names.zone["app.test", A] = addresses("app.test", "127.0.0.2", "127.0.0.3")
    s = front(
        f"resolver 127.0.0.1:{names.port} ipv6=off;"
        "server { listen 127.0.0.1:8080; location / { proxy_pass http://$host:%d; } }" % port,
        peers=0,
    )
    client = s.client()
    for _ in range(3):
        client.send(get(host=b"app.test"))
        assert client.receives_head().startswith(b"HTTP/1.1 502 ")
        client.take()
        asked = s.last_access()["upstream_addr"].split(", ")
        assert sorted(asked) == [f"127.0.0.2:{port}", f"127.0.0.3:{port}"], "each time both"
    containers = [Container(s, "127.0.0.2", port), Container(s, "127.0.0.3", port)]
    client.send(get(host=b"app.test"))

    def find() -> End | None:
        for container in containers:
            sock = container._try_accept()
            if sock is not None:
                return End(s, sock, container.name)
        return None

    end = s.until(find, "nobody is asked")
    end.receives_head()
    end.send(ok())
    assert client.receives_head().startswith(b"HTTP/1.1 200 ")


def test_one_that_rests_is_not_asked_while_another_serves(front, names):
    port = free_port()
    names.zone["app.test", A] = addresses("app.test", "127.0.0.2", "127.0.0.3")
    s = front(
        f"resolver 127.0.0.1:{names.port} ipv6=off;"
        "server { listen 127.0.0.1:8080; location / { proxy_pass http://$host:%d; } }" % port,
        peers=0,
    )
    container = Container(s, "127.0.0.3", port)
    client, end = s.client(), None
    for _ in range(4):
        client.send(get(host=b"app.test"))
        end = end or container.accept()
        end.receives_head()
        end.send(ok())
        assert client.receives_head().startswith(b"HTTP/1.1 200 ")
        client.take()
    assert [f"127.0.0.2:{port}" in line["upstream_addr"] for line in s.access_log()].count(True) == 1
