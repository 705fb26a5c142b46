"""Counting a request at its end: a few additions to the row of its location."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING

from worker.counters.counting import CAUSE_INDEX, Counting
from wproxy.counters.buckets import BOUNDS
from wproxy.counters.layout import (
    CODES,
    DISCARDED,
    NO_CODE,
    OTHER_CAUSE,
    OTHER_CODES,
    RECEIVED,
    REQUEST_CAUSES,
    REQUEST_CODES,
    REQUESTS,
    SENT,
    TIME,
    TIMES,
)
from wproxy.end_causes import end_code_of

if TYPE_CHECKING:
    from wproxy.counters.plan import RequestNames
    from wproxy.http import Request

_WORD_OF_CODE = {code: REQUEST_CODES + index for index, code in enumerate(CODES)}
_WORD_OF_CODE |= {code: REQUEST_CODES + OTHER_CODES + code // 100 - 1 for code in range(100, 600) if code not in _WORD_OF_CODE}


def counting_requests(counting: Counting, names: RequestNames) -> tuple[list[int], Callable[[Request], None]]:
    """Return the row of the locations with these names, and the function that counts a request of theirs that is over."""
    row = counting.plan.requests[names]
    counts = counting.row(REQUESTS, row)

    def count(request: Request) -> None:
        status = request.status
        counts[_WORD_OF_CODE.get(status, REQUEST_CODES + NO_CODE)] += 1
        counts[RECEIVED] += request.request_length
        sent = request.bytes_sent
        if sent:
            counts[SENT] += sent
        else:
            counts[DISCARDED] += 1
        if request.end_code or status >= 444:
            count_failure(request)
        if status == 101:
            return  # the time of a tunnel tells nothing of the server
        seconds = request.client.clock.now - request.started
        if seconds:
            counts[TIMES + bisect_left(BOUNDS, seconds)] += 1
            counts[TIME] += int(seconds * 1e6)
        else:
            counts[TIMES] += 1

    def count_failure(request: Request) -> None:
        code = end_code_of(request)
        if not code:
            return
        cause = CAUSE_INDEX.get(code, OTHER_CAUSE)
        counts[REQUEST_CAUSES + cause] += 1
        record = request.attempts[-1].record if request.attempts else 0
        seconds = request.client.clock.now - request.started
        counting.note_failure(cause, request.status, row, record, seconds, request.path)

    return counts, count
