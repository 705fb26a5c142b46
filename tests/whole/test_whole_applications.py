"""wproxy in front of real applications: what they see of a request, and bodies of every kind both ways."""

import hashlib
import os
import shutil
import subprocess
import sys

import pytest
from harness import Program, Wproxy
from wire import Wire, ask, chunked, request_bytes

from bench.ports import free_port

pytestmark = pytest.mark.whole

NAMES = ("flask", "flask-unix", "asgi", "node")
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
TEN_MEGABYTES = 10 * 1024 * 1024
UPLOAD = os.urandom(1 << 20) * 10

LESSON = """
[http.server.location."/".proxy_set_header]
Host = "$host"
X-Real-IP = "$remote_addr"
X-Forwarded-For = "$proxy_add_x_forwarded_for"
X-Forwarded-Proto = "$scheme"
"""


def server(url: str) -> str:
    return f"""
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        client_max_body_size = "64m"
        [http.server.location."/"]
        proxy_pass = "{url}"
        {LESSON}"""


def pattern(size: int) -> bytes:
    block = b"".join(b"%08d" % number for number in range(8192))
    return (block * (size // len(block) + 1))[:size]


@pytest.fixture(scope="module")
def fronts(applications, tmp_path_factory):
    """A wproxy for each application, started when it is asked for."""
    running = {}

    def front(name: str) -> Wproxy:
        if name not in running:
            application = applications(name)
            running[name] = Wproxy(tmp_path_factory.mktemp(name), server(application.url)).__enter__()
        return running[name]

    yield front
    for front in running.values():
        front.__exit__(None, None, None)


@pytest.fixture(params=NAMES)
def front(request, fronts):
    return fronts(request.param)


def seen_fields(answer) -> dict[str, str]:
    """What the application saw, each name once."""
    fields = answer.json["fields"]
    names = [name for name, _ in fields]
    assert len(names) == len(set(names)), f"a field came twice: {fields}"
    return dict(map(tuple, fields))


# Requests.


@pytest.mark.parametrize("method", METHODS)
def test_every_method_reaches_the_application(front, method):
    with Wire(front.port) as wire:
        for _ in range(2):
            body = b"a body" if method in ("POST", "PUT", "PATCH") else None
            answer = wire.request(method, f"/seen?method={method}", body=body)
            assert answer.status == 200, answer
            assert answer.keeps_alive
            if method == "HEAD":
                assert answer.body == b""
                continue
            assert answer.json["method"] == method
            assert answer.json["target"] == f"/seen?method={method}"
            assert answer.json["length"] == len(body or b"")


def test_the_application_sees_the_fields_of_the_lesson(front):
    fields = seen_fields(
        ask(front.port, "/seen", host="shop.example:8080", fields=[("Accept", "text/html"), ("Cookie", "a=1; b=2")])
    )
    assert fields["host"] == "shop.example"
    assert fields["x-real-ip"] == "127.0.0.1"
    assert fields["x-forwarded-for"] == "127.0.0.1"
    assert fields["x-forwarded-proto"] == "http"
    assert fields["accept"] == "text/html"
    assert fields["cookie"] == "a=1; b=2"


def test_the_client_is_added_to_the_chain_of_x_forwarded_for(front):
    chain = [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-For", "198.51.100.2, 192.0.2.1")]
    fields = seen_fields(ask(front.port, "/seen", fields=chain))
    assert fields["x-forwarded-for"] == "203.0.113.7, 198.51.100.2, 192.0.2.1, 127.0.0.1"


def test_a_client_cannot_inject_what_the_proxy_sets(front):
    lies = [
        ("x-real-ip", "6.6.6.6"),
        ("X-REAL-IP", "6.6.6.7"),
        ("X_Real_IP", "6.6.6.8"),
        ("X-Forwarded-Proto", "https"),
        ("x-forwarded-proto", "ftp"),
        ("Connection", "x-real-ip, x-forwarded-for, host"),
    ]
    fields = seen_fields(ask(front.port, "/seen", fields=lies))
    assert fields["x-real-ip"] == "127.0.0.1"
    assert fields["x-forwarded-proto"] == "http"
    assert fields["x-forwarded-for"] == "127.0.0.1"
    assert fields["host"] == "test.example"
    assert "6.6.6" not in str(fields)


def test_hop_by_hop_fields_end_at_the_proxy(front):
    sent = [
        ("Connection", "keep-alive, X-Private, Upgrade, HTTP2-Settings"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ("X-Private", "for the proxy alone"),
        ("Proxy", "http://evil.example/"),
        ("X-Public", "for the application"),
    ]
    fields = seen_fields(ask(front.port, "/seen", fields=sent))
    assert fields["x-public"] == "for the application"
    dropped = {name.lower() for name, _ in sent} - {"x-public", "connection"}
    assert not dropped & set(fields), fields
    assert fields.get("connection", "") == ""


# Bodies.


@pytest.mark.parametrize("size", (0, 1, 16384, 16385, 100000))
def test_a_body_of_any_size_arrives_whole(front, size):
    body = pattern(size)
    with Wire(front.port) as wire:
        for _ in range(2):
            answer = wire.request("POST", "/digest", body=body)
            assert answer.json == {"length": size, "sha256": hashlib.sha256(body).hexdigest()}


def test_ten_megabytes_go_up(front):
    with Wire(front.port) as wire:
        answer = wire.request("PUT" if "flask" in str(front.directory) else "POST", "/digest", body=UPLOAD)
        assert answer.json == {"length": TEN_MEGABYTES, "sha256": hashlib.sha256(UPLOAD).hexdigest()}
        assert wire.request("GET", "/seen").status == 200


@pytest.mark.parametrize("kind", ("bytes", "stream"))
def test_ten_megabytes_come_down(front, kind):
    with Wire(front.port) as wire:
        answer = wire.request("GET", f"/{kind}/{TEN_MEGABYTES}")
        assert answer.is_chunked == (kind == "stream")
        assert len(answer.body) == TEN_MEGABYTES
        assert hashlib.sha256(answer.body).digest() == hashlib.sha256(pattern(TEN_MEGABYTES)).digest()
        assert wire.request("GET", "/seen").status == 200


@pytest.mark.parametrize("pieces", ([b""], [b"one"], [b"one", b"two" * 1000, b"3"], [b"x" * 65536] * 8))
def test_a_chunked_upload_arrives_whole(front, pieces):
    body = b"".join(pieces)
    with Wire(front.port) as wire:
        for _ in range(2):
            head = request_bytes("POST", "/digest", [("Transfer-Encoding", "chunked")])
            wire.send(head + chunked(*filter(None, pieces)))
            assert wire.answer().json == {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def test_a_chunked_upload_may_arrive_byte_by_byte(front):
    with Wire(front.port) as wire:
        for byte in request_bytes("POST", "/digest", [("Transfer-Encoding", "chunked")]) + chunked(b"slow", b"client"):
            wire.send(bytes([byte]))
        assert wire.answer().json == {"length": 10, "sha256": hashlib.sha256(b"slowclient").hexdigest()}


def test_a_chunked_download_of_unknown_length_is_closed_for_an_http_10_client(front):
    with Wire(front.port) as wire:
        answer = wire.request("GET", "/stream/100000", version="HTTP/1.0")
        assert not answer.is_chunked
        assert answer.body == pattern(100000)
        assert wire.is_closed_by_peer()


@pytest.mark.parametrize(
    "method, path", (("HEAD", "/bytes/1000"), ("HEAD", "/stream/1000"), ("GET", "/status/204"), ("GET", "/status/304"))
)
def test_an_answer_without_a_body_leaves_the_connection_in_order(front, method, path):
    with Wire(front.port) as wire:
        for _ in range(3):
            answer = wire.request(method, path)
            assert answer.status == (int(path[-3:]) if "status" in path else 200)
            assert answer.keeps_alive
            assert wire.request("GET", "/status/200").body == b"status 200"


@pytest.mark.parametrize("status", (201, 302, 400, 401, 404, 500, 503))
def test_the_application_decides_on_the_status(front, status):
    with Wire(front.port) as wire:
        answer = wire.request("GET", f"/status/{status}")
        assert (answer.status, answer.body) == (status, b"status %d" % status)
        assert wire.request("GET", "/status/200").status == 200


def test_an_empty_download_is_an_answer(front):
    answer = ask(front.port, "/bytes/0")
    assert (answer.status, answer.body) == (200, b"")


# curl, as people use it.

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def curl(*arguments: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run(["curl", "-sS", "--max-time", "20", *arguments], capture_output=True, timeout=30, **more)


@needs_curl
def test_curl_uploads_from_a_pipe_in_chunks(front):
    body = pattern(3_000_000)
    done = curl("-T", "-", "-X", "POST", f"http://127.0.0.1:{front.port}/digest", input=body)
    assert hashlib.sha256(body).hexdigest().encode() in done.stdout, done


@needs_curl
def test_curl_waits_for_100_continue_and_gets_it(front, tmp_path):
    (tmp_path / "body").write_bytes(pattern(3_000_000))
    # Without an answer it would give up waiting after --expect100-timeout and send the body: that would take too long here.
    done = curl(
        "-v", "--expect100-timeout", "15", "-H", "Expect: 100-continue", "--data-binary", f"@{tmp_path}/body",
        f"http://127.0.0.1:{front.port}/digest",
    )  # fmt: skip
    assert hashlib.sha256(pattern(3_000_000)).hexdigest().encode() in done.stdout, done
    assert b"< HTTP/1.1 100 Continue" in done.stderr


@needs_curl
def test_curl_reuses_its_connection(front):
    url = f"http://127.0.0.1:{front.port}"
    done = curl("-v", f"{url}/bytes/10", f"{url}/stream/10", "-o", "/dev/null", "-o", "/dev/null")
    assert b"Re-using existing" in done.stderr or b"Reusing existing" in done.stderr, done


# Python's http.server: HTTP/1.0, a connection for each request, bodies that end with it.


@pytest.fixture(scope="module")
def files(tmp_path_factory, real_servers):
    directory = tmp_path_factory.mktemp("files")
    (directory / "big.bin").write_bytes(pattern(TEN_MEGABYTES))
    (directory / "hello world.txt").write_text("hello")
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(directory)]
    program = real_servers["http.server"] = Program(command, tmp_path_factory.mktemp("output"))
    program.wait_for_address(port)
    with Wproxy(tmp_path_factory.mktemp("http.server"), server(f"http://127.0.0.1:{port}")) as running:
        yield running
    program.end()


def test_files_of_http_server_are_served_over_a_kept_connection(files):
    with Wire(files.port) as wire:
        answer = wire.request("GET", "/hello%20world.txt")
        assert (answer.status, answer.body, answer["content-type"]) == (200, b"hello", "text/plain")
        assert answer.version == "HTTP/1.1"
        assert answer.keeps_alive
        answer = wire.request("HEAD", "/big.bin")
        assert (answer.status, answer["content-length"]) == (200, str(TEN_MEGABYTES))
        answer = wire.request("GET", "/big.bin")
        assert hashlib.sha256(answer.body).digest() == hashlib.sha256(pattern(TEN_MEGABYTES)).digest()
        assert wire.request("GET", "/missing").status == 404
        assert wire.request("POST", "/hello%20world.txt", body=b"?").status == 501
        assert b"big.bin" in wire.request("GET", "/").body


def test_the_server_of_an_upstream_is_not_shown(files):
    answer = ask(files.port, "/")
    assert answer["server"].startswith("wproxy")
    assert len(answer.all("date")) == 1
