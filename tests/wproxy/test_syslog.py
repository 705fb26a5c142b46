"""Syslog: what `syslog:` says, the form of a message, and what happens when nobody takes it."""

from __future__ import annotations

import calendar
import os
import re
import socket

import pytest

from wproxy.address import Address
from wproxy.syslog import SyslogSender, parse_syslog, syslog_time


@pytest.mark.parametrize(
    ("text", "server", "facility", "severity", "tag", "hostname"),
    [
        ("syslog:server=127.0.0.1", Address("127.0.0.1", 514), 23, 6, None, True),
        ("syslog:server=[::1]:5514,facility=daemon", Address("::1", 5514), 3, 6, None, True),
        ("syslog:server=unix:/dev/log,tag=front_1,nohostname", Address("/dev/log", -1), 23, 6, "front_1", False),
        ("syslog:severity=debug,tag=,server=logs.internal:1514", Address("logs.internal", 1514), 23, 7, "", True),
    ],
)
def test_what_a_syslog_is(text, server, facility, severity, tag, hostname):
    syslog = parse_syslog(text)
    assert (syslog.server, syslog.facility, syslog.severity) == (server, facility, severity)
    assert (syslog.tag, syslog.hostname) == (tag, hostname)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", 'unknown syslog parameter ""'),
        ("server=127.0.0.1,", 'unknown syslog parameter ""'),
        ("server=127.0.0.1,foo=bar", 'unknown syslog parameter "foo=bar"'),
        ("server=127.0.0.1,foo", 'unknown syslog parameter "foo"'),
        ("facility=local7", "no syslog server specified"),
        ("server=", 'no host in syslog server ""'),
        ("server=127.0.0.1:99999", 'invalid port in syslog server "127.0.0.1:99999"'),
        ("server=127.0.0.1:0", 'invalid port in syslog server "127.0.0.1:0"'),
        ("server=127.0.0.1,facility=foo", 'unknown syslog facility "foo"'),
        ("server=127.0.0.1,severity=foo", 'unknown syslog severity "foo"'),
        ("server=127.0.0.1,tag=a-b", 'syslog "tag" only allows alphanumeric characters and underscore'),
        ("server=127.0.0.1,tag=" + "a" * 33, "syslog tag length exceeds 32"),
        ("server=127.0.0.1,server=127.0.0.2", 'duplicate syslog "server"'),
        ("server=127.0.0.1,tag=a,tag=b", 'duplicate syslog "tag"'),
    ],
)
def test_nginx_s_words_for_what_makes_no_sense(text, problem):
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        parse_syslog(f"syslog:{text}")


def test_a_day_has_two_places(in_utc):
    assert syslog_time(calendar.timegm((2026, 11, 2, 9, 8, 7))) == "Nov  2 09:08:07"
    assert syslog_time(calendar.timegm((2026, 11, 22, 19, 17, 49))) == "Nov 22 19:17:49"


@pytest.fixture
def in_utc(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Server:
    """A syslog server, and the function that connects to it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.connected = 0
        self.start()

    def start(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind(self.path)

    def stop(self) -> None:
        self.sock.close()
        os.unlink(self.path)

    def connect(self, server: Address) -> int:
        self.connected += 1
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(server.host)
            return sock.detach()

    def received(self) -> list[bytes]:
        found = []
        try:
            while True:
                found.append(self.sock.recv(65536))
        except BlockingIOError:
            return found


@pytest.fixture
def server(tmp_path):
    server = Server(str(tmp_path / "log"))
    yield server
    server.sock.close()


def sender_to(server: Server, more: str = "") -> SyslogSender:
    return SyslogSender(parse_syslog(f"syslog:server=unix:{server.path}{more}"), "wproxy", server.connect)


@pytest.mark.parametrize(
    ("more", "head"),
    [
        ("", b"<190>Nov 22 19:17:49 HOST wproxy: "),
        (",tag=foo,nohostname", b"<190>Nov 22 19:17:49 foo: "),
        (",facility=daemon,tag=", b"<30>Nov 22 19:17:49 HOST : "),
    ],
)
def test_a_message_is_one_datagram_in_the_form_of_nginx(in_utc, server, more, head):
    sender = sender_to(server, more)
    sender.send(6, b"a line", calendar.timegm((2026, 11, 22, 19, 17, 49)))
    assert server.received() == [head.replace(b"HOST", os.uname().nodename.lower().encode()) + b"a line"]
    sender.close()


def test_a_severity_is_in_the_number_and_a_second_has_its_time(in_utc, server):
    sender = sender_to(server, ",nohostname")
    for severity, second in ((0, 0), (3, 0), (7, 1)):
        sender.send(severity, b"x", second)
    assert server.received() == [
        b"<184>Jan  1 00:00:00 wproxy: x",
        b"<187>Jan  1 00:00:00 wproxy: x",
        b"<191>Jan  1 00:00:01 wproxy: x",
    ]
    assert server.connected == 1
    sender.close()


def test_a_full_socket_drops_lines_and_counts_them(server):
    sender = sender_to(server)
    for _ in range(10_000):
        sender.send(6, b"x" * 100, 0)
        if sender.lost >= 3:
            break
    assert sender.lost == 3
    assert isinstance(sender.failure, BlockingIOError)
    assert len(server.received()) > 0
    sender.send(6, b"again", 0)
    assert server.received()[0].endswith(b"again")
    sender.close()


def test_a_server_that_was_started_anew_gets_every_line(server):
    sender = sender_to(server)
    sender.send(6, b"one", 0)
    server.stop()
    server.start()
    sender.send(6, b"two", 0)
    assert [message[-3:] for message in server.received()] == [b"two"]
    assert sender.lost == 0
    sender.close()


def test_a_server_that_is_away_loses_lines_until_it_is_back(server):
    sender = sender_to(server)
    server.stop()
    sender.send(6, b"one", 0)
    sender.send(6, b"two", 0)
    assert sender.lost == 2
    assert isinstance(sender.failure, FileNotFoundError)
    server.start()
    sender.send(6, b"three", 0)
    assert len(server.received()) == 1
    sender.close()
