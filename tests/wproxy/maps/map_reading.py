"""Blocks of entries as the front ends hand them over, and requests to read the variables from."""

from __future__ import annotations

import re
from types import SimpleNamespace

from made_requests import make_client, make_request

from wproxy.config.tree import Node, Position
from wproxy.http import Request
from wproxy.variables import Namespace, find_variable, use_namespace

FILE = "nginx.conf"


def entries(text: str) -> list[Node]:
    """`key value;` a line; quotes are single ones, line 1 is the first."""
    nodes = []
    for number, line in enumerate(text.strip().splitlines(), 1):
        words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", line.strip().removesuffix(";"))]
        nodes.append(Node(words[0], tuple(words[1:]), Position(FILE, number)))
    return nodes


def request(args: bytes | None = None, remote: bytes = b"192.0.2.7", **fields: bytes) -> Request:
    """A request with these arguments, from that address, with these fields."""
    named = (f"{name.replace('_', '-')}: {value.decode('latin-1')}" for name, value in fields.items())
    made = make_request("/", *named, client=make_client(address=remote.decode()))
    made.args = args
    made.location = SimpleNamespace(uninitialized_variable_warn=True)  # type: ignore[assignment]
    return made


def read_variable(name: str, made: Request, namespace: Namespace) -> bytes | None:
    """What `$name` is."""
    with use_namespace(namespace):
        variable = find_variable(name)
    assert variable is not None, name
    return variable.read(made)
