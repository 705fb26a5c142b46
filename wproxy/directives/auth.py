"""Who comes in: passwords and the answer of an upstream (nginx: ngx_http_auth_basic_module.c, ngx_http_auth_request_module.c)."""

from __future__ import annotations

from wproxy.config.registry import HTTP, LIMIT_EXCEPT, LOCATION, SERVER, directive
from wproxy.directives.values import time
from wproxy.template import Template, compile_template

_BLOCKS = HTTP | SERVER | LOCATION


def template_or_off(value: str) -> Template | None:
    """Return a template; None for `off`."""
    return None if value == "off" else compile_template(value)


class AuthDirectives:
    """Access by password, and the delay of a refusal."""

    auth_basic: Template | None = directive(
        template_or_off,
        _BLOCKS | LIMIT_EXCEPT,
        default="off",
        doc="Let in only users with a password from auth_basic_user_file; the text is shown when a browser asks for it.",
    )
    auth_basic_user_file: Template | None = directive(
        compile_template,
        _BLOCKS | LIMIT_EXCEPT,
        doc="The file of users and passwords, a line `user:hash` for each: $apr1$, {SHA}, {SSHA}, {PLAIN}, crypt(3), bcrypt.",
    )
    auth_delay: float = directive(
        time, _BLOCKS, default="0s", doc="How long a client waits for a 401, so that guessing passwords takes time."
    )
