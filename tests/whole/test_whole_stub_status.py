"""stub_status: what a program that reads its page is told, byte for byte as by nginx."""

import re
from contextlib import ExitStack, contextmanager

import pytest
from differential.fronts import OLD_NGINX
from harness import COMMAND, Program, until
from wire import Wire, ask

from bench.ports import free_port

pytestmark = pytest.mark.whole

SITE = """
worker_processes WORKERS;
daemon off;
error_log FOLDER/error.log;
pid FOLDER/pid;
events { }
http {
    access_log off;
    client_body_temp_path FOLDER/t1; proxy_temp_path FOLDER/t2; fastcgi_temp_path FOLDER/t3;
    uwsgi_temp_path FOLDER/t4; scgi_temp_path FOLDER/t5;
    default_type application/octet-stream;
    server {
        listen 127.0.0.1:PORT;
        location / { return 204; }
        location /status { stub_status; }
        location /old { stub_status on; }
    }
}
"""


@contextmanager
def running(folder, *command, workers=2):
    folder.mkdir(parents=True)
    port = free_port()
    path = folder / "nginx.conf"
    path.write_text(SITE.replace("FOLDER", str(folder)).replace("PORT", str(port)).replace("WORKERS", str(workers)))
    program = Program([*command, "-c", str(path)], folder)
    try:
        program.wait_for_address(port)
        yield port
    finally:
        program.end()


@pytest.fixture
def ours(tmp_path):
    with running(tmp_path / "ours", *COMMAND, "start") as port:
        yield port


def numbers(page: str) -> list[int]:
    """Return (active, accepts, handled, requests, reading, writing, waiting)."""
    match = re.fullmatch(
        r"Active connections: (\d+) \nserver accepts handled requests\n (\d+) (\d+) (\d+) \nReading: (\d+) Writing: (\d+) Waiting: (\d+) \n",
        page,
    )
    assert match, page
    return [int(number) for number in match.groups()]


def shape(answer) -> tuple:
    return answer.status, answer["content-type"], re.sub(r"\d+", "N", answer.body.decode())


@pytest.mark.skipif(not OLD_NGINX, reason="there is no nginx with stub_status to compare with")
def test_the_page_is_nginxs(tmp_path, ours):
    with running(tmp_path / "nginx", OLD_NGINX) as theirs:
        for path in ("/status", "/old"):
            assert shape(ask(ours, path)) == shape(ask(theirs, path))
        for method in ("HEAD", "POST", "DELETE"):
            answers = []
            for port in (ours, theirs):
                with Wire(port) as wire:
                    answer = wire.request(method, "/status")
                    answers.append((answer.status, answer["content-type"]))
            assert answers[0] == answers[1], method


def test_it_counts_connections_and_requests_of_all_workers(ours):
    def settled() -> list[int]:
        return numbers(ask(ours, "/status").body.decode())

    before = settled()
    assert before[0] == before[4] + before[5] + before[6]
    with ExitStack() as open_now:
        wires = [open_now.enter_context(Wire(ours)) for _ in range(8)]
        for wire in wires:
            assert wire.request("GET", "/").status == 204
        until(lambda: settled()[0] >= 9 and settled()[6] >= 8, "other workers tell of theirs once a second")
    until(lambda: settled()[0] == 1, "that all but the one that asks are gone")
    after = settled()
    assert after[1] == after[2] >= before[1] + 9
    assert after[3] >= before[3] + 9
    assert after[5] == 1, "the one that asks"


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
# What a client sends before it closes; the answer to a piece is awaited before the next one.
SENT = {
    "nothing": (),
    "a byte": (b"G",),
    "half a head": (GET[:20],),
    "an empty line": (b"\r\n",),
    "an empty line and a request": (b"\r\n" + GET,),
    "two requests, one after the other": (GET, GET),
    "two requests at once": (GET + GET,),
    "two requests and a half": (GET + GET + b"GE",),
    "no request": (b"garbage\r\n\r\n",),
    "a line that is too long": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",),
    "a handshake of TLS": (b"\x16\x03\x01\x02\x00\x01\x00",),
}


class Counted:
    """A server with one worker: how its numbers have grown, without what asking for them adds."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked = 0
        self.first = [0] * 7
        self.first = self.now()

    def now(self) -> list[int]:
        """Return the growth since the beginning of (active, accepts, handled, requests, reading, writing, waiting)."""
        self.asked += 1
        found = numbers(ask(self.port, "/status").body.decode())
        for place in (1, 2, 3):  # each question is a connection and a request
            found[place] -= self.asked
        return [new - old for new, old in zip(found, self.first)]

    def alone(self) -> list[int]:
        """Return the same when all connections but the one that asks are gone."""
        return until(lambda: (found := self.now())[0] == 0 and found, "the end of the others")


def send(port: int, pieces: tuple[bytes, ...]) -> Wire:
    wire = Wire(port)
    for piece in pieces:
        wire.send(piece)
        for _ in range(piece.count(GET)):
            assert wire.answer().status == 204
    return wire


@pytest.mark.skipif(not OLD_NGINX, reason="there is no nginx with stub_status to compare with")
def test_every_kind_of_connection_counts_as_in_nginx(tmp_path):
    with (
        running(tmp_path / "ours", *COMMAND, "start", workers=1) as our_port,
        running(tmp_path / "nginx", OLD_NGINX, workers=1) as their_port,
    ):
        ours, theirs = Counted(our_port), Counted(their_port)
        for name, pieces in SENT.items():
            with send(their_port, pieces), send(our_port, pieces):
                its = until(lambda: (found := theirs.now()) == theirs.now() and found, "the bytes are read")
                until(lambda: ours.now() == its, lambda: f"{name}: {ours.now()} and not nginx's {its}")
            assert ours.alone()[1:4] == theirs.alone()[1:4] == its[1:4], f"{name}: no count falls"
