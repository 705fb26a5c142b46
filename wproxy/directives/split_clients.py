"""`split_clients` (nginx: src/http/modules/ngx_http_split_clients_module.c)."""

from __future__ import annotations

import re

from wproxy.config.registry import HTTP, OWN_GATHER, SPLIT_CLIENTS, directive
from wproxy.config.tree import Node
from wproxy.maps.entries import read_entries
from wproxy.maps.split_clients import SplitClients
from wproxy.template import compile_template
from wproxy.variables import Variable, active_namespace, variable_name

_PERCENT = re.compile(r"([0-9]{0,9})(?:\.([0-9]{0,2}))?%")


def split_clients_block(source: str, name: str, entries: list[Node]) -> SplitClients:
    """Read `split_clients SOURCE $NAME { 0.5% VALUE; * VALUE; }` and declare the variable.

    Raises ConfigurationError with the entries that are wrong.
    """
    lower = variable_name(name)
    made = SplitClients(lower, compile_template(source))
    read_entries(entries, lambda entry: _read_entry(made, entry))
    active_namespace().declare(lower, Variable(made.read, made.varies))
    return made


def _read_entry(made: SplitClients, entry: Node) -> None:
    if len(entry.arguments) != 1:
        raise ValueError("invalid number of the split_clients parameters")
    share = 0
    if entry.name != "*":
        match = _PERCENT.fullmatch(entry.name)
        share = int(match[1] or 0) * 100 + int(((match[2] or "") + "00")[:2]) if match else 0
        if not share:
            raise ValueError(f'invalid percent value "{entry.name}"')
    made.add(share, entry.arguments[0].encode("utf-8", "surrogateescape"))


class SplitClientsDirectives:
    """Variables for experiments with a share of all clients."""

    split_clients: tuple[SplitClients, ...] = directive(
        split_clients_block,
        HTTP,
        arity=2,
        inherit=OWN_GATHER,
        block=SPLIT_CLIENTS,
        named=True,
        doc="A variable with different values for shares of all clients: `0.5% a; 20% b; * c;`.",
    )
