"""Replacement of texts in responses (nginx: src/http/modules/ngx_http_sub_filter_module.c)."""

from __future__ import annotations

from typing import NamedTuple

from wproxy.config.registry import GATHER, HTTP, LOCATION, SERVER, directive
from wproxy.config.repeated import repeated_types
from wproxy.directives.media_types import media_types
from wproxy.directives.values import flag
from wproxy.template import Template, compile_template


class Substitute(NamedTuple):
    """One `sub_filter`: the text to look for, ignoring case, and its replacement."""

    pattern: Template
    replacement: Template


def substitute(pattern: str, replacement: str) -> Substitute:
    """Read `sub_filter STRING REPLACEMENT`."""
    if not pattern:
        raise ValueError("empty search pattern")
    return Substitute(compile_template(pattern), compile_template(replacement))


_BLOCKS = HTTP | SERVER | LOCATION


class SubFilterDirectives:
    """Replacement of texts."""

    sub_filter: tuple[Substitute, ...] = directive(
        substitute, _BLOCKS, arity=2, inherit=GATHER, doc="A text to look for in responses, ignoring case, and its replacement."
    )
    sub_filter_types: tuple[frozenset[bytes], ...] = directive(
        media_types,
        _BLOCKS,
        arity=(1, 1000),
        inherit=GATHER,
        warns=repeated_types,
        doc="Types to replace texts in, in addition to text/html; `*`: all.",
    )
    sub_filter_once: bool = directive(
        flag, _BLOCKS, default="on", doc="Whether only the first occurrence of each text is replaced."
    )
    sub_filter_last_modified: bool = directive(
        flag, _BLOCKS, default="off", doc="Whether a changed response keeps Last-Modified, and its ETag as a weak one."
    )
