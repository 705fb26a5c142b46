"""Two masters that hold one limit at a real Redis or Valkey: how exactly, and what becomes of it when Redis is slow, killed or full."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from applications.fronts import Front
from applications.programs import Program, until
from bench.ports import free_port
from tests.real_redis import SERVERS, RealRedis

RATE, BURST = 500, 100
FILE = Path(__file__).parent / "nginx.conf"


@pytest.fixture(scope="module", params=SERVERS)
def redis(request: pytest.FixtureRequest, directory: Path) -> Iterator[tuple[RealRedis, int]]:
    port = free_port()
    server = RealRedis(directory / request.param, "--port", str(port), "--bind", "127.0.0.1", name=request.param)
    yield server, port
    server.end()


@pytest.fixture(scope="module")
def slow() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def start(tmp_path: Path, redis: tuple[RealRedis, int], slow: int) -> Iterator[Callable[[str], list[Front]]]:
    fronts: list[Front] = []

    def two(timeout: str) -> list[Front]:
        server, port = redis
        server.call("FLUSHALL")
        words = {"REDIS": port, "SLOW": slow, "TIMEOUT": timeout}
        for name in ("one", "other"):
            fronts.append(Front("wproxy", tmp_path / name, FILE.read_text(), words))
        until(lambda: len(server.call("KEYS", "wproxy:worker:*")) == 4, "two workers of each")
        return fronts

    yield two
    for front in fronts:
        front.end()


def load(port: int, seconds: float, into: Counter[int], times: list[float], key: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        connection.request("GET", f"/?k={key}")
        answer = connection.getresponse()
        answer.read()
        into[answer.status] += 1
        times.append(time.monotonic() - began)
    connection.close()


def under_load(fronts: list[Front], seconds: float, key: str) -> tuple[Counter[int], list[float], float]:
    """What two clients of each get; how long each answer took, and all of it."""
    seen: Counter[int] = Counter()
    times: list[float] = []
    began = time.monotonic()
    threads = [threading.Thread(target=load, args=(front.port, seconds, seen, times, key)) for front in fronts for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen, sorted(times), time.monotonic() - began


def test_two_masters_hold_one_rate_within_two_percent(start):
    fronts = start("3s")
    seen, _, seconds = under_load(fronts, 4, "rate")
    allowed = BURST + 1 + RATE * seconds
    assert seen.total() > 1.5 * allowed, "more is asked than may pass"
    assert abs(seen[200] - allowed) <= 0.02 * allowed, (seen, allowed)


def bounded_alone(seen: Counter[int], seconds: float) -> bool:
    """Whether no more has passed than two masters let through that know nothing of each other."""
    return 0 < seen[200] <= 2 * (BURST + 1 + RATE * seconds) * 1.02


@pytest.mark.parametrize("trouble", ["killed", "stopped", "slow", "full"])
def test_with_a_redis_in_trouble_nobody_waits_and_nothing_is_unlimited(start, redis, trouble):
    server, _ = redis
    fronts = start("50ms")
    ended = threading.Event()

    def pause() -> None:
        while not ended.wait(0.3):
            server.call("CLIENT", "PAUSE", 250)

    if trouble == "killed":
        server.kill()
    elif trouble == "stopped":
        server.send_signal(signal.SIGSTOP)
    elif trouble == "full":
        server.call("CONFIG", "SET", "maxmemory", "1")
    pausing = threading.Thread(target=pause)
    if trouble == "slow":
        pausing.start()
    try:
        seen, times, seconds = under_load(fronts, 3, trouble)
    finally:
        ended.set()
        if trouble == "slow":
            pausing.join()
        elif trouble == "killed":
            server.start()
        elif trouble == "stopped":
            server.send_signal(signal.SIGCONT)
        else:
            server.call("CONFIG", "SET", "maxmemory", "0")
    assert bounded_alone(seen, seconds), seen
    assert times[len(times) * 99 // 100] < 0.2, "one in a hundred, at most, has waited"
    for front in fronts:
        assert "this machine's own counts decide" in front.errors
        assert front.errors.count("own counts decide") <= 2 * 2, (
            "each worker tells it once, or a second reason of the same trouble"
        )


def test_a_killed_worker_gives_its_requests_back_when_its_lease_ends(redis, start):
    one, other = start("3s")
    held = []
    for _ in range(4):
        sock = socket.create_connection(("127.0.0.1", one.port))
        sock.sendall(b"GET /slow?k=lease HTTP/1.1\r\nHost: h\r\n\r\n")
        held.append(sock)
    # Otherwise the first question of the other one takes the place of one of these, and is not held.
    until(lambda: sum(map(int, redis[0].call("HVALS", "wproxy:limit_conn:busy:lease"))) == 4, "four that are counted")

    def status() -> int:
        with socket.create_connection(("127.0.0.1", other.port)) as sock:
            sock.settimeout(0.5)
            sock.sendall(b"GET /slow?k=lease HTTP/1.1\r\nHost: h\r\n\r\n")
            try:
                return int(sock.recv(100).split(b" ")[1])
            except TimeoutError:
                return 0  # it has been let in, and nobody answers

    until(lambda: status() == 503, "four requests under way")
    killed = time.monotonic()
    for worker in psutil.Process(one.program.pid).children():
        os.kill(worker.pid, signal.SIGKILL)
    until(lambda: status() == 0, "room", 30)
    assert 3 < time.monotonic() - killed < 15
    for sock in held:
        sock.close()


def test_valkey_is_spoken_to_like_redis(tmp_path, start):
    valkey = shutil.which("valkey-server")
    if valkey is None:
        pytest.skip("valkey-server is not installed, and Debian 12 does not have it")
    program = Program("valkey", [valkey, "--port", str(port := free_port()), "--save", ""], tmp_path, port)
    try:
        front = Front("wproxy", tmp_path / "front", FILE.read_text(), {"REDIS": port, "SLOW": 1, "TIMEOUT": "3s"})
        try:
            seen, _, seconds = under_load([front], 2, "valkey")
            assert 0 < seen[200] <= (BURST + 1 + RATE * seconds) * 1.02
            assert "own counts" not in front.errors
        finally:
            front.end()
    finally:
        program.end()
