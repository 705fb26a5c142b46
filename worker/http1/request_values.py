"""The values of a request head, a line and fields, which are never changed, and the limits and tables of a listener."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from worker.http1.fields import REQUEST_FIELDS, Field, FieldTable, shown
from wproxy.http import NOTHING_DERIVED, FieldsForm, FieldsLike, RequestLineLike
from wproxy.native import mypyc_attr

# A connection remembers a head up to this size: there are many idle connections, and bigger heads are rare.
REMEMBERED_HEAD_BYTES: Final = 8192

# Fields that a client may not have removed by naming them in Connection: framing, routing, and those that policy behind us relies
# on.
_NOT_REMOVABLE: Final = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"cookie", b"authorization", b"x-real-ip", b"forwarded")
)
# Fields that are removed in any case, so that they need not be listed.
_ALWAYS_REMOVED: Final = frozenset((b"close", b"keep-alive", b"connection", b"proxy-connection", b"te", b"upgrade", b"expect"))
_NO_OPTIONS: frozenset[bytes] = frozenset()
# The values that vary, of fields without a known form: never changed.
_NOTHING: list[bytes] = []


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class RequestLine(RequestLineLike):
    """The first line of a request. It depends only on its bytes, and is never changed.

    line: as received, without the line end. target: as received.
    origin: the target in origin-form, which goes upstream when nothing rewrites it.
    path: $uri, decoded and normalised. args: the text after the first "?", None without one.
    version: 10 or 11; 1.2 to 1.9 are served as 1.1.
    authority, authority_port: those of a target in absolute-form, with a lower-case host; otherwise None.
    has_escapes: whether the path as received held a "%". raw_ok: False for an absolute-form target with an empty path.
    """

    __slots__ = ()

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


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class RequestFields(FieldsLike):
    """The header fields of a request: facts of one header block.

    They are never changed; only `cache` is for values that the connection derives from them. Lines and values of a block that
    has a known form are put together when they are asked for, which for most requests nobody does.

    lines: (lower-case name, name as spelled, value) in received order, including Host and framing, without dropped lines.
    values: lower-case name -> value, repeated lines joined.
    host, host_port: those of a valid Host: lower case, without port and trailing dot; None without Host or port.
    content_length: -1 without one. chunked: whether Transfer-Encoding is chunked.
    keeps: -1 where Connection says close, 1 where it says keep-alive, otherwise 0.
    upgrade: the value of Upgrade, whether Connection names it or not.
    expects_continue: Expect: 100-continue; it means nothing in HTTP/1.0.
    connection_options: lower-case names of present fields that Connection asks to remove and that may be removed.
    only_version: 0, or the only version (10 or 11) in which these fields are allowed, or -1 for none.
    difference: the lines that differ from the block before on the connection, and what was derived of that; None when more than
    values differ, and after its use.
    """

    __slots__ = ("_lines", "_values", "expects_continue", "keeps", "only_version")

    def __init__(
        self,
        lines: tuple[Field, ...],
        values: dict[bytes, bytes],
        host: bytes | None,
        host_port: int | None,
        content_length: int,
        chunked: bool,
    ) -> None:
        self._lines: tuple[Field, ...] | None = lines
        self._values: dict[bytes, bytes] | None = values
        self.form = None
        self.varied = _NOTHING
        self.host = host
        self.host_port = host_port
        self.content_length = content_length
        self.chunked = chunked
        self.only_version = (11 if chunked else 0) if host is not None else (-1 if chunked else 10)
        self.upgrade = values.get(b"upgrade")
        self.expects_continue = b"expect" in values and values[b"expect"].lower() == b"100-continue"
        self.keeps = 0
        self.connection_options = _NO_OPTIONS
        connection = values.get(b"connection")
        if connection is not None:
            self._heed(connection.lower())
        self.cache = NOTHING_DERIVED
        self.composed = self.difference = None

    def with_other_values(
        self, lines: tuple[Field, ...] | None, values: dict[bytes, bytes] | None, length: int, differing: list[int]
    ) -> RequestFields:
        """Return the fields of a block that differs in the values of these lines, none of which means more than a length.

        The results of Host, Connection, Upgrade and Expect are taken over. 0.3 us; computing them again costs 0.5.
        """
        other = _new_fields(RequestFields)
        other._lines = lines
        other._values = values
        other.form = None
        other.varied = _NOTHING
        other.host = self.host
        other.host_port = self.host_port
        other.content_length = length
        other.chunked = self.chunked
        other.only_version = self.only_version
        other.upgrade = self.upgrade
        other.expects_continue = self.expects_continue
        other.keeps = self.keeps
        other.connection_options = self.connection_options
        other.cache = NOTHING_DERIVED
        other.composed = None
        other.difference = differing, self.composed, self.cache
        return other

    def with_varied(self, form: RequestForm, varied: list[bytes]) -> RequestFields:
        """Return the fields of a block of the form that these fields have, too, with other values for the lines left open.

        Like `with_other_values`, but lines and values are put together only when they are asked for.
        """
        other = _new_fields(RequestFields)
        other._lines = other._values = other.difference = other.composed = None
        other.form = form
        other.varied = varied
        other.host = self.host
        other.host_port = self.host_port
        other.content_length = self.content_length
        other.chunked = self.chunked
        other.only_version = self.only_version
        other.upgrade = self.upgrade
        other.expects_continue = self.expects_continue
        other.keeps = self.keeps
        other.connection_options = self.connection_options
        other.cache = NOTHING_DERIVED
        return other

    def _put_together(self) -> tuple[tuple[Field, ...], dict[bytes, bytes]]:
        """Make the lines and the values: those of the form, and the values that vary."""
        form = self.form
        assert isinstance(form, RequestForm)
        lines = list(form.base.lines)
        values = form.base.values.copy()
        for index, value in zip(form.indexes, self.varied):
            lower, name, _ = lines[index]
            lines[index] = lower, name, value
            values[lower] = value
        self._lines = made = tuple(lines)
        self._values = values
        return made, values

    @property
    def lines(self) -> tuple[Field, ...]:
        """Return the lines (see the class)."""
        return self._put_together()[0] if self._lines is None else self._lines

    @property
    def values(self) -> dict[bytes, bytes]:
        """Return the values by name (see the class)."""
        return self._put_together()[1] if self._values is None else self._values

    def for_another_connection(self) -> RequestFields:
        """Return the same fields for another connection, which has an address of its own, and so a `cache` of its own.

        What the other one has derived is found by `difference`, to be used where the values from outside the block are equal.
        """
        if self._lines is None:
            self._put_together()
        return self.with_other_values(self._lines, self._values, self.content_length, [])

    def apart(self) -> RequestFields:
        """See FieldsLike."""
        other = self.for_another_connection()
        other.difference = None
        return other

    def with_lines(self, lines: tuple[Field, ...]) -> RequestFields:
        """Return the same fields with other lines, which mean nothing to us: framing, Host and Connection are as they were."""
        values: dict[bytes, bytes] = {}
        for lower, _, value in lines:
            values[lower] = values[lower] + b", " + value if lower in values else value
        other = self.with_other_values(lines, values, self.content_length, [])
        other.difference = None
        return other

    def _heed(self, connection: bytes) -> None:
        """Record the options in the lower-case value of Connection."""
        if connection == b"keep-alive":
            self.keeps = 1
            return
        if connection == b"close":
            self.keeps = -1
            return
        # nginx looks for the words anywhere, so `x-close` closes too: that is the safe side.
        self.keeps = -1 if b"close" in connection else int(b"keep-alive" in connection)
        named = {option.strip(b" \t") for option in connection.split(b",")}
        named = (named & self.values.keys()) - _NOT_REMOVABLE - _ALWAYS_REMOVED
        if named:
            self.connection_options = frozenset(name for name in named if not name.startswith(b"x-forwarded-"))

    def get(self, name: bytes) -> bytes | None:
        """Return the value of a field by its lower-case name; repeated lines are joined."""
        values = self._values  # as a property it costs 1,000 instructions
        if values is not None:
            return values.get(name)
        form = self.form
        assert isinstance(form, RequestForm)
        names = form.names
        return self.varied[names.index(name)] if name in names else form.base.get(name)

    def __repr__(self) -> str:
        return f"<request fields {[shown(name) for _, name, _ in self.lines]}>"


# Not `object.__new__`, which makes no objects of a compiled class.
_new_fields: Final = RequestFields.__new__


@mypyc_attr(allow_interpreted_subclasses=True)
class RequestForm(FieldsForm):
    """The form of a client's header blocks. base: the fields of one of them."""

    __slots__ = ("base",)

    def __init__(self, base: RequestFields, indexes: list[int]) -> None:
        super().__init__(indexes, [base.lines[index][0] for index in indexes])
        self.base = base


