"""Counting a request at its end.

A request only leaves a sample: additions to the row of its location would take three times as long. The samples are counted when
the row is published. They are the items of one list, one request after another: a list of tuples would be looked through by the
collector of cycles, and its columns, of which sums and counts are made, would be no slices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from worker.counters.counting import CAUSE_INDEX, Counting
from wproxy.counters.buckets import how_many, into_buckets
from wproxy.counters.layout import (
    DISCARDED,
    INDEX_OF_CODE,
    NO_CODE,
    OTHER_CAUSE,
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

# Of the sample of a request: status, bytes received and sent, seconds.
SAMPLE_ITEMS = 4
TakeSample = Callable[[tuple[int, int, int, float]], None]
Write = Callable[["Request"], None]


def counting_requests(counting: Counting, names: RequestNames) -> tuple[list[int], TakeSample, Callable[[Request], None]]:
    """Return the row of locations with these names, what takes a sample of a request, and what counts one that may fail."""
    number = counting.plan.requests[names]
    row = counting.sampled_row(REQUESTS, number, count_samples)
    counts, clock = row.counts, counting.clock

    def count_failure(request: Request) -> None:
        code = end_code_of(request)
        if not code:
            return
        cause = CAUSE_INDEX.get(code, OTHER_CAUSE)
        counts[REQUEST_CAUSES + cause] += 1
        record = request.attempts[-1].record if request.attempts else 0
        seconds = clock.now - request.started
        context = request.trace_context
        trace_id = "" if context is None else context.trace_id.decode("ascii")
        counting.note_failure(cause, request.status, number, record, seconds, request.path, trace_id)

    return counts, row.samples.extend, count_failure


def with_exemplars(counting: Counting, names: RequestNames, write: Write | None) -> Write:
    """Return a function that logs a request, and keeps its trace as an example of its duration if it is sampled and counted."""

    def write_log(request: Request) -> None:
        if write is not None:
            write(request)
        context = request.trace_context
        if context is not None and context.sampled and request.route.sample is not None:
            seconds = request.client.clock.now - request.started
            counting.note_exemplar(names, context.trace_id.decode(), context.span_id.decode(), seconds)

    return write_log


def count_samples(counts: list[int], samples: list[float]) -> None:
    """Count requests that are over: status, bytes received and sent, seconds of each."""
    statuses, sent, times = samples[0::SAMPLE_ITEMS], samples[2::SAMPLE_ITEMS], samples[3::SAMPLE_ITEMS]
    for status, number in how_many(statuses):
        counts[REQUEST_CODES + INDEX_OF_CODE.get(int(status), NO_CODE)] += number
        if status == 101:  # the time of a tunnel tells nothing of the server
            times = [seconds for seconds, each in zip(times, statuses) if each != 101]
    counts[RECEIVED] += int(sum(samples[1::SAMPLE_ITEMS]))
    counts[SENT] += int(sum(sent))
    if not all(sent):
        counts[DISCARDED] += sent.count(0)
    counts[TIME] += int(sum(times) * 1e6)
    for bucket, number in into_buckets(times):
        counts[TIMES + bucket] += number
