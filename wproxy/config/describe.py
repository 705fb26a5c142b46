"""What the registry tells people and editors: docs/directives.md, and a JSON Schema of wproxy.toml for completion.

    python -m wproxy.config.describe

writes both anew. Nothing in here knows a directive but by its row, except for EXAMPLES: a row without a default does not say
how a good argument looks.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from wproxy import directives
from wproxy.config import model  # its import fills the registry
from wproxy.config.registry import (
    CONTEXT_NAMES,
    EVENTS,
    GATHER,
    HTTP,
    LOCATION,
    MAIN,
    OWN,
    OWN_GATHER,
    REGISTRY,
    SCALAR,
    SERVER,
    UPSTREAM,
    Directive,
    context_names,
)
from wproxy.directives.values import flag

DOCS = os.path.join(os.path.dirname(model.__file__), "..", "..", "docs")
MANY = 1000  # an arity up to this has no limit that anybody would meet

# How a block is opened.
HEADERS = {
    MAIN: "",
    EVENTS: "[events]",
    HTTP: "[http]",
    UPSTREAM: "[http.upstream.app]",
    SERVER: "[[http.server]]",
    LOCATION: '[http.server.location."/"]',
}

# The right-hand sides for rows whose default does not show how they are written.
EXAMPLES = {
    "user": '["www-data", "www-data"]',
    "worker_shutdown_timeout": '"30s"',
    "error_log": '{ "logs/error.log" = "notice" }',
    "access_log": '{ "logs/access.log" = "combined" }',
    "log_format": '{ short = "$remote_addr $status $request_time" }',
    "server": '{ "127.0.0.1:3001" = { weight = 2, max_fails = 3 }, "127.0.0.1:3002" = { backup = true } }',
    "listen": '[80, ["[::]:80", "default_server"]]',
    "server_name": '[["example.com", "*.example.com"]]',
    "proxy_pass": '"http://127.0.0.1:3000"',
    "proxy_set_header": '{ Host = "$host", X-Real-IP = "$remote_addr" }',
    "proxy_hide_header": '["X-Powered-By", "X-Runtime"]',
    "proxy_pass_header": '"Server"',
    "return": '[301, "https://$host$request_uri"]',
}

INHERITANCE = {
    SCALAR: "the blocks inside see it until one of them sets it again",
    GATHER: "several in a block add up; a block that has one of its own loses all that it would have inherited",
    OWN: "not inherited",
    OWN_GATHER: "several in a block add up; not inherited",
}

_PREAMBLE = """\
# Directives of wproxy.toml

Written by `python -m wproxy.config.describe` from the tables in `wproxy/directives/`: change those, not this page.

