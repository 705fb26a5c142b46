"""The error log that master and workers share: its lines, its targets, and what it does when they fail."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket

import pytest

from wproxy.error_log import ErrorLog
from wproxy.syslog import parse_syslog

LINE = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[%s\] (\d+)#\1: %s"


def log_to(*targets, **more) -> ErrorLog:
    return ErrorLog(targets, lambda: 1_800_000_000.5, **more)


def test_a_line_is_nginx_s_with_or_without_a_connection(tmp_path):
    log = log_to((str(tmp_path / "log"), "info"))
    log.write("error", "text", 7)
    log.write("notice", "text")
    log.close()
    first, second = (tmp_path / "log").read_text().splitlines()
    assert re.fullmatch(LINE % ("error", r"\*7 text"), first)
    assert re.fullmatch(LINE % ("notice", "text"), second)


def test_every_target_has_its_level_and_the_same_file_twice_means_two_lines(tmp_path):
    few, many = tmp_path / "few", tmp_path / "many"
    log = log_to((str(few), "crit"), (str(many), "debug"), (str(many), "error"))
    for level in ("crit", "error", "debug"):
        log.write(level, level)
    assert log.logs("debug")
    log.close()
    assert [line.rpartition(" ")[2] for line in few.read_text().splitlines()] == ["crit"]
    assert [line.rpartition(" ")[2] for line in many.read_text().splitlines()] == ["crit", "crit", "error", "error", "debug"]


def test_what_is_for_everywhere_goes_past_the_levels(tmp_path):
    log = log_to((str(tmp_path / "log"), "crit"))
    log.write("debug", "about a client", 1, everywhere=True)
    log.write("debug", "about another")
    log.close()
    assert "about a client" in (tmp_path / "log").read_text()
    assert "another" not in (tmp_path / "log").read_text()


def test_a_line_is_cut_as_nginx_cuts_it_unless_it_tells_of_a_bug(tmp_path):
    log = log_to((str(tmp_path / "log"), "info"))
    log.write("error", "x" * 5000)
    log.write("alert", "y" * 5000)
    log.close()
    first, second = (tmp_path / "log").read_bytes().split(b"\n")[:-1]
    assert len(first) == 2047
    assert second.endswith(b"y" * 5000)


def test_syslog_gets_the_line_with_the_severity_of_its_level(tmp_path):
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(str(tmp_path / "syslog"))

    def connect(address) -> int:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.connect(address.host)
        return sock.detach()

    syslog = parse_syslog(f"syslog:server=unix:{tmp_path / 'syslog'},nohostname,severity=debug")
    log = log_to((syslog, "warn"), (str(tmp_path / "log"), "info"), connect=connect, name="nginx")
    log.write("error", "text", 3)
    log.write("notice", "text")
    log.close()
    pattern = rb"<187>\w{3} [ \d]\d \d\d:\d\d:\d\d nginx: " + (LINE % ("error", r"\*3 text")).encode()
    assert re.fullmatch(pattern, server.recv(4096))
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(4096)
    assert (tmp_path / "log").read_text().count("\n") == 2
    server.close()


def test_syslog_that_is_not_there_harms_nobody(tmp_path):
    log = log_to((parse_syslog("syslog:server=unix:/nowhere"), "info"), (str(tmp_path / "log"), "info"))
    log.write("error", "text")
    log.close()
    assert "text" in (tmp_path / "log").read_text()


def test_lines_lost_on_a_full_disk_are_told_when_there_is_room_again(tmp_path):
    path = tmp_path / "log"
    log = log_to((str(path), "info"))
    log.write("error", "before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, before[1]))
        log.write("error", "lost")
        log.write("error", "lost too")
        assert path.read_text().count("\n") == 1
        assert path.read_text().endswith("\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    log.write("error", "after")
    log.write("error", "much after")
    log.close()
    told = [line.partition("#")[2].partition(": ")[2] for line in path.read_text().splitlines()]
    assert told == ["before", "after", "2 lines of the error log were lost", "much after"]


def test_reopening_follows_the_name_and_a_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "log"
    log = log_to((str(path), "info"))
    path.rename(tmp_path / "old")
    log.reopen()
    log.write("error", "new")
    assert "new" in path.read_text()
    path.rename(tmp_path / "older")
    path.mkdir()
    count = len(os.listdir("/proc/self/fd"))
    with pytest.raises(IsADirectoryError):
        log.reopen()
    assert len(os.listdir("/proc/self/fd")) == count
    log.write("error", "still")
    log.close()
    assert "still" in (tmp_path / "older").read_text()
