"""The file of `state FILE`: the servers of an upstream as `server` lines of nginx.conf, and nothing else.

Workers write it, as their user; the master reads it, perhaps as root. So it can only say which servers there are: it includes
nothing, and any other directive is an error.
"""

from __future__ import annotations

from collections.abc import Iterable

from wproxy.config.nginx import parse_nginx
from wproxy.config.tree import ConfigurationError, Node, Problem
from wproxy.config.write_nginx import quote_word
from wproxy.directives.upstream import UpstreamServer
from wproxy.edits.servers import words_of


def state_text(servers: Iterable[UpstreamServer]) -> bytes:
    """Return the text of the file."""
    lines = [f"server {' '.join(map(quote_word, words_of(server)))};\n" for server in servers]
    return "".join(lines).encode("utf-8", "surrogateescape")


def read_state(text: bytes, file: str) -> list[Node]:
    """Return the `server` directives in the file of that name; raises ConfigurationError."""
    nodes = parse_nginx(text, file).children or []
    problems = [Problem(f'"{node.name}" directive is not allowed here', node.position) for node in nodes if node.name != "server"]
    if problems:
        raise ConfigurationError(*problems)
    return nodes
