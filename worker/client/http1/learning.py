"""The choice, for each location with an upstream, of what repeats its exchanges."""

from __future__ import annotations

from worker.client.http1.connection import Connection
from worker.client.http1.repeated_exchange import has_come, learn_exchange
from worker.client.http1.repeated_passage import is_passed_on, may_pass_on, pass_on
from worker.client.http1.repeated_visit import note_visit
from worker.client.http1.varied_exchange import learn_varied_exchange
from worker.http1.response import ResponseHead
from worker.upstream.passing import Passing
from worker.upstream.protocols.http1 import HTTP1
from wproxy.http import Exchange, Request, Response
from wproxy.route import Learn, Repetition


def learning_exchanges(passing: Passing) -> tuple[Learn | None, Learn | None]:
    """Return what notes an exchange of a location, so that it can be repeated, and what notes one of a form.

    None where each request is looked at anew.
    """
    if (
        not passing.opens_plainly
        or passing.manner is None
        or passing.reshape is not None
        or passing.settings.has_cache
        or passing.group.sticky is not None
    ):
        return None, None
    if passing.protocol.module == "fastcgi" and not passing.is_pooled:
        from worker.client.http1.repeated_fastcgi import learning_fastcgi  # loaded only where it is used

        return learning_fastcgi(passing), None
    if passing.protocol is not HTTP1 or not passing.is_pooled or not passing.group.keepalive:
        return None, None
    passes_on = may_pass_on(passing)

    def learn(exchange: Exchange, request: Request, response: Response) -> Repetition | None:
        assert isinstance(exchange, Connection)
        if not request.keepalive:
            note_visit(passing, exchange, request, response)
            return None
        if request.fields.form is not None:
            return learn_varied(exchange, request, response)
        passage = pass_on if passes_on and is_passed_on(passing, exchange, request) else None
        return learn_exchange(passing, exchange, request, response, passage)

    def learn_varied(exchange: Exchange, request: Request, response: Response) -> Repetition | None:
        assert isinstance(exchange, Connection)
        answer = request.upstream_head
        if not isinstance(answer, ResponseHead) or not has_come(answer):
            return None  # the answers to such requests may well differ each time
        passage = pass_on if passes_on and is_passed_on(passing, exchange, request) else None
        return learn_varied_exchange(passing, exchange, request, response, passage)

    return learn, learn_varied
