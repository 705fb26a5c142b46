"""The field list of a request, as a request line and fields like those of HTTP/1 (RFC 9113, 8.3).

What comes out is all that the rest of the worker sees: an HTTP/1 head for the upstream is written from these values, never from
the bytes that came in. So everything that HTTP/1 would read differently is refused here, before any byte goes upstream: line ends
and controls in names, values, methods and paths, fields about the connection, two lengths, a Host that contradicts :authority
(http2-rules.md, "Request fields" and "Downgrade smuggling"). The rules of HTTP/1 heads hold for the rest: the same characters in
a path, a host or a name, the same fields that may not be repeated, the same limits.

`RequestReader.read` raises ClientError, nothing else. Its status is the answer for this stream; the connection goes on, but for
494 and 414: who sends so much is told once, and then to calm down.

A list that is repeated, as `HeaderDecoder` returns the same object for the same block, costs one comparison; a field that this
worker has seen before costs one look-up.
"""

from __future__ import annotations

import re
from typing import Final

from worker.http1.chunked import may_be_trailer
from worker.http1.fields import NAME_CONTROLS, PLAIN_NAME, TOKEN, VALUE_TABLE, Field, parse_length, shown
from worker.http1.hosts import read_host
from worker.http1.request_fields import merge_repeated
from worker.http1.request_line import parse_plain_line
from worker.http1.request_values import HeadLimits, RequestFields, RequestLine
from worker.http2.header_block import HeaderList
from wproxy.failures import ClientError
from wproxy.uri import normalise_path

VERSION: Final = 20
_VERSIONS: Final = {b"HTTP/2.0": VERSION}

_COLON = ord(":")
_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
_UPPER: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_EIGHT_BIT = bytes(range(0x80, 0x100))
_METHOD: Final = re.compile(rb"[A-Z_\-]{1,32}+").fullmatch
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*+").fullmatch
# The characters of HTTP/1 targets; a fragment is cut off, from what is sent upstream, too.
_PATH: Final = re.compile(rb'((/[!"$->@-~\x80-\xff]*+)(?:\?([!"$-~\x80-\xff]*+))?+)(?:#[!-~\x80-\xff]*+)?+').fullmatch

# Fields about one connection; HTTP/2 has other means for all of them (RFC 9113, 8.2.2).
_FORBIDDEN: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
# `Proxy` becomes HTTP_PROXY in a CGI environment (httpoxy); `HTTP2-Settings` belongs to an upgrade that we do not know.
_DROPPED: Final = frozenset((b"proxy", b"http2-settings"))
_DEFAULT_PORTS: Final = {b"http": b":80", b"https": b":443"}

# Bounds of the tables of a worker; a full table starts over: 5 MB at worst, together.
_TABLE_ENTRIES: Final = 4096
_TABLE_BYTES: Final = 512
# A listener remembers so many first lists of connections, up to this size: 1 MB at worst.
KNOWN_LISTS: Final = 128
KNOWN_LIST_BYTES: Final = 2048


class RequestHead:
    """The head of a request. It is never changed.

    line, fields: as those of HTTP/1; the version is 20, names are in lower case, Host comes first (whether from :authority or
    from Host), Cookie last. fields.chunked: whether a body of unknown length follows. scheme: the client's word, for nothing but
    the log: $scheme is a fact of the connection. protocol: that of an extended CONNECT (RFC 8441), in lower case; None in any
    other request.
    """

    __slots__ = ("fields", "line", "protocol", "scheme")

    def __init__(self, line: RequestLine, fields: RequestFields, scheme: bytes, protocol: bytes | None) -> None:
        self.line = line
        self.fields = fields
        self.scheme = scheme
        self.protocol = protocol

    def __repr__(self) -> str:
        return f"<request head {self.line!r}>"


