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
worker_processes 2;
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
def running(folder, *command):
    folder.mkdir(parents=True)
    port = free_port()
    path = folder / "nginx.conf"
    path.write_text(SITE.replace("FOLDER", str(folder)).replace("PORT", str(port)))
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
