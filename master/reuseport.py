"""The choice of sockets in a SO_REUSEPORT group that get new connections, while a reload is undecided.

A socket joins its group the moment it listens, and from then on gets its share of the connections, whether or not it is served
yet. If the sockets of a new, larger generation waited in vain because that generation fails, closing them would reset the clients
in their queues. So until it has succeeded, a filter of three instructions keeps new connections on the sockets that are served
already (nginx/process.md §8 measured the filter; Linux: net/core/sock_reuseport.c).
"""

from __future__ import annotations

import socket
import struct

# linux: asm-generic/socket.h; the socket module does not name them.
SO_ATTACH_REUSEPORT_CBPF = 51
SO_DETACH_REUSEPORT_BPF = 68

LOAD_ABSOLUTE = 0x20  # BPF_LD | BPF_W | BPF_ABS
MODULO_CONSTANT = 0x94  # BPF_ALU | BPF_MOD | BPF_K
RETURN_ACCUMULATOR = 0x16  # BPF_RET | BPF_A
RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM


def confine(member: socket.socket, count: int) -> None:
    """Send new connections only to the first `count` sockets of this one's group, at random.

    Does nothing where the kernel cannot: then the result is the same as without it.
    """
    import ctypes  # 5 ms, needed only for a reload that adds workers

    instruction = struct.Struct("=HBBI")
    program = b"".join(
        (
            instruction.pack(LOAD_ABSOLUTE, 0, 0, RANDOM),
            instruction.pack(MODULO_CONSTANT, 0, 0, count),
            instruction.pack(RETURN_ACCUMULATOR, 0, 0, 0),
        )
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    try:
        member.setsockopt(
            socket.SOL_SOCKET,
            SO_ATTACH_REUSEPORT_CBPF,
            struct.pack("HP", len(program) // instruction.size, ctypes.addressof(buffer)),
        )
    except OSError:
        pass


def release(member: socket.socket) -> None:
    """Send new connections to every socket of the group again."""
    try:
        member.setsockopt(socket.SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0)
    except OSError:  # there was no filter
        pass
