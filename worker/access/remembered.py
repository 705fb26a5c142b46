"""The passwords that were right lately: checking one takes milliseconds, so that is not done for every request."""

from __future__ import annotations

import os
from hashlib import blake2b

# How long a right password is remembered, in seconds, and how many are.
REMEMBERED_FOR = 60.0
_MOST = 4096

# Device, inode, time of change and size of a password file: another file has other passwords.
Identity = tuple[int, int, int, int]


class RightPasswords:
    """The passwords that were right lately, in one worker."""

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._until: dict[bytes, float] = {}

    def key(self, path: str, identity: Identity, user: bytes, password: bytes) -> bytes:
        """Return what stands for a password of a user in a file."""
        text = b"\0".join((os.fsencode(path), repr(identity).encode(), b"%d" % len(user), user, password))
        return blake2b(text, key=self._secret, digest_size=32).digest()

    def has(self, key: bytes, now: float) -> bool:
        """Whether it was right lately."""
        return self._until.get(key, 0.0) > now

    def add(self, key: bytes, now: float) -> None:
        """Remember one; the oldest is forgotten when there are too many."""
        if len(self._until) >= _MOST:
            del self._until[next(iter(self._until))]
        self._until.pop(key, None)
        self._until[key] = now + REMEMBERED_FOR
