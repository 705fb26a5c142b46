"""$tcpinfo_* and $connections_*: what the system knows of a connection, and the counts of all workers."""

import pytest
from harness import connect, until
from wire import ask

pytestmark = pytest.mark.whole

HTTP = """
    [[http.server]]
    listen = ["127.0.0.1:{port}", "unix:tcpless.sock"]
    location."/tcp" = { return = [200, "$tcpinfo_rtt $tcpinfo_rttvar $tcpinfo_snd_cwnd $tcpinfo_rcv_space"] }
    location."/" = { return = [200, "$connections_active $connections_reading $connections_writing $connections_waiting"] }
    """


def test_the_system_and_all_workers_are_asked(start, tmp_path):
    front = start(HTTP.replace("tcpless.sock", f"{tmp_path}/tcpless.sock"))
    rtt, rttvar, window, space = map(int, ask(front.port, "/tcp").body.split())
    assert 0 < rtt < 1_000_000
    assert rttvar > 0
    assert 1 <= window < 10_000
    assert space > 1000
    assert ask(f"{tmp_path}/tcpless.sock", "/tcp").body.split() == []

    def counts():
        return tuple(map(int, ask(front.port, "/").body.split()))

    until(lambda: counts() == (1, 0, 1, 0), "counts without other clients")
    others = [connect(front.port) for _ in range(8)]  # spread over both workers by the kernel
    try:
        for number, client in enumerate(others):
            client.sendall(b"GET / HTTP/1.1\r\n" if number < 3 else b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        for client in others[3:]:
            client.recv(1000)
        until(lambda: counts() == (9, 3, 1, 5), lambda: f"the clients of both workers: {counts()}")
    finally:
        for client in others:
            client.close()
