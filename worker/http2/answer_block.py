"""The field blocks of answers, each of them read once.

We let upstreams fill no table (`client_beginning`), so the same bytes mean the same on every connection. An application sends few
different blocks: those of one kind of answer differ in a date, and the fields after a body mostly in nothing.
"""

from __future__ import annotations

from typing import Final

from worker.http1.fields import Field
from worker.http1.response import ResponseHead
from worker.http2.header_block import HeaderDecoder, HeaderList
from worker.http2.response_head import read_response_head, read_response_trailers

# Blocks already read, by their bytes; a full table starts over: 2 MB at worst.
KNOWN_BLOCKS: dict[bytes, AnswerBlock] = {}
_KNOWN_LIMIT: Final = 256
_KNOWN_BYTES: Final = 2048

# Without a table it keeps nothing from one block to the next.
_DECODER: Final = HeaderDecoder("upstream", table_size=0)


class AnswerBlock:
    """A field block of an answer. It is never changed.

    fields, size, never_indexed: as `HeaderDecoder` returns them. is_interim: whether it is the head of a 1xx.
    """

    __slots__ = ("_head", "_head_alone", "_trailers", "fields", "is_interim", "never_indexed", "size")

    def __init__(self, fields: HeaderList, size: int, never_indexed: frozenset[bytes]) -> None:
        self.fields = fields
        self.size = size
        self.never_indexed = never_indexed
        name, value = fields[0] if fields else (b"", b"")
        self.is_interim = name == b":status" and len(value) == 3 and value[:1] == b"1"
        self._head: ResponseHead | None = None
        self._head_alone: ResponseHead | None = None
        self._trailers: tuple[Field, ...] | None = None

    def head(self, limit: int, is_all: bool) -> ResponseHead:
        """Return the head that it is, see `read_response_head`. Raises UpstreamFailure."""
        known = self._head_alone if is_all else self._head
        if known is not None and self.size <= limit:
            return known
        head = read_response_head(self.fields, self.size, limit, is_all)
        if is_all:
            self._head_alone = head
        else:
            self._head = head
        return head

    def trailers(self, limit: int, end_stream: bool) -> tuple[Field, ...]:
        """Return the fields after a body that it is, see `read_response_trailers`. Raises UpstreamFailure."""
        known = self._trailers
        if known is not None and end_stream and self.size <= limit:
            return known
        self._trailers = trailers = read_response_trailers(self.fields, self.size, limit, end_stream)
        return trailers

    def __repr__(self) -> str:
        return f"<answer block: {len(self.fields)} fields, {self.size} bytes>"


def answer_block(block: bytes) -> AnswerBlock:
    """Return a block that an upstream has sent. Raises ConnectionFault."""
    known = KNOWN_BLOCKS.get(block)
    if known is None:
        known = AnswerBlock(_DECODER.decode(block), _DECODER.size, _DECODER.never_indexed)
        if len(block) <= _KNOWN_BYTES and not known.never_indexed:  # a secret is kept in no table, nor in this one
            if len(KNOWN_BLOCKS) >= _KNOWN_LIMIT:
                KNOWN_BLOCKS.clear()
            KNOWN_BLOCKS[block] = known
    return known
