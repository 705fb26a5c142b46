"""The socket that controls a running server (`api_socket`): a listener without a `server` block."""

from __future__ import annotations

from collections.abc import Callable

from wproxy.address import parse_address
from wproxy.config.model import PRIVATE, Configuration, Listener, Server
from wproxy.config.scope import Scope, ScopeReader
from wproxy.config.tree import Node


def control_listener(
    main: Scope, root: Node, prefix: str, reader: ScopeReader, read_server: Callable[[Node], Server]
) -> Listener | None:
    """Return the listener of the API's socket, or None when it is off. It has the metrics, too, for `wproxy metrics`.

    Nothing else in the configuration applies to it: no access rule keeps the operator out, no log records its requests. The
    default socket is optional: a user who starts a second server in a directory did not ask for it.
    """
    path = main.values.get("api_socket", Configuration.api_socket)
    if not path:
        return None
    is_optional = "api_socket" not in main.written
    where = root.position if is_optional else main.written["api_socket"][-1].position
    try:
        address = parse_address("unix:" + (path if path.startswith("/") else prefix + path), 0)
    except ValueError as error:
        if not is_optional:
            reader.problem(f'{error} of the "api_socket" directive', where)
        return None
    api = Node("location", ("/api",), where, [Node("api", ("write=on",), where)])
    metrics = Node("location", ("=", "/metrics"), where, [Node("metrics", ("zones=locations",), where)])
    listener = Listener(address, where, mode=PRIVATE, is_optional=is_optional)
    listener.servers.default = read_server(Node("server", (), where, [Node("access_log", ("off",), where), api, metrics]))
    return listener