# Bounds of a table of request lines. A RequestLine is about three times its line: 4 MB at worst.
TABLE_LINES: Final = 1024
TABLE_LINE_BYTES: Final = 1024
TURNOVER: Final = 8


class LineTable(dict[bytes, RequestLine]):
    """Request lines that this worker has read: as received -> RequestLine.

    A full table keeps its lines until TURNOVER times as many have not been among them; then it starts over. (Where each request
    has a line of its own, the objects of a line that is forgotten at once are used again for the next.)
    """

    __slots__ = ("_passed_over",)

    def __init__(self) -> None:
        super().__init__()
        self._passed_over = 0

    def remember(self, line: RequestLine) -> None:
        """Remember a line that is not in the table."""
        if len(self) < TABLE_LINES:
            if len(line.line) <= TABLE_LINE_BYTES:
                self[line.line] = line
            return
        self._passed_over += 1
        if self._passed_over >= TABLE_LINES * TURNOVER:
            self._passed_over = 0
            self.clear()


# They depend on merge_slashes, so there is a table for each setting.
_LINES: Final = {False: LineTable(), True: LineTable()}


class KnownHead:
    """A head with which a connection has begun, for the next one that does.

    head: its bytes. block: those after the request line. way: what whoever finds its server and its location has found by it
    alone, whatever the connection. visit: what became of it, if the connection was closed afterwards (Visit).
    """

    __slots__ = ("block", "fields", "head", "line", "visit", "way")

    def __init__(self, head: bytes, line: RequestLine, fields: RequestFields) -> None:
        self.head = head
        self.block = head[len(line.line) :]
        self.line = line
        self.fields = fields
        self.way: Any = None
        self.visit: Any = None

    def __repr__(self) -> str:
        return f"<known head {self.line}>"


@dataclasses.dataclass(slots=True)
class HeadLimits:
    """The limits and the policy of a listener: `large_client_header_buffers`, `max_headers` and the like.

    line, field: bytes of the request line and of a field line, including line end; total: that of the whole head; count: number
    of lines.
    """

    line: int = 8192
    field: int = 8192
    total: int = 32768
    count: int = 1000
    ignore_invalid_headers: bool = True
    underscores_in_headers: bool = False
    merge_slashes: bool = True
    # The tables of this policy, shared by all limits with the same policy.
    known_lines: LineTable = dataclasses.field(init=False, repr=False, compare=False)
    known_fields: FieldTable = dataclasses.field(init=False, repr=False, compare=False)
    # The first heads of connections to this listener.
    known_heads: dict[bytes, KnownHead] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    # The first field lists of connections in HTTP/2, and what they mean (worker.http2.request_head).
    known_lists: dict[Any, Any] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    # A head of this size is within all of these limits, and small enough to be remembered.
    least: int = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.least = min(self.line, self.field, self.total, REMEMBERED_HEAD_BYTES)
        self.known_lines = _LINES[self.merge_slashes]
        self.known_fields = REQUEST_FIELDS[self.ignore_invalid_headers, self.underscores_in_headers]
