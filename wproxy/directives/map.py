"""`map` (nginx: src/http/modules/ngx_http_map_module.c)."""

from __future__ import annotations

from wproxy.config.registry import HTTP, MAP, OWN_GATHER, directive
from wproxy.config.tree import Node
from wproxy.maps.entries import read_entries
from wproxy.maps.map import Choice, Map
from wproxy.regex import compile_regex
from wproxy.template import compile_template
from wproxy.variables import Variable, active_namespace, variable_name


def map_block(source: str, name: str, entries: list[Node]) -> Map:
    """Read `map SOURCE $NAME { KEY VALUE; ... }` and declare the variable; raises ConfigurationError with the entries that are
    wrong.
    """
    lower = variable_name(name)
    namespace = active_namespace()
    made = Map(lower, compile_template(source), namespace)
    read_entries(entries, lambda entry: _read_entry(made, entry))
    namespace.declare(lower, Variable(made.read, made.varies), made.volatile)
    return made


def _read_entry(made: Map, entry: Node) -> None:
    key = entry.name
    if not entry.arguments:
        if key == "hostnames":
            made.hostnames = True
            return
        if key == "volatile":
            made.volatile = True
            return
    if len(entry.arguments) != 1:
        raise ValueError("invalid number of the map parameters")
    value = compile_template(entry.arguments[0])
    if key == "default":
        if made.default is not None:
            raise ValueError("duplicate default map parameter")
        made.default = Choice(key, value)
    elif key.startswith("~"):
        caseless = key.startswith("~*")
        regex = compile_regex(key[2:] if caseless else key[1:], caseless, str(entry.position))
        made.regexes.append((regex, Choice(key, value)))
    else:
        made.add(key.removeprefix("\\"), value)


class MapDirectives:
    """Variables from other variables."""

    map: tuple[Map, ...] = directive(
        map_block,
        HTTP,
        arity=2,
        inherit=OWN_GATHER,
        block=MAP,
        named=True,
        doc="A variable whose value depends on another: exact keys, `hostnames` with stars, `~regexes`, `default`.",
    )
