"""The memory that a client connection has of its heads: the last one, its form, and the state of one that has only begun."""

from __future__ import annotations

import dataclasses
from typing import Any

from worker.http1.head_shape import HeadShape
from worker.http1.request_values import KnownHead, RequestFields, RequestLine


@dataclasses.dataclass(slots=True)
class BegunHead:
    """The checked part of an incomplete head, so that one that dribbles in is not reread for each byte.

    size: bytes checked. line: the beginning of the incomplete line. lines: the number of line ends after the first one.
    """

    size: int
    line: int
    lines: int


class HeadMemo:
    """The last head of a client connection, remembered for the next.

    head: its bytes; taken: its values and its length. block: its bytes from the end of the request line on.
    lines: the field lines of the block as they came, once they have been needed. shape: the form of the block, once that is
    known; when it has read the block, `block` is empty. known: the first head, until its server and location are found.
    bare_lf: the number of heads of this connection that had a bare LF for a line end.
    begun_head: the state of an incomplete head, if its first line is complete and valid.
    """

    __slots__ = ("bare_lf", "begun_head", "block", "head", "known", "lines", "shape", "taken")

    def __init__(self) -> None:
        self.head = b""
        self.block = b""
        self.lines: list[bytes] | None = None
        self.shape: HeadShape | None = None
        self.known: KnownHead | None = None
        self.taken: tuple[RequestLine, RequestFields, int] | None = None
        self.bare_lf = 0
        self.begun_head: BegunHead | None = None

    def __call__(self, stream: Any) -> bool:
        """Handle what comes out of turn. (Where a class has this and its base has not, mypyc 2.4 takes the one for the other.)"""
        raise NotImplementedError
