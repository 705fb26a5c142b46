"""What the phases offer to those that come: handlers before access, releases at the end, answers that nobody has sent yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conversation import Stage, get, ok, to_client

import worker.attach
from worker.phases import answered
from wproxy.http import Request, Response


class Limit:
    """A preaccess handler that counts who is in, as limit_conn does."""

    def __init__(self) -> None:
        self.under_way = 0
        self.most = 0

    def make(self, location: Any, services: Any) -> Any:
        async def take(request: Request) -> Response | None:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            request.call_at_end(self.give_back)
            return None

        return take

    def give_back(self) -> None:
        self.under_way -= 1


@pytest.fixture
def limit(monkeypatch: Any) -> Limit:
    made = Limit()
    monkeypatch.setattr(worker.attach, "PHASES", (made.make, *worker.attach.PHASES))
    return made


@pytest.mark.parametrize("end", ["answer", "client leaves", "upstream breaks off", "bad body"])
def test_what_a_preaccess_handler_takes_is_given_back_however_the_request_ends(
    stage: Callable[..., Stage], limit: Limit, end: str
):
    s = stage()
    client = s.client()
    if end == "bad body":
        client.send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"x\r\n")
        assert client.receives_head().startswith(b"HTTP/1.1 400")
    else:
        client.send(get())
        upstream = s.peers[0].accept()
        upstream.receives_head()
        assert limit.under_way == 1
        if end == "client leaves":
            client.close()
            s.settle()
        elif end == "answer":
            upstream.send(ok())
            client.receives(to_client())
        else:
            upstream.send(ok(b"x" * 100)[:-50])
            upstream.close()
            assert client.is_closed()
    s.settle()
    assert (limit.under_way, limit.most) == (0, 1)


def test_a_handler_before_access_may_refuse_before_it(stage: Callable[..., Stage], monkeypatch: Any):
    from worker.pages import error_response

    def refusing(location: Any, services: Any) -> Any:
        async def refuse(request: Request) -> Response:
            return error_response(request, 503, request.route.server_token)

        return refuse

    monkeypatch.setattr(worker.attach, "PHASES", (refusing, *worker.attach.PHASES))
    s = stage(server='deny = ["all"]\n')
    assert s.client().send(get()).receives_head().startswith(b"HTTP/1.1 503")


def test_an_answer_comes_with_its_filters_and_nobody_has_sent_it(stage: Callable[..., Stage]):
    """A request of another's making goes through the phases of its location, as a subrequest will."""
    s = stage(locations='[http.server.location."= /page"]\nreturn = [200, "here"]\nadd_header = [["X-Made", "$uri"]]\n')
    client = s.client()
    client.send(get())  # the request that asks for another one is under way
    upstream = s.peers[0].accept()
    upstream.receives_head()
    (connection,) = s.worker.clients.connections
    parent = connection.request  # type: ignore[attr-defined]
    request = Request(parent.client, parent.line, parent.fields, s.now)
    request.server, request.path, request.internal = parent.server, b"/page", True
    request.lead_to(parent.server.locations.find(request.path, request))
    found: list[Response] = []

    async def ask() -> None:
        found.append(await answered(request))

    s.loop.spawn(ask(), "subrequest")
    s.settle()
    (response,) = found
    assert (response.fields.status, response.body) == (200, b"here")
    assert (b"X-Made", b"/page") in response.fields.lines
    client.receives_nothing()
    upstream.send(ok())
    client.receives(to_client())
