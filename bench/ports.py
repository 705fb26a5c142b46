"""Ports for servers that are started on purpose, here and in the tests."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, below the range that the kernel gives to clients.

    A port that the kernel chooses (bind to 0) may be given to some client before the server binds it.
    """
    while True:
        port = random.randint(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
