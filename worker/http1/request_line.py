"""The request line: read, remembered, or refused with its first error."""

from __future__ import annotations

import re
from typing import Final

from worker.http1.hosts import read_authority
from worker.http1.request_values import HeadLimits, RequestLine
from wproxy.failures import ClientError
from wproxy.uri import normalise_path

# request-line = method SP request-target SP HTTP-version (RFC 9112, 3), with nginx's methods and any 8-bit target of old clients.
# "#" and the text after it are not part of a target: some clients send them all the same, nginx routes without them, and we do
# not pass them on. All quantifiers are possessive, so that a failure costs one pass.
_PATH = rb'/[!"$->@-~\x80-\xff]*+'
_ARGS = rb'[!"$-~\x80-\xff]*+'
_FRAGMENT = rb"#[!-~\x80-\xff]*+"
_METHOD = rb"[A-Z_\-]{1,32}+"
_ORIGIN_LINE: Final = re.compile(
    rb"(%b) ((%b)(?:\?(%b))?+)(?:%b)?+ HTTP/1\.([0-9])" % (_METHOD, _PATH, _ARGS, _FRAGMENT),
).fullmatch
# absolute-form; only the schemes that this server can be asked for.
_ABSOLUTE_LINE: Final = re.compile(
    rb"(%b) ([Hh][Tt][Tt][Pp][Ss]?+://([^/?# \x00-\x20\x7f]*+)((?:%b)?+)(?:\?(%b))?+)(?:%b)?+ HTTP/1\.([0-9])"
    % (_METHOD, _PATH, _ARGS, _FRAGMENT),
).fullmatch
_TARGET: Final = re.compile(rb'[!"$-~\x80-\xff]++(?:%b)?+' % _FRAGMENT).fullmatch
_VERSION = re.compile(rb"HTTP/([0-9]|[1-9][0-9]{1,3}+)\.[0-9]").fullmatch  # nginx recognises versions past 9, too, to refuse them
_METHOD_ONLY: Final = re.compile(_METHOD).fullmatch
_LINE_BEGUN: Final = re.compile(
    rb'(?:[A-Z_\-]{1,32}+(?: (?:[!"$-~\x80-\xff][!-~\x80-\xff]*+(?: (?:[!-~]++\r?+)?+)?+)?+)?+)?+'
).fullmatch


