"""Field lines of HTTP/1 heads: one strict reading for requests, responses and trailers.

    field-line = field-name ":" OWS field-value OWS        (RFC 9112, 5)

A field line is read once per worker: clients repeat themselves (`Accept-Encoding: gzip, deflate, br` is the same
bytes for millions of requests), so a `FieldTable` remembers raw lines and their meaning. Looking up a known line
costs 0.04 us, reading a new one 0.8. The table is bounded in number and in the length of a line, so a hostile client
can only make it start over, never make it grow.

Refused everywhere, because some server behind us would read it differently than we do:

  * a line without a colon, an empty name, a space or control before or in the name (obs-fold is a line with an empty
    name);
  * a control other than HTAB in the value: NUL, bare CR, bare LF, and VT FF FS GS RS, which split lines in Python
    servers.

The treatment of a name that is syntactically harmless but unusual is policy:

                       request                               response            trailer
    A-Z a-z 0-9 -      pass                                  pass                pass
    _                  dropped unless underscores_in_headers pass                pass
                       is on or ignore_invalid_headers off
    other token chars  dropped, or passed when               pass                pass
                       ignore_invalid_headers is off
    @ [ ]              dropped, or refused when              pass                refused
    anything else      ignore_invalid_headers is off         refused             refused

`bytes.strip()` is never used without an argument: it also strips VT and FF, and that hid Transfer-Encoding from
waitress (CVE-2019-16786). Where framing or routing depends on the value not even HTAB is trimmed, as in nginx: it
then fails the check of the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

# (lower-case name, name as spelled, value without the SP and HTAB around it)
Field = tuple[bytes, bytes, bytes]

# A table starts over when it holds this many lines; longer lines are never remembered. Together: about 5 MB at worst.
TABLE_LINES: Final = 4096
TABLE_LINE_BYTES: Final = 512
# The same limit for the valid names in it.
TABLE_NAMES: Final = 1024
TABLE_NAME_BYTES: Final = 64

_ALNUM: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# The arguments of `translate(None, good)`: the remaining bytes are bad.
PLAIN_NAME: Final = _ALNUM + b"-"
TOKEN: Final = _ALNUM + b"!#$%&'*+-.^_`|~"
RESPONSE_NAME: Final = TOKEN + b"@[]"  # nginx lets these pass, and some servers send them
NAME_CONTROLS: Final = bytes(range(0x21)) + b"\x7f"
VALUE_BYTES = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
# A value that this leaves as it is has no bad byte. (`translate(None, good)` makes a table each time: three times as long.)
VALUE_TABLE: Final = bytes(byte if byte in VALUE_BYTES else byte ^ 0x80 for byte in range(256))

# Only SP is trimmed around these: fields for framing and routing must be spelled unambiguously.
_TRIM_ONLY_SP: Final = frozenset((b"content-length", b"transfer-encoding", b"host"))

# `Proxy` becomes HTTP_PROXY in a CGI environment (httpoxy); `HTTP2-Settings` belongs to an h2c upgrade that we never pass on.
_NEVER_ACCEPTED: Final = frozenset((b"proxy", b"http2-settings"))

# A number with more digits is not below 2**63, unless it has more leading zeros than honest senders write.
_MAX_LENGTH_DIGITS: Final = 19
MAX_LENGTH: Final = 2**63 - 1


class InvalidField(ValueError):
    """A field line that must not be passed on. raw: its bytes; the message shows them, printable."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(shown(raw))
        self.raw = raw


def shown(raw: bytes) -> str:
    """Return bytes of a peer in a form fit for a log line: printable ASCII, the rest as \\xHH, cut after 200."""
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02X}" for byte in raw[:200])
    return text + "..." if len(raw) > 200 else text


