"""auth_jwt: what comes in by a token, what does not, and what is said of it."""

from __future__ import annotations

import hmac
import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from conversation import Stage, get
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

from worker.access.token_keys import KeySet, NoKeys
from wproxy.tokens import parse_token

SECRET = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
RSA = rsa.generate_private_key(65537, 2048)
SIGNERS: dict[str, Any] = {
    **{f"HS{bits}": SECRET for bits in (256, 384, 512)},
    **{f"{kind}{bits}": RSA for kind in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}
EDWARDS = {"Ed25519": ed25519.Ed25519PrivateKey.generate(), "Ed448": ed448.Ed448PrivateKey.generate()}


def jwk(algorithm: str, key: Any, **more: object) -> dict[str, object]:
    """The public half of a key, as a key set has it."""
    public = key if isinstance(key, bytes) else key.public_key()
    described = json.loads(get_default_algorithms()[algorithm].to_jwk(public))
    described.pop("alg", None)
    described.pop("key_ops", None)
    return {**described, **more}


def key_set(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def token(claims: dict[str, object] | None = None, algorithm: str = "HS256", key: Any = SECRET, **header: object) -> bytes:
    return jwt.encode({"sub": "me", **(claims or {})}, key, algorithm, header).encode()


def signed(keys: bytes, text: bytes) -> bool:
    parsed = parse_token(text)
    assert parsed is not None
    return KeySet(keys).has_signed(parsed)


# Keys and signatures.


def test_the_example_of_the_standard():
    """RFC 7515, appendix A.1."""
    text = (
        b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9p"
        b"c19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    key = {"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}
    assert signed(key_set(key), text)
    assert not signed(key_set(key), text[:-1] + b"A")
    parsed = parse_token(text)
    assert parsed is not None and parsed.claims == {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_each_algorithm_and_a_token_that_was_changed(algorithm: str):
    key = SIGNERS[algorithm]
    keys = key_set(jwk("ES256", ec.generate_private_key(ec.SECP256R1())), jwk(algorithm, key, kid="k"))
    good = token(algorithm=algorithm, key=key)
    assert signed(keys, good)
    head, _, signature = good.split(b".")
    others = token({"sub": "other"}, algorithm, key).split(b".")[1]
    assert not signed(keys, b".".join((head, others, signature)))
    assert not signed(key_set(jwk(algorithm, key, use="enc"), jwk(algorithm, key, key_ops=["sign"])), good)


@pytest.mark.parametrize("curve", EDWARDS)
def test_edwards_curves(curve: str):
    key = EDWARDS[curve]
    assert signed(key_set(jwk("EdDSA", key)), token(algorithm="EdDSA", key=key))


def test_a_public_key_is_never_a_secret_and_no_token_is_unsigned():
    public = jwk("RS256", RSA)
    for secret in (RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), json.dumps(public).encode()):
        head, claims, _ = token().split(b".")
        signature = urlsafe_b64encode(hmac.digest(secret, head + b"." + claims, "sha256")).rstrip(b"=")
        assert not signed(key_set(public), b".".join((head, claims, signature)))
    unsigned = token(algorithm="none", key=None)
    assert not signed(key_set(public, jwk("HS256", SECRET)), unsigned)


def test_a_token_that_names_its_key_is_checked_with_no_other():
    keys = key_set(jwk("HS256", b"x" * 64, kid="one"), jwk("HS256", SECRET, kid="two"))
    assert signed(keys, token(kid="two"))
    assert signed(keys, token())
    assert not signed(keys, token(kid="one"))
    assert not signed(keys, token(kid="three"))


def test_a_key_for_one_algorithm_is_for_no_other():
    assert not signed(key_set(jwk("HS256", SECRET, alg="HS512")), token())
    assert signed(key_set(jwk("HS512", SECRET, alg="HS512")), token(algorithm="HS512"))


def test_what_must_be_understood_and_is_not_is_refused():
    assert not signed(key_set(jwk("HS256", SECRET)), token(crit=["exp"]))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"keys": 1}', b"\xff", b"[" * 100_000])
def test_a_file_that_is_no_key_set_is_told(content: bytes):
    with pytest.raises(NoKeys):
        KeySet(content)


def test_a_key_that_cannot_be_used_leaves_the_others():
    strange = [
        {"kty": "oct"},
        {"kty": "oct", "k": ""},
        {"kty": "X"},
        7,
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "RSA"},
    ]
    keys = KeySet(key_set(*strange, jwk("HS256", SECRET)))
    assert len(keys.keys) == 1
    assert [reason.partition(" cannot")[0] for reason in keys.refused] == [f"key {number}" for number in range(1, 7)]


# Requests.

Make = Callable[..., Stage]


