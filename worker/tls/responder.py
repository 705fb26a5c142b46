"""One question to an OCSP responder (RFC 6960, appendix A; nginx: ngx_ssl_ocsp_create_request): a GET, as caches like it."""

from __future__ import annotations

import base64
import socket
from urllib.parse import quote

from worker.connecting import open_stream
from worker.http1.response import LENGTH, UNTIL_CLOSE, body_of, take_response_head
from worker.loop import READ, park
from worker.resolver.resolver import CannotResolve, Resolver
from worker.stream import CHUNK, Stream
from wproxy.address import is_ip
from wproxy.error_log import ErrorLog
from wproxy.failures import TimedOut, UpstreamFailure
from wproxy.tls.ocsp import BadAnswer, Inquiry, Responder

# Seconds for one exchange with a responder.
PATIENCE = 60.0
LONGEST_HEAD = 16384
LONGEST_ANSWER = 65536
_MEDIA_TYPE = b"application/ocsp-response"
_TIMED_OUT = "OCSP responder timed out (110: Connection timed out)"


def log_failure(log: ErrorLog, inquiry: Inquiry, error: BadAnswer | CannotResolve | OSError, serial: int = 0) -> None:
    """Log why an inquiry has failed. serial: the number of the client's connection, for its certificate."""
    text = f"connect() failed ({error.errno}: {error.strerror})" if isinstance(error, OSError) else str(error)
    responder = inquiry.responder
    name = f', certificate: "{inquiry.name}"' if inquiry.name else ""
    text = f"{text} while requesting certificate status, responder: {responder.host}, peer: {responder.address}{name}"
    log.write("error", text, serial)


def question_line(responder: Responder, request: bytes) -> bytes:
    """Return the head that asks a question, which is given in DER."""
    slash = "" if responder.path.endswith("/") else "/"
    coded = quote(base64.b64encode(request).decode(), safe="")
    return f"GET {responder.path}{slash}{coded} HTTP/1.0\r\nHost: {responder.host}\r\n\r\n".encode()


async def ask(resolver: Resolver, responder: Responder, request: bytes, seconds: float, resolver_seconds: float) -> bytes:
    """Return the answer to a question, both in DER. Raises BadAnswer, CannotResolve; OSError for a failed connect()."""
    loop = resolver.loop
    deadline = loop.clock.now + seconds
    host, port = responder.address
    hosts = (host,) if is_ip(host) else (await resolver.resolve(host, resolver_seconds)).addresses
    for left, address in zip(range(len(hosts) - 1, -1, -1), hosts):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            stream = await open_stream(loop, family, (address, port), (deadline - loop.clock.now) / (left + 1))
        except OSError:
            if not left:
                raise
            continue
        try:
            return await exchange(stream, question_line(responder, request), deadline)
        except TimedOut:
            raise BadAnswer(_TIMED_OUT) from None
        except OSError as error:
            raise BadAnswer(f"OCSP responder closed the connection ({error.errno}: {error.strerror})") from None
        finally:
            stream.close()
    raise AssertionError("a name has an address")


async def exchange(stream: Stream, question: bytes, deadline: float) -> bytes:
    """Send a question, and return the body of the answer. Raises BadAnswer, TimedOut, OSError."""
    clock = stream.loop.clock
    while question:
        try:
            question = question[stream.send(question) :]
        except BlockingIOError:
            await stream.room(deadline - clock.now)
    received = b""
    length = -1  # that of the whole answer; -1: as long as the connection
    begin = 0  # of the body
    while not begin or length < 0 or len(received) < length:
        try:
            piece = stream.recv(CHUNK)
        except BlockingIOError:
            await park(stream, READ, deadline - clock.now)
            continue
        if not piece:
            if not begin or length >= 0:
                raise BadAnswer("OCSP responder prematurely closed connection")
            break
        received += piece
        if not begin:
            begin, length = _read_head(received)
        if len(received) > LONGEST_HEAD + LONGEST_ANSWER:
            raise BadAnswer("OCSP responder sent too long an answer")
    return received[begin : length if length >= 0 else None]


def _read_head(received: bytes) -> tuple[int, int]:
    """Return the place of an answer's body, and its end, -1 for that of the connection; zeros while the head is incomplete.

    Raises BadAnswer.
    """
    try:
        found = take_response_head(received, LONGEST_HEAD, None)
        if found is None:
            return 0, 0
        head, begin = found
        kind, length = body_of(head, b"GET")
    except UpstreamFailure:
        raise BadAnswer("OCSP responder sent invalid response") from None
    if head.status != 200 or kind not in (LENGTH, UNTIL_CLOSE):
        raise BadAnswer(f"OCSP responder sent invalid response, status {head.status}")
    media_type = head.get(b"content-type") or b""
    if media_type.partition(b";")[0].strip().lower() != _MEDIA_TYPE:
        raise BadAnswer(f'OCSP responder sent invalid "Content-Type" header: "{media_type.decode("latin-1")}"')
    return begin, begin + length if kind == LENGTH else -1
