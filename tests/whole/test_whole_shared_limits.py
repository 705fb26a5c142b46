"""Two machines behind one Redis, or one Valkey: they hold one limit together, and each its own while Redis does not answer."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from harness import Wproxy, until, wproxy
from recorder import PLAIN, Recorder
from wire import Wire, request_bytes

from bench.ports import free_port
from tests.authority import authority
from tests.real_redis import SERVERS, RealRedis

pytestmark = pytest.mark.whole

BURST = 199
HTTP = """
limit_req_zone = [["$arg_k", "zone=requests:1m", "rate=1r/m", "sync={url}"]]
limit_conn_zone = [["$arg_k", "zone=busy:1m", "sync={url}"]]
[http.upstream.app]
sticky = ["learn", "create=$upstream_cookie_s", "lookup=$cookie_s", "zone=sessions:1m", "sync={url}"]
server = [{servers}]
[[http.server]]
listen = "127.0.0.1:{port}"
location."/often" = {{ limit_req = [["zone=requests", "burst={burst}", "nodelay"]], empty_gif = true }}
location."/slow" = {{ limit_conn = [["busy", 3]], proxy_pass = "{slow}" }}
location."/app" = {{ proxy_pass = "http://app" }}
"""


@pytest.fixture(scope="module", params=SERVERS)
def redis(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRedis]:
    server = RealRedis(tmp_path_factory.mktemp("redis"), name=request.param)
    yield server
    server.end()


class Gate:
    """A backend that keeps requests until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.recorder = Recorder()
        self.recorder.reply = self.reply

    def reply(self, conversation, received) -> None:
        self.opened.wait(20)
        conversation.send(PLAIN)


def app(number: int) -> Recorder:
    """An application that begins a session where there is none."""
    recorder = Recorder()

    def reply(conversation, received) -> None:
        cookie = b"" if received.all("cookie") else b"Set-Cookie: s=session%d\r\n" % number
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n%b\r\n%d" % (cookie, number))

    recorder.reply = reply
    return recorder


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, redis: RealRedis) -> Iterator[tuple[Wproxy, Wproxy, Gate]]:
    """Two of them, with two workers each. They wait long for Redis, for this machine may be slow."""
    gate = Gate()
    apps = [app(number) for number in range(2)]
    with gate.recorder, apps[0], apps[1]:
        servers = ", ".join(f'"{each.url.removeprefix("http://")}"' for each in apps)
        http = HTTP.format(
            url=f"unix://{redis.path}?db=2&timeout=3s", burst=BURST, slow=gate.recorder.url, servers=servers, port="{port}"
        )
        with Wproxy(tmp_path_factory.mktemp("one"), http) as one, Wproxy(tmp_path_factory.mktemp("other"), http) as other:
            yield one, other, gate


def statuses(front: Wproxy, count: int, key: str) -> Counter[int]:
    with Wire(front.port) as wire:
        return Counter(wire.request("GET", f"/often?k={key}").status for _ in range(count))


