"""auth_request: access by the answer of another location of ours (subrequests.md §2; nginx: ngx_http_auth_request_module.c).

2xx lets the request in. 401 and 403 refuse it, and a 401 brings the WWW-Authenticate of that answer along. With anything else
nobody can tell, and the answer is 500. The body of the answer is dropped.
"""

from __future__ import annotations

from worker.access import Decide, Declined
from worker.logs import log_request
from worker.pages import error_response
from worker.rewrite import assign_value
from worker.services import Services
from worker.subrequest import Cycle, Subrequest, answered_inside
from wproxy.config.model import Location
from wproxy.http import Request, Response


def by_asking(location: Location, services: Services) -> Decide | None:
    """Return the decision of the location that auth_request names; None without auth_request."""
    path = location.auth_request
    if path is None:
        return None
    learned = location.auth_request_set
    place = location.origin("auth_request")

    async def decide(request: Request) -> Response | Declined | None:
        try:
            asking = Subrequest(request, path, made_by="auth_request")
        except Cycle as cycle:
            log_request(request, "error", str(cycle), code="conf_cycle")
            request.ends("conf_cycle", str(cycle))
            return error_response(request, 500, request.route.server_token)
        try:
            answer = await answered_inside(asking)
            answer.close()
            fields = asking.response_fields = answer.fields
            asking.status = fields.status
            for name, template in learned:
                assign_value(request, name, template.evaluate(asking))
            return judge(request, answer, place, "sending to client" if asking.attempts else "")
        finally:
            asking.finish()

    return decide


def judge(request: Request, answer: Response, place: str, doing: str) -> Response | None:
    """Return the refusal that an answer asks for; None for 2xx. doing: nginx's activity, for the log."""
    fields, status = answer.fields, answer.fields.status
    if 200 <= status < 300:
        return None
    request.ends("deny_auth", f"client: auth_request was answered with {status} ({place})")
    if status not in (401, 403):
        log_request(
            request, "error", f"auth request unexpected status: {status}" + (doing and f" while {doing}"), code="deny_auth"
        )
        return error_response(request, 500, request.route.server_token)
    challenges = [(b"WWW-Authenticate", value) for name, value in fields.lines if name.lower() == b"www-authenticate"]
    return error_response(request, status, request.route.server_token, lines=tuple(challenges) if status == 401 else ())
