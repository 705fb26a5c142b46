"""What a request may cost in units of nginx: the goals that the project has set itself, interpreted and compiled (with mypyc)."""

from __future__ import annotations

# Processor time divided by that of nginx, by workload: interpreted, compiled. On an interpreter built with PGO.
GOALS = {
    "small": (1.2, 1.05),
    "browser": (1.2, 1.05),
    "varied": (1.7, 1.2),
    "post": (1.25, 1.1),
    "connect": (1.4, 1.25),
    "c1000": (0.95, 0.8),
    "return": (1.2, 1.1),
    "static1k": (1.2, 1.1),
    "100k": (0.4, 0.4),
    "10m": (0.22, 0.22),
    "10m-unbuffered": (0.14, 0.14),
    "upload16m": (0.4, 0.4),
    "websocket": (1.05, 1.0),
    "tls": (1.4, 1.15),
    "tls-connect": (1.2, 1.2),
    "h2": (1.8, 1.2),
}
# Kilobytes of a connection.
MEMORY_GOALS = {"idle": 2.0, "idle-tls": 20.0}
# Processor time of a request to one of 1,000 servers, divided by that of a request to one alone.
SERVERS_GOAL = 1.05
