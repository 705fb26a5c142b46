"""A gRPC server on grpcio whose messages are bytes, so that no protoc is needed: `grpc_server.py PORT`.

/test.Calls/Echo answers with what came, /Fail with the status in the message, /Sleep after so many seconds, /Count streams numbers,
/Sum adds up a stream, /Talk answers each message, /Big answers with so many bytes, /Fields with the metadata of the call.
/grpc.health.v1.Health/Check says SERVING, or NOT_SERVING after /test.Calls/Sick.
"""

import sys
import time
from concurrent import futures
from pathlib import Path

import grpc

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


class Calls(grpc.GenericRpcHandler):
    """All methods, by path."""

    def __init__(self):
        self.health = SERVING
        self.cancelled = 0

    def service(self, details):
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        return {
            "/test.Calls/Echo": unary(self.echo),
            "/test.Calls/Fail": unary(self.fail),
            "/test.Calls/Sleep": unary(self.sleep),
            "/test.Calls/Cancelled": unary(lambda data, context: b"%d" % self.cancelled),
            "/test.Calls/Count": stream(self.count),
            "/test.Calls/Wait": stream(self.wait),
            "/test.Calls/Sum": grpc.stream_unary_rpc_method_handler(self.sum),
            "/test.Calls/Talk": grpc.stream_stream_rpc_method_handler(self.talk),
            "/test.Calls/Big": unary(lambda data, context: bytes(int(data))),
            "/test.Calls/Fields": unary(self.fields),
            "/test.Calls/Sick": unary(self.sick),
            "/grpc.health.v1.Health/Check": unary(lambda data, context: self.health),
        }.get(details.method)

    def echo(self, data, context):
        context.set_trailing_metadata((("x-last", "yes"), ("x-last-bin", b"\x00\xff")))
        return data

    def fail(self, data, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"not now: {data.decode()} 100% ü")

    def sleep(self, data, context):
        time.sleep(float(data))
        return b"slept"

    def count(self, data, context):
        for number in range(int(data)):
            yield b"%d" % number

    def wait(self, data, context):
        def gone():
            self.cancelled += 1

        context.add_callback(gone)
        yield b"first"
        while context.is_active():
            time.sleep(0.01)

    def sum(self, pieces, context):
        return b"%d" % sum(map(int, pieces))

    def talk(self, pieces, context):
        for piece in pieces:
            yield piece.upper()

    def fields(self, data, context):
        return "\n".join(f"{name}={value!r}" for name, value in context.invocation_metadata()).encode()

    def sick(self, data, context):
        self.health = NOT_SERVING
        return b""


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(40), [Calls()], options=(("grpc.max_receive_message_length", -1),))
    address, files = f"127.0.0.1:{sys.argv[1]}", [Path(name).read_bytes() for name in sys.argv[2:]]
    if files:  # a key, a certificate, and the authority of the clients
        key, certificate, authority = files
        server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)], authority, True))
    else:
        server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
