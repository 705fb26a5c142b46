"""A client whose requests differ, but are of one form and lead to one location, and an upstream that answers them all alike.

As browsers and API clients ask: the path is another one each time, and perhaps a cookie and a referer; everything else stays
(worker/http1/head_shape.py). Such a request is served as one that comes again (`repeated_exchange`), with a head for the upstream
that is put together of the pieces which all of them share and of its own values. Its line and its fields are those that the usual
way would have read, so that the usual way can go on with it at any time.

Whatever may lead another request elsewhere, or make another answer of it, is looked at for each: its method and version, its
location. What the values of `proxy_set_header` depend on does not vary, or there are no pieces. An answer whose head nobody has
seen goes the usual way; so that a client whose answers differ each time is not served in two ways at once, this begins after an
answer whose head has come before.
"""

from __future__ import annotations

from worker.client.http1.connection import Connection
from worker.client.http1.repeated_exchange import Passage, RepeatedExchange, is_expected, may_be_repeated
from worker.http1.head_shape import HeadShape
from worker.http1.response import ResponseHead
from worker.upstream.passing import Passing
from worker.upstream.protocols.http1 import ComposedForm, HTTP1HeadPlan
from wproxy.config.model import Location, Server
from wproxy.failures import ClientError
from wproxy.http import Request, Response
from wproxy.regex import RegexTimedOut


def learn_varied_exchange(
    passing: Passing, connection: Connection, request: Request, response: Response, passage: Passage | None
) -> VariedExchange | None:
    """Return what serves requests that have the form of one that has just been answered; None if the next may be another case.

    Its head is the last one that the connection has taken, and that of its answer has come before. passage: see `learn_exchange`.
    """
    shape, server, plan, answer = connection.shape, connection.routed_server, passing.head_plan, request.upstream_head
    if shape is None or shape is not connection.routed_form or shape is not request.fields.form:
        return None
    common: ComposedForm | None = shape.cache.get(plan)
    if (
        common is None
        or not common.pieces
        or server is None
        or connection.routed_host is not request.fields.host
        or not request.keepalive
        or request.fields.content_length >= 0
        or not isinstance(plan, HTTP1HeadPlan)
        or not isinstance(answer, ResponseHead)
        or not may_be_repeated(passing, connection, request, response)
        or not is_expected(answer, response, passage)
    ):
        return None
    return VariedExchange(passing, request, answer, response, passage, shape, common, server)


class VariedExchange(RepeatedExchange):
    """Requests of one form. shape: that of their heads; common: that of those for the upstream. server: that of all of them."""

    __slots__ = ("common", "location", "plan", "server", "shape")

    def __init__(
        self,
        passing: Passing,
        request: Request,
        answer: ResponseHead,
        response: Response,
        passage: Passage | None,
        shape: HeadShape,
        common: ComposedForm,
        server: Server,
    ) -> None:
        plan = passing.head_plan
        assert isinstance(plan, HTTP1HeadPlan)
        upstream_head = plan.head_of_form(common, request.line, request.fields.varied)
        super().__init__(passing, request, upstream_head, answer, response.fields, passage)
        self.plan = plan
        self.shape = shape
        self.common = common
        self.server = server
        self.location: Location = request.location

    def take_alike(self, connection: Connection, data: bytes) -> bool:
        """Take another request of the form, as `receive_head` and `make_request` would, and compose its head for the upstream.

        Whatever is left to them has been read already, and is found as the last head that was taken.
        """
        taken = connection.taken
        if taken is None or connection.shape is not self.shape or len(data) >= connection.chunk:
            return False
        alike = self.shape.read(data, connection.plan.limits, taken[1])
        if alike is None:
            return False
        connection.head = data
        connection.taken = alike
        line, fields, _ = alike
        if line.method != b"GET" or line.version != 11 or line.authority is not None:
            return False
        locations, location = self.server.locations, self.location
        if locations.is_plain:
            if locations.find_plainly(line.path) is not location:
                return False
        elif not leads_to(location, self.server, Request(connection.client, line, fields, 0.0)):
            return False
        # A request that has to be made of it, for the access log or the usual way, need not be led here again.
        connection.routed_line, connection.routed_fields = line, fields
        try:
            self.upstream_head = self.plan.head_of_form(self.common, line, fields.varied)
        except ClientError:
            return False  # raised again where it is answered
        return True


def leads_to(location: Location, server: Server, asking: Request) -> bool:
    """Whether a request leads to a location, and by no regex: its captures would belong to the request that is answered."""
    try:
        return server.locations.find(asking.path, asking) is location and asking.captures is None
    except RegexTimedOut:
        return False  # raised again where it is answered
