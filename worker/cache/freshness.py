"""How long an upstream's answer may be sent again, by its own fields (proxy.md §7; nginx: ngx_http_upstream_process_cache_control
and its neighbours).

X-Accel-Expires counts before Cache-Control, and that before Expires, in whatever order they come. Set-Cookie and `Vary: *` keep
an answer from being stored, whatever else it says. Words are looked for anywhere in Cache-Control, as nginx does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from wproxy.dates import parse_http_date
from wproxy.directives.cache import CacheTimes

# The statuses of a proxy_cache_valid without any (nginx: ngx_http_file_cache_valid_set_slot).
USUAL = frozenset((200, 301, 302))
# The most bytes of a Vary that a stored answer can have (nginx: NGX_HTTP_CACHE_VARY_LEN).
LONGEST_VARY = 128

Field = tuple[bytes, bytes, bytes]

_FORBIDDING = (b"no-cache", b"no-store", b"private")
# What nginx reads of the value of an option: up to a blank or a separator.
_OPTION = re.compile(rb"[^,; ]*+").match
_SHARED_AGE, _AGE = b"s-maxage=", b"max-age="
_WHILE_UPDATING, _IF_ERROR = b"stale-while-revalidate=", b"stale-if-error="
# A number with more digits would not fit nginx's file.
_MOST_DIGITS = 18


class Freshness:
    """The lifetime of an answer, by its fields.

    valid: until when it is valid, unix seconds; 0: they do not say. updating, error: for how many seconds after that it may be
    sent while it is updated, and if updating fails. vary: the names of the request's fields that it depends on. refusal: why it
    may not be stored, "" if it may.
    """

    __slots__ = ("_forbidden", "_has_accel", "_past", "_refused", "error", "now", "updating", "valid", "vary")

    def __init__(self, now: float) -> None:
        self.now = int(now)
        self.valid = self.updating = self.error = 0
        self.vary = b""
        self._refused = self._forbidden = self._past = ""
        self._has_accel = False

    @property
    def refusal(self) -> str:
        """Return the reason why the answer may not be stored."""
        return self._refused or self._forbidden or self._past

    # nginx: ngx_http_upstream_process_* in the order of the fields.

    def cache_control(self, value: bytes) -> None:
        """Heed Cache-Control."""
        value = value.lower()
        if not (self.valid and self._has_accel):
            word = next((word for word in _FORBIDDING if word in value), None)
            if word is not None:
                self._forbidden = f"upstream sent Cache-Control: {word.decode()}"
                return
            name = _SHARED_AGE if _SHARED_AGE in value else _AGE
            if name in value:
                seconds = _seconds(value, name)
                if not seconds:
                    self._forbidden = f"upstream sent Cache-Control with an invalid {name[:-1].decode()}, or 0"
                    return
                self.valid = self.now + seconds
                self._past = ""
        if _WHILE_UPDATING in value:
            seconds = _seconds(value, _WHILE_UPDATING)
            if seconds is None:
                return
            self.updating = self.error = seconds
        if _IF_ERROR in value:
            seconds = _seconds(value, _IF_ERROR)
            if seconds is not None:
                self.error = seconds

    def expires(self, value: bytes) -> None:
        """Heed Expires."""
        if self.valid:
            return
        at = parse_http_date(value)
        if at is None or at < self.now:
            self._past = "upstream sent Expires with a time that is past or invalid"
        else:
            self.valid = at

    def accel_expires(self, value: bytes) -> None:
        """Heed X-Accel-Expires: seconds, `@` and a time, or 0 for an answer that is not to be stored."""
        self._has_accel = True
        is_time = value.startswith(b"@")
        digits = value[1:] if is_time else value
        if not digits.isdigit() or len(digits) > _MOST_DIGITS:
            return
        number = int(digits)
        if not number and not is_time:
            self._refused = "upstream sent X-Accel-Expires: 0"
            return
        self.valid = number if is_time else self.now + number
        self._forbidden = self._past = ""

    def set_cookie(self, value: bytes) -> None:
        """Heed Set-Cookie: it is for one client."""
        self._refused = self._refused or "upstream sent Set-Cookie"

    def varies(self, value: bytes) -> None:
        """Heed Vary."""
        self.vary = self.vary + b", " + value if self.vary else value
        if b"*" in value:
            self._refused = self._refused or "upstream sent Vary: *"
        elif len(self.vary) > LONGEST_VARY:
            self._refused = self._refused or f"upstream sent a Vary of more than {LONGEST_VARY} bytes"

    def __repr__(self) -> str:
        return f"<valid until {self.valid}{f', not stored: {self.refusal}' if self.refusal else ''}>"


def _seconds(value: bytes, name: bytes) -> int | None:
    """Return the number after an option's name; None if anything else is there, 0 if nothing is."""
    match = _OPTION(value, value.index(name) + len(name))
    digits = match[0] if match is not None else b""
    if not digits:
        return 0
    return int(digits) if digits.isdigit() and len(digits) <= _MOST_DIGITS else None


# The fields that are heeded, by the names that proxy_ignore_headers knows.
HEEDED: dict[bytes, Callable[[Freshness, bytes], None]] = {
    b"cache-control": Freshness.cache_control,
    b"expires": Freshness.expires,
    b"x-accel-expires": Freshness.accel_expires,
    b"set-cookie": Freshness.set_cookie,
    b"vary": Freshness.varies,
}


def freshness_of(lines: Iterable[Field], now: float, ignored: frozenset[bytes]) -> Freshness:
    """Return what the lines of a head say about storing it. ignored: lower-case names of proxy_ignore_headers."""
    found = Freshness(now)
    for lower, _, value in lines:
        heed = HEEDED.get(lower)
        if heed is not None and lower not in ignored:
            heed(found, value)
    return found


def configured_seconds(times: Iterable[CacheTimes], status: int) -> int:
    """Return how long an answer is valid by proxy_cache_valid, 0 for not at all: the first line that fits its status counts."""
    for line in times:
        if line.is_any or status in (line.statuses or USUAL):
            return int(line.seconds)
    return 0
