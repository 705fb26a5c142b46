"""`return`: answering from the configuration (routing.md §3.7)."""

from __future__ import annotations

from worker.content.pages import error_response, respond
from worker.upstream.protocols.http import checked
from wproxy.directives.rewrite import REDIRECTS, Return
from wproxy.http import Request, Response


class CloseConnection(Exception):
    """`return 444`: close without a word."""


def answer_return(request: Request, value: Return) -> Response:
    """What a `return` answers. Raises CloseConnection for 444, ClientError when a variable would break the head."""
    status, template = value
    if status == 444:
        raise CloseConnection
    location = request.location
    server = location.server_token
    if template is None:
        return error_response(request, status, server)
    text = template.evaluate(request)
    if status in REDIRECTS:
        return error_response(request, status, server, checked(text))
    return respond(request, status, text, location.files.type_of(request.path), server)
