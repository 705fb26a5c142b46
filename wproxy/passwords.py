"""Hashes of passwords as password files have them (nginx: src/core/ngx_crypt.c).

    $apr1$SALT$...   Apache's MD5, a thousand rounds: what `htpasswd` writes without an option
    {SHA}, {SSHA}    SHA-1 of the password, or of the password and a salt, in base64
    {PLAIN}          the password itself
    others           whatever the system's crypt(3) knows: $5$, $6$, $y$, $2y$, DES

The standard library has had no crypt since Python 3.13, so the library is called directly. bcrypt ($2y$, today's `htpasswd -B`)
is left to the package `bcrypt`, if it is installed, where the system's crypt does not know it.
"""

from __future__ import annotations

import binascii
from functools import lru_cache
from hashlib import md5, sha1
from hmac import compare_digest
from typing import Any

_ALPHABET = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# struct crypt_data: 32 KB in libxcrypt, 128 KB in older C libraries.
_CRYPT_DATA = 1 << 18


class Uncheckable(OSError):
    """A hash that nothing here can compute."""


def is_password_of(password: bytes, hashed: bytes) -> bool:
    """Whether this is the password of a hash. Takes milliseconds on purpose, and may take long. Raises Uncheckable."""
    if hashed.startswith(b"$apr1$"):
        return compare_digest(apr1(password, hashed), hashed)
    if hashed.startswith(b"{PLAIN}"):
        return compare_digest(password, hashed[7:])
    if hashed.startswith(b"{SSHA}"):
        stored = _decoded(hashed[6:])
        return len(stored) >= 20 and compare_digest(sha1(password + stored[20:], usedforsecurity=False).digest(), stored[:20])
    if hashed.startswith(b"{SHA}"):
        stored = binascii.b2a_base64(sha1(password, usedforsecurity=False).digest(), newline=False)
        return compare_digest(stored, hashed[5:])
    found = by_crypt(password, hashed)
    return found is not None and compare_digest(found, hashed)


def _decoded(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        return b""


def apr1(password: bytes, hashed: bytes) -> bytes:
    """Return Apache's MD5 hash of a password, with the salt of this hash."""
    salt = hashed[6:].partition(b"$")[0][:8]
    final = _md5(password + salt + password)
    text = password + b"$apr1$" + salt
    text += (final * (len(password) // 16 + 1))[: len(password)]
    length = len(password)
    while length:
        text += b"\0" if length & 1 else password[:1]
        length >>= 1
    final = _md5(text)
    for number in range(1000):
        text = password if number & 1 else final
        text += salt if number % 3 else b""
        text += password if number % 7 else b""
        text += final if number & 1 else password
        final = _md5(text)
    order = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))
    shown = b"".join(_shown(final[a] << 16 | final[b] << 8 | final[c], 4) for a, b, c in order) + _shown(final[11], 2)
    return b"$apr1$" + salt + b"$" + shown


def _md5(data: bytes) -> bytes:
    return md5(data, usedforsecurity=False).digest()


def _shown(number: int, count: int) -> bytes:
    return bytes(_ALPHABET[number >> 6 * place & 63] for place in range(count))


def by_crypt(password: bytes, hashed: bytes) -> bytes | None:
    """Return the system's hash of a password, with method and salt of this one; None if it is no hash. Raises Uncheckable."""
    crypt_r = _library()
    found: bytes | None = None
    if crypt_r is not None:
        import ctypes

        found = crypt_r(password, hashed, ctypes.create_string_buffer(_CRYPT_DATA))
    if found is not None and not found.startswith(b"*"):
        return found
    if hashed.startswith(b"$2"):
        try:
            import bcrypt  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise Uncheckable(0, "its bcrypt hash needs `wproxy-server[bcrypt]`: the system's crypt does not know it") from None
        try:
            made: bytes = bcrypt.hashpw(password[:72], hashed)
        except ValueError:
            return None
        return made
    if crypt_r is None:
        raise Uncheckable(0, "the library libcrypt is not installed, and this hash needs it")
    return None


@lru_cache(1)
def _library() -> Any:
    """Return the system's crypt_r; None without one."""
    import ctypes

    for name in ("libcrypt.so.1", "libcrypt.so.2", "libcrypt.so", None):
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        function.restype = ctypes.c_char_p
        return function
    return None


def hash_of_user(data: bytes, user: bytes) -> bytes | None:
    """Return the hash of a user in a password file: the first line `user:hash` or `user:hash:comment`; None without one.

    As in nginx a line that begins with # is a comment, and so is one that begins with CR.
    """
    for line in data.split(b"\n"):
        if line[:1] in (b"#", b"\r", b""):
            continue
        name, colon, rest = line.partition(b":")
        if colon and name == user:
            return rest.partition(b":")[0].partition(b"\r")[0]
    return None
