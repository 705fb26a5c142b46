"""The decisions of recent requests (`wproxy.decisions`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wproxy.config.registry import HTTP, LOCATION, SERVER, directive
from wproxy.config.tree import ConfigurationError, Node, Problem
from wproxy.directives.values import flag

if TYPE_CHECKING:
    from wproxy.config.model import Location

LEAST_SECRET = 16


def secret(value: str) -> bytes:
    """Read the secret of `explain_secret`; one that could be guessed is refused."""
    if len(value) < LEAST_SECRET:
        raise ValueError(f"a secret of at least {LEAST_SECRET} characters is needed, such as `openssl rand -hex 32` prints")
    return value.encode("utf-8", "surrogateescape")


def configured_secret(root: Node) -> bytes:
    """Return the secret of a configuration. Raises ConfigurationError where there is none, or a bad one."""
    for http in root.named("http"):
        for node in http.named("explain_secret"):
            try:
                return secret(node.arguments[0] if node.arguments else "")
            except ValueError as error:
                raise ConfigurationError(Problem(str(error), node.position)) from None
    raise ConfigurationError(Problem('there is no "explain_secret" in "http" to sign with', None))


def is_recorded(location: Location) -> bool:
    """Whether the decisions about requests of a location may be recorded."""
    return location.explain_ring or location.explain_secret is not None


class ExplainDirectives:
    """In http, a server or a location."""

    explain_ring: bool = directive(
        flag,
        HTTP | SERVER | LOCATION,
        default="off",
        doc="Keep the decisions of the last requests, for `wproxy explain --last`.",
    )
    explain_secret: bytes | None = directive(
        secret,
        HTTP,
        doc="The secret that signs X-Wproxy-Explain, a request field that asks for the decisions (`wproxy explain --sign`).",
    )