Names and meanings are nginx's. The top level of the file is the context *main*; a block is a table: `[events]`, `[http]`,
`[http.upstream.NAME]`, `[[http.server]]`, `[http.server.location."PREFIX"]`. `on` and `off` are also `true` and `false`.
Several arguments are an array. Where a directive may stand several times, each element of an array is one of them, and an
element with several arguments is an array itself; some take a table instead, whose keys are the first arguments.
"""


def sections() -> Iterator[tuple[ModuleType, list[Directive]]]:
    """Each module of tables with its rows, in the order they are written.

    On a class `register` leaves only values. Where several tables have a row of one name, as `server` in http and in
    upstream, the rows come in the order of the tables.
    """
    waiting = {name: iter(rows) for name, rows in REGISTRY.items()}
    for found in pkgutil.iter_modules(directives.__path__):
        module = importlib.import_module(f"{directives.__name__}.{found.name}")
        tables = [table for name, table in vars(module).items() if name.endswith("Directives")]
        rows = [next(waiting[name.rstrip("_")]) for table in tables for name in table.__annotations__]
        if rows:
            yield module, rows


def directives_page() -> str:
    """The text of docs/directives.md."""
    parts = [_PREAMBLE]
    for module, rows in sections():
        title = module.__name__.rpartition(".")[2]
        parts.append(f"## {title}\n\n{(module.__doc__ or '').partition(chr(10))[0]}\n")
        parts.extend(map(_entry, rows))
    return "\n".join(parts)


def example(row: Directive) -> str:
    """The row as it may stand in a wproxy.toml."""
    if row.block:
        return HEADERS[row.block]
    if not row.arity[1]:
        return f"{row.name} = true"
    value = EXAMPLES.get(row.name)
    if value is None:
        value = json.dumps(_default(row))
    return f"{row.name} = {value}"


def _entry(row: Directive) -> str:
    facts = [f"- in: {', '.join(context_names(row.contexts))}"]
    if not row.block:
        default = "none" if row.default is None else f"`{row.default if isinstance(row.default, str) else ' '.join(row.default)}`"
        facts += [f"- arguments: {_arity(row)}", f"- default: {default}"]
        if row.inherit != SCALAR or row.contexts & (row.contexts - 1):  # with one context there is nobody to inherit
            facts.append(f"- inheritance: {INHERITANCE[row.inherit]}")
    return f"### {row.name}\n\n{row.doc}\n\n" + "\n".join(facts) + f"\n\n```toml\n{example(row)}\n```\n"


def _arity(row: Directive) -> str:
    least, most = row.arity
    if not most:
        return "none"
    if least == most:
        return str(least)
    return f"{least} or more" if most >= MANY else f"{least} {'or' if most == least + 1 else 'to'} {most}"


def _default(row: Directive) -> Any:
    """The default as TOML would have it: a number or a boolean where it is one, a list where it is several words."""
    words = (row.default,) if isinstance(row.default, str) else row.default or ()
    values = [word == "on" if row.read is flag else int(word) if word.isdigit() else word for word in words]
    return values[0] if len(values) == 1 else values


def json_schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) of wproxy.toml. Editors complete names and show the docs; `wproxy` itself checks values."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "wproxy.toml",
        **_context(MAIN),
        "$defs": {name: _context(bit) for bit, name in CONTEXT_NAMES.items() if bit != MAIN},
    }


def _context(context: int) -> dict[str, Any]:
    """The schema of a block."""
    rows = [row for rows in REGISTRY.values() for row in rows if row.contexts & context]
    properties = {row.name: {"description": row.doc, **(_block(row) if row.block else _simple(row))} for row in rows}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _block(row: Directive) -> dict[str, Any]:
    one = {"$ref": f"#/$defs/{CONTEXT_NAMES[row.block]}"}
    either = {"anyOf": [one, {"type": "array", "items": one}]}
    if row.named:
        return {"type": "object", "additionalProperties": either}
    return either if row.repeats else one


def _simple(row: Directive) -> dict[str, Any]:
    least, most = row.arity
    if not most:
        return {"type": "boolean"}
    scalar: dict[str, Any] = (
        {"enum": [True, False, "on", "off"]} if row.read is flag else {"type": ["string", "number", "boolean"]}
    )
    occurrence = [scalar] if least <= 1 else []
    occurrence.append(_array(scalar, least, most))
    forms = list(occurrence)
    if row.repeats:
        forms[-1] = _array({"anyOf": occurrence})
    if row.named:
        rest = [_array(scalar, least - 1, most - 1), {"type": "object", "additionalProperties": scalar}]
        several = _array({"anyOf": list(rest)})
        forms.append({"type": "object", "additionalProperties": {"anyOf": [scalar, *rest, several]}})
    default = {} if row.default is None else {"default": _default(row)}
    return {**(forms[0] if len(forms) == 1 else {"anyOf": forms}), **default}


def _array(items: dict[str, Any], least: int = 0, most: int = MANY) -> dict[str, Any]:
    limits = {"minItems": least, "maxItems": most}
    return {"type": "array", "items": items, **{word: limit for word, limit in limits.items() if 0 < limit < MANY}}


def documents() -> dict[str, str]:
    """The files under docs/ that are written from the registry: name to text."""
    return {"directives.md": directives_page(), "wproxy.schema.json": json.dumps(json_schema(), indent=2) + "\n"}


def main() -> int:
    """Write them; returns the exit code."""
    for name, text in documents().items():
        path = os.path.normpath(os.path.join(DOCS, name))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
