"""An upstream's answer is stored while it is passed on, if it may be (nginx: ngx_http_upstream_send_response)."""

from __future__ import annotations

from worker.cache.dealings import Dealings
from worker.cache.freshness import Freshness, configured_seconds, freshness_of
from worker.cache.heads import stored_form
from worker.cache.hits import StoredFields, judged_response
from worker.cache.plan import CachePlan, is_met
from worker.cache.storing import Storing
from worker.cache.writing import Writing
from worker.http1.response import ResponseHead
from worker.services import Services
from worker.temporary_files import DiskTrouble
from worker.upstream.proxied_body import ProxiedBody
from wproxy.cache.header import BadFile, Header
from wproxy.conditions import conditions_of
from wproxy.dates import parse_http_date
from wproxy.http import Request, Response, has_no_body

# The statuses whose validators describe what is stored.
_VALIDATED = frozenset((200, 206))


def store(services: Services, dealings: Dealings, request: Request, response: Response) -> Response:
    """Return the response as the client gets it: it is stored on its way, if it may be."""
    head = request.upstream_head
    assert isinstance(head, ResponseHead)
    fresh = freshness_of(head.lines, request.client.clock.wall, dealings.plan.ignored)
    header = header_for(dealings, request, head, fresh)
    writing = None if isinstance(header, str) else begin(dealings, request, head, header)
    size, written = max(response.fields.content_length, 0), None
    if isinstance(header, str):
        dealings.note(f"not stored: {header}")
    try:
        if writing is not None:
            writing.write(response.body)
            if response.source is not None:
                assert isinstance(response.source, ProxiedBody)
                at_hand = len(response.body)
                response.source = Storing(dealings, response.source, writing, at_hand, services.loop, services.clients)
            elif writing.finish():
                written = writing.body_size
    except (DiskTrouble, OSError) as trouble:
        dealings.complain(trouble)
    if not isinstance(response.source, Storing):  # which does the same at its end
        dealings.count(size, written)
        if writing is not None:
            writing.abandon()
        if dealings.use is not None:
            dealings.use.end()  # those who wait need not do so any longer
    return response if fresh.refusal else for_the_client(dealings, request, response)


def header_for(dealings: Dealings, request: Request, head: ResponseHead, fresh: Freshness) -> Header | str:
    """Return the header of the file for an answer; or the reason why the answer is not stored."""
    plan = dealings.plan
    condition = is_met(plan.no_cache, request)
    if condition is not None:
        return f'{plan.settings.module}_no_cache "{condition.text}"'
    if not plan.buffering.applies(head):
        return "it is not buffered"
    if fresh.refusal:
        return fresh.refusal
    if would_answer_get(plan, request, head):
        return "it answers HEAD, and nothing in it would keep it from answering GET without a body"
    now = request.client.clock.wall
    valid = fresh.valid
    if not valid:
        seconds = configured_seconds(plan.valid, head.status)
        if not seconds:
            return f"neither the upstream nor {plan.settings.module}_cache_valid says how long a {head.status} is valid"
        valid = int(now) + seconds
    is_validated = head.status in _VALIDATED
    date = head.get(b"last-modified") if is_validated else None
    modified = None if date is None else parse_http_date(date)
    return Header(
        valid_sec=valid,
        valid_msec=int(now * 1000) % 1000,
        updating_sec=fresh.updating,
        error_sec=fresh.error,
        last_modified=-1 if modified is None else modified,
        date=int(now),
        etag=head.get(b"etag") or b"" if is_validated else b"",
        vary=fresh.vary,
        variant=dealings.variant_of(fresh.vary) if fresh.vary else bytes(16),
    )


def would_answer_get(plan: CachePlan, request: Request, head: ResponseHead) -> bool:
    """Whether this answer to HEAD could be that to a GET: they have one key, and no length says that the body is missing."""
    return (
        request.method == b"HEAD"
        and not plan.converts_head
        and not plan.keys_method
        and head.content_length < 0
        and not has_no_body(head.status)
    )


def begin(dealings: Dealings, request: Request, head: ResponseHead, header: Header) -> Writing | None:
    """Begin a file; None, logged, if that is not possible."""
    use = dealings.use
    assert use is not None
    try:
        return use.begin(header, stored_form(dealings.plan.settings.module, head))
    except DiskTrouble as trouble:
        dealings.complain(trouble)
    except BadFile as trouble:
        dealings.note(f"not stored: the head {trouble}")
    return None


def for_the_client(dealings: Dealings, request: Request, response: Response) -> Response:
    """Return what the client gets of an answer that is complete: 304 or 412 if its conditions say so."""
    if response.fields.status != 200:
        # Only a stored 200 is served in parts, whatever the upstream says (nginx: ngx_http_upstream_copy_allow_ranges).
        response.fields = StoredFields(response.fields, False).fields
        return response
    if request.main is not None:
        return response
    known = StoredFields(response.fields, response.fields.content_length >= 0)
    response.fields, dealings.has_ranges = known.fields, known.has_ranges
    if known.has_ranges:
        known.fields.last_lines = ()  # a filter serves the part, when it is known what the other filters leave of the body
    conditions = conditions_of(request.fields)
    judged = None if conditions is None else judged_response(request, known.fields, known.etag, known.modified, conditions)
    if judged is None:
        return response
    response.close()  # what stores it goes on
    return judged
