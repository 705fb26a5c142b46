"""A cache whose processes are killed while they store: nothing wrong or partial is sent, and it goes on with what it has."""

import json
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from harness import Wproxy, title, until
from wire import Closed, Wire

pytestmark = pytest.mark.whole

HTTP = """
proxy_cache_path = [["cache", "levels=1:2", "keys_zone=one:1m", "max_size=4m"]]

[[http.server]]
listen = "127.0.0.1:{port}"
proxy_cache = "one"
proxy_cache_key = "$uri"
proxy_cache_lock = true
proxy_cache_use_stale = ["updating", "error", "timeout"]
add_header = [["X-Cache", "$upstream_cache_status"]]
location."/" = { proxy_pass = "URL" }
"""
KEYS = 40
SIZES = (100, 30_000, 400_000)


def send_numbered(conversation, received) -> None:
    """A body that says whose it is and how long; every third response is stale after a second."""
    number = int(received.target[1:])
    size = SIZES[number % len(SIZES)]
    body = (b"%d:%d:" % (number, size)).ljust(size, b"%d" % (number % 10))
    age = 1 if number % 3 else 600
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nCache-Control: max-age=%d\r\n\r\n" % (size, age)
    conversation.send(head + body[: size // 2])
    time.sleep(random.uniform(0, 0.01))
    conversation.send(body[size // 2 :])


def is_right(number: int, body: bytes) -> bool:
    whose, size, rest = body.split(b":", 2)
    return int(whose) == number and int(size) == len(body) == SIZES[number % len(SIZES)] and not rest.strip(b"%d" % (number % 10))


def ask_at_random(port: int, over: threading.Event, wrong: list[str], right: list[str]) -> None:
    chance = random.Random(threading.get_ident())
    while not over.is_set():
        number = chance.randrange(KEYS)
        try:
            with Wire(port) as wire:
                answer = wire.request("GET", f"/{number}")
        except (Closed, OSError):
            time.sleep(0.01)  # that worker was killed
            continue
        if answer.status == 200 and is_right(number, answer.body):
            right.append(answer["x-cache"] or "")
        elif answer.status != 502:
            wrong.append(f"{number}: {answer}")


def cache_files(front: Wproxy) -> list[Path]:
    return [path for path in (front.directory / "cache").rglob("*") if path.is_file()]


def test_killed_workers_a_killed_manager_and_then_everything(tmp_path: Path, recorder):
    recorder.reply = send_numbered
    http = HTTP.replace("URL", recorder.url)
    over, wrong, right = threading.Event(), [], []
    with Wproxy(tmp_path / "front", http) as front:
        clients = [threading.Thread(target=ask_at_random, args=(front.port, over, wrong, right)) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            chance = random.Random(1)
            for turn in range(7):
                until(lambda: len(right) > 40 * (turn + 1) or wrong, "answers")
                family = [process for process in front.family()[1:] if ("manager" in title(process)) == (turn == 4)]
                if family:
                    chance.choice(family).send_signal(signal.SIGKILL)
            until(lambda: len(front.worker_pids()) == 2, "two workers again")
            for process in front.family():
                process.send_signal(signal.SIGKILL)
        finally:
            over.set()
            for client in clients:
                client.join()
        front.program.wait()
        front.master = None
    assert wrong == []
    assert {"MISS", "HIT"} <= set(right), set(right)

    (tmp_path / "front" / "wproxy.pid").unlink()
    before = len(recorder.heads)
    with Wproxy(tmp_path / "front", http.replace("=4m", "=40m")) as front:  # what is stored now drives nothing out
        front.error_logged("http file cache: ")
        statuses = []
        for number in range(KEYS):
            with Wire(front.port) as wire:
                answer = wire.request("GET", f"/{number}")
            assert answer.status == 200 and is_right(number, answer.body), (number, answer)
            statuses.append(answer["x-cache"])
        assert statuses.count("HIT") >= 5, statuses
        assert len(recorder.heads) - before == KEYS - statuses.count("HIT")
        shown = {}

        def is_exact() -> bool:
            shown.update(json.loads(front.command("cache", "stat", "--json").output)["one"])
            named = [path for path in cache_files(front) if len(path.name) == 32]
            return shown["size"] == sum(-(-path.stat().st_size // 4096) * 4096 for path in named)

        # What is stored just while the manager counts is counted twice, until it counts again: in ten seconds at most.
        until(is_exact, lambda: f"the size of all files, not {shown['size']}", 30)
        assert shown["hit"]["responses"] == statuses.count("HIT") and not shown["cold"]
        assert "[alert]" not in front.error_log.split("start cache loader process")[-1]


def test_a_herd_of_clients_at_two_workers_is_one_request(start, recorder):
    gate = threading.Event()

    def send_late(conversation, received) -> None:
        gate.wait(10)
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=600\r\n\r\nbody")

    recorder.reply = send_late
    front = start(HTTP.replace("URL", recorder.url))
    wires = [Wire(front.port) for _ in range(200)]
    for wire in wires:
        wire.send(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
    until(lambda: recorder.heads, "the request")
    time.sleep(0.2)
    began = time.monotonic()
    gate.set()
    answers = [wire.answer() for wire in wires]
    took = time.monotonic() - began
    for wire in wires:
        wire.close()
    assert {answer.body for answer in answers} == {b"body"}
    assert sorted({answer["x-cache"] for answer in answers}) == ["HIT", "MISS"]
    assert [answer["x-cache"] for answer in answers].count("MISS") == 1 == len(recorder.heads)
    assert took < 5, "they are woken at once; nobody polls for long"
