"""Variants of one key: answers that depend on fields of the request, as their Vary says (nginx: ngx_http_file_cache_vary).

A variant is known by a digest of the main key and of the values of these fields, in nginx's form, so that both find the files of
either.
"""

from __future__ import annotations

import re
from hashlib import md5

from wproxy.http import FieldsLike

# Fields whose blanks and commas mean nothing: `gzip, br` and `gzip,br` are one variant.
_NORMALISED = frozenset((b"accept-charset", b"accept-encoding", b"accept-language"))
_WORDS = re.compile(rb"[^ ,]++").findall


def variant_digest(main: bytes, vary: bytes, fields: FieldsLike) -> bytes:
    """Return the digest of the variant that fits a request. main: the digest of the key; vary: the names in an answer."""
    digest = md5(main, usedforsecurity=False)
    lines = fields.lines
    for name in _WORDS(vary.lower()):
        values = [value for lower, _, value in lines if lower == name]
        if name in _NORMALISED:
            values = [word for value in values for word in _WORDS(value)]
        digest.update(name + b":" + b",".join(values) + b"\r\n")
    return digest.digest()
