"""Descriptors that are only waited for."""

from __future__ import annotations

import os
import socket


class Descriptor(socket.socket):
    """Another descriptor disguised as a socket, so that a stream can hold it; it is only ever waited for."""

    def __init__(self, fileno: int) -> None:
        left, right = socket.socketpair()
        super().__init__(left.family, left.type, left.proto, left.detach())
        right.close()
        os.dup2(fileno, self.fileno(), inheritable=False)
