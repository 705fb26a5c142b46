"""Fields and trailers that the configuration adds to responses (nginx: src/http/modules/ngx_http_headers_filter_module.c).

The directives are read here, at load; worker/filters/headers.py puts the values into responses.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from wproxy.config.registry import GATHER, HTTP, LOCATION, LOCATION_IF, SERVER, directive
from wproxy.directives.values import flag, parse_time, word
from wproxy.template import Template, compile_template

# The kinds of `expires`.
OFF = "off"
EPOCH = "epoch"
MAX = "max"
ACCESS = "access"  # seconds after the response
MODIFIED = "modified"  # seconds after the last modification
DAILY = "daily"  # at a time of day: seconds after local midnight

DAY = 86400
# Beyond it a year no longer fits the four digits of a date in a header.
MOST_SECONDS = 7000 * 365 * DAY

# One or more line breaks with the blanks around: a long Content-Security-Policy is often written over several lines.
_FOLD = re.compile(r"[ \t]*[\r\n][ \t\r\n]*")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


class AddedField(NamedTuple):
    """One `add_header` or `add_trailer`. is_always: whether it goes with every status, not only success and redirection."""

    name: bytes
    value: Template
    is_always: bool


class Expires(NamedTuple):
    """One `expires`. seconds: the offset for `kind`, negative for the past. value: its source when it has variables."""

    kind: str
    seconds: int = 0
    value: Template | None = None


def added_field(name: str, value: str, *options: str) -> AddedField:
    """Read `NAME VALUE [always]`."""
    if options and options != ("always",):
        raise ValueError(f'invalid parameter "{options[0]}"')
    if not name or _CONTROL.search(name):
        raise ValueError(f'invalid field name "{name}" in "%s" directive')
    # A field is one line (RFC 9112, 5.2), however it is laid out in the file.
    template = compile_template(_FOLD.sub(" ", value).strip(" ") if _FOLD.search(value) else value)
    return AddedField(name.encode("utf-8", "surrogateescape"), template, bool(options))


def expires(*arguments: str) -> Expires:
    """Read `[modified] TIME`, `@TIME`, `epoch`, `max`, `off`, or `[modified] $variable`."""
    if len(arguments) == 2 and arguments[0] != "modified":
        raise ValueError('"%s" directive invalid value')
    is_modified = len(arguments) == 2
    template = compile_template(arguments[-1])
    if template.constant is None:
        return Expires(MODIFIED if is_modified else ACCESS, 0, template)
    try:
        return parse_expires(arguments[-1], is_modified)
    except ValueError as error:
        raise ValueError(f'"%s" directive {error}') from None


def parse_expires(text: str, is_modified: bool) -> Expires:
    """Read the value of `expires`, also from a variable; raises ValueError with nginx's words.

    is_modified: after the word `modified`, where only a time makes sense.
    """
    if not is_modified and text in (EPOCH, MAX, OFF):
        return Expires(text)
    sign, kind = 1, MODIFIED if is_modified else ACCESS
    if text.startswith("@"):
        if is_modified:
            raise ValueError('daily time cannot be used with "modified" parameter')
        kind = DAILY
    elif text.startswith("-"):
        sign = -1
    seconds = parse_time(text[1:] if text[:1] in ("@", "+", "-") else text)
    if seconds is None or "ms" in text or seconds > MOST_SECONDS:
        raise ValueError("invalid value")
    if kind == DAILY and seconds > DAY:
        raise ValueError("daily time value must be less than 24 hours")
    return Expires(kind, sign * int(seconds))


_ANYWHERE = HTTP | SERVER | LOCATION | LOCATION_IF
_INHERIT = ("on", "off", "merge")


class HeadersDirectives:
    """Fields added to responses, and their expiry."""

    add_header: tuple[AddedField, ...] = directive(
        added_field,
        _ANYWHERE,
        arity=(2, 3),
        inherit=GATHER,
        inherit_by="add_header_inherit",
        doc="A field to add to successful and redirecting responses; `always`: to all. An empty value adds nothing.",
    )
    add_header_inherit: str = directive(
        word(_INHERIT),
        _ANYWHERE,
        default="on",
        doc="Whether a block inherits add_header when it has none itself (on), never (off), or in addition to its own (merge).",
    )
    add_trailer: tuple[AddedField, ...] = directive(
        added_field,
        _ANYWHERE,
        arity=(2, 3),
        inherit=GATHER,
        inherit_by="add_trailer_inherit",
        doc="A field to send after the body of successful and redirecting responses; `always`: of all.",
    )
    add_trailer_inherit: str = directive(
        word(_INHERIT),
        _ANYWHERE,
        default="on",
        doc="Whether a block inherits add_trailer when it has none itself (on), never (off), or in addition to its own (merge).",
    )
    expires: Expires = directive(
        expires,
        _ANYWHERE,
        arity=(1, 2),
        default="off",
        doc="Expires and Cache-Control: `1h`, `-1`, `modified 1d`, `@15h30m`, `epoch`, `max`, `off`, or a variable.",
    )
    msie_refresh: bool = directive(
        flag,
        HTTP | SERVER | LOCATION,
        default="off",
        doc="Whether old Internet Explorers are redirected by a page that says so, instead of by a 301 or 302.",
    )
    msie_padding: bool = directive(
        flag,
        HTTP | SERVER | LOCATION,
        default="on",
        doc="Whether built-in error pages are padded for browsers that replace short ones.",
    )
