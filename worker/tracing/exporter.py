"""The exporter of spans: batches in memory, sent to the collector by a task of its own.

No request waits for it, and its memory is bounded: `batch_count` batches of `batch_size` spans wait, and further spans are
dropped. A batch is sent again after a failure that may pass (429, 502, 503, 504, a lost connection), MOST_TRIES times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from worker.http1.request import HeadLimits, parse_request_fields, parse_request_line
from worker.loop import Event, sleep
from worker.services import Services
from worker.tracing import otlp, otlp_json
from worker.tracing.span import Span
from wproxy.config.model import Exporter as Settings
from wproxy.config.model import Listener
from wproxy.directives.otel import GRPC, HTTP_JSON
from wproxy.failures import ClientError, ClientGone, UpstreamFailure
from wproxy.http import Client, FixedEndpoint, Request
from wproxy.request_body import Outgoing, RequestBody
from wproxy.version import VERSION

# The method of gRPC.
CALL = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MOST_TRIES = 8
LONGEST_PAUSE = 30.0
# The most bytes of an answer that are read.
LONGEST_ANSWER = 65536

# Failures that may pass: statuses of HTTP and of gRPC.
_PASSING = frozenset((429, 502, 503, 504))
_PASSING_CALLS = frozenset((1, 4, 8, 10, 11, 14, 15))

_OURSELVES = b"127.0.0.1"


class Result(NamedTuple):
    """The end of one try. reason: why it failed, "" if it did not. may_pass: whether another try makes sense, after a pause."""

    reason: str = ""
    may_pass: bool = False
    pause: float = 0.0


class Batch(RequestBody):
    """The body of a request to the collector."""

    __slots__ = ()

    def __init__(self, content: bytes) -> None:
        super().__init__(len(content), False)
        self.collected = Outgoing(len(content), content, None)
        self.data = content

    @property
    def received(self) -> int:
        """Return its length: all of it is here."""
        return self.length

    @property
    def finished(self) -> bool:
        """Whether all of it is here: it is."""
        return True


class Exporter:
    """The spans of one worker on their way to the collector.

    current: the batch that is being filled. waiting: full ones, the first of which is being sent. dropped: spans for which there
    was no room since that was last logged; all_dropped: since the start, as are sent and failed.
    """

    def __init__(self, services: Services, settings: Settings) -> None:
        self._services = services
        self._settings = settings
        self._loop = services.loop
        self._log = services.logs.error.write
        is_json = settings.encoding == HTTP_JSON
        self.encode: Callable[[Span], bytes] = otlp_json.encode if is_json else otlp.encode
        self._pack = otlp_json.pack if is_json else otlp.pack
        self._read_partial_success = otlp_json.read_partial_success if is_json else otlp.read_partial_success
        self._content_type = b"application/grpc" if settings.encoding == GRPC else (otlp_json if is_json else otlp).CONTENT_TYPE
        self.current: list[bytes] = []
        self.waiting: deque[list[bytes]] = deque()
        self.dropped = 0
        self.all_dropped = 0
        self.sent = 0
        self.failed = 0
        self._told = -1.0
        self._called = Event(self._loop)
        self._is_idle = True

    def start(self) -> None:
        """Send from now on."""
        self._loop.spawn(self._run(), "otel_exporter")

    def add(self, spans: Iterable[Span]) -> None:
        """Take over spans; drop those for which there is no room."""
        for span in spans:
            if len(self.current) >= self._settings.batch_size and not self._close_batch():
                self.dropped += 1
                self.all_dropped += 1
                continue
            self.current.append(self.encode(span))
        if len(self.current) >= self._settings.batch_size:
            self._close_batch()
        if self.dropped and self._loop.clock.now >= self._told + 1.0:
            self._told = self._loop.clock.now
            self._log("notice", f"OTel dropped records: {self.dropped}")
            self.dropped = 0

    def _close_batch(self) -> bool:
        """Have the current batch sent; return whether there is room for a new one."""
        if len(self.waiting) >= self._settings.batch_count:
            return False
        self.waiting.append(self.current)
        self.current = []
        self._called.set()
        return True

    async def _run(self) -> None:
        """Send full batches, and what there is at each interval, forever."""
        while True:
            if not await self._called.wait(self._settings.interval) and self.current:
                self._close_batch()
            self._called.is_set = False
            while self.waiting:
                self._is_idle = False
                await self._send(self.waiting[0])
                self.waiting.popleft()
            self._is_idle = True

    def counts(self) -> tuple[tuple[int, int], ...]:
        """Return what became of spans, for the counters."""
        from wproxy.counters.layout import SPANS_DROPPED, SPANS_FAILED, SPANS_SENT

        return (SPANS_SENT, self.sent), (SPANS_FAILED, self.failed), (SPANS_DROPPED, self.all_dropped)

    @property
    def is_done(self) -> bool:
        """Whether nothing waits to be sent."""
        return self._is_idle and not self.waiting and not self.current

    def finish(self) -> None:
        """Send what there is: the worker leaves."""
        if self.current:
            self._close_batch()

    async def _send(self, batch: list[bytes]) -> None:
        """Send a batch, several times if need be."""
        content = self._pack(self._settings.resource, ("wproxy", VERSION), batch)
        if self._settings.encoding == GRPC:
            content = b"\0" + len(content).to_bytes(4, "big") + content
        for number in range(MOST_TRIES):
            result = await self._try(content)
            if not result.reason:
                self.sent += len(batch)
                return
            self._log("error", f"OTel export failure: {result.reason}")
            if not result.may_pass or number == MOST_TRIES - 1:
                break
            await sleep(min(LONGEST_PAUSE, result.pause or 2.0**number))
        self.failed += len(batch)

    async def _try(self, content: bytes) -> Result:
        """Send a batch once. Its failures are those of any request to an upstream, and logged like them."""
        request = self._request(content)
        passing = self._services.passings[request.location]
        try:
            response = await self._services.exchange(passing, request)
            try:
                answer = response.body
                while response.source is not None and len(answer) < LONGEST_ANSWER:
                    piece = await response.source.read()
                    if not piece:
                        break
                    answer += piece
            finally:
                response.close()
        except (ClientError, ClientGone, UpstreamFailure) as error:
            return Result(str(error), True)
        if request.end_code and request.end_code != "up_said":
            return Result(request.end_cause, True)
        status = response.fields.status
        if status != 200:
            return Result(f"HTTP status {status}", status in _PASSING, _pause(request))
        return self._judge(request, answer)

    def _judge(self, request: Request, answer: bytes) -> Result:
        """Return the result that an answer with the status 200 tells."""
        if self._settings.encoding == GRPC:
            last = {lower: value for lower, _, value in request.upstream_trailers}
            head = request.upstream_head
            values = head.values if head is not None else {}
            status = last.get(b"grpc-status", values.get(b"grpc-status", b""))
            if status != b"0":
                message = last.get(b"grpc-message", values.get(b"grpc-message", b"")).decode("utf-8", "replace")
                code = int(status) if status.isdigit() else -1
                return Result(f"grpc-status {code}: {message}" if code >= 0 else "no status", code in _PASSING_CALLS)
            answer = answer[5:]
        rejected, reason = self._read_partial_success(answer)
        if rejected or reason:
            self._log("warn", f"OTel collector rejected {rejected} records: {reason}")
        return Result()

    def _request(self, content: bytes) -> Request:
        """Return a request to the collector."""
        services, settings = self._services, self._settings
        server = settings.server
        location = next(location for location in server.each_location() if location.pass_module)
        address = services.configuration.listeners[0].address
        client = Client(
            services.process, Listener(address, settings.position), services.loop.clock, _OURSELVES, 0, 0, FixedEndpoint(address)
        )
        lines = [b"Content-Type: " + self._content_type, b"User-Agent: OTel-OTLP-Exporter-wproxy/" + VERSION.encode()]
        if settings.encoding == GRPC:
            lines.append(b"TE: trailers")
        lines += [f"{name}: {value}".encode("utf-8", "surrogateescape") for name, value in settings.header]
        path = CALL if settings.encoding == GRPC else settings.path
        target = path.encode("utf-8", "surrogateescape")
        request = Request(
            client,
            parse_request_line(b"POST " + target + b" HTTP/1.1", False),
            parse_request_fields(b"\r\n".join(lines), HeadLimits()),
            services.loop.clock.now,
        )
        request.location, request.route, request.server = location, location.route, server
        request.upstream_uri = target
        request.body = Batch(content)
        return request

    def __repr__(self) -> str:
        return f"<exporter: {len(self.current)} spans, {len(self.waiting)} batches wait>"


def _pause(request: Request) -> float:
    """Return the seconds of Retry-After; 0 without."""
    head = request.upstream_head
    value = head.values.get(b"retry-after", b"") if head is not None else b""
    return float(value) if value.isdigit() and len(value) < 6 else 0.0