def at_once(deeds: list[Callable[[], Counter[int]]]) -> Counter[int]:
    """What they return, together."""
    total: Counter[int] = Counter()
    threads = [threading.Thread(target=lambda deed=deed: total.update(deed())) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return total


def test_two_machines_hold_one_limit(machines):
    one, other, _ = machines
    seen = at_once([lambda front=front: statuses(front, 100, "common") for front in (one, other, one, other)])
    assert seen.total() == 400
    assert abs(seen[200] - (BURST + 1)) <= (BURST + 1) * 0.02, seen


def hold(front: Wproxy, key: str) -> Wire:
    wire = Wire(front.port)
    wire.send(request_bytes("GET", f"/slow?k={key}"))
    return wire


def test_two_machines_count_requests_under_way_together(machines):
    one, other, gate = machines
    gate.opened.clear()
    gate.recorder.heads.clear()
    held = [hold(one, "a"), hold(other, "a"), hold(one, "a")]
    until(lambda: len(gate.recorder.heads) == 3, "three requests at the backend")
    for front in (one, other):
        with hold(front, "a") as refused:
            assert refused.answer().status == 503
    gate.opened.set()
    assert [wire.answer().status for wire in held] == [200] * 3
    for wire in held:
        wire.close()
    # What was given back is there for both.
    until(lambda: is_served(one, "a") and is_served(other, "a"), "room for further requests")


def is_served(front: Wproxy, key: str) -> bool:
    with hold(front, key) as wire:
        return wire.answer().status == 200


def test_a_worker_that_is_killed_counts_until_its_lease_has_run_out(machines, redis):
    one, other, gate = machines
    gate.opened.clear()
    gate.recorder.heads.clear()
    held = [hold(one, "killed") for _ in range(3)]
    until(lambda: len(gate.recorder.heads) == 3, "three requests at the backend")
    before = one.worker_pids()
    redis.call("SELECT", 2)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    with hold(other, "killed") as refused:
        assert refused.answer().status == 503
    for name in redis.call("KEYS", "wproxy:worker:*"):
        if any(f":{pid}:".encode() in name for pid in before):
            assert 0 < redis.call("TTL", name) <= 10
            redis.call("DEL", name)  # as if ten seconds had passed
    gate.opened.set()
    assert is_served(other, "killed")
    for wire in held:
        wire.close()
    until(lambda: len(one.worker_pids() - before) == 2, "new workers")


def test_a_session_that_one_machine_has_learnt_is_known_to_the_other(machines):
    one, other, _ = machines
    with Wire(one.port) as here, Wire(other.port) as there:
        answer = here.request("GET", "/app")
        cookie = answer["set-cookie"]
        assert cookie is not None
        bodies = {wire.request("GET", "/app", [("Cookie", cookie)]).body for wire in (there, here, there, there, here, there)}
    assert bodies == {answer.body}


def test_without_redis_each_machine_holds_the_limit_for_itself_and_nobody_waits(machines, redis):
    one, other, _ = machines
    redis.kill()
    began = time.monotonic()
    seen = [at_once([lambda front=front: statuses(front, 130, "alone") for _ in range(2)]) for front in (one, other)]
    assert [each[200] for each in seen] == [BURST + 1] * 2
    assert time.monotonic() - began < 3, "less than a single wait for an answer"
    for front in (one, other):
        front.error_logged("until it answers, this machine's own counts decide")
    redis.start()
    until(
        lambda: (
            at_once([lambda front=front: statuses(front, 110, str(time.monotonic())) for front in (one, other)])[200] > 0
            and all("answers again" in front.error_log for front in (one, other))
        ),
        "links that are up again",
        20,
    )
    seen_again = at_once([lambda front=front: statuses(front, 150, "again") for front in (one, other)])
    # One of the four workers may still be about to connect: then its machine counts some for itself, and never more than that.
    assert BURST + 1 <= seen_again[200] <= 2 * (BURST + 1)
    for front in (one, other):
        lines = [line for line in front.error_log.splitlines() if "own counts decide" in line]
        assert len(lines) <= 2 * 2, "once for each worker, those before and those after they were killed"


def test_a_redis_that_is_full_or_stopped_lets_nothing_through_without_a_limit(tmp_path, redis):
    http = """
    limit_req_zone = [["$arg_k", "zone=requests:1m", "rate=1r/m", "sync=unix://%s?db=3&timeout=100ms"]]
    [[http.server]]
    listen = "127.0.0.1:{port}"
    location."/often" = { limit_req = [["zone=requests", "burst=9", "nodelay"]], empty_gif = true }
    """
    with Wproxy(tmp_path, http % redis.path, workers=1) as front:
        redis.call("CONFIG", "SET", "maxmemory", "1")
        try:
            assert statuses(front, 50, "full") == {200: 10, 503: 40}
        finally:
            redis.call("CONFIG", "SET", "maxmemory", "0")
        front.error_logged("OOM command not allowed")
        redis.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            assert statuses(front, 50, "stopped") == {200: 10, 503: 40}
            assert time.monotonic() - began < 3, "one of them has waited, the others have not"
        finally:
            redis.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("name", SERVERS)
def test_a_password_a_database_and_tls_by_the_url(tmp_path, name):
    root = authority()
    root.write(tmp_path, "root")
    root.issue("localhost").write(tmp_path, "server")
    port = free_port()
    tls = f"--tls-port {port} --tls-cert-file {tmp_path}/server.pem --tls-key-file {tmp_path}/server.key --tls-auth-clients no"
    redis = RealRedis(tmp_path / "redis", *tls.split(), "--tls-ca-cert-file", f"{tmp_path}/root.pem", name=name)
    try:
        redis.call("ACL", "SETUSER", "limits", "on", ">pass word", "~wproxy:*", "+@all", "-@dangerous")
        http = f"""
        limit_req_zone = [["$arg_k", "zone=requests:1m", "rate=1r/m",
            "sync=rediss://limits:pass%20word@localhost:{port}/5?timeout=3s&ca={tmp_path}/root.pem"]]
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        location."/often" = {{ limit_req = [["zone=requests"]], empty_gif = true }}
        """
        with Wproxy(tmp_path / "front", http, workers=1) as front:
            assert statuses(front, 3, "x") == {200: 1, 503: 2}
            assert "own counts" not in front.error_log
        redis.call("SELECT", 5)
        assert redis.call("KEYS", "wproxy:limit_req:*") == [b"wproxy:limit_req:requests:x"]
    finally:
        redis.end()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://x", 'invalid URL "http://x" in "sync": it begins with redis://, rediss:// or unix://'),
        ("redis://me:secret@h:70000", 'invalid URL "redis://h:70000" in "sync": invalid port "70000"'),
    ],
)
def test_a_bad_url_is_one_line_with_its_place_and_without_the_password(tmp_path, url, said):
    file = tmp_path / "wproxy.toml"
    file.write_text(f'[http]\nlimit_req_zone = [["$arg_k", "zone=z:1m", "rate=1r/s", "sync={url}"]]\n')
    done = wproxy("-t", "-c", str(file))
    assert done.code == 1
    assert done.errors.splitlines()[0] == f"wproxy: [emerg] {said} in {file}:2:19"
    assert "secret" not in done.errors
