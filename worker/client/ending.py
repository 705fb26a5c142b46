"""The end of a request, whatever the protocol of its client: its count, its log line, the answer in place of a failure.

By guilt: a client that breaks the rules gets its status, one that has left gets nothing, a slow one is cut.
"""

from __future__ import annotations

from worker.client.clients import Clients
from worker.content.returns import CloseConnection
from worker.logs import log_request
from worker.loop import READ, give_way, park
from worker.phases import answer_error
from worker.stream import CHUNK, Stream
from wproxy.config.model import Location
from wproxy.failures import ClientError, ClientGone, Drained, TimedOut
from wproxy.http import Request, Response
from wproxy.regex import RegexTimedOut


def finish(clients: Clients, request: Request) -> None:
    """Count and log a request that is over, whatever the protocol of its client."""
    clients.requests += 1
    body = request.body
    route = request.route
    sample = route.sample
    write = route.write_log
    if body is not None and (write is not None or sample is not None or request.at_end is not None):
        request.request_length += body.wire_bytes  # they are the readers of this
    if sample is not None:
        status = request.status
        sample((status, request.request_length, request.bytes_sent, request.client.clock.now - request.started))
        if (status >= 444 or request.end_code) and route.count_failure is not None:
            route.count_failure(request)
    if write is not None:
        write(request)
    if body is not None and body.after is None:
        body.close()  # there may be a file, or more to come
    releases = request.at_end
    if releases is not None:
        # As in `request.end`, without the call.
        request.at_end = None
        for release in releases:
            release()
    # Attempts refer to their request: without the cycle no request waits for the collector.
    request.attempts = ()


def record_if_refused(request: Request) -> None:
    """Begin to record the decisions about a request that breaks the rules, if it is refused before anybody listens to it."""
    record = request.route.record
    if record is not None and request.trace is None and not request.replied:
        record(request)


async def read_away(stream: Stream, location: Location) -> None:
    """End our side, then read and drop bytes until the client ends its own, within lingering_time.

    Incoming bytes would make the system reset a connection that is closed, and the client might lose the answer.
    """
    clock = stream.loop.clock
    deadline = clock.now + location.lingering_time
    try:
        stream.end_sending()
        while clock.now < deadline:
            try:
                data = stream.recv(CHUNK)
            except BlockingIOError:
                data = None
            if data is None:
                await park(stream, READ, location.lingering_timeout)
            elif data:
                await give_way()
            else:
                return
    except (OSError, TimedOut):
        return


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


def departure(request: Request, reason: str) -> ClientGone:
    """Return what to raise in the task of a request whose client is gone."""
    attempts = request.attempts
    ends_upstream = bool(attempts) and attempts[-1].response_time is None
    more = f", so upstream connection is closed too while {attempts[-1].doing}" if ends_upstream else ""
    return ClientGone(f"{reason}{more}")


def request_left(clients: Clients, request: Request, error: BaseException) -> None:
    """End a request whose client is gone: 499 when it did not wait for an answer."""
    if not request.replied:
        request.status = 499
    request.is_cut = True
    if isinstance(error, Drained):
        code = error.code
        request.ends(code, str(error))
    else:
        code = "cl_left_late" if request.replied else "cl_left"
        request.ends(code, "client: closed the connection")
    log_request(request, "info", f"{error or 'client closed connection'}", code=code)
    finish(clients, request)


def request_lost(clients: Clients, request: Request) -> None:
    """End a request whose task ends by a bug of ours, which the loop reports."""
    request.is_cut = True
    request.status = request.status or 500
    request.ends("bug", "a bug of wproxy ended its task: see the error log")
    finish(clients, request)


def request_timed_out(clients: Clients, request: Request) -> None:
    """End a request whose response the client did not take in time."""
    request.is_cut = True
    setting = request.location.described("send_timeout")
    request.ends("cl_stalled", f"client: it did not take the response{setting}")
    text = "client timed out (110: Connection timed out) while sending response to client"
    log_request(request, "info", text, setting, "cl_stalled")
    finish(clients, request)
