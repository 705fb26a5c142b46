"""The upstream's side of a location with a cache: what its exchanges ask when an answer is not what was hoped for.

An answer may confirm what is stored (304), or a failure may be answered with it (proxy_cache_use_stale, stale-if-error); an error
that error_page replaces, and a 502 or 504 of ours, are remembered without a file, as proxy_cache_valid says (nginx:
ngx_http_upstream_test_next, ngx_http_upstream_next, ngx_http_upstream_intercept_errors).
"""

from __future__ import annotations

from dataclasses import replace

from worker.cache.dealings import EXPIRED, REVALIDATED, STALE, Dealings
from worker.cache.freshness import configured_seconds, freshness_of
from worker.cache.heads import CannotRead
from worker.cache.hits import send_stored
from worker.cache.plan import CachePlan, key_maker, storing_passing
from worker.http1.response import ResponseHead
from worker.upstream.exchange import give_back, leave, status_of
from worker.upstream.passing import LiveAttempt, Passing
from wproxy.cache.header import Header
from wproxy.failures import UpstreamFailure
from wproxy.http import AnswerHead, Request, Response

# Our own statuses for an upstream that failed, which may be remembered.
_REMEMBERED = frozenset((502, 504))


class Keeping:
    """How answers for one way of passing requests are kept (`Passing.cache`).

    key: returns the text of a request's key. passing: for requests whose answers may be stored.
    """

    __slots__ = ("key", "passing", "plan")

    def __init__(self, plan: CachePlan, passing: Passing) -> None:
        self.plan = plan
        self.key = key_maker(plan, passing)
        self.passing = storing_passing(passing, plan)
        self.passing.cache = self

    def instead(self, attempt: LiveAttempt, head: ResponseHead) -> Response | None:
        """Return what is stored, in place of an answer that confirms it or is a failure. Raises SentElsewhere, ClientError."""
        request = attempt.request
        dealings = dealings_of(request)
        use = dealings.use
        if dealings.status != EXPIRED or use is None or use.stored is None:
            return None
        is_confirmed = head.status == 304 and self.plan.revalidate
        if not is_confirmed and f"http_{head.status}" not in self.plan.use_stale:
            return None
        request.upstream_head = head
        attempt.status = head.status
        attempt.header_time = request.client.clock.now - attempt.started
        dealings.settle()
        if is_confirmed:
            give_back(attempt, head)
            dealings.status = REVALIDATED
        else:
            leave(attempt)
            dealings.status = STALE
            dealings.note(f"upstream answered {head.status}")
        try:
            response = send_stored(attempt.passing, request, dealings, use.stored)
        except CannotRead:
            return None  # it was readable before
        if is_confirmed and request.upstream_head is not None:
            self._confirm(dealings, head, request.upstream_head)
        return response

    def _confirm(self, dealings: Dealings, head: ResponseHead, stored: AnswerHead) -> None:
        """Have the stored response be valid again. head: that of the 304."""
        plan, use = self.plan, dealings.use
        assert use is not None and use.stored is not None
        now = dealings.request.client.clock.wall
        fresh = freshness_of(head.lines, now, plan.ignored)
        if not fresh.valid:
            fresh = freshness_of(stored.lines, now, plan.ignored)
        valid = fresh.valid
        if not valid:
            seconds = configured_seconds(plan.valid, stored.status)
            valid = int(now) + seconds if seconds else 0
        if valid:
            header: Header = replace(
                use.stored.header,
                valid_sec=valid, valid_msec=0, updating_sec=fresh.updating, error_sec=fresh.error, date=int(now),
            )  # fmt: skip
            use.update_header(header)

    def after_failure(self, passing: Passing, request: Request, failure: UpstreamFailure) -> Response | None:
        """Return what is stored, if it may be sent after this failure; otherwise remember the failure, if it may be."""
        dealings = dealings_of(request)
        dealings.settle()
        use = dealings.use
        if use is None:
            return None
        is_allowed = failure.kind in self.plan.use_stale or (dealings.outlasts_errors and failure.kind[:5] != "http_")
        if dealings.status == EXPIRED and use.stored is not None and is_allowed:
            dealings.status = STALE
            dealings.note(failure.reason)
            try:
                return send_stored(passing, request, dealings, use.stored)
            except CannotRead:
                return None
        status = status_of(failure)
        if status in _REMEMBERED:
            self._remember(dealings, status, configured_seconds(self.plan.valid, status))
        dealings.note(f"not stored: {failure.reason}")
        return None

    def intercepted(self, request: Request, head: ResponseHead) -> None:
        """Remember an error of the upstream that a page of ours replaces."""
        dealings = dealings_of(request)
        dealings.settle()
        dealings.note("not stored: error_page replaces it")
        now = request.client.clock.wall
        fresh = freshness_of(head.lines, now, self.plan.ignored)
        if not fresh.refusal:
            seconds = fresh.valid - int(now) if fresh.valid else configured_seconds(self.plan.valid, head.status)
            self._remember(dealings, head.status, seconds)

    def _remember(self, dealings: Dealings, status: int, seconds: int) -> None:
        if seconds and dealings.stores and dealings.use is not None:
            dealings.use.remember_failure(status, dealings.request.client.clock.wall + seconds)

    def sent_elsewhere(self, request: Request) -> None:
        """Note that another location answers: nothing is stored, and nobody has to wait."""
        dealings = dealings_of(request)
        dealings.settle()
        dealings.note("not stored: upstream sent X-Accel-Redirect")
        if dealings.use is not None:
            dealings.use.end()


def dealings_of(request: Request) -> Dealings:
    """Return the dealings of a request that was passed on to be stored."""
    notes = request.cached
    assert isinstance(notes, Dealings)
    return notes


def keeping_of(plan: CachePlan, passing: Passing) -> Keeping:
    """Return how answers are kept for requests that are passed on like this; made with the first one."""
    storing = passing.for_cache
    if storing is None:
        passing.for_cache = storing = Keeping(plan, passing).passing
    keeping = storing.cache
    assert isinstance(keeping, Keeping)
    return keeping
