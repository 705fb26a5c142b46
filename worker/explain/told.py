"""Server names and locations that record in a trace what is found in them."""

from __future__ import annotations

from copy import copy

from wproxy.config.model import Listener, Location, Server
from wproxy.config.tree import Node
from wproxy.directives.listen import ServerName
from wproxy.explain import Explanation, Trace
from wproxy.http import Request
from wproxy.matching import LocationMatcher, ServerNames


class ToldNames(ServerNames[Server]):
    """The server names of a listener; each search for a server is recorded in a trace, which the request gets."""

    def __init__(self, listener: Listener, trace: Trace, found: Explanation) -> None:
        super().__init__()
        self.share(listener.servers)
        self._address = listener.address
        self._trace = trace
        self._found = found

    def find(self, host: bytes | None, request: Request) -> Server:
        """Return the server, with locations that tell the trace which of them was found."""
        trace, found = self._trace, self._found
        request.trace = trace
        trace.request = request
        server = super().find(host, request)
        request.server = server
        found.server, found.server_at = server.name or "(no name)", str(server.position)
        found.server_kind = kind = self.explain(host, request)
        shown = (host or b"").decode("latin-1")
        if kind == "default":
            found.server_why = f'no server_name fits "{shown}": {self._why_default(server)}'
        else:
            found.server_name, found.server_name_at = name_of(server, host or b"", request)
            found.server_why = f'its {_NAME_KINDS[kind]} "{found.server_name}" ({found.server_name_at}) fits "{shown}"'
        told = copy(server)
        told.locations = ToldLocations(server.locations, trace)
        return told

    def _why_default(self, server: Server) -> str:
        lines = zip(server.written.get("listen", ()), server.listen, strict=True)
        for node, line in lines:
            if line.default_server and self._address in line.addresses:
                return f"the default server ({node.position})"
        return "the default server, since it is the first"


_NAME_KINDS = {"exact": "server_name", "wildcard": "wildcard", "regex": "regex"}


class ToldLocations(LocationMatcher[Location]):
    """The locations of a server; the location found is recorded in a trace, with the reasons against the others."""

    def __init__(self, locations: LocationMatcher[Location], trace: Trace) -> None:
        super().__init__(locations.fallback)
        self.share(locations)
        self._trace = trace

    def find(self, path: bytes, request: Request) -> Location:
        """Return the location of a path."""
        location = self.explain(path, request)
        self._trace.located(location)
        return location


def name_of(server: Server, host: bytes, request: Request) -> tuple[str, str]:
    """Return the name of a server that matches a host, and its place; searched in the same order as the names of a listener."""
    names: ServerNames[tuple[ServerName, Node]] = ServerNames()
    for node, line in zip(server.written.get("server_name", ()), server.server_name, strict=True):
        for name in line:
            if name.regex is not None:
                names.add_regex(name.regex, (name, node))
            else:
                names.add(name.text, (name, node))
    if names.explain(host, request) == "default":  # a server without names has the name ""
        return "", str(server.position)
    name, node = names.find(host, request)
    return name.text, str(node.position)
