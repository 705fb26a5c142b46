"""An HTTP/2 server on `h2` that does what the path of a request says, right and wrong: `peer.py PORT`."""

from __future__ import annotations

import hashlib
import socket
import sys
import threading
from contextlib import suppress

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

BIG = bytes(range(256)) * 8192


class Connection:
    """One connection, in a thread of its own."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.requests: dict[int, tuple[dict[str, str], list[tuple[str, str]]]] = {}
        self.bodies: dict[int, bytearray] = {}
        self.unsent: dict[int, bytes] = {}

    def serve(self) -> None:
        self.h2.initiate_connection()
        self.flush()
        while data := self.sock.recv(65536):
            for event in self.h2.receive_data(data):
                self.obey(event)
            for stream in list(self.unsent):
                self.push(stream)
            self.flush()

    def obey(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.requests[event.stream_id] = dict(event.headers), list(event.headers)
            self.bodies[event.stream_id] = bytearray()
            self.early(event.stream_id)
        elif isinstance(event, h2.events.DataReceived) and self.path(event.stream_id) != "/early":
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.bodies[event.stream_id] += event.data
        elif isinstance(event, h2.events.StreamEnded):
            self.answer(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.unsent.pop(event.stream_id, None)

    def path(self, stream: int) -> str:
        return self.requests[stream][0][":path"].partition("?")[0]

    def head(self, stream: int, status: int, *fields: tuple[str, str], end: bool = False) -> None:
        self.h2.send_headers(stream, [(":status", str(status)), *fields], end_stream=end)

    def early(self, stream: int) -> None:
        """Answer before the body, where that is asked for."""
        if self.path(stream) == "/early":
            self.head(stream, 413, ("content-length", "4"))
            self.h2.send_data(stream, b"much", end_stream=True)
            with suppress(h2.exceptions.StreamClosedError):  # all of the request was there at once
                self.h2.reset_stream(stream, h2.errors.ErrorCodes.NO_ERROR)
            self.flush()

    def answer(self, stream: int) -> None:
        path, fields = self.path(stream), self.requests[stream][1]
        if path == "/early":
            return
        if path == "/echo":
            body = bytes(self.bodies[stream])
            shown = "".join(f"{name}: {value}\n" for name, value in fields)
            text = f"{shown}{len(body)} {hashlib.sha256(body).hexdigest()}\n".encode()
            self.head(stream, 200, ("content-length", str(len(text))), ("content-type", "text/plain"), ("x-one", "1"),
                      ("set-cookie", "a=1"), ("set-cookie", "b=2"))  # fmt: skip
            self.h2.send_data(stream, text, end_stream=True)
        elif path == "/big":
            self.head(stream, 200, ("content-length", str(len(BIG))))
            self.unsent[stream] = BIG
        elif path == "/long":
            self.head(stream, 200)
            self.unsent[stream] = BIG
        elif path == "/trailers":
            self.head(stream, 200, ("content-type", "text/plain"))
            self.h2.send_data(stream, b"text")
            self.h2.send_headers(stream, [("x-last", "yes")], end_stream=True)
        elif path == "/hints":
            self.head(stream, 103, ("link", "</a.css>; rel=preload"))
            self.head(stream, 200, end=True)
        elif path.startswith("/status/"):
            self.head(stream, int(path[8:]), ("x-status", path[8:]), end=True)
        elif path == "/away":
            self.head(stream, 302, ("location", f"http://{self.requests[stream][0][':authority']}/there"), end=True)
        elif path == "/reset":
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif path == "/cut":
            self.head(stream, 200, ("content-length", "10"))
            self.h2.send_data(stream, b"half")
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif path == "/short":
            # What h2 itself would not send.
            self.head(stream, 200, ("content-length", "10"))
            self.h2.send_data(stream, b"short", end_stream=True)
        elif path == "/leave":
            self.head(stream, 200, end=True)
            self.h2.close_connection(last_stream_id=stream)
        elif path == "/left":
            self.h2.close_connection(last_stream_id=stream - 2 if stream > 1 else 0)
        elif path == "/gone":
            self.sock.shutdown(socket.SHUT_RDWR)
        elif path == "/tall":
            self.head(stream, 200, ("x-tall", "t" * 9000), end=True)
        elif path != "/silent":
            self.head(stream, 404, end=True)

    def push(self, stream: int) -> None:
        """Send as much of a body as the windows allow."""
        while data := self.unsent.get(stream):
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(data))
            if room <= 0:
                return
            self.h2.send_data(stream, data[:room], end_stream=room == len(data))
            self.unsent[stream] = data[room:]
            self.flush()
        self.unsent.pop(stream, None)

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.sock.sendall(data)


def serve(sock: socket.socket) -> None:
    with sock:
        try:
            Connection(sock).serve()
        except (OSError, h2.exceptions.ProtocolError):
            pass


def main() -> None:
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listening:
        while True:
            sock = listening.accept()[0]
            threading.Thread(target=serve, args=[sock], daemon=True).start()


if __name__ == "__main__":
    main()
