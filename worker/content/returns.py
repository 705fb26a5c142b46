"""`return`: answering from the configuration (routing.md §3.7).

A location that does nothing but return a constant text has its answers ready: 61,000 instructions became 25,000 per request.
"""

from __future__ import annotations

from worker.pages import error_response, respond, without_validators
from wproxy.conditions import conditions_of
from wproxy.config.model import Location
from wproxy.directives.rewrite import REDIRECTS, Return
from wproxy.http import FieldsLike, ReadyResponse, Request, RequestLineLike, Response, has_no_body, is_interim
from wproxy.route import Again, Answer, AnswerAgain
from wproxy.template import checked


class CloseConnection(Exception):
    """Close without an answer, and log `status`: 444, or 408 and 499 if the configuration returns them itself."""

    def __init__(self, status: int = 444) -> None:
        super().__init__()
        self.status = status


CLOSING = (408, 444, 499)


def answer_return(request: Request, value: Return) -> Response:
    """Answer a `return`. Raises CloseConnection for 408, 444 and 499 without text, ClientError if a variable breaks the head.

    Without a text a status from 400 on is an error, with a page; any other is an empty response.
    """
    status, template = value
    location = request.location
    server = request.route.server_token
    if template is None or (template.constant == b"" and status >= 400):
        if status in CLOSING:
            raise CloseConnection(status)
        if status >= 400:
            return error_response(request, status, server)
        text = b""
    else:
        request.status = status  # the text may read it
        text = template.evaluate(request)
    if status in REDIRECTS:
        return error_response(request, status, server, checked(text))
    changed = without_validators(request, server) if status == 200 else None
    return changed or respond(request, status, text, location.files.type_of(request.path), server)


def returning_at_once(location: Location, drive: Answer) -> tuple[Answer, Again | None] | None:
    """Return how a location answers whose only step is a constant `return`: any request, and one that comes again.

    None for any other location. drive: answers the requests that need more than that.
    """
    if len(location.steps) != 1 or not isinstance(location.steps[0], Return):
        return None
    status, template = location.steps[0]
    text = b"" if template is None else template.constant
    if text is None or (not text and status >= 400) or status in REDIRECTS or is_interim(status):
        return None
    files, is_bodiless, is_conditional = location.files, has_no_body(status), status == 200
    body = b"" if is_bodiless else text
    # For GET, by Content-Type, of which there are no more than the configuration has.
    ready: dict[bytes, ReadyResponse] = {}

    async def answer(request: Request) -> Response:
        if request.body is not None or request.trace is not None or (is_conditional and conditions_of(request.fields)):
            return await drive(request)
        content_type = files.type_of(request.path)
        response = ready.get(content_type)
        if response is None:
            fields = respond(request, status, text, content_type, request.route.server_token).fields
            response = ready[content_type] = ReadyResponse(fields, body, bodiless=is_bodiless)
        if request.method == b"HEAD":
            return Response(response.fields, bodiless=True)
        # Filters may change a response.
        return response if request.route.filter is None else Response(response.fields, body, bodiless=is_bodiless)

    def again(line: RequestLineLike, fields: FieldsLike, by_kernel: bool) -> AnswerAgain | None:
        # The first time `answer` has looked for conditions.
        if is_conditional and fields.cache.get("conditions", fields) is not None:
            return None
        path = line.path
        response = ready.get(files.type_of(path) if 46 in path else files.default_type)  # 46 is "."
        return None if response is None else (response.fields, body, None)

    return answer, None if is_bodiless or status >= 400 else again
