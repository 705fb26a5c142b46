"""The types of bodies that a filter changes (nginx: ngx_http_types_slot in src/http/ngx_http.c)."""

from __future__ import annotations

from collections.abc import Iterable

# The type that every filter changes, whatever else it is told to change.
HTML = b"text/html"
ANY = b"*"


def media_types(*names: str) -> frozenset[bytes]:
    """Return the types of one `gzip_types`, `sub_filter_types` or the like, in lower case; `*` is every type."""
    return frozenset(name.lower().encode("utf-8", "surrogateescape") for name in names)


def changed_types(lines: Iterable[frozenset[bytes]]) -> frozenset[bytes] | None:
    """Return the types that the lines of a block name together, including text/html; None when they name every type."""
    found = frozenset((HTML,)).union(*lines)
    return None if ANY in found else found
