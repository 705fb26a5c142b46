"""Conditional requests: whether the client already has the answer (routing.md §5.4; nginx:
ngx_http_not_modified_filter_module.c).

Pure functions of the request's fields and the validators of what would be sent. ETags are compared as nginx does, as text.
"""

from __future__ import annotations

from typing import NamedTuple

from wproxy.dates import parse_http_date
from wproxy.http import NOTHING_DERIVED, FieldsLike, SharedCache

_TRIMMED = b" \t"


class Conditions(NamedTuple):
    """The fields of a request that make a response of it conditional or partial."""

    if_unmodified_since: bytes | None
    if_match: bytes | None
    if_modified_since: bytes | None
    if_none_match: bytes | None
    range: bytes | None
    if_range: bytes | None


_NO_CONDITIONS = Conditions(None, None, None, None, None, None)
# The cache of fields of which only this is known.
_UNCONDITIONAL = SharedCache(conditions=None)


def conditions_of(fields: FieldsLike) -> Conditions | None:
    """Return the conditions of a header block, or None when it has none; they are looked for once per header block.

    Blocks of one form have the same names: where one has no conditions, none has.
    """
    if "conditions" not in fields.cache:
        form = fields.form
        if form is not None and "unconditional" in form.cache:
            if fields.cache is NOTHING_DERIVED:
                fields.cache = _UNCONDITIONAL
            else:
                fields.remember("conditions", None)
            return None
        found = Conditions(
            fields.get(b"if-unmodified-since"),
            fields.get(b"if-match"),
            fields.get(b"if-modified-since"),
            fields.get(b"if-none-match"),
            first_range(fields),
            fields.get(b"if-range"),
        )
        if found == _NO_CONDITIONS:
            fields.remember("conditions", None)
            if form is not None:
                form.cache["unconditional"] = True
            return None
        fields.remember("conditions", found)
    conditions: Conditions | None = fields.cache["conditions"]
    return conditions


def first_range(fields: FieldsLike) -> bytes | None:
    """Return the value of Range; the first of several, because they do not form a list."""
    value = fields.get(b"range")
    if value is None or b"," not in value:
        return value
    return next((one for name, _, one in fields.lines if name == b"range"), value)


def judge(conditions: Conditions, etag: bytes, modified: int, mode: str) -> int:
    """Return the status that the conditions turn a 200 into: 200, 304 or 412.

    etag: the ETag of the response, or b"". modified: its time, unix seconds; -1 for none. mode: the word of
    `if_modified_since`: exact, before or off.
    """
    unmodified, match, since, none_match, _, _ = conditions
    if unmodified is not None:
        limit = parse_http_date(unmodified)
        if limit is None or not 0 <= modified <= limit:
            return 412
    if match is not None and not matches(match, etag, weak=False):
        return 412
    if since is None and none_match is None:
        return 200
    if since is not None and is_modified(since, modified, mode):
        return 200  # even if If-None-Match would say otherwise
    if none_match is not None and not matches(none_match, etag, weak=True):
        return 200
    return 304


def judge_without_validators(conditions: Conditions) -> int:
    """Judge a 200 that has neither ETag nor time, such as a directory listing or a `return`: 200, 304 or 412."""
    unmodified, match, since, none_match, _, _ = conditions
    if unmodified is not None or match not in (None, b"*"):
        return 412
    return 304 if since is None and none_match == b"*" else 200


def is_modified(since: bytes, modified: int, mode: str) -> bool:
    """Whether something of that time counts as modified for an If-Modified-Since."""
    if mode == "off" or modified < 0:
        return True
    then = parse_http_date(since)
    if then == modified:
        return False
    return mode == "exact" or then is None or then < modified


def matches(listed: bytes, etag: bytes, *, weak: bool) -> bool:
    """Whether a list of ETags, or `*`, contains this one; a weak comparison ignores `W/`."""
    if listed == b"*":
        return True
    if not etag:
        return False
    if weak:
        etag = etag.removeprefix(b"W/")
    for item in listed.split(b","):
        item = item.strip(_TRIMMED)
        if (item.removeprefix(b"W/") if weak else item) == etag:
            return True
    return False
