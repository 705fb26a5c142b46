"""Lines to copy into another terminal."""

from __future__ import annotations

import os
import sys

from master.demo.stage import Stage

_HANDSHAKE = (
    "GET /ws/ HTTP/1.1\\r\\nHost: demo\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n"
    "Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n\\r\\n"
)
# A final text frame of five bytes, masked with zeros.
_HELLO = "\\x81\\x85\\0\\0\\0\\0hello"


def things_to_try(stage: Stage) -> list[str]:
    """Return one example of each kind."""
    url = stage.url
    return [
        f"curl -i {url}/headers                # what the application sees",
        f"curl -N {url}/stream                 # a chunked answer, line by line",
        f"curl '{url}/slow?seconds=3'",
        f"head -c 10M /dev/zero | curl -T - {url}/upload",
        f"{wproxy_program()} status -c {typed(stage.file)}",
        f"python3 -c '{websocket_program(stage)}'",
    ]


def websocket_program(stage: Stage) -> str:
    """Return a websocket client in one line of Python; without single quotes, for the shell's sake."""
    return (
        f'import socket; s = socket.create_connection(("{stage.front.host}", {stage.front.port}));'
        f' s.send(b"{_HANDSHAKE}"); print(s.recv(4096).decode());'
        f' s.send(b"{_HELLO}"); print(s.recv(4096)[2:].decode())'
    )


def wproxy_program() -> str:
    """Return the command as it can be typed here: installed beside the interpreter, or as a module of it."""
    beside = os.path.join(os.path.dirname(sys.executable), "wproxy")
    return typed(beside) if os.path.exists(beside) else f"{typed(sys.executable)} -m wproxy"


def typed(path: str) -> str:
    """Return the path as one would type it in the current directory."""
    return path.removeprefix(os.path.join(os.getcwd(), ""))