class RequestReader:
    """Reader that turns the field lists of one connection into request heads.

    offers_connect: whether SETTINGS_ENABLE_CONNECT_PROTOCOL was announced.
    """

    __slots__ = ("_end_stream", "_fields", "_head", "_known_lines", "_path_place", "_places", "limits", "offers_connect")

    def __init__(self, limits: HeadLimits, offers_connect: bool = False) -> None:
        self.limits = limits
        self.offers_connect = offers_connect
        self._known_lines = _LINES[limits.merge_slashes]
        # The last list, and what it meant.
        self._fields: HeaderList | None = None
        self._end_stream = False
        self._head: RequestHead | None = None
        # The places of fields that mean nothing but their value among the lines; None until it is needed.
        self._places: dict[bytes, int] | None = None
        # The place of :path in the last list that differed from the one before. Up to 3: a list that was read has four fields.
        self._path_place = 0

    def read(self, fields: HeaderList, size: int, end_stream: bool) -> RequestHead:
        """Return the head that these fields are; raises ClientError.

        size: bytes of all names and values, as the decoder counted them. end_stream: whether no body follows.
        """
        if fields is self._fields and end_stream == self._end_stream and self._head is not None:
            return self._head
        limits = self.limits
        if size > limits.total:
            raise ClientError(494, "client sent too large header", "large_client_header_buffers")
        if len(fields) > limits.count:
            raise ClientError(494, "client sent too many header lines", "max_headers")
        if size > limits.field:
            _check_sizes(fields, limits)
        if self._head is None and size <= KNOWN_LIST_BYTES:
            return self._read_first(fields, end_stream)
        head = self._vary(fields, end_stream) or self._read(fields, end_stream)
        self._fields, self._end_stream, self._head = fields, end_stream, head
        return head

    def _read_first(self, fields: HeaderList, end_stream: bool) -> RequestHead:
        """Read the first list of a connection: one with which another has begun is kept once, and so is what it means."""
        known_lists = self.limits.known_lists
        key = (end_stream, *fields)
        known: tuple[HeaderList, RequestHead] | None = known_lists.get(key)
        if known is not None:
            fields, head = known
            head = RequestHead(head.line, head.fields.for_another_connection(), head.scheme, None)
        else:
            head = self._read(fields, end_stream)
            if head.protocol is None:
                if len(known_lists) >= KNOWN_LISTS:
                    known_lists.clear()
                known_lists[key] = fields, head
        self._fields, self._end_stream, self._head = fields, end_stream, head
        return head

    def _read(self, fields: HeaderList, end_stream: bool) -> RequestHead:
        """Read a list from its first field to its last."""
        limits = self.limits
        pseudo: dict[bytes, bytes] = {}
        count = 0
        for name, value in fields:
            if name[:1] != b":":
                break
            if name in pseudo:
                raise ClientError(400, f'client sent duplicate "{shown(name)}" header')
            if name not in _PSEUDO:
                raise ClientError(400, f'client sent unknown pseudo-header "{shown(name)}"')
            pseudo[name] = value
            count += 1
        line, scheme, protocol = self._read_pseudo(pseudo)
        table = _FIELDS[limits.ignore_invalid_headers, limits.underscores_in_headers]
        # None, a field to drop, is the only false one.
        lines = tuple(filter(None, map(table.__getitem__, fields[count:])))
        self._places = None
        return RequestHead(line, _join(lines, pseudo.get(b":authority"), scheme, end_stream), scheme, protocol)

    def _vary(self, fields: HeaderList, end_stream: bool) -> RequestHead | None:
        """Return the head of a list that only differs in values from the one before; None when everything has to be read.

        The requests of a browser mostly differ in :path, and in a Referer or an Accept: 3 us instead of 8 for 13 fields, and the
        values that were worked out for the fields before still stand if only :path differs.
        """
        before, known = self._fields, self._head
        if known is None or before is None or len(before) != len(fields) or end_stream != self._end_stream:
            return None
        line, known_fields = known.line, known.fields
        if known.protocol is not None:
            return None
        place = self._path_place
        if (
            fields[place][0] == b":path" == before[place][0]
            and fields[place + 1 :] == before[place + 1 :]
            and fields[:place] == before[:place]
        ):
            path = fields[place][1]
            if len(line.method) + len(path) > self.limits.line:
                return None
            line = self._known_lines.get((line.method, path)) or self._read_line(line.method, path)
            return RequestHead(line, known_fields, known.scheme, None)
        changed: list[int] = []
        for index, pair in enumerate(fields):
            old = before[index]
            if pair is old or pair == old:
                continue
            name = pair[0]
            if name != old[0]:
                return None
            if name == b":path":
                self._path_place = index
                path = pair[1]
                if len(line.method) + len(path) > self.limits.line:
                    return None
                line = self._known_lines.get((line.method, path)) or self._read_line(line.method, path)
            elif name[:1] == b":":
                return None
            else:
                changed.append(index)
        if changed:
            varied = self._vary_fields(fields, known_fields, changed, end_stream)
            if varied is None:
                return None
            known_fields = varied
        return RequestHead(line, known_fields, known.scheme, None)

    def _vary_fields(
        self, fields: HeaderList, known: RequestFields, changed: list[int], end_stream: bool
    ) -> RequestFields | None:
        """Return the fields with these indexes of the list changed; None when more than a value would change."""
        places = self._places
        if places is None:
            self._places = places = _places_of(known)
        lines = list(known.lines)
        values = known.values.copy()
        length = known.content_length
        differing: list[int] = []
        for index in changed:
            name, value = fields[index]
            place = places.get(name)
            if place is None or _is_bad_value(value):
                return None
            if place in differing:  # another crumb of the cookie that was put together
                continue
            if name == b"cookie":
                value = _cookie_of(fields)
            if name == b"content-length":
                try:
                    length = parse_length(value)
                except ValueError:
                    return None
                if end_stream and length:
                    return None
            lines[place] = (name, name, value)
            values[name] = value
            differing.append(place)
        differing.sort()
        return known.with_other_values(tuple(lines), values, length, differing)

    def _read_pseudo(self, pseudo: dict[bytes, bytes]) -> tuple[RequestLine, bytes, bytes | None]:
        """Return request line, scheme and protocol; raises ClientError."""
        method = pseudo.get(b":method")
        path = pseudo.get(b":path")
        scheme = pseudo.get(b":scheme")
        protocol = pseudo.get(b":protocol")
        if method is None:
            raise ClientError(400, "client sent no :method header")
        if method == b"CONNECT" or protocol is not None:
            protocol = self._check_connect(pseudo)
        if scheme is None:
            raise ClientError(400, "client sent no :scheme header")
        if path is None:
            raise ClientError(400, "client sent no :path header")
        if scheme not in _DEFAULT_PORTS and not _SCHEME(scheme):
            raise ClientError(400, f'client sent invalid :scheme header: "{shown(scheme)}"')
        if len(method) + len(path) > self.limits.line:
            raise ClientError(414, "client sent too long URI", "large_client_header_buffers")
        line = self._known_lines.get((method, path)) or self._read_line(method, path)
        return line, scheme, protocol

    def _check_connect(self, pseudo: dict[bytes, bytes]) -> bytes:
        """Return the protocol of an extended CONNECT; raises ClientError for any other CONNECT."""
        protocol = pseudo.get(b":protocol")
        if protocol is None:
            authority = pseudo.get(b":authority")
            if authority is None:
                raise ClientError(400, "client sent CONNECT method without :authority header")
            read_host(authority)
            raise ClientError(405, "client sent CONNECT method")
        if not self.offers_connect:
            raise ClientError(400, 'client sent unknown pseudo-header ":protocol"')
        if pseudo.get(b":method") != b"CONNECT":
            raise ClientError(400, "client sent :protocol header with another method than CONNECT")
        if b":authority" not in pseudo:
            raise ClientError(400, "client sent extended CONNECT without :authority header")
        protocol = protocol.lower()
        if protocol != b"websocket":
            raise ClientError(501, f'client sent CONNECT with unknown :protocol "{shown(protocol)}"')
        return protocol

    def _read_line(self, method: bytes, path: bytes) -> RequestLine:
        """Read a method and a path that are not in the table, and remember them there."""
        text = b"%b %b HTTP/2.0" % (method, path)
        line = parse_plain_line(text, _VERSIONS) or self._read_any_line(text, method, path)
        if len(text) <= _TABLE_BYTES:
            known = self._known_lines
            if len(known) >= _TABLE_ENTRIES:
                known.clear()
            known[method, path] = line
        return line

    def _read_any_line(self, text: bytes, method: bytes, path: bytes) -> RequestLine:
        """Read a request line in any form. text: the line that HTTP/1 would have. Raises ClientError."""
        if not _METHOD(method):
            raise ClientError(400, f'client sent invalid :method header: "{shown(method)}"')
        if method == b"TRACE":
            raise ClientError(405, "client sent TRACE method")
        match = _PATH(path)
        if match is None:
            raise ClientError(400, f'client sent invalid :path header: "{shown(path)}"')
        target, raw, args = match.groups()
        try:
            uri = normalise_path(raw, self.limits.merge_slashes)
        except ValueError:
            raise ClientError(400, f'client sent invalid :path header: "{shown(path)}"') from None
        # An extended CONNECT is what GET with Upgrade is in HTTP/1 (RFC 8441, 5), and goes through the phases as one.
        served = b"GET" if method == b"CONNECT" else method
        return RequestLine(text, served, target, target, uri, args, VERSION, 37 in raw)


