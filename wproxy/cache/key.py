"""The key of a stored response, and the name of its file (nginx: ngx_http_file_cache_create_key, ngx_create_hashed_filename).

The MD5 of a key names the file. If the response varies, further variants of it have the same key but another digest.
"""

from __future__ import annotations

from binascii import crc32
from hashlib import md5
from typing import NamedTuple


class CacheKey(NamedTuple):
    """A key. main: the digest of its text; digest: that of the variant, the same for the main one."""

    text: bytes
    digest: bytes
    crc32: int
    main: bytes

    def variant(self, digest: bytes) -> CacheKey:
        """Return the key of a variant of the same response."""
        return CacheKey(self.text, digest, self.crc32, self.main)


def cache_key(text: bytes) -> CacheKey:
    """Return the key with this text."""
    digest = md5(text, usedforsecurity=False).digest()
    return CacheKey(text, digest, crc32(text), digest)


def file_path(path: str, levels: tuple[int, ...], digest: bytes) -> str:
    """Return the path of the file of a digest: directories are named by the last digits of its own name."""
    name = digest.hex()
    end, names = len(name), [path]
    for level in levels:
        names.append(name[end - level : end])
        end -= level
    names.append(name)
    return "/".join(names)