class Door:
    """A location with auth_jwt, and a file of keys."""

    def __init__(
        self, front: Callable[[str], Stage], directory: Path, location: str = "", http: str = "", keys: bytes = b""
    ) -> None:
        self.file = directory / "keys.json"
        self.file.write_bytes(keys or key_set(jwk("HS256", SECRET)))
        text = f"server {{ listen 8080; location / {{ auth_jwt door; auth_jwt_key_file {self.file}; {location} empty_gif; }} }}"
        self.stage = front(http + text)
        self.client = self.stage.client()

    def ask(self, text: bytes = b"", *fields: bytes, target: bytes = b"/") -> tuple[int, bytes]:
        """The status and what is asked for."""
        if text:
            fields = (b"Authorization: Bearer " + text, *fields)
        self.client.send(get(target, *fields))
        head = self.client.receives_head()
        lines = [line[18:] for line in head.split(b"\r\n") if line.lower().startswith(b"www-authenticate: ")]
        self.client.take()
        return int(head[9:12]), b"".join(lines)

    def said(self) -> str:
        return self.stage.error_log()[-1]


WRONG = (401, b'Bearer realm="door",error="invalid_token"')


@pytest.fixture
def door(front: Callable[[str], Stage], tmp_path: Path) -> Callable[..., Door]:
    return lambda *arguments, **named: Door(front, tmp_path, *arguments, **named)


def test_a_token_lets_in_and_others_are_told_what_is_wrong(door):
    d = door()
    assert d.ask(token()) == (200, b"")
    assert d.ask() == (401, b'Bearer realm="door"')
    assert "[info]" in d.said() and "no JWT was provided" in d.said()
    assert d.ask(b"what is this") == WRONG
    assert "what was provided is no JWT" in d.said()
    assert d.ask(token(key=b"x" * 64)) == WRONG
    assert "none of the keys has signed the JWT" in d.said()
    assert d.ask(b"", b"Authorization: Basic eDp5") == (401, b'Bearer realm="door"')
    assert d.ask(b"", b"authorization: bearer  " + token()) == (200, b"")


@pytest.mark.parametrize(
    ("claims", "leeway", "status"),
    [
        ({"exp": 1}, "", 200),
        ({"exp": 0}, "", 401),
        ({"exp": -10}, "", 401),
        ({"exp": -10}, "auth_jwt_leeway 11s;", 200),
        ({"exp": -10}, "auth_jwt_leeway 10s;", 401),
        ({"nbf": 0}, "", 200),
        ({"nbf": 2}, "", 401),
        ({"nbf": 5}, "auth_jwt_leeway 5s;", 200),
        ({"nbf": 7}, "auth_jwt_leeway 5s;", 401),
    ],
)
def test_a_token_has_its_time(door, claims, leeway, status):
    d = door(leeway)
    wall = int(d.stage.loop.clock.wall)
    assert d.ask(token({name: wall + offset for name, offset in claims.items()}))[0] == status


@pytest.mark.parametrize("claims", [{"exp": "soon"}, {"exp": True}, {"nbf": [1]}])
def test_a_time_that_is_no_number_is_refused(door, claims):
    header, body, _ = jwt.encode({}, SECRET, "HS256").encode().split(b".")
    body = urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    signature = get_default_algorithms()["HS256"].sign(header + b"." + body, SECRET)
    d = door()
    assert d.ask(header + b"." + body + b"." + urlsafe_b64encode(signature).rstrip(b"=")) == WRONG
    assert "is not a number" in d.said()


def test_keys_that_have_changed_count_at_once(door):
    d = door()
    assert d.ask(token())[0] == 200
    d.file.write_bytes(key_set(jwk("HS256", b"y" * 64)))
    assert d.ask(token())[0] == 401
    assert d.ask(token(key=b"y" * 64))[0] == 200


def test_with_a_cache_they_count_when_its_time_is_over(door):
    d = door("auth_jwt_key_cache 10s;")
    assert d.ask(token())[0] == 200
    d.file.write_bytes(key_set(jwk("HS256", b"y" * 64)))
    assert d.ask(token(key=b"y" * 64))[0] == 401
    d.stage.advance(10)
    assert d.ask(token(key=b"y" * 64))[0] == 200


def test_without_keys_nobody_comes_in_and_the_fault_is_ours(door):
    d = door()
    d.file.write_bytes(b"[]")
    assert d.ask(token())[0] == 500
    assert "[error]" in d.said() and "it is not a JSON Web Key Set" in d.said()
    os.unlink(d.file)
    d.client = d.stage.client()
    assert d.ask(token())[0] == 500
    assert "[crit]" in d.said() and "(2: No such file or directory)" in d.said()


def test_keys_may_be_in_several_files(door, tmp_path):
    (tmp_path / "more.json").write_bytes(key_set(jwk("ES256", SIGNERS["ES256"])))
    d = door(f"auth_jwt_key_file {tmp_path}/more.json;")
    assert d.ask(token())[0] == 200
    assert d.ask(token(algorithm="ES256", key=SIGNERS["ES256"]))[0] == 200


def test_a_token_may_be_somewhere_else(front, tmp_path):
    (tmp_path / "k").write_bytes(key_set(jwk("HS256", SECRET)))
    s = front(f"server {{ location / {{ auth_jwt x token=$cookie_t; auth_jwt_key_file {tmp_path}/k; empty_gif; }} }}")
    client = s.client()
    client.send(get(b"/", b"Cookie: t=" + token()))
    assert client.receives_head().startswith(b"HTTP/1.1 200 ")


