"""The guard in a worker: no regex and no subject takes more than its time."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from worker import regex_guard
from worker.regex_guard import LIMIT, install_regex_guard
from wproxy.regex import RegexTimedOut, compile_regex, install_guard

PATHOLOGICAL = [
    (r"(a+)+$", b"a" * 5000 + b"!"),
    (r"^(a|a)*$", b"a" * 5000 + b"!"),
    (r"^(\w+\s?)*$", b"word " * 1000 + b"!"),
    (r"(?:a|ab|b)*c", b"ab" * 4000),
    (r"^(.*a){12}$", b"a" * 5000 + b"!"),
    (r"^(a?){30}a{30}!$", b"a" * 45),
    (r"^(([a-z])+.)+[A-Z]([a-z])+$", b"a" * 5000),
    (r"(.*)(.*)(.*)(.*)[0-9]x", b"a" * 8000),
    (r"^((a*)*)*\1!", b"a" * 5000),
    (r"(?=(a+)+$)x", b"a" * 5000 + b"!"),
]


@pytest.fixture(autouse=True)
def guard() -> Iterator[None]:
    before = signal.getsignal(signal.SIGVTALRM)
    install_regex_guard()
    yield
    install_guard(None)
    signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize(("pattern", "subject"), PATHOLOGICAL)
def test_a_pathological_match_ends_within_half_a_second(pattern, subject):
    regex = compile_regex(pattern, origin="nginx.conf:7")
    began = time.process_time()
    with pytest.raises(RegexTimedOut) as raised:
        regex.search(subject)
    assert time.process_time() - began < 0.5
    assert raised.value.regex is regex
    assert str(raised.value).endswith("match abandoned: nginx.conf:7")


def test_the_next_match_works_and_no_timer_is_left():
    regex = compile_regex(r"^(a+)+$")
    with pytest.raises(RegexTimedOut):
        regex.search(b"a" * 5000 + b"!")
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert regex.search(b"aaa")
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_a_signal_that_comes_late_harms_nobody():
    os.kill(os.getpid(), signal.SIGVTALRM)
    assert compile_regex(r"(a+)+$").search(b"aaa")


def test_quick_matches_use_no_timer(monkeypatch):
    monkeypatch.setattr(regex_guard.signal, "setitimer", lambda *_: pytest.fail("a timer was set"))
    assert compile_regex(r"\.php$").search(b"/" * 60000 + b".php")
    assert compile_regex(r"[^/]+\.php").search(b"/index.php")


def test_other_signals_are_neither_lost_nor_taken_for_the_timer():
    """A signal during a match reaches the descriptor that wakes the loop, and the match goes on to its own end."""
    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.setblocking(False)
    told: list[int] = []
    old_handler = signal.signal(signal.SIGALRM, lambda number, _: told.append(number))
    old_fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    try:
        signal.setitimer(signal.ITIMER_REAL, LIMIT / 4)
        with pytest.raises(RegexTimedOut):
            compile_regex(r"(a+)+$").search(b"a" * 5000 + b"!")
        assert told == [signal.SIGALRM]
        assert receiver.recv(64) == bytes([signal.SIGALRM, signal.SIGVTALRM])
    finally:
        signal.set_wakeup_fd(old_fd)
        signal.signal(signal.SIGALRM, old_handler)
        receiver.close()
        sender.close()
