"""What a page of metrics about a thousand peers costs a worker: processor time, and how long the loop waits for each piece."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import pytest
from conversation import Stage

from worker.counters.page import write_page
from worker.counters.reading import Reading
from worker.services import Services, make_services
from wproxy.counters.exposition import Exposition
from wproxy.directives.metrics import Metrics

PEERS = 1000
# 50 ms and 5 ms are wanted; a slow machine has twice that.
MOST, LONGEST_PIECE = 0.1, 0.01

CONFIGURATION = """
error_log = [["{{directory}}/error.log", "info"]]
[http]
access_log = [["{{directory}}/access.log", "test"]]
[http.log_format]
test = '{{log_format}}'
[http.upstream.app]
zone = ["app", "1m"]
server = [{servers}]
[[http.server]]
listen = "127.0.0.1:8080"
[http.server.location."/"]
proxy_pass = "http://app"
[http.server.location."/metrics"]
metrics = "{compat}"
"""


@pytest.mark.parametrize("compat", ["oss", "plus"])
def test_a_thousand_peers(stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch, compat: str):
    made: list[Services] = []

    def make_and_keep(*arguments: Any) -> Services:
        made.append(make_services(*arguments))
        return made[-1]

    monkeypatch.setattr("worker.run.make_services", make_and_keep)
    servers = ", ".join(f'"10.0.{number // 250}.{number % 250 + 1}:80"' for number in range(PEERS))
    stage(peers=[], text=CONFIGURATION.format(servers=servers, compat=f"compat={compat}"), is_shared=True)
    tries = [measured(made[0], compat) for _ in range(5)]
    whole, longest = min(whole for whole, _ in tries), min(longest for _, longest in tries)
    assert whole < MOST, f"{whole * 1000:.1f} ms"
    assert longest < LONGEST_PIECE, f"{longest * 1000:.1f} ms without a turn of the loop"


def measured(services: Services, compat: str) -> tuple[float, float]:
    """Return the processor time of a page, and of its longest piece."""
    assert services.counting is not None
    settings = Metrics(compat=compat)
    page = Exposition(False, settings.bounds)
    gc.disable()  # it would go through what other tests have left, of which a worker has nothing
    try:
        begun = last = time.process_time()
        longest = 0.0
        for _ in write_page(Reading(services, services.counting, settings, page)):
            now = time.process_time()
            longest, last = max(longest, now - last), now
        whole = time.process_time() - begun
    finally:
        gc.enable()
    assert page.take().count("wproxy_upstream_peer_up{") == PEERS
    return whole, longest