def read_trailers(fields: HeaderList, size: int, end_stream: bool, limits: HeadLimits) -> tuple[Field, ...]:
    """Return the fields after a body, as far as they may be passed on; they are never merged into the head's.

    Raises ClientError when they make the request malformed.
    """
    if not end_stream:
        raise ClientError(400, "client sent trailers without the END_STREAM flag")
    if size > limits.total:
        raise ClientError(494, "client sent too large trailers", "large_client_header_buffers")
    if len(fields) > limits.count:
        raise ClientError(494, "client sent too many trailers", "max_headers")
    if size > limits.field:
        _check_sizes(fields, limits)
    table = _FIELDS[limits.ignore_invalid_headers, limits.underscores_in_headers]
    lines = filter(None, map(table.__getitem__, fields))
    return tuple(field for field in lines if may_be_trailer(field[0]))


def as_upgrade(head: RequestHead, key: bytes) -> RequestFields:
    """Return the fields of an extended CONNECT as HTTP/1 has them: with an upgrade to its protocol, and with a key.

    key: 16 random bytes in base64.
    """
    assert head.protocol is not None
    added: tuple[Field, ...] = (
        (b"connection", b"connection", b"upgrade"),
        (b"upgrade", b"upgrade", head.protocol),
        (b"sec-websocket-key", b"sec-websocket-key", key),
    )
    fields = head.fields
    kept = tuple(field for field in fields.lines if field[0] not in (b"sec-websocket-key", b"content-length"))
    values = {lower: value for lower, value in fields.values.items() if lower != b"content-length"}
    values.update((lower, value) for lower, _, value in added)
    return RequestFields(kept + added, values, fields.host, fields.host_port, -1, False)


