"""Counting a request at its end.

A request only leaves a sample: additions to the row of its location would take three times as long. The samples are counted when
the row is published, and those that are alike at once: requests of one turn of the loop have the same times.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from worker.counters.counting import CAUSE_INDEX, Counting, Sample
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
    number = counting.plan.requests[names]
    row = counting.sampled_row(REQUESTS, number, count_samples)
    counts, append = row.counts, row.samples.append

    def count(request: Request) -> None:
        status = request.status
        append((status, request.request_length, request.bytes_sent, request.client.clock.now - request.started))
        if status >= 444 or request.end_code:
            count_failure(request)

    def count_failure(request: Request) -> None:
        code = end_code_of(request)
        if not code:
            return
        cause = CAUSE_INDEX.get(code, OTHER_CAUSE)
        counts[REQUEST_CAUSES + cause] += 1
        record = request.attempts[-1].record if request.attempts else 0
        seconds = request.client.clock.now - request.started
        context = request.trace_context
        trace_id = "" if context is None else context.trace_id.decode("ascii")
        counting.note_failure(cause, request.status, number, record, seconds, request.path, trace_id)

    return counts, count


def with_exemplars(counting: Counting, names: RequestNames, count: Callable[[Request], None]) -> Callable[[Request], None]:
    """Return a function that counts a request, and keeps its trace as an example of its duration if it is sampled."""

    def count_traced(request: Request) -> None:
        count(request)
        context = request.trace_context
        if context is not None and context.sampled:
            seconds = request.client.clock.now - request.started
            counting.note_exemplar(names, context.trace_id.decode(), context.span_id.decode(), seconds)

    return count_traced


def count_samples(counts: list[int], samples: list[Sample]) -> None:
    """Count requests that are over: status, bytes received and sent, seconds of each."""
    for (status, received, sent, seconds), times in Counter(samples).items():
        counts[_WORD_OF_CODE.get(status, REQUEST_CODES + NO_CODE)] += times
        counts[RECEIVED] += received * times
        if sent:
            counts[SENT] += sent * times
        else:
            counts[DISCARDED] += times
        if status != 101:  # the time of a tunnel tells nothing of the server
            counts[TIMES + bisect_left(BOUNDS, seconds)] += times
            counts[TIME] += int(seconds * 1e6) * times
