"""`error_page` (nginx: ngx_http_core_error_page; routing.md §3.6)."""

from __future__ import annotations

from typing import NamedTuple

from wproxy.config.registry import GATHER, HTTP, LOCATION, LOCATION_IF, SERVER, directive
from wproxy.directives.values import flag
from wproxy.template import Template, compile_template

KEPT = -1  # the status that was raised
TARGETS = 0  # the status of the replacement


class ErrorPage(NamedTuple):
    """One `error_page` line. statuses: those that it replaces. status: KEPT, TARGETS or the one to send.

    target: a URI, `@name`, or a URL to redirect to.
    """

    statuses: tuple[int, ...]
    status: int
    target: Template


def error_page(*words: str) -> ErrorPage:
    """Read `error_page CODE... [=[CODE]] TARGET`."""
    *codes, target = words
    status = KEPT
    if len(codes) > 1 and codes[-1].startswith("="):
        answer = codes.pop()[1:]
        if answer and not (answer.isascii() and answer.isdigit() and len(answer) < 9):
            raise ValueError(f'invalid value "={answer}"')
        status = int(answer) if answer else TARGETS
    statuses = []
    for code in codes:
        if not (code.isascii() and code.isdigit() and len(code) < 9):
            raise ValueError(f'invalid value "{code}"')
        number = int(code)
        if number == 499:  # the client has left: there is no one to show a page to
            raise ValueError('invalid value "499"')
        if not 300 <= number <= 599:
            raise ValueError(f'value "{code}" must be between 300 and 599')
        statuses.append(number)
    return ErrorPage(tuple(statuses), status, compile_template(target))


_LEVELS = HTTP | SERVER | LOCATION | LOCATION_IF


class ErrorPageDirectives:
    """Replacements of the built-in error pages."""

    error_page: tuple[ErrorPage, ...] = directive(
        error_page,
        _LEVELS,
        arity=(2, 1000),
        inherit=GATHER,
        doc="The replacement of a built-in error page: a URI, `@name` or a URL, and its status.",
    )
    recursive_error_pages: bool = directive(
        flag, HTTP | SERVER | LOCATION, default="off", doc="Whether one error page may lead to another."
    )
