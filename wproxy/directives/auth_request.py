"""Access by asking another location (nginx: src/http/modules/ngx_http_auth_request_module.c)."""

from __future__ import annotations

import re
from typing import NamedTuple

from wproxy.config.registry import GATHER, HTTP, LOCATION, SERVER, directive
from wproxy.directives.values import uri_or_off
from wproxy.template import Template, compile_template
from wproxy.variables import check_definable

_LEVELS = HTTP | SERVER | LOCATION
_NAME = re.compile(r"\$([A-Za-z0-9_]+)")


class Learned(NamedTuple):
    """One `auth_request_set`: a variable, and what it is set to when the answer is there."""

    name: str
    value: Template


def learned(name: str, value: str) -> Learned:
    """Read `auth_request_set $NAME VALUE`."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f'invalid variable name "{name}"' if name else "invalid variable name")
    lower = match[1].lower()
    check_definable(lower)
    return Learned(lower, compile_template(value))


class AuthRequestDirectives:
    """Access by the answer of another location."""

    auth_request: bytes | None = directive(
        uri_or_off,
        _LEVELS,
        doc="The URI of ours whose answer decides: 2xx lets a request in, 401 and 403 refuse it. off: no one.",
    )
    auth_request_set: tuple[Learned, ...] = directive(
        learned, _LEVELS, arity=2, inherit=GATHER, doc="A variable, and the value it gets from the answer to auth_request."
    )
