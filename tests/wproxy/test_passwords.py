"""Hashes of passwords: every kind that password files have, beside the programs that make them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from wproxy import passwords
from wproxy.passwords import Uncheckable, hash_of_user, is_password_of

# (password, hash): made by `openssl passwd`, `htpasswd`, `mkpasswd` and slappasswd.
HASHES = [
    (b"secret", b"$apr1$abcdefgh$mTHjeL1yG1wlnPZqaYrzD."),
    (b"", b"$apr1$abcdefgh$jEGFKlqp0JNrMcCbExnCK."),
    (b"secret", b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
    (b"secret", b"{PLAIN}secret"),
    (b"secret", b"$1$abcdefgh$wUDFzVFmRqYmfuLmbwXr1."),
    (b"secret", b"abJnggxhB/yWI"),
]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("kind", ["-apr1", "-1", "-5", "-6"])
@pytest.mark.parametrize("password", ["", "a", "secret", "pässwörd", "x" * 16, "y" * 33, "with space:and colon"])
def test_hashes_of_openssl_are_understood(kind: str, password: str):
    made = subprocess.run(["openssl", "passwd", kind, "-stdin"], input=password, capture_output=True, text=True, check=True)
    hashed = made.stdout.strip().encode()
    if not password and not hashed:
        pytest.skip("this openssl hashes no empty password")
    assert is_password_of(password.encode(), hashed)
    assert not is_password_of(password.encode() + b"x", hashed)
    assert not is_password_of(password.encode(), hashed[:-1] + (b"A" if hashed[-1:] != b"A" else b"B"))


def test_salted_sha_is_understood():
    import base64
    import hashlib

    hashed = b"{SSHA}" + base64.b64encode(hashlib.sha1(b"secret" + b"salt").digest() + b"salt")
    assert is_password_of(b"secret", hashed)
    assert not is_password_of(b"secre", hashed)
    for broken in (b"{SSHA}", b"{SSHA}!", b"{SSHA}AAAA", hashed[:-9]):
        assert not is_password_of(b"secret", broken)


def test_sha_and_plain_are_understood():
    assert is_password_of(b"secret", b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=")
    assert is_password_of(b"secret", b"{PLAIN}secret")
    assert not is_password_of(b"secret", b"{PLAIN}secret ")
    assert not is_password_of(b"other", b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=")


BCRYPT = b"$2y$05$abcdefghijklmnopqrstuu"


def test_bcrypt_is_understood_by_the_system_or_the_package(monkeypatch: pytest.MonkeyPatch):
    bcrypt = pytest.importorskip("bcrypt")
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).replace(b"$2b$", b"$2y$")
    assert is_password_of(b"secret", hashed)
    assert not is_password_of(b"secreu", hashed)
    monkeypatch.setattr(passwords, "_library", lambda: None)
    assert is_password_of(b"secret", hashed)
    assert not is_password_of(b"secreu", hashed)
    assert not is_password_of(b"secret", b"$2y$nonsense")


def test_without_a_library_a_hash_is_uncheckable_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(passwords, "_library", lambda: None)
    with pytest.raises(Uncheckable, match="libcrypt"):
        is_password_of(b"secret", b"$6$salt$hash")


@pytest.mark.parametrize(
    "hashed", [b"", b"x", b"*", b"!", b"$", b"$9$abc$def", b"$6$", b"\xff\xff", b"{MD5}abc", b"{SHA}", b"$apr1$", b"$apr1$$"]
)
def test_what_is_no_hash_is_no_password(hashed: bytes):
    assert not is_password_of(b"secret", hashed)
    assert not is_password_of(b"", hashed)


FILE = b"""# comment:hash
bob:one
bob:two
alice:three:her comment
carol:four\r
 dave:five
eve
:six
frank:
last:seven"""


@pytest.mark.parametrize(
    ("user", "hashed"),
    [
        (b"bob", b"one"),
        (b"alice", b"three"),
        (b"carol", b"four"),
        (b" dave", b"five"),
        (b"dave", None),
        (b"eve", None),
        (b"frank", b""),
        (b"last", b"seven"),
        (b"# comment", None),
        (b"nobody", None),
        (b"BOB", None),
        (b"bob:one", None),
    ],
)
def test_the_first_line_of_a_user_counts(user: bytes, hashed: bytes | None):
    assert hash_of_user(FILE, user) == hashed