# The plain line: nothing in it has to be decoded or normalised. 9,000 instructions instead of 17,000 with the regex.
_PLAIN_METHODS: Final = frozenset((b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"))
_PLAIN_VERSIONS: Final = {b"HTTP/1.1": 11, b"HTTP/1.0": 10}
# Turns every byte that a target must not have into another one: a target that stays as it is has none. (With bytes to delete,
# `translate` makes a table each time, which takes three times as long.)
_TARGET_TABLE: Final = bytes(byte if byte > 0x20 and byte not in b"#\x7f" else byte ^ 0x80 for byte in range(256))
# The same for a target that is nothing but a path, in which at most slashes have to be looked at.
_SIMPLE_TABLE: Final = bytes(byte if byte > 0x20 and byte not in b"#%.?\x7f" else byte ^ 0x80 for byte in range(256))


def parse_plain_line(raw: bytes, versions: dict[bytes, int] = _PLAIN_VERSIONS) -> RequestLine | None:
    """Read a plain request line; None for any other, good or bad. versions: those that it may have, by their words."""
    # Of the ways to look into bytes that CPython 3.11 has, this takes those with the fewest instructions: a number in bytes 230,
    # `removeprefix` 490, a slice that is compared 750, `replace` 650, `startswith` 950, `find` 1,130; bytes in bytes, first tried
    # as a number, 1,700.
    target = raw.removeprefix(b"GET ")
    path = target.removesuffix(b" HTTP/1.1")
    if target is not raw and path is not target and versions is _PLAIN_VERSIONS:
        method, version = b"GET", 11
    else:
        pieces = raw.split(b" ")
        if len(pieces) != 3 or pieces[0] not in _PLAIN_METHODS or pieces[2] not in versions:
            return None
        method, path, version = pieces[0], pieces[1], versions[pieces[2]]
    target = path
    args = None
    if path.translate(_SIMPLE_TABLE) != path:
        if path.translate(_TARGET_TABLE) != path:
            return None
        path, mark, rest = path.partition(b"?")
        if mark:
            args = rest
        # "%" and "."
        if 37 in path or (46 in path and path.replace(b"/.", b"/") is not path):
            return None
    if not path or path[0] != 47 or path.replace(b"//", b"/") is not path:
        return None
    # Not RequestLine(...): to call a class takes 800 instructions more.
    line = _new_line(RequestLine)
    line.line = raw
    line.method = method
    line.target = line.origin = target
    line.path = path
    line.args = args
    line.version = version
    line.has_escapes = False
    line.authority = line.authority_port = None
    line.raw_ok = True
    return line


# Not `object.__new__`, which makes no objects of a compiled class.
_new_line: Final = RequestLine.__new__


def parse_request_line(raw: bytes, merge_slashes: bool = True) -> RequestLine:
    """Read a request line without its line end; raises ClientError."""
    return parse_plain_line(raw) or _parse_any_line(raw, merge_slashes)


def _parse_any_line(raw: bytes, merge_slashes: bool) -> RequestLine:
    """Read a request line in any form."""
    match = _ORIGIN_LINE(raw)
    if match is None:
        return _parse_absolute_line(raw, merge_slashes)
    method, target, path, args, minor = match.groups()
    if method == b"TRACE" or method == b"CONNECT":
        raise refusal_of_line(raw)
    try:
        uri = normalise_path(path, merge_slashes)
    except ValueError:
        raise ClientError(400, "client sent invalid request") from None
    return RequestLine(raw, method, target, target, uri, args, 10 if minor == b"0" else 11, 37 in path)


def _parse_absolute_line(raw: bytes, merge_slashes: bool) -> RequestLine:
    """Read a request line with a target in absolute-form."""
    match = _ABSOLUTE_LINE(raw)
    if match is None:
        raise refusal_of_line(raw)
    method, target, authority, path, args, minor = match.groups()
    if method == b"TRACE" or method == b"CONNECT":
        raise refusal_of_line(raw)
    if not path and args is None and b"#" in raw:
        raise ClientError(400, "client sent invalid request")  # nginx ends a host only with "/" or "?"
    host, port = read_authority(authority)
    raw_path = path or b"/"
    try:
        uri = normalise_path(raw_path, merge_slashes)
    except ValueError:
        raise ClientError(400, "client sent invalid request") from None
    origin = raw_path if args is None else raw_path + b"?" + args
    version = 10 if minor == b"0" else 11
    return RequestLine(raw, method, target, origin, uri, args, version, 37 in path, host, port, bool(path))


def read_line(raw: bytes, limits: HeadLimits) -> RequestLine:
    """Read a request line that is not in the table, and remember it there."""
    line = parse_request_line(raw, limits.merge_slashes)
    limits.known_lines.remember(line)
    return line


def version_of_refused_line(raw: bytes) -> int:
    """Return the version for the answer to a refused line: 10 if none could be read, so that no client gets chunks unasked.

    As in nginx the version counts if the line is well formed and only its request is refused.
    """
    match = _ORIGIN_LINE(raw) or _ABSOLUTE_LINE(raw)
    return 10 if match is None or match[match.re.groups] == b"0" else 11


def may_begin_line(raw: bytes) -> bool:
    """Whether a request line that begins like this may still become a good one."""
    return _LINE_BEGUN(raw) is not None


def refusal_of_line(raw: bytes) -> ClientError:
    """Return the refusal of a request line: its first error, from left to right."""
    method, _, rest = raw.partition(b" ")
    if _METHOD_ONLY(method) is None:
        return ClientError(400, "client sent invalid method")
    target, _, version = rest.partition(b" ")
    if _TARGET(target) is None or (target == b"*" and method != b"OPTIONS"):
        return ClientError(400, "client sent invalid request")
    numbers = _VERSION(version)
    if numbers is None:
        return ClientError(400, "client sent invalid request")
    if numbers[1] != b"1":
        # 0.9 cannot be told from garbage, so it is not answered in HTTP/0.9.
        return ClientError(505 if numbers[1] != b"0" else 400, "client sent invalid version")
    if method == b"TRACE" and (_ORIGIN_LINE(raw) or _ABSOLUTE_LINE(raw)):
        return ClientError(405, "client sent TRACE method")
    if method == b"CONNECT" and b":" in target:
        try:
            read_authority(target)
        except ClientError as refusal:
            return refusal
        return ClientError(405, "client sent CONNECT method")
    return ClientError(400, "client sent invalid request")


def refusal_of_long_line(raw: bytes, limits: HeadLimits) -> ClientError:
    """Return the refusal of a request line over the limit: the part within the limit decides, however the bytes arrive."""
    if not may_begin_line(raw[: limits.line]):
        return refusal_of_line(raw[: limits.line])
    return ClientError(414, "client sent too long URI", "large_client_header_buffers")
