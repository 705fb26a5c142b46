"""Paths: normalising the client's, and composing the one sent upstream.

`$uri` is the path decoded once, with dot segments resolved and repeated slashes merged (nginx: ngx_http_parse_complex_uri).
The upstream gets either the client's own bytes or that path encoded again (nginx: ngx_http_proxy_create_request);
`upstream_target` decides by the table of proxy.md §1.1.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# Anything that makes a path differ from its normal form: an escape, a repeated slash or a segment beginning with a dot.
_NEEDS_WORK: Final = re.compile(rb"%|//|/\.").search

# Bytes written as %XX when a path is encoded again (nginx: ngx_escape_uri, NGX_ESCAPE_URI).
_ESCAPED = bytes(range(0x21)) + bytes(range(0x7F, 0x100)) + b'"#%<>?\\^`{|}'
_ESCAPE: Final = {byte: b"%%%02X" % byte for byte in _ESCAPED}
_TO_ESCAPE: Final = re.compile(b"[" + re.escape(_ESCAPED) + b"]")


def normalise_path(raw: bytes, merge_slashes: bool = True) -> bytes:
    """Return `$uri` for a path as received (it begins with "/" and has no "?").

    It is decoded once; `.`, `..` and, unless told otherwise, repeated slashes are resolved, encoded ones too. Raises ValueError
    for an invalid escape, for %00 and for a path that climbs above the root (routing.md §2.4).
    """
    if _NEEDS_WORK(raw) is None:
        return raw
    path = raw
    if 37 in raw:  # "%": `b"%" in raw` costs 0.1 us more, as CPython first tries the bytes as a number
        if _BAD_ESCAPE.search(raw):
            raise ValueError("invalid escape in the path")
        path = unquote_to_bytes(raw)
        if b"\0" in path:
            raise ValueError("a zero byte in the path")
    return resolve_segments(path, merge_slashes)


def resolve_segments(path: bytes, merge_slashes: bool = True) -> bytes:
    """Resolve `.` and `..` segments and merge slashes of a decoded path; raises ValueError above the root."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    last = len(segments) - 1
    for index, segment in enumerate(segments):
        if segment == b"..":
            if not kept:
                raise ValueError("the path climbs above the root")
            kept.pop()
        elif segment != b"." and (segment or index == last or not merge_slashes):
            kept.append(segment)
            continue
        if index == last and segment in (b".", b".."):
            kept.append(b"")  # "/a/." and "/a/b/.." name the directory "/a/"
    return b"/" + b"/".join(kept)


def escape_path(path: bytes) -> bytes:
    """Encode a decoded path for a request line (proxy.md §1.1, "esc")."""
    return _TO_ESCAPE.sub(lambda match: _ESCAPE[match[0][0]], path)


def upstream_target(
    *,
    origin: bytes,
    origin_stands: bool,
    path: bytes,
    args: bytes | None,
    escape: bool,
    uri_part: bytes,
    location_prefix: bytes | None,
) -> bytes:
    """Return the request target sent upstream for a proxy_pass without variables (proxy.md §1.1, rules 2 and 3).

    origin: the target as received, in origin-form; used unchanged when `origin_stands` (nothing changed the URI) and the
    proxy_pass has no URI part.
    path: `$uri`; escape: whether it must be encoded, because the client's had an escape or the request is internal.
    uri_part: the part of proxy_pass after host and port, or b"". location_prefix: the part of the path that it replaces; None
    when the location no longer counts (after `rewrite ... break`): then the URI part is ignored.
    Raises ValueError when nothing is left.
    """
    if not uri_part and origin_stands:
        return origin
    if uri_part and location_prefix is not None:
        rest = path[len(location_prefix) :]
        target = uri_part + (escape_path(rest) if escape else rest)
    else:
        target = escape_path(path) if escape else path
    if args:
        target += b"?" + args
    if not target:
        raise ValueError("zero length URI to proxy")
    return target
