"""Variables of tokens: claims and header of what auth_jwt looks at.

They are there before it has decided, for the choice of keys, and for limits; and not any more when a request was let in although
its token was not believed.
"""

from __future__ import annotations

from wproxy.http import Request
from wproxy.variables.registry import REQUEST, Variable, family, variable


@family("jwt_claim_")
def claim(rest: str) -> Variable:
    from wproxy.tokens import token_of, value_named  # they need the directives, which need variables

    def read(request: Request) -> bytes | None:
        token = token_of(request)
        return None if token is None else value_named(token.claims, rest)

    return Variable(read, REQUEST)


@family("jwt_header_")
def header(rest: str) -> Variable:
    from wproxy.tokens import token_of, value_named

    def read(request: Request) -> bytes | None:
        token = token_of(request)
        return None if token is None else value_named(token.header, rest)

    return Variable(read, REQUEST)


@variable("jwt_payload", REQUEST)
def payload(request: Request) -> None:
    """Return nothing: only encrypted tokens have a payload of their own, and none can be read."""
