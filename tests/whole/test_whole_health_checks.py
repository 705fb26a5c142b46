"""Active health checks with four workers: one of them checks, all obey, and neither kills nor reloads change that."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import psutil
import pytest
from harness import Wproxy, until
from recorder import PLAIN, Conversation, Received, Recorder
from wire import Wire

pytestmark = pytest.mark.whole

WORKERS = 4
INTERVAL = 0.1
BROKEN = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\ndown"


class Checked:
    """A backend that is checked. checks: (monotonic seconds, pid of the worker that asked) of each; asked: by clients."""

    def __init__(self, recorder: Recorder) -> None:
        self.port = recorder.port
        self.checks: list[tuple[float, int]] = []
        self.asked = 0
        self.is_well = True
        recorder.reply = self.reply

    def reply(self, conversation: Conversation, received: Received) -> None:
        if received.target != "/health":
            self.asked += 1
            conversation.send(PLAIN)
            return
        self.checks.append((time.monotonic(), int(received.all("x-worker")[0])))
        conversation.send(PLAIN if self.is_well else BROKEN)

    def wait_for_checks(self, count: int = 1) -> None:
        """Until there were so many more."""
        before = len(self.checks)
        until(lambda: len(self.checks) >= before + count, f"{count} checks")


@pytest.fixture
def backends() -> Iterator[tuple[Checked, Checked]]:
    with Recorder() as first, Recorder() as second:
        yield Checked(first), Checked(second)


def configuration(backends: tuple[Checked, Checked], parameters: str = "") -> str:
    first, second = backends
    return f"""
        [http.upstream.pool.server]
        "127.0.0.1:{first.port}" = {{ max_fails = 0 }}
        "127.0.0.1:{second.port}" = {{ max_fails = 0 }}
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        add_header = [["X-Worker", "$pid", "always"]]
        [http.server.location."/"]
        proxy_pass = "http://pool"
        proxy_set_header = {{ X-Worker = "$pid" }}
        health_check = ["interval=100ms", "uri=/health"{parameters}]
        """


def ask_all_workers(front: Wproxy, rounds: int = 2) -> list[int]:
    """Requests, until each worker has had so many: their statuses."""
    served: dict[int, int] = {}
    statuses = []

    def all_have() -> bool:
        wire = Wire(front.port)
        answer = wire.request("GET", "/")
        wire.close()
        pid = int(answer.all("x-worker")[0])
        served[pid] = served.get(pid, 0) + 1
        statuses.append(answer.status)
        # Those of this moment: one that was killed may have been there a moment ago.
        workers = front.worker_pids()
        return len(workers) == WORKERS and all(served.get(pid, 0) >= rounds for pid in workers)

    until(all_have, "requests in each worker", 20)
    return statuses


def checker(backend: Checked) -> int:
    """The worker that checks now."""
    backend.wait_for_checks()
    return backend.checks[-1][1]


def test_one_worker_checks_for_all_and_kills_and_reloads_change_nothing(start, backends):
    sick, well = backends
    front = start(configuration(backends), workers=WORKERS)

    # One worker checks, and no more often than it should.
    sick.wait_for_checks(6)
    for backend in backends:
        assert len({pid for _, pid in backend.checks}) == 1, "one worker checks"
        duration = backend.checks[-1][0] - backend.checks[0][0]
        assert len(backend.checks) <= duration / INTERVAL + 2
    assert ask_all_workers(front).count(200) == sick.asked + well.asked
    assert sick.asked and well.asked

    # What it finds holds for all of them.
    sick.is_well = False
    line = front.error_logged("peer is unhealthy while checking status code")
    assert f'health check "" of peer 127.0.0.1:{sick.port} in upstream "pool" (status 503; health_check: ' in line
    before = sick.asked

    def nobody_is_sent_there() -> bool:
        statuses = ask_all_workers(front)
        return set(statuses) == {200} and sick.asked == before

    assert nobody_is_sent_there()

    # It is killed: another one checks, and nobody forgets what was found.
    for _ in range(2):
        pid = checker(sick)
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        until(lambda gone=pid: sick.checks[-1][1] != gone, "checks by another worker")
        assert sick.checks[-1][0] - killed < 5, "some tenths of a second, unless the machine is very busy"
        assert nobody_is_sent_there()

    # A reload takes the checks to a worker of the new generation, and leaves what was found.
    old = front.worker_pids()
    assert front.reload().code == 0
    assert nobody_is_sent_there()
    until(lambda: sick.checks[-1][1] not in old, "checks by a new worker")
    since = len(sick.checks)
    sick.wait_for_checks(4)
    assert len({pid for _, pid in sick.checks[since:]}) == 1
    assert sick.checks[-1][1] in front.worker_pids()
    assert nobody_is_sent_there()
    assert front.error_log.count("peer is unhealthy") == 1

    # And it is back for all.
    sick.is_well = True
    front.error_logged("peer is healthy while checking status code")
    before = well.asked
    statuses = ask_all_workers(front, 4)
    assert set(statuses) == {200}
    assert sick.asked > 0 and well.asked - before < len(statuses)


def test_mandatory_peers_get_nothing_before_they_have_passed_and_with_persistent_a_reload_is_not_felt(start, backends):
    first, second = backends
    first.is_well = second.is_well = False
    front = start(configuration(backends, ', "mandatory", "persistent"'), workers=WORKERS)
    front.error_logged("peer is unhealthy", 2)
    assert set(ask_all_workers(front)) == {502}
    first.is_well = True
    front.error_logged("peer is healthy")
    assert set(ask_all_workers(front)) == {200}
    assert second.asked == 0

    for pid in front.worker_pids():
        os.kill(pid, signal.SIGKILL)
    assert set(ask_all_workers(front)) == {200}
    assert front.reload().code == 0
    assert set(ask_all_workers(front)) == {200}
    assert second.asked == 0

    # The new set of checks: who was unhealthy has to pass all of them, who was healthy none.
    more = '\n[http.server.location."/more"]\nproxy_pass = "http://pool"\nproxy_set_header = { X-Worker = "$pid" }\n'
    assert front.reload(front.http + more + 'health_check = ["interval=100ms", "uri=/health"]\n').code == 0
    assert set(ask_all_workers(front)) == {200}
    assert second.asked == 0
    second.is_well = True
    front.error_logged("peer is healthy", 3)
    until(lambda: ask_all_workers(front) and second.asked > 0, "requests at the peer that is back")


def test_a_worker_that_is_told_to_leave_hands_over_while_it_serves_on(start, backends):
    first, _ = backends
    front = start(configuration(backends), workers=WORKERS)
    pid = checker(first)
    wire = Wire(front.port)
    while int(wire.request("GET", "/").all("x-worker")[0]) != pid:
        wire.close()
        wire = Wire(front.port)
    wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nhal")
    until(lambda: front.status()["active"] >= 1, "the request under way")
    psutil.Process(pid).send_signal(signal.SIGQUIT)
    until(lambda: first.checks[-1][1] != pid, "checks by another worker")
    assert psutil.pid_exists(pid), "it waits for the end of the request"
    wire.send(b"f")
    assert wire.answer().status == 200
    wire.close()
