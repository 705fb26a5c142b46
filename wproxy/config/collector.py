"""The collector of `otel_exporter`: a server without a listener, whose one location passes requests of our own to the endpoint.

So spans go the way of all requests to upstreams: the same connections, timers, TLS and names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wproxy.config.model import Exporter, Location, Server
from wproxy.config.registry import EXPORTER
from wproxy.config.scope import Scope, ScopeReader
from wproxy.config.tree import Node, Position
from wproxy.directives.otel import GRPC, HTTP_PROTOBUF, TRACES

_CONNECT_TIMEOUT = "5s"
_ANSWER_TIMEOUT = "10s"


def read_exporter(node: Node, http: Scope, reader: ScopeReader, read_server: Callable[[Node], Server]) -> Exporter | None:
    """Read an `otel_exporter` block of the http block; return None after noting a problem."""
    scope = reader.read(node, EXPORTER, None)
    exporter = Exporter(scope.values, scope.written)
    exporter.position = node.position
    endpoint = exporter.endpoint
    if endpoint is None:
        if not any(child.name == "endpoint" for child in node.children or ()):
            reader.problem('"otel_exporter" requires "endpoint"', node.position)
        return None
    exporter.encoding = exporter.protocol or (HTTP_PROTOBUF if endpoint.path else GRPC)
    if exporter.encoding == GRPC and endpoint.path:
        reader.problem('"protocol grpc" has no path: leave that of "endpoint" out', exporter.origins["endpoint"])
        return None
    exporter.path = endpoint.path or TRACES
    name = http.values.get("otel_service_name", Location.otel_service_name)
    exporter.resource = (("service.name", name), *http.values.get("otel_resource_attr", ()))
    where = exporter.origins["endpoint"]
    location = Node("location", ("/",), where, list(_lines(exporter, where)))
    exporter.server = read_server(Node("server", (), where, [Node("access_log", ("off",), where), location]))
    return exporter


def _lines(exporter: Exporter, where: Position) -> Iterator[Node]:
    """Yield the directives of the location."""
    endpoint = exporter.endpoint
    assert endpoint is not None
    module = "grpc" if exporter.encoding == GRPC else "proxy"
    scheme = {("grpc", False): "grpc", ("grpc", True): "grpcs", ("proxy", False): "http", ("proxy", True): "https"}

    def line(name: str, *arguments: str) -> Node:
        return Node(name, arguments, where)

    yield line(f"{module}_pass", f"{scheme[module, endpoint.is_secure]}://{endpoint.authority}")
    yield line(f"{module}_connect_timeout", _CONNECT_TIMEOUT)
    yield line(f"{module}_send_timeout", _ANSWER_TIMEOUT)
    yield line(f"{module}_read_timeout", _ANSWER_TIMEOUT)
    if module == "proxy":
        yield line("proxy_http_version", "1.1")
        yield line("proxy_set_header", "Host", endpoint.authority)
        yield line("proxy_set_header", "Connection", "")
    if endpoint.is_secure:
        trusted = exporter.trusted_certificate or _system_certificates()
        yield line(f"{module}_ssl_verify", "on")
        yield line(f"{module}_ssl_server_name", "on")
        yield line(f"{module}_ssl_verify_depth", "10")
        if trusted:
            yield line(f"{module}_ssl_trusted_certificate", trusted)


def _system_certificates() -> str:
    """Return the file with the certificates that the system trusts; empty if there is none."""
    import ssl

    return ssl.get_default_verify_paths().cafile or ""
