"""A collector of spans on grpcio: `otlp_collector.py PORT FILE` appends a line in hexadecimal for each export to a file."""

from __future__ import annotations

import sys
from concurrent import futures

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
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