REQUIRE = "auth_jwt_claim_set $role user role; map $role $is_admin { admin 1; }"


@pytest.mark.parametrize(
    ("claims", "answer"),
    [
        ({"user": {"role": "admin"}}, (200, b"")),
        ({"user": {"role": "guest"}}, (403, b"")),
        ({"user": "admin"}, (403, b"")),
        ({"user": {"role": "admin"}, "off": "0"}, WRONG),
    ],
)
def test_what_is_required_of_a_token(door, claims, answer):
    off = "map $jwt_claim_off $on { default 1; 0 0; }"
    d = door("auth_jwt_require $is_admin error=403; auth_jwt_require $jwt_claim_sub $on;", REQUIRE + off)
    assert d.ask(token(claims)) == answer


def test_claims_and_header_are_variables(front, tmp_path):
    (tmp_path / "k").write_bytes(key_set(jwk("HS256", SECRET)))
    shown = "$jwt_header_alg|$jwt_header_x|$jwt_claim_sub|$jwt_claim_userid|$jwt_claim_n|$jwt_claim_b|$jwt_claim_l|$jwt_claim_o|$deep|$jwt_claim_no"
    s = front(
        f"auth_jwt_claim_set $deep a b.c; auth_jwt_header_set $head x; server {{ location / {{ auth_jwt x; auth_jwt_key_file {tmp_path}/k;"
        f" add_header X-T '{shown}|$head' always; empty_gif; }} location /plain {{ add_header X-T '[$jwt_claim_sub$deep]'; empty_gif; }} }}"
    )
    client = s.client()
    claims = {"userId": "U", "n": 1.5, "b": True, "l": ["a", 2, None], "o": {"k": [1]}, "a": {"b.c": "deep"}}
    client.send(get(b"/", b"Authorization: Bearer " + token(claims, x="y")))
    assert b'\r\nX-T: HS256|y|me|U|1.5|true|a,2,|{"k":[1]}|deep||y\r\n' in client.receives_head()
    client.take()
    client.send(get(b"/plain", b"Authorization: Bearer " + token(claims)))
    assert b"\r\nX-T: []\r\n" in client.receives_head()


def test_an_address_is_enough_where_any_is(door):
    d = door("satisfy any; allow 127.0.0.1; deny all;")
    assert d.ask()[0] == 200


@pytest.mark.parametrize(
    ("rules", "believed"),
    [
        ("", True),
        ("satisfy any; deny all;", True),
        ("satisfy any; allow 127.0.0.1; deny all;", False),
        ("satisfy any; auth_basic x; auth_basic_user_file HERE/users;", True),
        ("auth_jwt off;", None),
    ],
)
def test_a_token_that_nobody_has_checked_names_no_user(front, tmp_path, rules: str, believed: bool | None):
    """Who comes in by address would otherwise be whoever they say."""
    (tmp_path / "keys").write_bytes(key_set(jwk("HS256", SECRET)))
    (tmp_path / "users").write_text("me:{PLAIN}secret\n")
    jwt = "" if believed is None else f"auth_jwt x; auth_jwt_key_file {tmp_path}/keys;"
    s = front(
        f"server {{ location / {{ {jwt} {rules.replace('HERE', str(tmp_path))} add_header X-User '[$jwt_claim_sub]'; empty_gif; }} }}"
    )
    client = s.client()
    for given, status in ((token({"sub": "root"}), b"200"), (token({"sub": "root"})[:-4] + b"AAAA", b"401")):
        client.send(get(b"/", b"Authorization: Bearer " + given))
        head = client.receives_head()
        client.take()
        assert head[9:12] == (status if believed else b"200"), head
        assert (b"\r\nX-User: [root]\r\n" in head) is bool(believed and head[9:12] == b"200")


def test_a_password_does_not_make_a_token_believed(front, tmp_path):
    (tmp_path / "keys").write_bytes(key_set(jwk("HS256", SECRET)))
    (tmp_path / "users").write_text("me:{PLAIN}secret\n")
    s = front(
        f"server {{ location / {{ satisfy any; auth_basic x; auth_basic_user_file {tmp_path}/users; "
        f"auth_jwt x token=$arg_t; auth_jwt_key_file {tmp_path}/keys; add_header X-User '[$jwt_claim_sub]'; empty_gif; }} }}"
    )
    client = s.client()
    client.send(get(b"/?t=" + token({"sub": "root"})[:-4] + b"AAAA", b"Authorization: Basic bWU6c2VjcmV0"))
    head = client.receives_head()
    assert head.startswith(b"HTTP/1.1 200") and b"\r\nX-User: []\r\n" in head


@pytest.mark.parametrize(
    "value", [b"a.b", b"a.b.c.d", b"!.e30.x", b"e30.e30.x", b"W10.e30.aaaa", b"e30.e30" * 4000, b"bnVsbA.e30.", b"W1tb.e30."]
)
def test_what_is_no_token(value: bytes):
    assert parse_token(value) is None
