"""Request heads of HTTP/1: bytes in, values out.

`take_request_head` cuts one head from the front of a buffer. What it returns is all that the rest of the worker ever
sees of these bytes: requests are written upstream from these values, never by copying what came in
(http1-security.md, posture). It returns None while the head is incomplete and raises ClientError, nothing else, for
everything that must not be served.

Three ways through, from the common to the rare; each gives the same answer as the next, only sooner:

  1. the connection repeats its last head byte for byte: the same values again (0.2 us);
  2. the header block is that of the last request, the request line differs: a line known to this worker, or one regex;
  3. everything is read: the line as in 2, the fields through a table of field lines this worker has seen.

Comparing bytes is safe because a head ends where its own bytes say so: whatever follows cannot change its meaning,
and a head that was accepted once is accepted again. Nothing in RequestLine depends on the fields, nothing in
RequestFields on the line. What needs both (a Host for 1.1, Transfer-Encoding in 1.0) is `RequestFields.only_version`,
one test.

A head with a bare LF fails in 1 to 3, because no pattern there admits one; then the slow path looks for the head's
real end (it may be LF LF), turns its line ends into CRLF and reads it again. Bare CR is never a line end.

An incomplete head is refused as soon as it cannot become a good one, with the status the complete one would have got:
a TLS hello on a plain port must not wait for a timeout.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from worker.http1.fields import (
    REQUEST_FIELDS,
    Field,
    FieldTable,
    InvalidField,
    join_repeated,
    parse_length,
    shown,
)
from wproxy.address import is_ip
from wproxy.failures import ClientError
from wproxy.uri import normalise_path

# Bounds of what a worker remembers; a full table starts over. A RequestLine is about three times its line: 4 MB at
# worst.
TABLE_LINES = 1024
TABLE_LINE_BYTES = 1024
# A connection remembers a head up to this size: idle connections are many, and bigger heads are rare.
REMEMBERED_HEAD_BYTES = 8192
# Browsers of the nineties sent a CRLF after a POST body; RFC 9112, 2.2 asks to skip "at least one". nginx skips any
# number.
LEADING_LINE_ENDS = 8

# request-line = method SP request-target SP HTTP-version (RFC 9112, 3), with nginx's methods and any 8-bit target of
# old clients; "#" is no part of a target. All quantifiers are possessive, so that a failure costs one pass.
_PATH = rb'/[!"$->@-~\x80-\xff]*+'
_ARGS = rb'[!"$-~\x80-\xff]*+'
_METHOD = rb"[A-Z_\-]{1,32}+"
_ORIGIN_LINE = re.compile(
    rb"(%b) ((%b)(?:\?(%b))?+) HTTP/1\.([0-9])" % (_METHOD, _PATH, _ARGS),
).fullmatch
# absolute-form; only what this server can be asked for.
_ABSOLUTE_LINE = re.compile(
    rb"(%b) ([Hh][Tt][Tt][Pp][Ss]?+://([^/?# \x00-\x20\x7f]*+)((?:%b)?+)(?:\?(%b))?+) HTTP/1\.([0-9])" % (_METHOD, _PATH, _ARGS),
).fullmatch
_TARGET = re.compile(rb'[!"$-~\x80-\xff]++').fullmatch
_VERSION = re.compile(rb"HTTP/([0-9]|[1-9][0-9]{1,3}+)\.[0-9]").fullmatch  # nginx too knows versions past 9, to refuse them
_METHOD_ONLY = re.compile(_METHOD).fullmatch
# The beginning of a request line that may still become a good one.
_LINE_BEGUN = re.compile(rb'(?:[A-Z_\-]{1,32}+(?: (?:[!"$-~\x80-\xff]++(?: (?:[!-~]++\r?+)?+)?+)?+)?+)?+').fullmatch

# The hosts a request can be for. Stricter than nginx: sub-delims and %XX in a Host only ever served attacks.
_HOST = re.compile(rb"([A-Za-z0-9\-._~]++|\[[0-9A-Fa-f:.]++\])(?::([0-9]{0,5}+))?+").fullmatch
# The Host of a head that cannot be read whole.
HOST_LINE = re.compile(rb"\n[Hh][Oo][Ss][Tt]: *([A-Za-z0-9\-._~]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]*+)? *\r?\n").search
# In an absolute-form target nginx is narrower still.
_AUTHORITY = re.compile(rb"([A-Za-z0-9\-.]++|\[[0-9A-Fa-f:.]++\])(?::([0-9]{0,5}+))?+").fullmatch

# What may be in an unknown coding; with NUL, CR or LF in it the line itself is broken.
_CODING_BYTES = bytes(set(range(256)) - set(b"\0\r\n"))

# A second one of these makes the request ambiguous (nginx: ngx_http_process_unique_header_line).
_SINGLE = (
    b"host",
    b"content-length",
    b"content-range",
    b"transfer-encoding",
    b"expect",
    b"authorization",
    b"proxy-authorization",
    b"if-match",
    b"if-none-match",
    b"if-modified-since",
    b"if-unmodified-since",
    b"if-range",
)

# What a client may not have removed by naming it in Connection: framing, routing, and what policy behind us relies on.
_NOT_REMOVABLE = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"cookie", b"authorization", b"x-real-ip", b"forwarded")
)
# What is removed in any case, so that it need not be listed.
_ALWAYS_REMOVED = frozenset((b"close", b"keep-alive", b"connection", b"proxy-connection", b"te", b"upgrade", b"expect"))
_NO_OPTIONS: frozenset[bytes] = frozenset()


class RequestLine:
    """The first line of a request. It depends on nothing but its bytes, and nobody changes it.

    line: as received, without the line end. target: as received.
    origin: the target in origin-form, which goes upstream when nothing rewrites it.
    path: $uri, decoded and normalised. args: what follows the first "?", None without one.
    version: 10 or 11; 1.2 to 1.9 are served as 1.1.
    authority, authority_port: of a target in absolute-form: lower-case host; otherwise None.
    has_escapes: the path as received held a "%". raw_ok: False for an absolute-form target with an empty path.
    """

    __slots__ = (
        "args",
        "authority",
        "authority_port",
        "has_escapes",
        "line",
        "method",
        "origin",
        "path",
        "raw_ok",
        "target",
        "version",
    )

    def __init__(
        self,
        line: bytes,
        method: bytes,
        target: bytes,
        origin: bytes,
        path: bytes,
        args: bytes | None,
        version: int,
        has_escapes: bool,
        authority: bytes | None = None,
        authority_port: int | None = None,
        raw_ok: bool = True,
    ) -> None:
        self.line = line
        self.method = method
        self.target = target
        self.origin = origin
        self.path = path
        self.args = args
        self.version = version
        self.has_escapes = has_escapes
        self.authority = authority
        self.authority_port = authority_port
        self.raw_ok = raw_ok

    def __repr__(self) -> str:
        return f'<request line "{shown(self.line)}">'


class RequestFields:
    """The header fields of a request: facts of one header block.

    Nobody changes them; only `cache` is there for the connection to remember what it derived from them.

    lines: (lower-case name, name as spelled, value) in received order, Host and framing included, dropped lines not.
    values: lower-case name -> value, repeated lines joined.
    host, host_port: of Host, validated: lower case, without port and trailing dot; None without Host or port.
    content_length: -1 without. chunked: Transfer-Encoding is chunked.
    wants_close, wants_keepalive: words in Connection. upgrade: the value of Upgrade, whether Connection names it or
    not.
    expects_continue: Expect: 100-continue; it means nothing in HTTP/1.0.
    connection_options: lower-case names of fields present that Connection asks to remove and that may be removed.
    only_version: 0, or the only version (10 or 11) these fields are allowed with, or -1 for none.
    """

    __slots__ = (
        "cache",
        "chunked",
        "connection_options",
        "content_length",
        "expects_continue",
        "host",
        "host_port",
        "lines",
        "only_version",
        "upgrade",
        "values",
        "wants_close",
        "wants_keepalive",
    )

    def __init__(
        self,
        lines: tuple[Field, ...],
        values: dict[bytes, bytes],
        host: bytes | None,
        host_port: int | None,
        content_length: int,
        chunked: bool,
    ) -> None:
        self.lines = lines
        self.values = values
        self.host = host
        self.host_port = host_port
        self.content_length = content_length
        self.chunked = chunked
        self.only_version = (11 if chunked else 0) if host is not None else (-1 if chunked else 10)
        self.upgrade = values.get(b"upgrade")
        self.expects_continue = b"expect" in values and values[b"expect"].lower() == b"100-continue"
        self.wants_close = False
        self.wants_keepalive = False
        self.connection_options = _NO_OPTIONS
        connection = values.get(b"connection")
        if connection is not None:
            self._heed(connection.lower())
        self.cache: dict[Any, Any] = {}

    def _heed(self, connection: bytes) -> None:
        """Note what the lower-case value of Connection asks for."""
        if connection == b"keep-alive":
            self.wants_keepalive = True
            return
        # nginx looks for the words anywhere, so `x-close` closes too: the safe side of a doubt.
        self.wants_close = b"close" in connection
        self.wants_keepalive = not self.wants_close and b"keep-alive" in connection
        named = {option.strip(b" \t") for option in connection.split(b",")}
        named = (named & self.values.keys()) - _NOT_REMOVABLE - _ALWAYS_REMOVED
        if named:
            self.connection_options = frozenset(name for name in named if not name.startswith(b"x-forwarded-"))

    def get(self, name: bytes) -> bytes | None:
        """The value of a field by its lower-case name; repeated lines are joined."""
        return self.values.get(name)

    def __repr__(self) -> str:
        return f"<request fields {[shown(name) for _, name, _ in self.lines]}>"


# The request lines a worker remembers. They depend on merge_slashes, so there is a table for either.
_LINES: dict[bool, dict[bytes, RequestLine]] = {False: {}, True: {}}


@dataclasses.dataclass(slots=True)
class HeadLimits:
    """The limits and the policy of a listener: `large_client_header_buffers`, `max_headers` and the like.

    line, field: bytes of the request line and of a field line, line end included; total: of the whole head; count: of
    lines.
    """

    line: int = 8192
    field: int = 8192
    total: int = 32768
    count: int = 1000
    ignore_invalid_headers: bool = True
    underscores_in_headers: bool = False
    merge_slashes: bool = True
    # The tables of this policy, shared by all limits with the same policy.
    known_lines: dict[bytes, RequestLine] = dataclasses.field(init=False, repr=False, compare=False)
    known_fields: FieldTable = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.known_lines = _LINES[self.merge_slashes]
        self.known_fields = REQUEST_FIELDS[self.ignore_invalid_headers, self.underscores_in_headers]


class HeadMemo:
    """What one client connection remembers of the last head it sent.

    head: its bytes; taken: what was made of them, and their length. block: its bytes from the end of the request line
    on.
    bare_lf: how many heads of this connection had a bare LF for a line end.
    """

    __slots__ = ("bare_lf", "block", "head", "taken")

    def __init__(self) -> None:
        self.head = b""
        self.block = b""
        self.taken: tuple[RequestLine, RequestFields, int] | None = None
        self.bare_lf = 0

    def forget(self) -> None:
        """Free the memory, for a connection that stays idle."""
        self.head = b""
        self.block = b""
        self.taken = None


def take_request_head(buffer: bytes, limits: HeadLimits, memo: HeadMemo) -> tuple[RequestLine, RequestFields, int] | None:
    """Cut the first head off the buffer: line, fields and the bytes consumed; None while it is incomplete.

    Raises ClientError. `memo` belongs to the connection, which uses it with the same limits always.
    """
    taken = memo.taken
    if taken is not None and buffer.startswith(memo.head):
        return taken
    line_end = buffer.find(b"\r\n")
    if line_end <= 0:
        return _take_unusual_head(buffer, limits, memo)
    same_block = taken is not None and buffer.startswith(memo.block, line_end)
    consumed = line_end + len(memo.block) if same_block else buffer.find(b"\r\n\r\n", line_end) + 4
    if consumed < 4:
        return _take_unusual_head(buffer, limits, memo)
    raw = buffer[:line_end]
    try:
        if line_end + 2 > limits.line:
            raise _refusal_of_long_line(raw, limits)
        line = limits.known_lines.get(raw) or _read_line(raw, limits)
        if consumed > limits.total:
            raise ClientError(494, "client sent too large request", "large_client_header_buffers")
        if same_block and taken is not None:
            fields = taken[1]
        else:
            fields = _read_fields(buffer[line_end + 2 : consumed - 4], limits, line.version)
        if fields.only_version and fields.only_version != line.version:
            raise _refusal_of_version(fields, line.version)
    except ClientError:
        # Either the head is bad, or bare LFs made us read a wrong piece of it.
        if buffer.count(b"\n", 0, consumed) == buffer.count(b"\r\n", 0, consumed):
            raise
        return _take_unusual_head(buffer, limits, memo)
    if consumed <= REMEMBERED_HEAD_BYTES:
        memo.head = buffer[:consumed]
        memo.block = buffer[line_end:consumed]
        memo.taken = taken = (line, fields, consumed)
        return taken
    return line, fields, consumed


def effective_host(line: RequestLine, fields: RequestFields) -> tuple[bytes | None, int | None]:
    """The host a request is for, and the port if it names one: an absolute-form target beats Host (RFC 9112, 3.2.2)."""
    if line.authority is not None:
        return line.authority, line.authority_port
    return fields.host, fields.host_port


# ---------------------------------------------------------------- the request line


def parse_request_line(raw: bytes, merge_slashes: bool = True) -> RequestLine:
    """Read a request line without its line end; raises ClientError."""
    match = _ORIGIN_LINE(raw)
    if match is None:
        return _parse_absolute_line(raw, merge_slashes)
    method, target, path, args, minor = match.groups()
    if method == b"TRACE" or method == b"CONNECT":
        raise _refusal_of_line(raw)
    try:
        uri = normalise_path(path, merge_slashes)
    except ValueError:
        raise ClientError(400, "client sent invalid request") from None
    return RequestLine(raw, method, target, target, uri, args, 10 if minor == b"0" else 11, b"%" in path)


def _parse_absolute_line(raw: bytes, merge_slashes: bool) -> RequestLine:
    """Read a request line with a target in absolute-form."""
    match = _ABSOLUTE_LINE(raw)
    if match is None:
        raise _refusal_of_line(raw)
    method, target, authority, path, args, minor = match.groups()
    if method == b"TRACE" or method == b"CONNECT":
        raise _refusal_of_line(raw)
    try:
        host, port = _split_host(_AUTHORITY(authority))
    except ValueError:
        raise ClientError(400, "client sent invalid host in request line") from None
    raw_path = path or b"/"
    try:
        uri = normalise_path(raw_path, merge_slashes)
    except ValueError:
        raise ClientError(400, "client sent invalid request") from None
    origin = raw_path if args is None else raw_path + b"?" + args
    version = 10 if minor == b"0" else 11
    return RequestLine(raw, method, target, origin, uri, args, version, b"%" in path, host, port, bool(path))


def _read_line(raw: bytes, limits: HeadLimits) -> RequestLine:
    """Read a request line that is not in the table, and remember it there."""
    line = parse_request_line(raw, limits.merge_slashes)
    if len(raw) <= TABLE_LINE_BYTES:
        known = limits.known_lines
        if len(known) >= TABLE_LINES:
            known.clear()
        known[raw] = line
    return line


def _refusal_of_line(raw: bytes) -> ClientError:
    """Why a request line cannot be served: the first thing that is wrong with it, from left to right."""
    method, _, rest = raw.partition(b" ")
    if _METHOD_ONLY(method) is None:
        return ClientError(400, "client sent invalid method")
    target, _, version = rest.partition(b" ")
    if _TARGET(target) is None:
        return ClientError(400, "client sent invalid request")
    numbers = _VERSION(version)
    if numbers is None:
        return ClientError(400, "client sent invalid request")
    if numbers[1] != b"1":
        # 0.9 cannot be told from garbage, so it is not answered in its own way.
        return ClientError(505 if numbers[1] != b"0" else 400, "client sent invalid version")
    if method == b"TRACE" and (_ORIGIN_LINE(raw) or _ABSOLUTE_LINE(raw)):
        return ClientError(405, "client sent TRACE method")
    if method == b"CONNECT" and b":" in target:
        try:
            _split_host(_AUTHORITY(target))
        except ValueError:
            return ClientError(400, "client sent invalid host in request line")
        return ClientError(405, "client sent CONNECT method")
    return ClientError(400, "client sent invalid request")


def _refusal_of_long_line(raw: bytes, limits: HeadLimits) -> ClientError:
    """Why a request line over the limit is refused: what of it fits decides, however the bytes arrive."""
    if _LINE_BEGUN(raw[: limits.line]) is None:
        return _refusal_of_line(raw[: limits.line])
    return ClientError(414, "client sent too long URI", "large_client_header_buffers")


def _refusal_of_version(fields: RequestFields, version: int) -> ClientError:
    """Why these fields are not allowed in this version."""
    if version == 11:
        return ClientError(400, 'client sent HTTP/1.1 request without "Host" header')
    return ClientError(400, 'client sent HTTP/1.0 request with "Transfer-Encoding" header')


# ---------------------------------------------------------------- the fields


def parse_request_fields(raw: bytes, limits: HeadLimits, version: int = 11) -> RequestFields:
    """Read the field lines between the request line and the blank line, without the last CRLF; raises ClientError.

    `version` only decides which of two refusals it is.
    """
    return _read_fields(raw, limits, version)


def _read_fields(raw: bytes, limits: HeadLimits, version: int) -> RequestFields:
    raw_lines = raw.split(b"\r\n") if raw else []
    if len(raw_lines) > limits.count:
        raise ClientError(494, "client sent too many header lines", "max_headers")
    if len(raw) + 2 > limits.field:
        for raw_line in raw_lines:
            if len(raw_line) + 2 > limits.field:
                raise _refusal_of_long_field(raw_line)
    try:
        # None, a line to drop, is the only false one.
        lines: tuple[Field, ...] = tuple(filter(None, map(limits.known_fields.__getitem__, raw_lines)))
    except InvalidField as bad:
        raise _refusal_of_field(bad, version) from None
    # Six look-ups in a dict are cheaper than asking of each line what it is.
    values = {lower: value for lower, _, value in lines}
    if len(values) != len(lines):
        values = _merge_repeated(lines)

    length = -1
    content_length = values.get(b"content-length")
    if content_length is not None:
        try:
            length = parse_length(content_length)
        except ValueError:
            raise ClientError(400, 'client sent invalid "Content-Length" header') from None
    coding = values.get(b"transfer-encoding")
    if coding is not None:
        _check_coding(coding, content_length, version)
    host = values.get(b"host")
    if host is None:
        return RequestFields(lines, values, None, None, length, coding is not None)
    name, port = _read_host(host)
    return RequestFields(lines, values, name, port, length, coding is not None)


def _refusal_of_long_field(raw: bytes) -> ClientError:
    """Why a field line over the limit is refused."""
    return ClientError(494, f'client sent too long header line: "{shown(raw)}"', "large_client_header_buffers")


def _refusal_of_field(bad: InvalidField, version: int) -> ClientError:
    """Why a field line is refused: as invalid, or, with a control in it, as one more way to misspell `chunked`."""
    name, _, value = bad.raw.partition(b":")
    if version == 11 and name.lower() == b"transfer-encoding" and not value.translate(None, _CODING_BYTES):
        return ClientError(501, f'client sent unknown "Transfer-Encoding": "{shown(value)}"')
    return ClientError(400, f'client sent invalid header line: "{bad}"')


def _merge_repeated(lines: tuple[Field, ...]) -> dict[bytes, bytes]:
    """Name -> value where names are repeated; raises ClientError for those that may not be."""
    names = [lower for lower, _, _ in lines]
    # An empty Transfer-Encoding beside another is an unknown coding first.
    if any(lower == b"transfer-encoding" and not value for lower, _, value in lines):
        raise ClientError(501, 'client sent unknown "Transfer-Encoding": ""')
    for name in _SINGLE:
        if names.count(name) > 1:
            raise ClientError(400, f'client sent duplicate header line: "{name.decode("ascii")}"')
    return join_repeated(lines)


def _check_coding(coding: bytes, content_length: bytes | None, version: int) -> None:
    """Accept a Transfer-Encoding that is `chunked` and nothing else; raises ClientError."""
    if version == 10:
        raise ClientError(400, 'client sent HTTP/1.0 request with "Transfer-Encoding" header')
    if coding.lower() != b"chunked":
        raise ClientError(501, f'client sent unknown "Transfer-Encoding": "{shown(coding)}"')
    if content_length is not None:
        raise ClientError(400, 'client sent "Content-Length" and "Transfer-Encoding" headers at the same time')


# Values of Host already read: a worker serves few names, and a regex each time is a tenth of a head.
_HOSTS: dict[bytes, tuple[bytes, int | None]] = {}
_HOSTS_LIMIT = 1024


def _read_host(value: bytes) -> tuple[bytes, int | None]:
    """Host and port in a value of Host; raises ClientError."""
    known = _HOSTS.get(value)
    if known is not None:
        return known
    try:
        read = _split_host(_HOST(value))
    except ValueError:
        raise ClientError(400, "client sent invalid host header") from None
    if len(value) <= 256:
        if len(_HOSTS) >= _HOSTS_LIMIT:
            _HOSTS.clear()
        _HOSTS[value] = read
    return read


def _split_host(match: re.Match[bytes] | None) -> tuple[bytes, int | None]:
    """Lower-case host without trailing dot, and port, of a match of _HOST or _AUTHORITY; raises ValueError."""
    if match is None:
        raise ValueError("not a host")
    name, digits = match.groups()
    port = int(digits) if digits else None
    if port is not None and port > 65535:
        raise ValueError("not a port")
    host: bytes = name.lower()
    if host[:1] == b"[":
        if not is_ip(host[1:-1].decode("ascii")) or b":" not in host:
            raise ValueError("not an address")
        return host, port
    if host[-1:] == b".":
        host = host[:-1]
    if not host or b".." in host or host[-1:] == b".":
        raise ValueError("an empty label")
    return host, port


# ---------------------------------------------------------------- everything unusual

# The end of a head whose line ends may be LF: a line end and an empty line.
_HEAD_END = re.compile(rb"\n\r?+\n").search


def _take_unusual_head(buffer: bytes, limits: HeadLimits, memo: HeadMemo) -> tuple[RequestLine, RequestFields, int] | None:
    """Cut a head that begins with line ends, has bare LFs, or is incomplete."""
    start = _skip_line_ends(buffer)
    found = _HEAD_END(buffer, start)
    if found is None:
        _check_begun(buffer, start, limits)
        return None
    consumed = found.end()
    head = buffer[start:consumed]
    if head.count(b"\n") != head.count(b"\r\n"):
        memo.bare_lf += 1
        # CR CR LF keeps its first CR through this and is refused like any bare CR.
        head = head.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    line_end = head.find(b"\r\n")
    raw = head[:line_end]
    if line_end + 2 > limits.line:
        raise _refusal_of_long_line(raw, limits)
    line = limits.known_lines.get(raw) or _read_line(raw, limits)
    if consumed > limits.total:
        raise ClientError(494, "client sent too large request", "large_client_header_buffers")
    fields = _read_fields(head[line_end + 2 : -4], limits, line.version)
    if fields.only_version and fields.only_version != line.version:
        raise _refusal_of_version(fields, line.version)
    return line, fields, consumed


def _skip_line_ends(buffer: bytes) -> int:
    """Where the request line begins: after at most eight empty lines; raises ClientError."""
    start = 0
    for _ in range(LEADING_LINE_ENDS + 1):
        if buffer.startswith(b"\r\n", start):
            start += 2
        elif buffer.startswith(b"\n", start):
            start += 1
        else:
            return start
    raise ClientError(400, "client sent invalid request")


def _check_begun(buffer: bytes, start: int, limits: HeadLimits) -> None:
    """Raise ClientError when an incomplete head cannot become a good one any more.

    The order of the checks is that of a complete head, so that the status does not depend on how the bytes arrive.
    """
    if buffer.startswith(b"\r", start) and len(buffer) == start + 1:
        return  # perhaps another empty line
    line_end = buffer.find(b"\n", start)
    if line_end < 0:
        begun = buffer[start:]
        if len(begun) + 1 > limits.line:
            raise _refusal_of_long_line(begun.removesuffix(b"\r"), limits)
        if _LINE_BEGUN(begun) is None:
            raise _refusal_of_line(begun)
        return
    raw = buffer[start:line_end]
    if raw.endswith(b"\r"):
        raw = raw[:-1]
    if len(raw) + 2 > limits.line:
        raise _refusal_of_long_line(raw, limits)
    if raw not in limits.known_lines:
        _read_line(raw, limits)
    if len(buffer) >= limits.total:
        raise ClientError(494, "client sent too large request", "large_client_header_buffers")
    if buffer.count(b"\n", line_end + 1) > limits.count:
        raise ClientError(494, "client sent too many header lines", "max_headers")
    if len(buffer) - line_end > limits.field:
        *complete, begun = buffer[line_end + 1 :].split(b"\n")
        for raw_line in complete:
            if len(raw_line.removesuffix(b"\r")) + 2 > limits.field:
                raise _refusal_of_long_field(raw_line)
        if len(begun) + 1 > limits.field:
            raise _refusal_of_long_field(begun)