def _cookie_of(fields: HeaderList) -> bytes:
    """Return the cookie that browsers have cut in crumbs, so that each is compressed (RFC 9113, 8.2.3)."""
    return b"; ".join([value for name, value in fields if name == b"cookie" and value])


def _check_sizes(fields: HeaderList, limits: HeadLimits) -> None:
    """Raise ClientError for a field over the limit."""
    for name, value in fields:
        if len(name) + len(value) > limits.field:
            if name == b":path":
                raise ClientError(414, "client sent too long URI", "large_client_header_buffers")
            text = f'client sent too long header: "{shown(name + b": " + value)}"'
            raise ClientError(494, text, "large_client_header_buffers")


def _join(lines: tuple[Field, ...], authority: bytes | None, scheme: bytes, end_stream: bool) -> RequestFields:
    """Return the fields of these lines together; raises ClientError."""
    values = {lower: value for lower, _, value in lines}
    if b"cookie" in values:
        cookie = _cookie_of([(lower, value) for lower, _, value in lines])
        lines = tuple(field for field in lines if field[0] != b"cookie")
        if cookie:
            lines = (*lines, (b"cookie", b"cookie", cookie))
        values = {lower: value for lower, _, value in lines}
    if len(values) != len(lines):
        _check_te(lines)
        values = merge_repeated(lines)
    host = values.get(b"host")
    if authority is not None:
        if host is None:
            lines = ((b"host", b"host", authority), *lines)
            values[b"host"] = authority
        elif _plain_authority(host, scheme) != _plain_authority(authority, scheme):
            raise ClientError(400, "client sent Host header that differs from :authority")
        else:
            lines = tuple((b"host", b"host", authority) if field[0] == b"host" else field for field in lines)
            values[b"host"] = authority
    elif host is None:
        raise ClientError(400, "client sent neither :authority nor Host header")
    else:
        authority = host
    name, port = read_host(authority)
    length = -1
    content_length = values.get(b"content-length")
    if content_length is not None:
        try:
            length = parse_length(content_length)
        except ValueError:
            raise ClientError(400, 'client sent invalid "Content-Length" header') from None
        if end_stream and length:
            raise ClientError(400, 'client sent "Content-Length" header and no body')
    return RequestFields(lines, values, name, port, length, length < 0 and not end_stream)


