"""Who comes in by a token (nginx Plus: ngx_http_auth_jwt_module)."""

from __future__ import annotations

from typing import NamedTuple

from wproxy.config.registry import GATHER, HTTP, LIMIT_EXCEPT, LOCATION, OWN_GATHER, SERVER, directive
from wproxy.directives.extras import load_package
from wproxy.directives.values import time
from wproxy.http import Request
from wproxy.template import Template, compile_template, compile_variable
from wproxy.variables.namespace import active_namespace, variable_name
from wproxy.variables.registry import REQUEST, Variable

_BLOCKS = HTTP | SERVER | LOCATION
_REFUSALS = ("error=401", "error=403")


class AuthJwt(NamedTuple):
    """An `auth_jwt`. realm: what a client is told; token: where its token is, None for the field Authorization."""

    realm: Template
    token: Template | None = None


class Required(NamedTuple):
    """An `auth_jwt_require`: none of the values may be empty or 0, or this is the status."""

    values: tuple[Template, ...]
    status: int = 401


class TokenVariable(NamedTuple):
    """An `auth_jwt_claim_set` or `auth_jwt_header_set`: a variable, and the names that lead to its value."""

    name: str
    path: tuple[str, ...]


def auth_jwt(realm: str, token: str | None = None) -> AuthJwt | None:
    """Read `REALM [token=$VARIABLE]` or `off`."""
    if realm == "off":
        if token is not None:
            raise ValueError(f'invalid parameter "{token}"')
        return None
    source = None
    if token is not None:
        if not token.startswith("token=$"):
            raise ValueError(f'invalid parameter "{token}"')
        source = compile_variable(token[6:])
    load_package("jwt", "jwt")
    load_package("cryptography", "jwt")
    return AuthJwt(compile_template(realm), source)


def required(*arguments: str) -> Required:
    """Read `$VALUE ... [error=401 | error=403]`."""
    *values, last = arguments
    status = 401
    if last.startswith("error="):
        if last not in _REFUSALS:
            raise ValueError(f'invalid parameter "{last}": it is error=401 or error=403')
        status = int(last[6:])
    else:
        values.append(last)
    if not values:
        raise ValueError("no variable is required")
    return Required(tuple(map(compile_variable, values)), status)


def signed(kind: str) -> str:
    """Read `signed`; the other types of tokens cannot be read."""
    if kind in ("encrypted", "nested"):
        raise ValueError(f'tokens of the type "{kind}" (JWE) cannot be read: "%s" directive takes "signed"')
    if kind != "signed":
        raise ValueError(f'invalid value "{kind}"')
    return kind


def claim_variable(name: str, *path: str) -> TokenVariable:
    """Read `$VARIABLE NAME ...` and declare the variable."""
    return _declare(name, path, "claims")


def header_variable(name: str, *path: str) -> TokenVariable:
    """Read the same for the header of the token."""
    return _declare(name, path, "header")


def _declare(name: str, path: tuple[str, ...], part: str) -> TokenVariable:
    from wproxy.tokens import token_of, value_at  # they need what is declared here

    lower = variable_name(name)

    def read(request: Request) -> bytes | None:
        token = token_of(request)
        return None if token is None else value_at(getattr(token, part), path)

    active_namespace().declare(lower, Variable(read, REQUEST), volatile=True)
    return TokenVariable(lower, path)


class JwtDirectives:
    """Access by token."""

    auth_jwt: AuthJwt | None = directive(
        auth_jwt,
        _BLOCKS | LIMIT_EXCEPT,
        arity=(1, 2),
        default="off",
        doc="Let in only requests with a JSON Web Token that a key of auth_jwt_key_file has signed: the realm that others are "
        "told, and `token=$variable` for a token that is not in the field Authorization.",
    )
    auth_jwt_key_file: tuple[Template, ...] = directive(
        compile_template,
        _BLOCKS | LIMIT_EXCEPT,
        inherit=GATHER,
        doc="A file of keys for auth_jwt, as a JSON Web Key Set. It is read again when it has changed.",
    )
    auth_jwt_key_cache: float = directive(
        time, _BLOCKS, default="0s", doc="For how long a file of auth_jwt_key_file is not looked at again."
    )
    auth_jwt_leeway: float = directive(
        time, _BLOCKS, default="0s", doc="How far the clock of who issues tokens may be from ours, for their claims exp and nbf."
    )
    auth_jwt_type: str = directive(
        signed, _BLOCKS, default="signed", doc="The type of the tokens. It tunes nothing: only `signed` (JWS) is read."
    )
    auth_jwt_require: tuple[Required, ...] = directive(
        required,
        _BLOCKS | LIMIT_EXCEPT,
        arity=(1, 100),
        inherit=GATHER,
        doc="Variables that must not be empty or 0 for auth_jwt to let a request in; `error=403` in place of 401.",
    )
    auth_jwt_claim_set: tuple[TokenVariable, ...] = directive(
        claim_variable,
        HTTP,
        arity=(2, 100),
        inherit=OWN_GATHER,
        doc="A variable with a claim of the token of auth_jwt: the names that lead to it, one below the other.",
    )
    auth_jwt_header_set: tuple[TokenVariable, ...] = directive(
        header_variable,
        HTTP,
        arity=(2, 100),
        inherit=OWN_GATHER,
        doc="A variable with a parameter of the header of the token of auth_jwt.",
    )
