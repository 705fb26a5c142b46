"""A collector of spans on grpcio: `otlp_collector.py PORT FILE [KEY CERTIFICATE]` appends a line for each export to a file."""

from __future__ import annotations

import sys
from concurrent import futures
from pathlib import Path

import grpc

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Traces(grpc.GenericRpcHandler):
    def __init__(self, path: str) -> None:
        self.path = path

    def service(self, details):
        if details.method != EXPORT:
            return None
        return grpc.unary_unary_rpc_method_handler(self.export)

    def export(self, message: bytes, context) -> bytes:
        key = dict(context.invocation_metadata()).get("x-key", "")
        with open(self.path, "a") as file:
            file.write(f"{key} {message.hex()}\n")
        return b""


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(2), [Traces(sys.argv[2])])
    address = f"127.0.0.1:{sys.argv[1]}"
    if sys.argv[3:]:
        key, certificate = (Path(name).read_bytes() for name in sys.argv[3:])
        server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
    else:
        server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
