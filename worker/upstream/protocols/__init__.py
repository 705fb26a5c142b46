"""The protocols spoken to upstreams. Each is a row of functions; retries, timeouts and streaming know no more of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worker.http1.response import ResponseHead
from wproxy.http import Request


@dataclass(frozen=True, slots=True)
class UpstreamProtocol:
    """One protocol.

    encode_body(piece): a piece of a body of unknown length on the wire; end_of_body: what follows the last one.
    take_head(buffer, limit, last): the response head and how many bytes it took, None while it is incomplete.
    body_of(head, method): how the body ends (a kind of worker.http1.response) and its length.
    """

    encode_body: Callable[[bytes], bytes]
    end_of_body: bytes
    take_head: Callable[[bytes, int, ResponseHead | None], tuple[ResponseHead, int] | None]
    body_of: Callable[[ResponseHead, bytes], tuple[int, int]]


# Writes the head of a request, given the length of its body or one of these.
WriteHead = Callable[[Request, int], bytes]
NO_BODY = -1
UNKNOWN_LENGTH = -2
