"""The end of a request, whatever the protocol of its client: its count, its log line, the answer in place of a failure.

By guilt: a client that breaks the rules gets its status, one that has left gets nothing, a slow one is cut.
"""

from __future__ import annotations

from worker.client.clients import Clients
from worker.content.returns import CloseConnection
from worker.logs import log_request
from worker.phases import answer_error
from wproxy.failures import ClientError
from wproxy.http import Request, Response
from wproxy.regex import RegexTimedOut


def finish(clients: Clients, request: Request) -> None:
    """Count and log a request that is over, whatever the protocol of its client."""
    clients.requests += 1
    if request.body is not None:
        request.request_length += request.body.wire_bytes
        request.body.close()
    write = request.route.write_log
    if write is not None:
        write(request)
    if request.at_end is not None:
        request.end()
    # Attempts refer to their request: without the cycle no request waits for the collector.
    request.attempts = ()


async def replaced_refusal(request: Request, response: Response) -> Response:
    """Apply the location's error_page and filters to a refusal; return the refusal itself if they fail in turn."""
    try:
        page = await answer_error(request, response)
        if page.tunnel is not None:
            page.close()  # the bytes after the refused head are not for a tunnel
            return response
        change = request.route.filter
        return page if change is None else change(request, page)
    except (ClientError, RegexTimedOut, CloseConnection):
        return response


def request_left(clients: Clients, request: Request, error: BaseException) -> None:
    """End a request whose client is gone: 499 when it did not wait for an answer."""
    if not request.replied:
        request.status = 499
    request.is_cut = True
    request.end_cause = "client: closed the connection"
    log_request(request, "info", f"{error or 'client closed connection'}")
    finish(clients, request)


def request_timed_out(clients: Clients, request: Request) -> None:
    """End a request whose response the client did not take in time."""
    request.is_cut = True
    location = request.location
    request.end_cause = f"client: it did not take the response{location.described('send_timeout')}"
    text = "client timed out (110: Connection timed out) while sending response to client"
    log_request(request, "info", text, setting=location.described("send_timeout"))
    finish(clients, request)
