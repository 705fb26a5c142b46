"""`return` (nginx: src/http/modules/ngx_http_rewrite_module.c)."""

from __future__ import annotations

from typing import NamedTuple

from wproxy.config.registry import LOCATION, OWN, SERVER, directive
from wproxy.template import Template, compile_template

REDIRECTS = (301, 302, 303, 307, 308)


class Return(NamedTuple):
    """What `return` answers: a status and a text or, for a redirect, a URL; text None leaves the built-in page."""

    status: int
    text: Template | None


def return_value(first: str, second: str | None = None) -> Return:
    """`return CODE [TEXT]`, `return CODE URL` or `return URL`."""
    if second is None and (first.startswith(("http://", "https://", "$scheme"))):
        return Return(302, compile_template(first))
    if not (first.isascii() and first.isdigit() and len(first) <= 3):
        raise ValueError(f'invalid return code "{first}"')
    return Return(int(first), None if second is None else compile_template(second))


class RewriteDirectives:
    """Answers that need nobody else."""

    return_: Return | None = directive(
        return_value,
        SERVER | LOCATION,
        arity=(1, 2),
        inherit=OWN,
        doc="Answer at once: a status with a text, or a redirect with a URL.",
    )
