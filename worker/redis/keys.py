"""The names of what a Redis or Valkey keeps for us."""

from __future__ import annotations

from hashlib import blake2b

# A longer key is told by its digest: what a client sends must not choose how much memory the server needs.
_LONGEST = 64


def key_at_server(kind: bytes, zone: str, key: bytes) -> bytes:
    """Return `wproxy:KIND:ZONE:KEY`."""
    if len(key) > _LONGEST:
        key = b"digest:" + blake2b(key, digest_size=16).hexdigest().encode()
    return b"wproxy:%b:%b:%b" % (kind, zone.encode("utf-8", "surrogateescape"), key)
