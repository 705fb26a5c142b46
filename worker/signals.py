"""Signals of a process of the master, as bytes that its loop reads."""

from __future__ import annotations

import signal
import socket

from worker.loop import Loop
from worker.stream import Stream

# Those that the master sends, and those that come from elsewhere: what they mean is up to the process.
ORDERS = (signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1)
SIGNALS = (*ORDERS, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGWINCH)


def heed_signals(loop: Loop) -> tuple[Stream, socket.socket]:
    """Turn signals into bytes on a stream of the loop: a handler alone would not end the wait (PEP 475).

    Return the stream, and the other end, which has to live as long.
    """
    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.setblocking(False)
    stream = Stream(loop, receiver)
    loop.add(stream)
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a process that is its own master has blocked them
    return stream, sender
