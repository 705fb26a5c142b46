"""Ports for servers of the benchmark and of the tests."""

from __future__ import annotations

import os
import random
import socket
from collections import deque

FIRST, END = 20000, 32000

# The last ports that were given: somebody who asks for six of them binds the first when all six are there.
_given: deque[int] = deque(maxlen=1000)


def free_port() -> int:
    """Return a port of 127.0.0.1 that no process listens on, below the range that the kernel gives to clients.

    A port that the kernel chooses (bind to 0) may be given to a client before the server binds it. Parallel test runs
    (pytest-xdist) have ports of their own: a port that one has found free and not yet bound must not be found by another.
    """
    runs = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = random.randrange(FIRST + own, END, runs)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.append(port)
        return port
