"""The dealings of a request with a cache of responses, in words: for its variables and for `wproxy explain`."""

from __future__ import annotations


class CacheNotes:
    """The notes of a cache about a request.

    status: the value of $upstream_cache_status; b"" where the cache was not asked. key: that of the response, before it is
    digested. file: the path of the stored response, "" for none. reason: why the response did not come from the cache, or was not
    stored; "" if there is nothing to say. has_ranges: whether one part is served of a response that is being stored.
    last_modified, etag: the validators of a stored response that the upstream is asked about; None unless it is.
    """

    __slots__ = ("etag", "file", "has_ranges", "key", "last_modified", "reason", "status")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.status = b""
        self.file = self.reason = ""
        self.has_ranges = False
        self.last_modified: bytes | None = None
        self.etag: bytes | None = None

    def __repr__(self) -> str:
        return f"<cache {self.status.decode()} {self.key!r}{f': {self.reason}' if self.reason else ''}>"
