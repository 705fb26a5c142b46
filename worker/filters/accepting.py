"""The clients that may get a compressed body (routing.md §5.6; nginx: ngx_http_gzip_ok in src/http/ngx_http_core_module.c).

The part of the decision that depends only on the header block of the request is made once for each block. For requests that came
through a proxy it also depends on the fields of the response.
"""

from __future__ import annotations

import re

from worker.filters.fields import line_of
from wproxy.browsers import is_msie6
from wproxy.config.model import Location
from wproxy.dates import parse_http_date
from wproxy.directives.gzip import Disabled
from wproxy.http import Clock, Request, ResponseFields

# The decision of a header block: never, always, or only after a look at the response.
_NO, _YES, _PROXIED = range(3)

_QUALITY = re.compile(rb"([01])(?:[, ]|\Z|\.([0-9]*)(?:[, ]|\Z))").match


def takes(accept_encoding: bytes, coding: bytes) -> bool:
    """Whether an Accept-Encoding names the coding with a quality above 0. `*` and other spellings of a coding do not count.

    nginx looks only at the first mention, and stops at the first thing that it does not expect.
    """
    found = re.search(rb"(?:\A|(?<=[, ]))" + coding, accept_encoding, re.IGNORECASE)
    if found is None:
        return False
    rest = accept_encoding[found.end() :].lstrip(b" ")
    if not rest.startswith(b";"):
        return not rest or rest.startswith(b",")
    rest = rest[1:].lstrip(b" ")
    if not rest:
        return True
    if rest[:1] not in b"qQ" or rest[1:2] != b"=" or len(rest) < 3:
        return False
    return _has_quality(rest[2:])


def _has_quality(text: bytes) -> bool:
    match = _QUALITY(text)
    if match is None:
        return False
    whole, digits = match.groups()
    if digits and len(digits) > 3:
        return False
    some = bool(digits and digits.strip(b"0"))
    return some != (whole == b"1")  # 0.x or 1.000


class Takes:
    """`accepts(request, fields)`: whether the client takes a coding, regardless of anything else."""

    __slots__ = ("_coding",)

    def __init__(self, coding: bytes) -> None:
        self._coding = coding

    def __call__(self, request: Request, fields: ResponseFields) -> bool:
        """fields: those of the response; they are ignored."""
        verdict: bool | None = request.fields.cache.get(self)
        if verdict is None:
            verdict = takes(request.fields.get(b"accept-encoding") or b"", self._coding)
            request.fields.remember(self, verdict)
        return verdict


class GzipOk:
    """`gzip_ok(request, fields)`: whether gzip may be sent to this client in this location."""

    __slots__ = ("_disabled", "_proxied", "_version")

    def __init__(self, location: Location) -> None:
        self._version = location.gzip_http_version
        self._proxied = location.gzip_proxied
        self._disabled = location.gzip_disable

    def __call__(self, request: Request, fields: ResponseFields) -> bool:
        """fields: those that the response would otherwise have. (A part of a page is never compressed by itself.)"""
        if request.main is not None:
            return False
        verdict = request.fields.cache.get(self)
        if verdict is None:
            verdict = self._judge(request)
            request.fields.remember(self, verdict)
        if verdict == _NO or request.version < self._version:
            return False
        return verdict == _YES or may_pass(self._proxied, request, fields)

    def _judge(self, request: Request) -> int:
        get = request.fields.get
        accepted = get(b"accept-encoding")
        if accepted is None or not takes(accepted, b"gzip"):
            return _NO
        agent = get(b"user-agent")
        if agent is not None and is_disabled(self._disabled, agent):
            return _NO
        if get(b"via") is None or ("any" in self._proxied and "off" not in self._proxied):
            return _YES
        return _NO if "off" in self._proxied else _PROXIED


def is_disabled(lines: tuple[Disabled, ...], agent: bytes) -> bool:
    """Whether a `gzip_disable` matches this User-Agent."""
    for line in lines:
        if line.msie6 and is_msie6(agent):
            return True
        if any(regex.search(agent) for regex in line.agents):
            return True
    return False


def may_pass(proxied: frozenset[str], request: Request, fields: ResponseFields) -> bool:
    """Whether a response to a request that came through a proxy may be compressed, by the words of `gzip_proxied`."""
    if "auth" in proxied and request.fields.get(b"authorization") is not None:
        return True
    expires = line_of(fields, b"expires")
    if expires is not None:
        return "expired" in proxied and has_expired(expires, line_of(fields, b"date"), request)
    control = [value for name, value in fields.lines if name.lower() == b"cache-control"]
    if control:
        return any(word in proxied and any(names(value, word) for value in control) for word in CACHE_CONTROL)
    if "no_last_modified" in proxied and (fields.last_modified >= 0 or line_of(fields, b"last-modified") is not None):
        return False
    return not ("no_etag" in proxied and line_of(fields, b"etag") is not None)


def has_expired(expires: bytes, date: bytes | None, request: Request) -> bool:
    """Whether a moment is before the response's Date, or before now if the response has none of its own."""
    clock: Clock = request.client.clock
    at = parse_http_date(expires)
    now = int(clock.wall) if date is None else parse_http_date(date)
    return at is not None and now is not None and at < now


CACHE_CONTROL = {
    word: re.compile(rb"(?:\A|[;,] *)" + word.encode() + rb" *(?:,|\Z)", re.IGNORECASE)
    for word in ("no-cache", "no-store", "private")
}


def names(value: bytes, word: str) -> bool:
    """Whether a Cache-Control contains that directive, without a value (nginx: ngx_http_parse_multi_header_lines)."""
    return CACHE_CONTROL[word].search(value) is not None