class FieldTable(dict[bytes, "Field | None"]):
    """Field lines already read under one policy: raw line -> Field, or None for a line to be dropped.

    Reading a line is indexing: `table[raw]`, which reads it when it is new and raises InvalidField. It is a dict with
    `__missing__` so that `map(table.__getitem__, lines)` looks up all the known lines of a head without a Python call.
    """

    __slots__ = ("_good_names", "_names", "_never", "_refuse_bad_names")

    def __init__(self, good_names: bytes, refuse_bad_names: bool, never: frozenset[bytes] = frozenset()) -> None:
        super().__init__()
        self._good_names = good_names
        self._refuse_bad_names = refuse_bad_names
        self._never = never
        # Valid name as spelled -> (lower-case name, bytes to trim around its values).
        self._names: dict[bytes, tuple[bytes, bytes]] = {}

    def __missing__(self, raw: bytes) -> Field | None:
        name, colon, value = raw.partition(b":")
        # One pass over the value at C speed; a regex with the same class costs three times as much.
        if not name or not colon or value.translate(VALUE_TABLE) != value:
            raise InvalidField(raw)
        # New lines mostly have a known name: 0.05 us here, 0.3 for a close look.
        known = self._names.get(name) or self._read_name(name, raw)
        field = (known[0], name, value.strip(known[1])) if known is not None else None
        if len(raw) <= TABLE_LINE_BYTES:
            if len(self) >= TABLE_LINES:
                self.clear()
            self[raw] = field
        return field

    def read_again(self, raw: bytes, known: Field) -> Field | None:
        """Read a new line with the name of a known one; None when its name is spelled differently or the line is invalid.

        0.4 us. The line is not remembered: values that change from one head of a connection to the next (a Referer, a Cookie) are
        never seen again, and would only push out lines that are.
        """
        lower, name, _ = known
        spelled, colon, value = raw.partition(b":")
        if spelled != name or not colon or value.translate(VALUE_TABLE) != value:
            return None
        return lower, name, value.strip(trimmed_around(lower))

    def _read_name(self, name: bytes, raw: bytes) -> tuple[bytes, bytes] | None:
        """Return the lower-case name and the bytes to trim, or None for a name to drop; raises InvalidField."""
        if name.translate(None, self._good_names):
            if self._refuse_bad_names or len(name.translate(None, NAME_CONTROLS)) != len(name):
                raise InvalidField(raw)
            return None
        lower = name.lower()
        if lower in self._never:
            return None
        known = (lower, trimmed_around(lower))
        if len(name) <= TABLE_NAME_BYTES:
            if len(self._names) >= TABLE_NAMES:
                self._names.clear()
            self._names[name] = known
        return known


def trimmed_around(lower: bytes) -> bytes:
    """Return the bytes to trim around the values of this lower-case name."""
    return b" " if lower in _TRIM_ONLY_SP else b" \t"


def _request_table(ignore_invalid_headers: bool, underscores_in_headers: bool) -> FieldTable:
    good = PLAIN_NAME + b"_" if underscores_in_headers else PLAIN_NAME
    if not ignore_invalid_headers:
        good = TOKEN
    return FieldTable(good, not ignore_invalid_headers, _NEVER_ACCEPTED)


# (ignore_invalid_headers, underscores_in_headers) -> the table of that policy; workers fill their own copy after the
# fork.
REQUEST_FIELDS: Mapping[tuple[bool, bool], FieldTable] = {
    (ignore, underscores): _request_table(ignore, underscores) for ignore in (False, True) for underscores in (False, True)
}
RESPONSE_FIELDS = FieldTable(RESPONSE_NAME, True)
TRAILER_FIELDS = FieldTable(TOKEN, True)


def join_repeated(fields: Iterable[Field]) -> dict[bytes, bytes]:
    """Return lower-case name -> value; the values of repeated lines are joined, cookies by "; " as browsers write them."""
    lists: dict[bytes, list[bytes]] = {}
    for lower, _, value in fields:
        lists.setdefault(lower, []).append(value)
    return {lower: (b"; " if lower == b"cookie" else b", ").join(values) for lower, values in lists.items()}


def parse_length(value: bytes) -> int:
    """Return the number in a Content-Length: 1*DIGIT below 2**63; raises ValueError.

    `int()` alone would accept `+5`, `1_0`, ` 5` and `5\\x0b`. `isdigit` on bytes is ASCII only; on str it is not.
    """
    if not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
        raise ValueError("not a length")
    length = int(value)
    if length > MAX_LENGTH:
        raise ValueError("too large a length")
    return length
