"""Calls of every kind with grpcio, to a port: `grpc_client.py PORT [NAME]`; prints what became of each as JSON."""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0))


def failure(error):
    return f"{error.code().name}: {error.details()}"


def calls(channel, port):
    unary = channel.unary_unary
    yield "unary", lambda: unary("/test.Calls/Echo")(b"hello").decode()

    def trailers():
        _, call = unary("/test.Calls/Echo").with_call(b"")
        return sorted(f"{name}={value!r}" for name, value in call.trailing_metadata() if name.startswith("x-last"))

    yield "trailers", trailers
    yield "an error status", lambda: unary("/test.Calls/Fail")(b"x")
    yield "a method that is not there", lambda: unary("/test.Calls/None")(b"")
    yield "server stream", lambda: [piece.decode() for piece in channel.unary_stream("/test.Calls/Count")(b"5")]
    yield "a long server stream", lambda: sum(1 for _ in channel.unary_stream("/test.Calls/Count")(b"5000"))
    yield "client stream", lambda: channel.stream_unary("/test.Calls/Sum")(iter([b"1", b"2", b"3"])).decode()

    def talk():
        spoken, heard = futures.ThreadPoolExecutor(1), []
        turns = [threading.Semaphore(1)] + [threading.Semaphore(0) for _ in range(4)]

        def say():
            for number, turn in enumerate(turns[:-1]):
                turn.acquire(timeout=10)  # only when the answer to the one before has come
                yield b"word %d" % number

        for number, answer in enumerate(channel.stream_stream("/test.Calls/Talk")(say())):
            heard.append(answer.decode())
            turns[number + 1].release()
        spoken.shutdown()
        return heard

    yield "both ways, in turns", talk

    def deadline():
        try:
            return unary("/test.Calls/Sleep")(b"5", timeout=0.3).decode()
        except grpc.RpcError as error:
            return error.code().name  # the words depend on which side noticed first

    yield "a deadline", deadline

    def cancel():
        before = int(unary("/test.Calls/Cancelled")(b""))
        call = channel.unary_stream("/test.Calls/Wait")(b"")
        next(call)
        call.cancel()
        limit = time.monotonic() + 10
        while int(unary("/test.Calls/Cancelled")(b"")) == before and time.monotonic() < limit:
            time.sleep(0.02)
        return int(unary("/test.Calls/Cancelled")(b"")) - before

    yield "a cancelled call", cancel
    yield "a large answer", lambda: len(unary("/test.Calls/Big")(b"3000000"))
    yield "a large message", lambda: len(unary("/test.Calls/Echo")(bytes(3_000_000)))

    def fields():
        metadata = (("x-text", "a b"), ("x-raw-bin", b"\x00\x01\xff"))
        said = unary("/test.Calls/Fields")(b"", metadata=metadata).decode().split("\n")
        return sorted(line for line in said if line.startswith(("x-", "te=")))

    yield "metadata", fields

    def many():
        with futures.ThreadPoolExecutor(20) as pool:
            return len(set(pool.map(lambda number: unary("/test.Calls/Echo")(b"%d" % number), range(100))))

    yield "a hundred calls at once", many
    yield "health", lambda: unary("/grpc.health.v1.Health/Check")(b"").hex()


def main():
    found = {}
    with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}", OPTIONS) as channel:
        for name, ask in calls(channel, sys.argv[1]):
            if sys.argv[2:] and name not in sys.argv[2:]:
                continue
            try:
                found[name] = ask()
            except grpc.RpcError as error:
                found[name] = failure(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
