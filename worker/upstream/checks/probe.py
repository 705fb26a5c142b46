"""One check of one peer: connect, ask, judge. It shares the code of requests, but the balancers do not count it."""

from __future__ import annotations

from copy import copy

from worker.loop import READ, park
from worker.services import Services
from worker.stream import BIG_CHUNK
from worker.upstream.checks.request import check_body, check_request
from worker.upstream.connect import CannotBind
from worker.upstream.exchange import blame, open_connection
from worker.upstream.failing import CONNECTING, READING, SENDING, code_of
from worker.upstream.failure_log import blamed_setting
from worker.upstream.incoming import receive_rest_of_head
from worker.upstream.live_peer import LivePeer
from worker.upstream.passing import LiveAttempt, PeerConnection
from wproxy.config.model import Check
from wproxy.directives.health_check import GRPC_CHECK, TCP_CHECK
from wproxy.failures import ClientError, TimedOut, UpstreamFailure
from wproxy.health_match import BODY_LIMIT, CHECKING_STATUS, Verdict, judge_body, judge_call, judge_head
from wproxy.http import Request
from wproxy.request_body import BODILESS, Outgoing


class Probe:
    """One check of one peer, with the connection that it keeps alive."""

    def __init__(self, services: Services, check: Check, peer: LivePeer) -> None:
        self.services = services
        self.passing = services.passings[check.location]
        self.check = check
        # A copy of the peer: it may have another port, and none of its connections is in a pool.
        self.target = target = copy(peer)
        target.idle, target.shared = [], []
        if check.settings.port and not isinstance(peer.sockaddr, bytes):
            target.sockaddr = (peer.sockaddr[0], check.settings.port)
        body = check_body(check.settings)
        self._outgoing = Outgoing(len(body), body, None) if body else BODILESS
        self._kept: PeerConnection | None = None

    async def run(self) -> Verdict:
        """Check once. Raises CannotBind, which says nothing about the peer."""
        request = check_request(self.services, self.check)
        verdict = await self._check(request)
        tracing = self.check.location.route.tracing
        if tracing is not None:
            tracing.checked(request, verdict.passed)
        return verdict

    async def _check(self, request: Request) -> Verdict:
        """Connect, ask and judge, on a fresh connection if the kept one is dead. Raises CannotBind."""
        clock = self.services.loop.clock
        while True:
            try:
                # proxy_method and proxy_set_body are for clients' requests.
                head = self.passing.head_plan.head(request, self._outgoing.length)
            except ClientError as error:  # a variable would break the head
                return Verdict(False, SENDING, error.reason, True)
            attempt = LiveAttempt(self.passing, request, self.target, self._outgoing, head, clock.now)
            request.attempts = [attempt]
            attempt.connection = self._take_kept()
            try:
                if attempt.connection is None:
                    attempt.connection = await open_connection(attempt, is_pooled=False)
                if self.check.settings.kind == TCP_CHECK:
                    return Verdict(True, CONNECTING)
                return await self._ask(attempt, attempt.connection)
            except (UpstreamFailure, TimedOut, OSError) as error:
                failure = blame(error, attempt)
                if failure.is_dead_idle:
                    continue  # the idle connection had died, which means nothing: now there is none
                attempt.end_code = code_of(failure)
                return Verdict(False, failure.doing, failure.reason, True, blamed_setting(self.passing, failure))
            finally:
                if attempt.connection is not self._kept:
                    attempt.close_connection()

    def close(self) -> None:
        """Close the kept connection."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    async def _ask(self, attempt: LiveAttempt, connection: PeerConnection) -> Verdict:
        """Ask on this connection, and judge the answer. Raises UpstreamFailure, TimedOut, OSError, ClientError."""
        clock, match, request = self.services.loop.clock, self.check.match, attempt.request
        if not connection.start(attempt):
            await connection.finish(attempt)
        attempt.sent_at = clock.now
        await park(connection.channel, READ, self.passing.read_timeout)
        answer = connection.receive_head(attempt) or await receive_rest_of_head(attempt, connection)
        attempt.head = request.upstream_head = answer
        attempt.status = answer.status
        attempt.header_time = attempt.response_time = clock.now - attempt.started
        if self.check.settings.kind == GRPC_CHECK:
            return await self._judge_call(attempt, connection)
        verdict = judge_head(match, answer.status, answer.lines, request)
        keeps = bool(self.check.settings.keepalive_time) and answer.keeps_alive and answer.status != 101
        if keeps or (verdict.passed and match.body):
            body = await self._read_body(attempt, connection)
            if verdict.passed and match.body:
                verdict = judge_body(match, body)
            if keeps and connection.room:
                self._kept = connection
        return verdict

    async def _judge_call(self, attempt: LiveAttempt, connection: PeerConnection) -> Verdict:
        """Judge the answer of a server of gRPC, which ends with its status, or is nothing but a head with one."""
        head, request = attempt.head, attempt.request
        assert head is not None
        if head.status != 200:
            return Verdict(False, CHECKING_STATUS, f"status {head.status}")
        message = await self._read_body(attempt, connection)
        last = {lower: value for lower, _, value in request.upstream_trailers}
        status = last.get(b"grpc-status", head.values.get(b"grpc-status"))
        return judge_call(status, message, self.check.settings.grpc_status)

    async def _read_body(self, attempt: LiveAttempt, connection: PeerConnection) -> bytes:
        """Return the part of a body that is examined; if there is more, the connection is not reusable. Raises UpstreamFailure.

        All of it has to arrive within proxy_read_timeout: a peer that drips is not waited for until its body ends.
        """
        clock = self.services.loop.clock
        deadline = clock.now + self.passing.read_timeout
        body = connection.body(attempt)
        if isinstance(body, bytes):
            return body
        pieces = [body.at_hand]
        try:
            while not body.finished and body.received < BODY_LIMIT:
                try:
                    pieces.append(body.receive(BIG_CHUNK))
                except BlockingIOError:
                    await body.wait(max(0.0, deadline - clock.now))
        except UpstreamFailure as failure:
            failure.doing = READING
            raise
        attempt.request.upstream_trailers = body.trailers
        if body.spoiled or not body.finished:
            connection.room = 0
        return b"".join(pieces)

    def _take_kept(self) -> PeerConnection | None:
        """Return the connection of the last check, if it is still open and not too old."""
        connection, self._kept = self._kept, None
        if connection is None:
            return None
        if self.services.loop.clock.now - connection.opened <= self.check.settings.keepalive_time and connection.is_quiet():
            return connection
        connection.close()
        return None

    def __repr__(self) -> str:
        return f"<probe of {self.target.name}{' with a connection' if self._kept else ''}>"


__all__ = ["CannotBind", "Probe"]
