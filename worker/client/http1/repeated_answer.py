"""A client that sends one request again and again over its connection, to a location that needs nothing but its head.

Such a location (a constant `return`, files) answers from the head, by an `Again`. Its server, location and keepalive have been
decided for that head, and no handler, filter or variable has to see it: so there is no coroutine for each and, unless the access
log wants one, no Request. Whatever is unusual is left to the usual way, which decides and reports it: a connection that ends with
this request, a file that has changed.
"""

from __future__ import annotations

import os

from worker.client.ending import finish
from worker.client.http1.connection import Connection
from worker.client.http1.new_request import make_request
from worker.content.file_body import FileBody
from worker.content.open_files import OpenFile
from worker.http1.write import KEEPALIVE, UNCHUNKED, make_head
from worker.stream import Stream
from wproxy.failures import ClientGone
from wproxy.http import Exchange, Request, Response, ResponseFields
from wproxy.route import Again, Learn, Repetition


def learning_answers(again: Again) -> Learn:
    """Return what notes a request whose answer `again` may give the next time."""

    def learn(exchange: Exchange, request: Request, response: Response) -> Repetition | None:
        assert isinstance(exchange, Connection)
        line, fields = exchange.routed_line, exchange.routed_fields
        if (
            line is not request.line
            or fields is not request.fields
            or request.route is not exchange.routed_by
            or line.method != b"GET"
            or fields.content_length >= 0
            or fields.chunked
            or not request.keepalive
            or response.bodiless
        ):
            return None
        return RepeatedAnswer(again, KEEPALIVE | (UNCHUNKED if request.version == 10 or not request.route.chunked else 0))

    return learn


class RepeatedAnswer(Repetition):
    """A GET without a body that repeats itself. again: gives the answer. variant: that of the answer's head."""

    __slots__ = ("again", "variant")

    def __init__(self, again: Again, variant: int) -> None:
        self.again = again
        self.variant = variant

    async def serve(self, exchange: Exchange) -> Response | bytes:
        """Answer the request as often as it comes; return what has come in its place, or the rest of an answer.

        The connection is idle when this begins; with a rest it has a request.
        """
        assert isinstance(exchange, Connection) and exchange.taken is not None
        connection, route, client, clients = exchange, exchange.routed_by, exchange.client, exchange.clients
        stream, clock = connection.stream, client.clock
        head, variant, again, by_kernel = connection.head, self.variant, self.again, stream.kernel_fd >= 0
        line, own, length = exchange.taken
        sample, is_logged = route.sample, route.write_log is not None
        next_request = connection.wait
        while True:
            await next_request
            try:
                data = stream.recv(connection.chunk)
            except BlockingIOError:
                continue
            if not data:
                raise ClientGone
            connection.idle = False
            if data != head:
                return data
            requests = client.requests + 1
            if requests >= connection.last_request or clock.now >= connection.expires:
                return data
            answer = again(line, own, by_kernel)
            if answer is None:
                return data
            client.requests = requests
            fields, body, file = answer
            date_line = clock.date_line
            sent_last = fields.wire.get(variant)
            if sent_last is not None and sent_last[1] is date_line:
                reply = sent_last[0] + body
            else:
                reply = make_head(fields, variant, route.keepalive_timeout[1], date_line) + body
            whole = size = len(reply)
            try:
                sent = stream.send(reply) if file is None else stream.send_ahead(reply)
            except BlockingIOError:
                sent = 0
            except OSError:
                if file is not None:
                    os.close(file[1])
                self.note_answer(connection, fields, size, len(body))
                raise
            if file is not None:
                whole += fields.content_length
                if sent == size:
                    sent += send_file(stream, file[1], fields.content_length)
            if sent != whole:
                if sent == size:
                    stream.push()  # nothing of the file has followed
                return self.rest_of(connection, fields, reply, sent, file)
            if file is not None:
                os.close(file[1])
            if is_logged:
                finish(clients, self.note_answer(connection, fields, whole, fields.content_length))
                connection.request = None
            else:
                clients.requests += 1
                if sample is not None:
                    sample((fields.status, length, whole, 0.0))
            connection.idle = True

    def hand_over(self, exchange: Exchange) -> Request:
        """Return the request under way. (Nobody asks for it: it is answered as soon as it has come.)"""
        assert isinstance(exchange, Connection) and exchange.taken is not None
        exchange.client.requests -= 1  # it is counted again
        request = exchange.request = make_request(exchange, exchange.taken)
        return request

    def note_answer(self, connection: Connection, fields: ResponseFields, size: int, body_size: int) -> Request:
        """Return the request, which has been answered with these fields, as it would be by now. size: all of its bytes."""
        request = self.hand_over(connection)
        request.status = fields.status
        request.response_fields = fields
        request.replied = True
        request.bytes_sent = size
        request.body_bytes_sent = body_size
        return request

    def rest_of(
        self, connection: Connection, fields: ResponseFields, reply: bytes, sent: int, file: tuple[bytes, int] | None
    ) -> Response:
        """Return the rest of an answer of which so many bytes are out.

        reply: its head and what was at hand. file: its path and descriptor, which the response takes over.
        """
        size = len(reply)
        if file is None:
            self.note_answer(connection, fields, size, fields.content_length)
            return Response(fields, reply[sent:])
        begun = max(0, sent - size)
        request = self.note_answer(connection, fields, size + begun, begun)
        path, fd = file
        source = FileBody(request, OpenFile(path, fd), ((begun, fields.content_length),))
        return Response(fields, reply[sent:], source)


def send_file(stream: Stream, fd: int, size: int) -> int:
    """Have the kernel send a file of this size; return how many bytes went. A failure is met again by who sends the rest."""
    try:
        return os.sendfile(stream.kernel_fd, fd, 0, size)
    except OSError:
        return 0
