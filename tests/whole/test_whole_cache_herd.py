"""A thousand clients for one key of a cache, before an upstream that takes its time: it is asked once, by whichever worker."""

import selectors
import socket
import threading

import pytest
from harness import until

from master.memory import open_memory_of
from wproxy.shared import WORKER_ACTIVE

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("many_descriptors")]

CLIENTS = 1000
HTTP = """
proxy_cache_path = [["cache", "keys_zone=z:1m"]]
[[http.server]]
listen = "127.0.0.1:{{port}}"
add_header = [["X-Cache", "$upstream_cache_status"]]
[http.server.location."/"]
proxy_pass = "http://127.0.0.1:{backend}"
proxy_cache = "z"
proxy_cache_lock = true
proxy_cache_lock_timeout = "1m"
proxy_cache_lock_age = "1m"
proxy_cache_use_stale = "updating"
"""


@pytest.fixture
def herd(start, recorder):
    """A master with two workers, the gate that the upstream waits for before it answers, and its answer."""
    gate, answers = threading.Event(), []

    def reply(conversation, received):
        assert gate.wait(60)
        conversation.send(answers[-1])

    recorder.reply = reply
    front = start(HTTP.format(backend=recorder.port), workers=2, main="[events]\nworker_connections = 4096\n")
    return front, gate, answers


def answer(body: bytes, field: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n\r\n%b" % (len(body), field, body)


def ask(port: int, count: int = CLIENTS) -> list[socket.socket]:
    """Connections that have asked for the key."""
    clients = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(count)]
    for client in clients:
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    return clients


def read(clients: list[socket.socket], wanted: int) -> list[tuple[str, bytes]]:
    """X-Cache and body of as many answers as wanted, whichever come first; their connections are closed."""
    received = dict.fromkeys(clients, b"")
    found = []
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        while len(found) < wanted:
            events = selector.select(30)
            assert events, f"{len(found)} of {wanted} answers in 30 seconds"
            for key, _ in events:
                data = key.fileobj.recv(65536)
                received[key.fileobj] += data
                if not data:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    head, _, body = received[key.fileobj].partition(b"\r\n\r\n")
                    found.append((head.decode().partition("X-Cache: ")[2].partition("\r\n")[0], body))
    return found


def active(front) -> int:
    """The requests that the workers have under way."""
    with open_memory_of(front.master.pid) as memory:
        return sum(slot.get(WORKER_ACTIVE) for slot in memory.shared.workers())


def test_a_herd_for_an_absent_key_makes_one_request(herd, recorder):
    front, gate, answers = herd
    answers.append(answer(b"new", b"Cache-Control: max-age=600"))
    clients = ask(front.port)
    until(lambda: active(front) >= CLIENTS, lambda: f"{active(front)} requests are under way")
    gate.set()
    found = read(clients, CLIENTS)
    assert {body for _, body in found} == {b"new"}
    assert [status for status, _ in found].count("MISS") == 1
    assert [status for status, _ in found].count("HIT") == CLIENTS - 1
    assert len(recorder.heads) == 1


def test_a_herd_for_an_expired_key_makes_one_request(herd, recorder):
    front, gate, answers = herd
    answers.append(answer(b"old", b"X-Accel-Expires: @1"))
    gate.set()
    assert read(ask(front.port, 1), 1) == [("MISS", b"old")]
    gate.clear()
    answers.append(answer(b"new", b"Cache-Control: max-age=600"))
    clients = ask(front.port)
    # The others do not wait for the one that updates it.
    assert set(read(clients, CLIENTS - 1)) == {("UPDATING", b"old")}
    gate.set()
    (last,) = [client for client in clients if client.fileno() >= 0]
    assert read([last], 1) == [("EXPIRED", b"new")]
    assert len(recorder.heads) == 2
