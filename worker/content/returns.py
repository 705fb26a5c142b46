"""`return`: answering from the configuration (routing.md §3.7)."""

from __future__ import annotations

from worker.pages import error_response, respond, without_validators
from wproxy.directives.rewrite import REDIRECTS, Return
from wproxy.http import Request, Response
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
        text = template.evaluate(request)
    if status in REDIRECTS:
        return error_response(request, status, server, checked(text))
    changed = without_validators(request, server) if status == 200 else None
    return changed or respond(request, status, text, location.files.type_of(request.path), server)
