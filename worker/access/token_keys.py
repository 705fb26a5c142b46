"""The keys of auth_jwt_key_file, a JSON Web Key Set (RFC 7517), and whether one of them has signed a token.

A key is only ever used as what it is: with its kind go the algorithms it may be used for, whatever the token says. So a public
key of RSA is never taken for the secret of an HMAC, and no token is unsigned.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from jwt import get_algorithm_by_name

from wproxy.tokens import Token

# By kind of key, and its curve: the algorithms.
_ALGORITHMS: dict[tuple[Any, Any], tuple[str, ...]] = {
    ("oct", None): ("HS256", "HS384", "HS512"),
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}
# How many tokens with a good signature are remembered: checking one takes 30 to 150 us.
_REMEMBERED = 4096
# A file of keys is small.
MOST_BYTES = 1 << 20


class NoKeys(ValueError):
    """A file does not contain a set of keys."""


class Key(NamedTuple):
    """A key as each algorithm that it may be used for takes it. name: its `kid`."""

    name: str | None
    by_algorithm: Mapping[str, Any]


class KeySet:
    """The keys of a file. refused: why some of them cannot be used."""

    def __init__(self, content: bytes) -> None:
        """Raises NoKeys."""
        self.keys: list[Key] = []
        self.refused: list[str] = []
        self._good: dict[bytes, None] = {}
        try:
            keys = json.loads(content)["keys"]
            assert isinstance(keys, list)
        except (ValueError, LookupError, TypeError, AssertionError, RecursionError):
            raise NoKeys('it is not a JSON Web Key Set: an object with a list of "keys"') from None
        for number, described in enumerate(keys, 1):
            try:
                key = _key(described)
            except Exception as error:  # cryptography raises much that it does not tell of
                self.refused.append(f"key {number} cannot be used: {error}")
            else:
                if key is not None:
                    self.keys.append(key)

    def has_signed(self, token: Token) -> bool:
        """Whether one of the keys has signed a token."""
        name, algorithm = token.header.get("kid"), token.header.get("alg")
        if not isinstance(algorithm, str) or "crit" in token.header:
            return False  # what is critical is not understood here
        digest = blake2b(token.signature + token.signed, digest_size=16).digest()
        if digest in self._good:
            return True
        for key in self.keys:
            prepared = key.by_algorithm.get(algorithm)
            if prepared is None or (name is not None and key.name != name):
                continue
            if get_algorithm_by_name(algorithm).verify(token.signed, prepared, token.signature):
                if len(self._good) >= _REMEMBERED:
                    del self._good[next(iter(self._good))]
                self._good[digest] = None
                return True
        return False

    def __repr__(self) -> str:
        return f"<{len(self.keys)} keys>"


def _key(described: Any) -> Key | None:
    """Read one key; None for one that is not for signatures."""
    if not isinstance(described, dict):
        raise ValueError("it is not an object")
    if described.get("use", "sig") != "sig" or "verify" not in described.get("key_ops", ("verify",)):
        return None
    kind, curve = described.get("kty"), described.get("crv")
    algorithms = _ALGORITHMS.get((kind, curve if kind in ("EC", "OKP") else None))
    if algorithms is None:
        raise ValueError(f"there is no algorithm for keys of the kind {kind}" + (f" with the curve {curve}" if curve else ""))
    if "alg" in described:
        algorithms = tuple(each for each in algorithms if each == described["alg"])
        if not algorithms:
            raise ValueError(f"the algorithm {described['alg']} is not for keys of the kind {kind}")
    public = {name: value for name, value in described.items() if name not in ("d", "p", "q", "dp", "dq", "qi", "oth")}
    prepared = {algorithm: get_algorithm_by_name(algorithm).from_jwk(public) for algorithm in algorithms}
    if kind == "oct" and not all(prepared.values()):
        raise ValueError("the secret is empty")
    name = described.get("kid")
    return Key(name if isinstance(name, str) else None, prepared)


class KeyFiles:
    """The files of keys that have been read, each until it changes."""

    _MOST = 256  # a name may have variables in it

    def __init__(self) -> None:
        self._read: dict[str, tuple[tuple[int, int, int, int], float, KeySet]] = {}

    def get(self, path: str, now: float, unseen_for: float) -> tuple[KeySet, bool]:
        """Return the keys of a file, and whether it was read just now. Raises OSError, NoKeys.

        unseen_for: for how many seconds after a look at the file none is taken.
        """
        known = self._read.get(path)
        if known is not None and now < known[1] + unseen_for:
            return known[2], False
        stat = os.stat(path)
        identity = stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
        if known is not None and known[0] == identity:
            self._read[path] = identity, now, known[2]
            return known[2], False
        if stat.st_size > MOST_BYTES:
            raise NoKeys(f"it has more than {MOST_BYTES} bytes")
        fileno = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            keys = KeySet(os.read(fileno, MOST_BYTES + 1))
        finally:
            os.close(fileno)
        if len(self._read) >= self._MOST:
            del self._read[next(iter(self._read))]
        self._read[path] = identity, now, keys
        return keys, True
