"""What goes wrong with one request: the status, what the logs say of it, and whether the connection survives."""

import re
import socket
import time
from contextlib import ExitStack

import pytest
from harness import Wproxy, until
from recorder import PLAIN, Recorder, send_ok
from wire import Closed, Wire, ask, chunked, request_bytes

from bench.ports import free_port

pytestmark = pytest.mark.whole

FILE_LINE_COLUMN = r"[^ ]*wproxy\.toml:\d+:\d+"


@pytest.fixture(scope="module")
def backend():
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(autouse=True)
def fresh_backend(backend):
    backend.heads.clear()
    backend.requests.clear()
    backend.reply = send_ok


@pytest.fixture(scope="module")
def hole():
    """A port where connecting hangs: a listener that never accepts, with a full queue."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def front(tmp_path_factory, backend, hole):
    with Wproxy(
        tmp_path_factory.mktemp("statuses"),
        f"""
        client_header_timeout = "1s"
        client_body_timeout = "1s"
        send_timeout = "1s"
        keepalive_timeout = "1s"
        lingering_timeout = "1s"
        client_max_body_size = "1000"
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        location."/" = {{ proxy_pass = "{backend.url}" }}
        location."/nobody/" = {{ proxy_pass = "http://127.0.0.1:{free_port()}" }}
        location."/no-socket/" = {{ proxy_pass = "http://unix:/nonexistent/x.sock" }}
        location."/hole/" = {{ proxy_pass = "http://127.0.0.1:{hole}", proxy_connect_timeout = "300ms" }}
        location."/slow/" = {{ proxy_pass = "{backend.url}", proxy_read_timeout = "300ms" }}
        location."/patient/" = {{ proxy_pass = "{backend.url}", proxy_ignore_client_abort = true }}
        location."/big/" = {{ proxy_pass = "{backend.url}", client_max_body_size = 0, proxy_request_buffering = "off" }}
        location."/long/" = {{ proxy_pass = "{backend.url}", keepalive_timeout = [75, 60] }}
        location."/three/" = {{ proxy_pass = "{backend.url}", keepalive_requests = 3 }}
        location."= /ok" = {{ return = [200, "ok"] }}
        """,
        workers=1,
    ) as running:
        yield running


def nothing_listens_there(front: Wproxy) -> str:
    return next(line for line in front.text.splitlines() if "/nobody/" in line)


# The client's mistakes.

GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"hello\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nName: 1\r\n folded\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
    b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
)


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_refused_with_400_and_never_reaches_the_upstream(front, backend, garbage):
    with Wire(front.port) as wire:
        wire.send(garbage + request_bytes("GET", "/smuggled"))
        answer = wire.answer()
        assert answer.status == 400
        assert b"400 Bad Request" in answer.body
        assert not answer.keeps_alive
        assert wire.is_closed_by_peer()
    assert not backend.requests


@pytest.mark.parametrize(
    "request_, status",
    (
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    ),
)
def test_what_cannot_be_served_is_refused_by_its_own_status(front, backend, request_, status):
    with Wire(front.port) as wire:
        wire.send(request_)
        answer = wire.answer()
        assert answer.status == status
        assert not answer.keeps_alive
        assert wire.is_closed_by_peer()
    assert not backend.requests


@pytest.mark.parametrize("fields", ([("Cookie", "x" * 9000)], [(f"X-{number}", "x" * 4000) for number in range(10)]))
def test_too_large_a_head_is_refused_as_400_and_says_so(front, fields):
    with Wire(front.port) as wire:
        wire.send(request_bytes("GET", "/", fields))
        answer = wire.answer()
        assert answer.status == 400
        assert b"400 Request Header Or Cookie Too Large" in answer.body
        assert wire.is_closed_by_peer()


def test_a_request_line_that_never_ends_is_refused(front):
    with Wire(front.port) as wire:
        wire.send(b"GET /" + b"x" * 20000)
        assert wire.answer().status == 414


# Bodies that are too large.


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(front, backend):
    with Wire(front.port) as wire:
        wire.send(request_bytes("POST", "/", [("Content-Length", "1001"), ("Expect", "100-continue")]))
        answer = wire.answer()
        assert answer.status == 413
        assert not answer.keeps_alive
    assert not backend.requests
    front.error_logged("client intended to send too large body: 1001 bytes")


def test_a_body_that_is_too_large_gets_its_answer_while_the_client_still_sends(front, backend):
    with Wire(front.port) as wire:
        wire.send(request_bytes("POST", "/", [("Content-Length", "3000000")]))
        wire.send(b"x" * 3_000_000)
        assert wire.answer().status == 413
        assert wire.is_closed_by_peer()
    assert not backend.requests


def test_a_chunked_body_that_grows_too_large_is_refused(front, backend):
    with Wire(front.port) as wire:
        wire.send(request_bytes("POST", "/", [("Transfer-Encoding", "chunked")]) + chunked(b"x" * 900, b"x" * 200))
        answer = wire.answer()
        assert answer.status == 413
        assert not answer.keeps_alive
    assert not backend.requests
    front.error_logged("client intended to send too large chunked body")


def test_a_body_of_the_largest_size_is_taken(front, backend):
    with Wire(front.port) as wire:
        assert wire.request("POST", "/", body=b"x" * 1000).status == 200
        wire.send(request_bytes("POST", "/", [("Transfer-Encoding", "chunked")]) + chunked(b"x" * 500, b"x" * 500))
        assert wire.answer().status == 200


def test_a_broken_chunk_is_refused_with_400(front, backend):
    with Wire(front.port) as wire:
        wire.send(request_bytes("POST", "/", [("Transfer-Encoding", "chunked")]) + b"3\r\nabcd\r\n0\r\n\r\n")
        assert wire.answer().status == 400
        assert wire.is_closed_by_peer()
    assert not backend.requests


def test_a_chunked_body_streamed_to_the_upstream_may_still_turn_out_broken(front, backend):
    ended = backend.ended
    with Wire(front.port) as wire:
        wire.send(
            request_bytes("POST", "/big/broken", [("Transfer-Encoding", "chunked")]) + b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        )
        until(lambda: backend.heads, "the head at the upstream")
        wire.send(b"ZZ\r\n")
        assert wire.answer().status == 400
    # The upstream was sent a part, and sees that it is none of a whole.
    until(lambda: backend.ended > ended, "the end of the connection to the upstream")


# The client's time.


def test_a_head_that_does_not_arrive_in_time_is_408_in_the_log(front):
    began = time.monotonic()
    with Wire(front.port) as wire:
        wire.send(b"GET /never-finished HTTP/1.1\r\nHost: a\r\n")
        wire.is_closed_by_peer()
    assert time.monotonic() - began > 0.9
    logged = front.logged("GET /never-finished")
    assert logged.status == "408"
    assert re.search(rf"client_header_timeout 1: {FILE_LINE_COLUMN}", logged.cause), logged


def test_dribbling_does_not_extend_the_time_for_a_head(front):
    began = time.monotonic()
    with Wire(front.port) as wire:
        wire.send(b"GET /dribble HTTP/1.1\r\n")
        with pytest.raises(OSError):
            for _ in range(300):  # at least 30 s, and each piece comes long before the timeout
                wire.send(b"X-A: 1\r\n")
                wire.sock.settimeout(0.1)
                try:
                    if not wire.sock.recv(10):
                        raise OSError("closed")
                except TimeoutError:
                    pass
    assert time.monotonic() - began > 0.9


def test_a_connection_on_which_nothing_comes_is_closed_without_a_line(front):
    ask(front.port, "/ok?first")
    front.logged("/ok?first")
    lines = len(front.access_log)
    began = time.monotonic()
    with Wire(front.port) as wire:
        wire.is_closed_by_peer()
    assert time.monotonic() - began > 0.9
    ask(front.port, "/ok?last")
    front.logged("/ok?last")
    assert len(front.access_log) == lines + 1


def test_an_idle_connection_is_closed_after_keepalive_timeout(front):
    with Wire(front.port) as wire:
        began = time.monotonic()
        wire.request("GET", "/ok")
        wire.is_closed_by_peer()
        assert time.monotonic() - began > 0.9


def test_a_body_that_does_not_arrive_in_time_is_408(front, backend):
    with Wire(front.port) as wire:
        wire.send(request_bytes("POST", "/half-a-body", [("Content-Length", "10")]) + b"half")
        wire.is_closed_by_peer()
    logged = front.logged("POST /half-a-body")
    assert logged.status == "408"
    assert not backend.requests


def test_the_cause_of_a_late_body_names_the_timer(front):
    with Wire(front.port) as wire:
        wire.send(request_bytes("POST", "/late-body", [("Content-Length", "10")]) + b"half")
        wire.is_closed_by_peer()
    assert re.search(rf"client_body_timeout 1: {FILE_LINE_COLUMN}", front.logged("POST /late-body").cause)


def test_the_cause_of_a_413_names_the_limit(front):
    ask(front.port, "/too-large", "POST", b"x" * 1001)
    assert re.search(rf"client_max_body_size 1000: {FILE_LINE_COLUMN}", front.logged("POST /too-large").cause)


def test_a_client_that_does_not_read_is_cut_after_send_timeout(front, backend):
    backend.answer_with(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 50_000_000)
    with Wire(front.port) as wire:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.send(request_bytes("GET", "/does-not-read"))
        logged = front.logged("GET /does-not-read")
        assert logged.status == "200"
        assert re.search(rf"send_timeout 1: {FILE_LINE_COLUMN}", logged.cause), logged


# The client leaves.


def hold(backend):
    """Have the backend keep quiet until the proxy leaves."""
    backend.reply = lambda conversation, received: conversation.wait_for_end()


@pytest.mark.parametrize("abruptly", (False, True))
def test_a_client_that_leaves_before_the_answer_is_499_and_the_upstream_is_told(front, backend, abruptly):
    hold(backend)
    ended = backend.ended
    path = f"/leaves-{'abruptly' if abruptly else 'politely'}"
    wire = Wire(front.port)
    wire.send(request_bytes("GET", path))
    until(lambda: backend.requests, "the request")
    if abruptly:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wire.close()
    until(lambda: backend.ended > ended, "an end of the upstream connection")
    assert front.logged(f"GET {path}").status == "499"
    assert "client prematurely closed connection" in front.error_log


def test_a_client_that_leaves_with_a_pipelined_request_unread_is_499_too(front, backend):
    hold(backend)
    ended = backend.ended
    with Wire(front.port) as wire:
        wire.send(request_bytes("GET", "/leaves-with-more") + request_bytes("GET", "/more"))
        until(lambda: backend.requests, "the request")
    until(lambda: backend.ended > ended, "an end of the upstream connection")
    assert front.logged("GET /leaves-with-more").status == "499"


def test_proxy_ignore_client_abort_finishes_the_request_all_the_same(front, backend):
    def reply(conversation, received):
        wire.close()
        conversation.send(PLAIN)

    backend.reply = reply
    wire = Wire(front.port)
    wire.send(request_bytes("GET", "/patient/"))
    logged = front.logged("GET /patient/")
    assert logged.status in ("200", "499")
    assert logged.upstream_status == "200"


def test_a_client_that_leaves_in_the_middle_of_a_body_gets_no_upstream(front, backend):
    with Wire(front.port) as wire:
        wire.send(request_bytes("POST", "/leaves-amid", [("Content-Length", "10")]) + b"half")
    assert front.logged("POST /leaves-amid").status == "400"
    assert not backend.requests


# The upstream's failures.


def test_an_upstream_that_nobody_listens_on_is_502(front):
    with Wire(front.port) as wire:
        for _ in range(3):  # a single server never rests
            answer = wire.request("GET", "/nobody/x?y")
            assert answer.status == 502
            assert b"502 Bad Gateway" in answer.body
            assert answer.keeps_alive
    port = re.search(r"http://127.0.0.1:(\d+)", nothing_listens_there(front))[1]
    line = front.error_logged("connect() failed (111: Connection refused)", 3)
    assert "[error]" in line
    assert "while connecting to upstream, client: 127.0.0.1, server: " in line
    assert f'request: "GET /nobody/x?y HTTP/1.1", upstream: "http://127.0.0.1:{port}/nobody/x?y", host: "test.example"' in line
    logged = front.logged("GET /nobody/x?y")
    assert (logged.status, logged.upstream, logged.upstream_status) == ("502", f"127.0.0.1:{port}", "502")
    assert "connect() failed" in logged.cause


def test_a_socket_that_does_not_exist_is_502(front):
    assert ask(front.port, "/no-socket/").status == 502
    line = front.error_logged("unix:/nonexistent/x.sock")
    assert "No such file or directory" in line


def test_an_upstream_that_hangs_is_504_and_the_timer_is_named(front, backend):
    hold(backend)
    with Wire(front.port) as wire:
        began = time.monotonic()
        answer = wire.request("GET", "/slow/")
        assert time.monotonic() - began > 0.29
        assert answer.status == 504
        assert answer.keeps_alive
    where = rf"proxy_read_timeout 0\.3: {FILE_LINE_COLUMN}"
    line = front.error_logged("upstream timed out (110: Connection timed out)")
    assert re.search(where, line) and "while reading response header from upstream" in line
    logged = front.logged("GET /slow/")
    assert logged.status == "504"
    assert re.search(where, logged.cause)
    line_number = int(re.search(r"toml:(\d+):", logged.cause)[1])
    assert "proxy_read_timeout" in front.text.splitlines()[line_number - 1]


def test_an_upstream_that_cannot_be_connected_to_in_time_is_504(front):
    began = time.monotonic()
    assert ask(front.port, "/hole/").status == 504
    assert time.monotonic() - began > 0.29
    line = front.error_logged('while connecting to upstream, client: 127.0.0.1, server: , request: "GET /hole/')
    assert re.search(rf"proxy_connect_timeout 0\.3: {FILE_LINE_COLUMN}", line)


@pytest.mark.parametrize(
    "wrong",
    (
        b"",
        b"not http at all\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 2000 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ),
)
def test_an_answer_that_is_none_is_502_and_never_relayed(front, backend, wrong):
    def reply(conversation, received):
        conversation.send(wrong)
        conversation.close()

    backend.reply = reply
    with Wire(front.port) as wire:
        answer = wire.request("GET", "/")
        assert answer.status == 502
        assert answer.keeps_alive
        assert wire.request("GET", "/ok").body == b"ok"


@pytest.mark.parametrize(
    "cut",
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly a part",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\nnonsense\r\n",
    ),
)
def test_an_answer_that_breaks_off_looks_broken_to_the_client(front, backend, cut):
    def reply(conversation, received):
        conversation.send(cut)
        conversation.close()

    backend.reply = reply
    with Wire(front.port) as wire:
        wire.send(request_bytes("GET", "/"))
        try:
            assert wire.answer().status == 502
        except Closed as closed:
            assert not closed.received.endswith(b"0\r\n\r\n")


def test_an_upstream_that_stops_in_the_middle_of_a_body_is_cut_after_proxy_read_timeout(front, backend):
    def reply(conversation, received):
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly a part")
        conversation.wait_for_end()

    backend.reply = reply
    with Wire(front.port) as wire, pytest.raises(Closed):
        wire.request("GET", "/slow/stops")
    assert front.logged("GET /slow/stops").status == "200"
    line = front.error_logged("GET /slow/stops")
    assert "while reading upstream" in line and "proxy_read_timeout" in line


def test_an_answer_may_come_before_the_whole_request_is_sent(front, backend):
    def reply(conversation, received):
        conversation.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        conversation.close()

    with Wire(front.port) as wire:
        backend.reply = reply
        wire.send(request_bytes("POST", "/big/early", [("Content-Length", "0")]))
        assert (wire.answer().status, wire.request("GET", "/ok").status) == (403, 200)


def test_interim_answers_are_not_taken_for_the_final_one(front, backend):
    backend.answer_with(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + PLAIN)
    with Wire(front.port) as wire:
        assert wire.request("GET", "/").body == b"ok"
        assert wire.request("GET", "/").body == b"ok"


def test_an_idle_upstream_connection_that_died_is_nobodys_failure(front, backend):
    def answer_and_close(conversation, received):
        conversation.send(PLAIN)
        conversation.close()

    backend.reply = answer_and_close
    errors = front.error_log.count("[error]")
    with Wire(front.port) as wire:
        for _ in range(50):
            assert wire.request("GET", "/").status == 200
        for _ in range(20):
            assert wire.request("POST", "/", body=b"x").status in (200, 502)
    assert front.error_log.count("[error]") - errors < 20


# Pipelining and HTTP/1.0.


def test_pipelined_requests_are_answered_in_order(front, backend):
    def reply(conversation, received):
        body = received.target.encode()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    backend.reply = reply
    with Wire(front.port) as wire:
        requests = [request_bytes("GET", f"/{number}") for number in range(20)]
        requests[5] = request_bytes("POST", "/5", body=b"with a body")
        requests[10] = request_bytes("POST", "/10", [("Transfer-Encoding", "chunked")]) + chunked(b"one", b"two")
        wire.send(b"".join(requests))
        for number in range(20):
            answer = wire.answer()
            assert (answer.status, answer.body) == (200, b"/%d" % number)
    assert [received.target for received in backend.requests] == [f"/{number}" for number in range(20)]
    assert backend.requests[5].body == b"with a body"
    assert backend.requests[10].body == b"onetwo"


def test_a_request_cut_anywhere_is_put_together_again(front, backend):
    data = request_bytes("POST", "/cut", [("X-One", "1")], b"body")
    with Wire(front.port) as wire:
        for at in range(1, len(data)):
            wire.send(data[:at])
            wire.send(data[at:])
            assert wire.answer().status == 200
    assert {received.body for received in backend.requests} == {b"body"}
    assert len({received.head for received in backend.requests}) == 1


def test_an_http_10_client_is_closed_unless_it_asks_to_be_kept(front, backend):
    with Wire(front.port) as wire:
        answer = wire.request("GET", "/", version="HTTP/1.0", host=None)
        assert (answer.status, answer.body) == (200, b"ok")
        assert not answer.keeps_alive
        assert wire.is_closed_by_peer()
    with Wire(front.port) as wire:
        for _ in range(3):
            answer = wire.request("GET", "/", [("Connection", "keep-alive")], version="HTTP/1.0", host=None)
            assert answer.body == b"ok"
            assert (answer["connection"] or "").lower() == "keep-alive"


def test_an_http_11_client_may_ask_to_be_closed(front):
    with Wire(front.port) as wire:
        answer = wire.request("GET", "/", [("Connection", "close")])
        assert answer["connection"] == "close"
        assert wire.is_closed_by_peer()


def test_an_http_10_answer_for_an_http_10_client_is_never_chunked(front, backend):
    backend.answer_with(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"one", b"two"))
    with Wire(front.port) as wire:
        answer = wire.request("GET", "/", [("Connection", "keep-alive")], version="HTTP/1.0")
        assert answer.body == b"onetwo"
        assert not answer.is_chunked


def test_a_connection_is_closed_after_keepalive_requests(front):
    with Wire(front.port) as wire:
        assert [wire.request("GET", "/three/").keeps_alive for _ in range(3)] == [True, True, False]
        assert wire.is_closed_by_peer()


def test_the_time_a_connection_is_kept_can_be_announced(front):
    assert ask(front.port, "/long/")["keep-alive"] == "timeout=60"
    assert ask(front.port, "/")["keep-alive"] is None


def test_expect_100_continue_is_answered_when_the_body_is_wanted(front, backend):
    with Wire(front.port) as wire:
        wire.send(request_bytes("POST", "/", [("Expect", "100-continue"), ("Content-Length", "4")]))
        assert wire._until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue"
        wire.send(b"body")
        assert wire.answer().status == 200
    received = backend.one()
    assert received.body == b"body"
    assert not received.all("expect")


def test_a_body_that_the_location_does_not_want_is_skipped(front):
    with Wire(front.port) as wire:
        assert wire.request("POST", "/ok", body=b"x" * 1000).body == b"ok"
        wire.send(request_bytes("POST", "/ok", [("Transfer-Encoding", "chunked")]) + chunked(b"x" * 300, b"y"))
        assert wire.answer().body == b"ok"
        assert wire.request("GET", "/ok").body == b"ok"
