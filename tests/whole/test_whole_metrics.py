"""metrics of a real server: through reloads and killed workers, with TLS and HTTP/2, and while a client is slow."""

import os
import re
import signal
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Wproxy, until
from wire import Wire, ask

from bench.ports import free_port
from tests.authority import authority

pytestmark = pytest.mark.whole

SECURE, DEAD = free_port(), free_port()
HTTP = f"""
http2 = true
[http.upstream.app]
zone = ["app", "64k"]
server = {{ "127.0.0.1:{{port}}" = {{}}, "127.0.0.1:{DEAD}" = {{}} }}
[[http.server]]
listen = ["127.0.0.1:{{port}}", ["127.0.0.1:{SECURE}", "ssl"]]
server_name = "one.test"
ssl_certificate = "one.test.pem"
ssl_certificate_key = "one.test.key"
location."/" = {{ return = [200, "ok"] }}
location."/app" = {{ proxy_pass = "http://app/" }}
location."/metrics" = {{ metrics = "zones=locations" }}
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Wproxy]:
    with tempfile.TemporaryDirectory(prefix="wproxy-test-", dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        root = authority()
        root.issue("one.test", ["one.test"]).write(directory, "one.test")
        (directory / "root.pem").write_bytes(root.pem)
        with Wproxy(directory, HTTP, workers=2) as wproxy:
            yield wproxy


def scrape(served: Wproxy) -> dict[str, float]:
    """Return the samples of a page, by their series."""
    page = ask(served.port, "/metrics").body.decode()
    return {series: float(value) for series, value in re.findall(r"^(\w[^#\n]*) ([0-9.e+-]+)$", page, re.MULTILINE)}


def counters(found: dict[str, float]) -> dict[str, float]:
    return {series: value for series, value in found.items() if re.match(r"\w+_(total|count|bucket|sum)\b", series)}


def total(found: dict[str, float], beginning: str) -> float:
    return sum(value for series, value in found.items() if series.startswith(beginning))


def test_no_counter_falls_and_no_request_is_lost_by_a_reload(served):
    asked = 'wproxy_http_requests_total{server="one.test",location="/"'
    before = scrape(served)
    fallen, stop = [], threading.Event()

    def watch() -> None:
        last = counters(before)
        while not stop.is_set():
            now = counters(scrape(served))
            fallen.extend((series, last[series], value) for series, value in now.items() if value < last.get(series, 0))
            last.update(now)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        for number in range(40):
            assert ask(served.port, "/").status == 200
            if number == 20:
                served.reload()
    finally:
        stop.set()
        watching.join()
    assert not fallen
    after = until(lambda: total(found := scrape(served), asked) - total(before, asked) >= 40 and found, "workers publish")
    assert total(after, asked) - total(before, asked) == 40
    assert after['wproxy_config_reloads_total{result="ok"}'] - before['wproxy_config_reloads_total{result="ok"}'] == 1
    assert after["wproxy_config_generation"] == before["wproxy_config_generation"] + 1


def test_a_killed_worker_takes_nothing_back_and_leaves_no_gauge(served):
    before = scrape(served)
    with Wire(served.port) as open_connection:
        assert open_connection.request("GET", "/").status == 200
        for pid in served.worker_pids():
            os.kill(pid, signal.SIGKILL)
    respawned = "wproxy_worker_respawns_total"
    serving = 'wproxy_workers{state="serving"}'

    def successors() -> dict[str, float] | None:
        found = scrape(served) if served.is_ready() else None
        return found if found and found[respawned] - before[respawned] == 2 and found[serving] == 2 else None

    found = until(successors, "successors")
    fallen = {series: (before[series], value) for series, value in counters(found).items() if value < before.get(series, 0)}
    assert not fallen
    states = ("reading", "writing", "waiting", "tunnel")
    assert sum(found[f'wproxy_connections{{state="{state}"}}'] for state in states) <= 3, (
        "the one that asks, and perhaps its last"
    )


def test_handshakes_and_streams(served):
    before = scrape(served)
    root = str(served.directory / "root.pem")
    command = ["curl", "-s", "--cacert", root, "--resolve", f"one.test:{SECURE}:127.0.0.1", f"https://one.test:{SECURE}/?[1-3]"]
    subprocess.run(command, check=True, capture_output=True, timeout=20)
    plain = ssl.create_default_context()  # does not know our authority
    with pytest.raises(ssl.SSLError), Wire(SECURE) as wire:
        plain.wrap_socket(wire.sock, server_hostname="one.test")
    names = ('{server="one.test",result="ok",resumed="no"}', '{server="one.test",result="failed",resumed="no"}')

    def grown(found: dict[str, float], name: str) -> float:
        return found[name] - before.get(name, 0)

    found = until(
        lambda: all((found := scrape(served)).get(f"wproxy_tls_handshakes_total{name}") for name in names) and found, "counted"
    )
    assert [grown(found, f"wproxy_tls_handshakes_total{name}") for name in names] == [1, 1]
    assert grown(found, 'wproxy_tls_handshake_seconds_count{server="one.test"}') == 1
    assert grown(found, "wproxy_http2_streams_total") == 3
    expiry = found['wproxy_tls_certificate_expiry_timestamp_seconds{server="one.test",file="one.test.pem"}']
    assert expiry > found["wproxy_start_time_seconds"]


def test_a_dead_peer_is_told_by_all_workers_together(served):
    for _ in range(4):
        assert ask(served.port, "/app").status == 200
    peer = f'{{upstream="app",peer="127.0.0.1:{DEAD}"'
    failures = f'wproxy_upstream_failures_total{peer},cause="up_refused"}}'
    retries = 'wproxy_upstream_retries_total{upstream="app",cause="up_refused"}'
    found = until(
        lambda: all((found := scrape(served)).get(series) for series in (failures, retries)) and found, "a failure and its retry"
    )
    assert found[f"wproxy_upstream_peer_up{peer}}}"] == 0
