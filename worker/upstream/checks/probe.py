"""One check of one peer: connect, ask, judge. It uses what requests use, but nothing of it counts for the balancers."""

from __future__ import annotations

from copy import copy

from worker.content.proxy import blame, open_connection
from worker.http1.response import NONE, ResponseHead
from worker.loop import READ, park
from worker.services import Services
from worker.stream import Stream
from worker.upstream.body import ResponseBody
from worker.upstream.checks.request import check_request
from worker.upstream.connect import CannotBind
from worker.upstream.failing import CONNECTING, READING, SENDING, blamed_setting
from worker.upstream.incoming import receive_head, receive_rest_of_head
from worker.upstream.live_peer import LivePeer
from worker.upstream.outgoing import BODILESS
from worker.upstream.protocols import NO_BODY
from worker.upstream.protocols.http import HTTP1
from worker.upstream.sending import finish_request, start_request
from wproxy.config.model import Check
from wproxy.directives.health_check import TCP_CHECK
from wproxy.failures import ClientError, TimedOut, UpstreamFailure
from wproxy.health_match import BODY_LIMIT, Verdict, judge_body, judge_head
from wproxy.http import Attempt, Request

_METHOD = b"GET"


class Probe:
    """One check of one peer, with the connection that it keeps."""

    def __init__(self, services: Services, check: Check, peer: LivePeer) -> None:
        self.services = services
        self.passing = services.passings[check.location]
        self.check = check
        # A double of the peer: it may have another port, and no connection of it is in a pool.
        self.target = target = copy(peer)
        target.idle = []
        if check.settings.port and not isinstance(peer.sockaddr, str):
            target.sockaddr = (peer.sockaddr[0], check.settings.port)
        self._kept: Stream | None = None

    async def run(self) -> Verdict:
        """Check once. Raises CannotBind, which says nothing about the peer."""
        clock = self.services.loop.clock
        request = check_request(self.services, self.check)
        while True:
            attempt = Attempt(self.target.name, clock.now)
            request.attempts = [attempt]
            stream = self._take_kept()
            try:
                if stream is None:
                    stream = await open_connection(self.passing, request, self.target, attempt)
                if self.check.settings.kind == TCP_CHECK:
                    stream.close()
                    return Verdict(True, CONNECTING)
                return await self._ask(request, stream, attempt)
            except (UpstreamFailure, TimedOut, OSError) as error:
                failure = blame(error, stream, attempt)
                if failure.is_dead_idle:
                    continue  # the connection had died in idleness, and says nothing: there is none kept now
                return Verdict(False, failure.doing, failure.reason, True, blamed_setting(request, failure))
            except ClientError as error:  # a variable that would break the head
                return Verdict(False, SENDING, error.reason, True)
            finally:
                if stream is not None and stream is not self._kept:
                    stream.close()

    def close(self) -> None:
        """Close the connection that is kept."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    async def _ask(self, request: Request, stream: Stream, attempt: Attempt) -> Verdict:
        """Ask on this connection, and judge the answer. Raises UpstreamFailure, TimedOut, OSError, ClientError."""
        clock, match = self.services.loop.clock, self.check.match
        # proxy_method and proxy_set_body are for the requests of clients.
        head = self.passing.head_plan.head(request, NO_BODY)
        unsent = start_request(head, BODILESS, stream, attempt)
        if unsent is not None:
            await finish_request(self.passing, BODILESS, stream, unsent, attempt)
        deadline = clock.now + self.passing.read_timeout
        await park(stream, READ, self.passing.read_timeout)
        received = receive_head(self.passing, request, stream, attempt)
        if received is None:
            received = await receive_rest_of_head(self.passing, request, stream, attempt, deadline)
        answer, rest = received
        stream.last_head = answer
        request.upstream_head = answer
        attempt.status = answer.status
        attempt.header_time = attempt.response_time = clock.now - attempt.started
        verdict = judge_head(match, answer.status, answer.lines, request)
        keeps = bool(self.check.settings.keepalive_time) and answer.keeps_alive and answer.status != 101
        if keeps or (verdict.passed and match.body):
            body, is_whole = await self._read_body(stream, answer, rest)
            if verdict.passed and match.body:
                verdict = judge_body(match, body)
            if keeps and is_whole:
                self._kept = stream
        return verdict

    async def _read_body(self, stream: Stream, head: ResponseHead, rest: bytes) -> tuple[bytes, bool]:
        """What of a body is looked at, and whether the connection may be used again. Raises UpstreamFailure.

        All of it has to come within proxy_read_timeout: a peer that drips is not to be waited for until its body ends.
        """
        kind, length = HTTP1.body_of(head, _METHOD)
        if kind == NONE:
            return b"", not rest
        clock = self.services.loop.clock
        deadline = clock.now + self.passing.read_timeout
        body = ResponseBody(stream, rest, kind, length, 0.0)
        try:
            pieces = [body.take_at_hand()]
            while not body.finished and body.received < BODY_LIMIT:
                body.timeout = max(0.0, deadline - clock.now)
                pieces.append(await body.read())
        except UpstreamFailure as failure:
            failure.doing = READING
            raise
        return b"".join(pieces), body.finished and not body.spoiled

    def _take_kept(self) -> Stream | None:
        """The connection of the last check, if it stands and is not too old."""
        stream, self._kept = self._kept, None
        if stream is None:
            return None
        if self.services.loop.clock.now - stream.opened <= self.check.settings.keepalive_time and stream.is_quiet():
            return stream
        stream.close()
        return None

    def __repr__(self) -> str:
        return f"<probe of {self.target.name}{' with a connection' if self._kept else ''}>"


__all__ = ["CannotBind", "Probe"]
