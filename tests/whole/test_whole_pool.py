"""Many clients and several backends: connections are reused, load is spread, and a backend that dies is not noticed."""

import asyncio
import re
import signal
import sys

import pytest
from harness import BACKENDS, Program, until
from recorder import Recorder
from wire import Load, Wire, ask, request_bytes

from bench.ports import free_port

pytestmark = pytest.mark.whole


class Pool:
    """Three equal backends."""

    def __init__(self, directory):
        self.directory = directory
        self.ports = [free_port() for _ in range(3)]
        self.programs = [self._start(number) for number in range(3)]
        for program, port in zip(self.programs, self.ports):
            program.wait_for_address(port)

    def _start(self, number):
        command = [sys.executable, "-S", "-E", str(BACKENDS / "pool_app.py"), str(self.ports[number]), "abc"[number]]
        return Program(command, self.directory)

    def restart(self, number):
        self.programs[number] = self._start(number)
        self.programs[number].wait_for_address(self.ports[number])

    def signal(self, number, which):
        self.programs[number].popen.send_signal(which)

    def http(self, parameters: str = "fail_timeout = '1s'", more: str = "") -> str:
        """The inside of [http] for this pool."""
        servers = "\n".join(f'"127.0.0.1:{port}" = {{ {parameters} }}' for port in self.ports)
        return f"""
            [http.upstream.pool.server]
            {servers}
            [[http.server]]
            listen = "127.0.0.1:{{port}}"
            [http.server.location."/"]
            proxy_pass = "http://pool"
            {more}
            """


@pytest.fixture
def pool(tmp_path):
    pool = Pool(tmp_path / "pool")
    yield pool
    for program in pool.programs:
        program.end(signal.SIGKILL)


def names(load: Load) -> dict[str, int]:
    """How many answers came from each backend."""
    counts: dict[str, int] = {}
    for body, count in load.bodies.items():
        name = body.decode().split()[0]
        counts[name] = counts.get(name, 0) + count
    return counts


def test_requests_go_round(start, pool):
    front = start(pool.http(), workers=1)
    with Wire(front.port) as wire:
        answers = [wire.request("GET", "/").body.decode().split()[0] for _ in range(9)]
    assert answers == list("abc") * 3


def test_weights_are_heeded(start, tmp_path, pool):
    http = pool.http().replace("{ fail", "{ weight = 3, fail", 1)
    front = start(http, workers=1)
    with Wire(front.port) as wire:
        answers = [wire.request("GET", "/").body.decode().split()[0] for _ in range(10)]
    assert (answers.count("a"), answers.count("b"), answers.count("c")) == (6, 2, 2)


def test_200_clients_with_kept_connections_are_all_served_and_upstream_connections_reused(start, recorder):
    front = start(
        f"""
        [http.upstream.application]
        server = "127.0.0.1:{recorder.port}"
        keepalive = 200
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        [http.server.location."/"]
        proxy_pass = "http://application"
        """
    )

    def reply(conversation, received):
        body = received.target.encode()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    recorder.reply = reply

    async def client(number: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        right = 0
        for turn in range(20):
            target = f"/client/{number}/turn/{turn}".encode()
            writer.write(request_bytes("GET", target.decode()))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
            body = await reader.readexactly(length)
            right += head.startswith(b"HTTP/1.1 200 ") and body == target
        writer.close()
        await writer.wait_closed()
        return right

    async def everybody() -> list[int]:
        return await asyncio.wait_for(asyncio.gather(*(client(number) for number in range(200))), 60)

    assert asyncio.run(everybody()) == [20] * 200
    assert len(recorder.requests) == 4000
    assert len({received.target for received in recorder.requests}) == 4000
    # As many connections as requests were under way at once, and not one for each.
    assert recorder.connections <= 200, recorder.connections
    assert "[error]" not in front.error_log


def test_a_killed_backend_costs_no_request_and_comes_back(start, pool):
    front = start(pool.http())
    with Load(front.port, clients=8) as load:
        load.wait_for(200)
        for _ in range(2):
            pool.signal(1, signal.SIGKILL)
            load.wait_for(300)
            pool.programs[1].wait()
            pool.restart(1)
            before = names(load)["b"]
            until(lambda: names(load)["b"] > before + 10, "requests at the backend that came back")
    assert load.failures == []
    assert set(names(load)) == set("abc")
    assert "upstream server temporarily disabled" in front.error_log


def test_a_backend_that_stops_answering_is_left_out_and_comes_back(start, pool):
    front = start(pool.http(more='proxy_read_timeout = "300ms"'))
    with Load(front.port, clients=8) as load:
        load.wait_for(200)
        pool.signal(2, signal.SIGSTOP)
        load.wait_for(2000)
        before = names(load)["c"]
        load.wait_for(200)
        pool.signal(2, signal.SIGCONT)
        until(lambda: names(load)["c"] > before + 10, "requests at the backend that came back")
    # A GET that got no answer in time is sent to another backend.
    assert load.failures == []
    assert "upstream timed out (110: Connection timed out)" in front.error_log
    assert re.search(r"proxy_read_timeout 0\.3: [^ ]*wproxy\.toml:\d+:\d+", front.error_log)


def test_a_post_that_may_have_been_done_is_not_sent_twice(start, recorder):
    with Recorder() as other:
        front = start(
            f"""
            [http.upstream.application]
            server = [["127.0.0.1:{recorder.port}", "max_fails=0"], ["127.0.0.1:{other.port}", "max_fails=0"]]
            [[http.server]]
            listen = "127.0.0.1:{{port}}"
            [http.server.location."/"]
            proxy_pass = "http://application"
            """,
            workers=1,
        )
        for backend in (recorder, other):
            backend.reply = lambda conversation, received: conversation.close()
        assert ask(front.port, "/", "POST", b"an order").status == 502
        assert len(recorder.requests) + len(other.requests) == 1
        assert ask(front.port, "/", "PUT", b"a state").status == 502
        assert sum(received.method == "PUT" for received in recorder.requests + other.requests) == 2
        assert {received.body for received in recorder.requests + other.requests} == {b"an order", b"a state"}


def test_when_no_backend_is_left_the_answer_is_502_and_the_pool_recovers(start, pool):
    front = start(pool.http())
    for number in range(3):
        pool.signal(number, signal.SIGKILL)
        pool.programs[number].wait()
    with Wire(front.port) as wire:
        statuses = [wire.request("GET", "/").status for _ in range(6)]
        assert statuses == [502] * 6
        front.error_logged("no live upstreams while connecting to upstream")
        for number in range(3):
            pool.restart(number)
        until(lambda: wire.request("GET", "/").status == 200, "an answer after all came back")


def test_a_backup_serves_only_while_the_others_cannot(start, pool):
    first, second, third = pool.ports
    front = start(
        f"""
        [http.upstream.pool.server]
        "127.0.0.1:{first}" = {{ fail_timeout = "1s" }}
        "127.0.0.1:{second}" = {{ down = true }}
        "127.0.0.1:{third}" = {{ backup = true }}
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        [http.server.location."/"]
        proxy_pass = "http://pool"
        """,
        workers=1,
    )
    with Wire(front.port) as wire:

        def name() -> str:
            answer = wire.request("GET", "/")
            assert answer.status == 200
            return answer.body.decode().split()[0]

        assert {name() for _ in range(6)} == {"a"}
        pool.signal(0, signal.SIGKILL)
        pool.programs[0].wait()
        assert {name() for _ in range(6)} == {"c"}
        pool.restart(0)
        until(lambda: name() == "a", "the first backend again")
