"""The head of a request over HTTP/2: the fields that HTTP/1 would have, as a field block."""

from __future__ import annotations

from worker.http2.header_block import NEVER_INDEXED, HeaderDecoder, encode_fields, encode_guarded
from worker.upstream.module_settings import ModuleSettings
from worker.upstream.protocols.http1 import HTTP1HeadPlan, request_target
from wproxy.http import Request
from wproxy.template import checked

# Fields about one connection, and those that have another form in HTTP/2.
_NOT_SENT = frozenset(
    (b"host", b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings")
)


class HTTP2HeadPlan(HTTP1HeadPlan):
    """The additions of a location to every request head: those of HTTP/1, as a field block."""

    __slots__ = ("scheme", "set_fields")

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self.scheme = b"https" if self.target.is_secure else b"http"
        self.sends_unknown_length = True
        # With the names in lower case, and None where the field may not be sent.
        self.set_fields = [None if (lower := name.lower()) in _NOT_SENT else lower for name, _ in self.fields]

    def head(self, request: Request, length: int) -> bytes:
        """Return the field block of a request. Raises ClientError(500) when a variable would break it."""
        line = request.line
        cache = request.fields.cache
        as_received = request.path is line.path and request.args is line.args and request.method is line.method
        if as_received:
            remembered = cache.get(self)
            if remembered is not None and remembered[0] is line and remembered[1] == length:
                block: bytes = remembered[2]
                return block
        never_indexed = cache.get(NEVER_INDEXED)
        fields = self._fields(request, length)
        block = encode_guarded(fields, never_indexed) if never_indexed else encode_fields(fields)
        if as_received and self.is_stable and line.authority is None:
            request.fields.remember(self, (line, length, block))
        return block

    def own_fields(self, request: Request) -> list[tuple[bytes, bytes]]:
        """Return the fields that a protocol on this ground adds."""
        return []

    def _fields(self, request: Request, length: int) -> list[tuple[bytes, bytes]]:
        values = [read(request) for read in self.readers]
        fields = [
            (b":method", request.method),
            (b":scheme", self.scheme),
            (b":path", request_target(request, self.location, self.target)),
            (b":authority", checked(values[0] or self.proxy_host)),
        ]
        for name, value in zip(self.set_fields, values[1:]):
            if value and name is not None and (name != b"te" or value.lower() == b"trailers"):
                fields.append((name, checked(value)))
        if length >= 0 and not self.sets_length:
            fields.append((b"content-length", b"%d" % length))
        fields += self.own_fields(request)
        if self.passes_fields:
            options = request.fields.connection_options
            dropped = self.dropped | options if options else self.dropped
            fields += [(lower, value) for lower, _, value in request.fields.lines if lower not in dropped]
        return fields

    def asks_to_upgrade(self, request: Request) -> bool:
        """Whether the answer may be 101: there is none in HTTP/2."""
        return False


def shown(block: bytes) -> bytes:
    """Return the text of a field block, as for HTTP/1, for logs and explanations."""
    fields = HeaderDecoder("upstream").decode(block)
    pseudo = {name: value for name, value in fields if name[:1] == b":"}
    lines = [b"%b %b HTTP/2.0" % (pseudo.get(b":method", b""), pseudo.get(b":path", b""))]
    lines += [b"%b: %b" % field for field in fields if field[0] not in (b":method", b":path")]
    return b"\r\n".join(lines) + b"\r\n\r\n"
