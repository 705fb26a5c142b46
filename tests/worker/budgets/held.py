"""Bytes that a worker has in use for an idle connection and for a request under way: `python held.py`, with PYTHONMALLOC=malloc.

Then everything, objects of Python as well as those of OpenSSL, comes from malloc, which counts what it has given out (mallinfo2): the
figure is exact where resident memory comes in pages. The clients and the upstream are another process, so that theirs does not count.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent.parent)]

from conversation import Peer, Stage  # noqa: E402
from measure import make_certificate  # noqa: E402

from bench.memory import open_all  # noqa: E402
from bench.workloads import WORKLOADS  # noqa: E402
from wproxy.assignment import ListeningSocket  # noqa: E402
from wproxy.tls.contexts import make_contexts  # noqa: E402

FIRST, HELD = 64, 200
PATIENCE = 30.0
CONFIGURATION = """
worker_processes = 1
error_log = [["{directory}/error.log", "info"]]
[http]
access_log = "off"
upstream.app = {{ server = "{peers[0]}", keepalive = 64 }}
[[http.server]]
listen = LISTEN
SERVER
location."/" = {{ proxy_pass = "http://app" }}
"""
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" + b"0123456789" * 4


class Mallinfo(ctypes.Structure):
    """struct mallinfo2 of glibc. uordblks: bytes in use; hblkhd: those of blocks that have pages of their own."""

    _fields_ = [(name, ctypes.c_size_t) for name in
                ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]]  # fmt: skip


def used() -> int:
    """Return the bytes in use."""
    gc.collect()
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Mallinfo
    found = mallinfo()
    return int(found.uordblks + found.hblkhd)


def answer_all(listening: socket.socket) -> None:
    """Be the upstream: answer every request but those for /streams/hold."""
    epoll = select.epoll()
    listening.setblocking(False)
    epoll.register(listening, select.EPOLLIN)
    known: dict[int, socket.socket] = {}
    while True:
        for fd, _ in epoll.poll():
            if fd == listening.fileno():
                accepted = listening.accept()[0]
                known[accepted.fileno()] = accepted
                epoll.register(accepted, select.EPOLLIN)
                continue
            data = known[fd].recv(65536)
            if not data:
                known.pop(fd).close()
            elif b" /streams/hold " not in data:
                known[fd].sendall(ANSWER)


def be_clients(name: str, port: int, peer: socket.socket, orders: socket.socket) -> None:
    """Open connections when told to, and tell when they are there."""
    threading.Thread(target=answer_all, args=(peer,), daemon=True).start()
    for order in (FIRST, HELD):
        orders.recv(1)
        held = open_all(port, WORKLOADS[name], order)
        orders.send(b"x")
        orders.recv(1)
        if order == FIRST:
            for sock in held:
                sock.close()
            orders.send(b"x")


def held(name: str, directory: str, certificate: str, key: str) -> float:
    """Return the bytes of one connection or stream of a workload of `bench.memory`."""
    listen = {"http": "", "tls": '"ssl"', "h2c": '"http2"'}[WORKLOADS[name].listen]
    tls = f'ssl_certificate = "{certificate}"\nssl_certificate_key = "{key}"' if "ssl" in listen else ""
    text = CONFIGURATION.replace("LISTEN", f'[["127.0.0.1:8080", {listen}]]' if listen else '"127.0.0.1:8080"')
    os.mkdir(directory)
    stage = Stage(SimpleNamespace(setattr=setattr), directory, peers=[Peer(backlog=1024)], text=text.replace("SERVER", tls))
    door = socket.create_server(("127.0.0.1", 0), backlog=1024)
    door.setblocking(False)
    contexts, problems = make_contexts(stage.configuration)
    assert not problems, problems
    stage.worker.acceptors._tls = contexts
    stage.worker.acceptors.listen(ListeningSocket(stage.configuration.listeners[0], os.dup(door.fileno())))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    clients = os.fork()
    if not clients:
        try:
            be_clients(name, door.getsockname()[1], stage.peers[0].sock, theirs)
        finally:
            os._exit(0)
    group = stage.group()

    def everybody_has_left() -> bool:
        return not stage.worker.clients.connections

    try:

        def are_told() -> bool:
            try:
                return bool(ours.recv(1))
            except BlockingIOError:
                return False

        def all_is_under_way() -> bool:
            return WORKLOADS[name].streams == 1 or sum(peer.connections for peer in group.peers) == HELD

        ours.send(b"x")
        turn_until(stage, are_told)
        ours.send(b"x")
        turn_until(stage, are_told)
        turn_until(stage, everybody_has_left)
        before = used()
        ours.send(b"x")
        turn_until(stage, are_told)
        turn_until(stage, all_is_under_way)
        return (used() - before) / HELD
    finally:
        os.kill(clients, signal.SIGKILL)
        os.waitpid(clients, 0)
        turn_until(stage, everybody_has_left)
        stage.close(sweep=False)
        door.close()


def turn_until(stage: Stage, condition: Callable[[], bool]) -> None:
    """Let the worker work until this holds."""
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, f"not within {PATIENCE} s"
        stage.loop.turn(0.01)
    stage.settle()


if __name__ == "__main__":
    assert os.environ.get("PYTHONMALLOC") == "malloc"
    with tempfile.TemporaryDirectory(prefix="wproxy-budgets-") as folder:
        files = make_certificate(folder)
        print(json.dumps({name: held(name, f"{folder}/{name}", *files) for name in sys.argv[1:]}))