# The fields that have more meaning than name and value.
_TELLING: Final = frozenset((b"host", b"te", b"expect"))


def _places_of(known: RequestFields) -> dict[bytes, int]:
    """Return name -> index among the lines, for each field that is there once and means nothing but its value."""
    if len(known.values) != len(known.lines):
        return {}
    return {lower: place for place, (lower, _, _) in enumerate(known.lines) if lower not in _TELLING}


def _is_bad_value(value: bytes) -> bool:
    return not value or value[0] <= 32 or value[-1] <= 32 or value.translate(VALUE_TABLE) != value


def _check_te(lines: tuple[Field, ...]) -> None:
    if sum(lower == b"te" for lower, _, _ in lines) > 1:
        raise ClientError(400, 'client sent duplicate header: "te"')


def _plain_authority(value: bytes, scheme: bytes) -> bytes:
    """Return an authority for comparison: in lower case, without the port that its scheme has anyway."""
    return value.lower().removesuffix(_DEFAULT_PORTS.get(scheme.lower(), b":"))


class _FieldTable(dict[tuple[bytes, bytes], "Field | None"]):
    """Fields already read under one policy: (name, value) -> Field, or None for one to be dropped.

    Indexing reads a new one and raises ClientError (see `worker.http1.fields.FieldTable`).
    """

    __slots__ = ("_good_names", "_refuse_bad_names")

    def __init__(self, good_names: bytes, refuse_bad_names: bool) -> None:
        super().__init__()
        self._good_names = good_names
        self._refuse_bad_names = refuse_bad_names

    def __missing__(self, pair: tuple[bytes, bytes]) -> Field | None:
        field = self._read(*pair)
        if len(pair[0]) + len(pair[1]) <= _TABLE_BYTES:
            if len(self) >= _TABLE_ENTRIES:
                self.clear()
            self[pair] = field
        return field

    def _read(self, name: bytes, value: bytes) -> Field | None:
        if not name or name.translate(None, _NAME_FAULTS) != name:
            raise ClientError(400, f'client sent invalid header name: "{shown(name)}"')
        if value.translate(VALUE_TABLE) != value or value.strip(b" \t") != value:
            raise ClientError(400, f'client sent header "{shown(name)}" with invalid value: "{shown(value)}"')
        if name in _FORBIDDEN or (name == b"te" and value.lower() != b"trailers"):
            raise ClientError(400, f'client sent header "{shown(name)}: {shown(value)}", which HTTP/2 forbids')
        if name.translate(None, self._good_names):
            if self._refuse_bad_names:
                raise ClientError(400, f'client sent invalid header name: "{shown(name)}"')
            return None
        return None if name in _DROPPED else (name, name, value)


# What never is in a name: it would break a line of HTTP/1, or be another field there.
_NAME_FAULTS: Final = NAME_CONTROLS + b":" + _UPPER + _EIGHT_BIT


def _field_table(ignore_invalid_headers: bool, underscores_in_headers: bool) -> _FieldTable:
    good = PLAIN_NAME + b"_" if underscores_in_headers else PLAIN_NAME
    return _FieldTable(good if ignore_invalid_headers else TOKEN, not ignore_invalid_headers)


# (ignore_invalid_headers, underscores_in_headers) -> the table of that policy; workers fill their own copy after the fork.
_FIELDS = {(ignore, underscores): _field_table(ignore, underscores) for ignore in (False, True) for underscores in (False, True)}
# merge_slashes -> (method, path) -> request line.
_LINES: dict[bool, dict[tuple[bytes, bytes], RequestLine]] = {False: {}, True: {}}
