"""What a proxied request on kept connections asks of the kernel: 2 reads, 2 writes, and nothing else (design.md §3).

The calls of the worker are those of C functions that its turns make; the two ends of the conversation use their sockets in
between. Waiting for events does not count: its cost is shared by all that is ready.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from types import CoroutineType, FrameType

import pytest
from conversation import End, Stage, get, ok, to_client

pytestmark = pytest.mark.interpreted_only("the calls of compiled code are not shown to a profiler")

# Functions of C that enter the kernel, by name: of sockets, of epoll, of os, of fcntl, of time.
SYSTEM_CALLS = frozenset(
    [
        "accept",
        "bind",
        "close",
        "connect",
        "connect_ex",
        "dup",
        "fcntl",
        "flock",
        "fstat",
        "fsync",
        "ftruncate",
        "getpeername",
        "getsockname",
        "getsockopt",
        "ioctl",
        "listen",
        "lockf",
        "lseek",
        "modify",
        "open",
        "pipe",
        "pipe2",
        "pread",
        "pwrite",
        "read",
        "readv",
        "recv",
        "recv_into",
        "recvfrom",
        "recvmsg",
        "register",
        "send",
        "sendall",
        "sendfile",
        "sendmsg",
        "sendto",
        "setsockopt",
        "shutdown",
        "socketpair",
        "splice",
        "stat",
        "unlink",
        "unregister",
        "urandom",
        "write",
        "writev",
    ]
)


def calls_of(s: Stage, deed: Callable[[], None] | None = None) -> Counter[str]:
    """What the worker does in this, or until it comes to rest."""
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, function: object) -> None:
        name = getattr(function, "__name__", "")
        if event == "c_call" and name in SYSTEM_CALLS and not isinstance(getattr(function, "__self__", None), CoroutineType):
            found[name] += 1

    sys.setprofile(note)
    try:
        (deed or s.settle)()
    finally:
        sys.setprofile(None)
    return found


def exchange(s: Stage, client: End, upstream: End | None) -> tuple[Counter[str], End]:
    """A request and its answer; what they cost, and the upstream's end of the connection."""
    client.sock.sendall(get())
    asking = calls_of(s)
    if upstream is None:
        upstream = next(accepted for accepted in (accept(s, number) for number in range(len(s.peers))) if accepted is not None)
    upstream.receives_head()
    upstream.sock.sendall(ok())
    answering = calls_of(s)
    client.receives(to_client())
    return asking + answering, upstream


def accept(s: Stage, number: int) -> End | None:
    sock = s.peers[number]._try_accept()
    return End(s, sock, "upstream") if sock is not None else None


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"peers": 2, "peer_parameters": ("", "down = true")},
        {"location": 'proxy_next_upstream_budget = "20%"', "peers": 2, "peer_parameters": ("", "down = true")},
        {"upstream": 'zone = ["app", "64k"]\nleast_conn = true', "peers": 2, "peer_parameters": ("", "down = true")},
        {"upstream": 'zone = ["app", "64k"]', "peer_parameters": ("max_conns = 5",)},
        {"upstream": 'queue = [10, "timeout=1s"]', "peer_parameters": ("max_conns = 5",)},
        {"upstream": 'sticky = ["cookie", "id"]', "peers": 2, "peer_parameters": ("", "down = true")},
        {"location": 'proxy_next_upstream = ["http_503", "error"]\nproxy_next_upstream_tries = 3'},
    ],
    ids=lambda settings: " ".join(f"{name}: {value}" for name, value in settings.items()) or "plain",
)
def test_a_request_on_kept_connections_is_two_reads_and_two_writes(stage, settings):
    s = stage(**settings)
    client = s.client()
    if "sticky" in settings.get("upstream", ""):
        client.receives = lambda expected: client.receives_head() and client.take()  # type: ignore[method-assign]
    first, upstream = exchange(s, client, None)
    assert first["connect_ex"] == 1, "calls are seen"
    exchange(s, client, upstream)
    calls, _ = exchange(s, client, upstream)
    assert calls == {"read": 2, "write": 2}


LOGGED = """
error_log = [["{directory}/error.log", "info"]]
[http]
log_format.plain = "$request_uri"
access_log = [["{directory}/access.log", "plain"]]
[[http.server]]
listen = "127.0.0.1:8080"
[http.server.location."/"]
return = [200, "hello"]
"""


def test_a_busy_worker_pays_no_system_call_for_the_access_log(stage):
    s = stage(peers=0, text=LOGGED)
    client = s.client()
    s.worker.turn(0.0)
    calls: Counter[str] = Counter()
    for _ in range(20):
        client.sock.sendall(get())  # there is always something to do
        calls += calls_of(s, lambda: s.worker.turn(0.0))
    assert calls == {"read": 20, "write": 20}
    assert calls_of(s, lambda: s.worker.turn(0.0)) == {"write": 1}, "at rest, all lines at once"
    assert calls_of(s, lambda: s.worker.turn(0.0)) == {}
