"""`wproxy explain --last` of a running server: whichever worker served a request, and after a reload and a killed worker."""

from __future__ import annotations

import json
import os
import signal

import pytest
from harness import Wproxy, until
from wire import Wire

from master.api_client import ApiClient
from wproxy.upstream_command import CannotChange

pytestmark = pytest.mark.whole

HTTP = """
explain_ring = true
explain_secret = "0123456789abcdef0123456789abcdef"
[[http.server]]
listen = "127.0.0.1:{port}"
[http.server.location]
"/" = { return = [200, "$pid"], add_header = [["X-Id", "$request_id"]] }
"""


def test_the_decisions_of_requests_outlive_their_workers(tmp_path):
    with Wproxy(tmp_path, HTTP) as front:
        ids: dict[str, str] = {}

        def has_both() -> bool:
            with Wire(front.port) as wire:
                answer = wire.request("GET", "/here?a=1")
                ids[answer.body.decode()] = answer["x-id"] or ""
            return len(ids) == 2

        api = ApiClient(str(front.directory / "run/wproxy-api.sock"))

        def are_recorded(*wanted: str) -> bool:
            """A request is recorded when its answer has gone."""
            return set(wanted) <= {one["request_id"] for one in api.ask("GET", "/wproxy/requests")}

        until(has_both, "a request to each worker")
        until(lambda: are_recorded(*ids.values()), "both are recorded")
        victim = next(iter(ids))
        os.kill(int(victim), signal.SIGKILL)
        assert front.reload().code == 0
        said = front.command("explain", "--last", ids[victim])
        assert said.code == 0, said
        assert "request    GET /here?a=1 HTTP/1.1" in said.output
        assert "location   / at" in said.output

        assert are_recorded(*ids.values())
        with pytest.raises(CannotChange, match="is not among the last ones"):
            api.ask("GET", f"/wproxy/requests/{'0' * 32}")

        name, _, value = front.command("explain", "--sign", "60").output.strip().partition(": ")
        with Wire(front.port) as wire:
            shown = json.loads(wire.request("GET", "/", fields=((name, value),))[name.lower()] or "")
        until(lambda: are_recorded(shown["request_id"]), "the last one is recorded")
        assert api.ask("GET", f"/wproxy/requests/{shown['request_id']}")["status"] == 200
