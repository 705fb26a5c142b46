"""HTTP/2 from real clients to a real worker: curl, h2load and the `h2` library, in clear and over TLS, also while it reloads."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import h2.connection
import h2.events
import hpack
import pytest
from h2.config import H2Configuration
from harness import Wproxy, cpu_of_family, until
from recorder import Recorder

from bench.ports import free_port
from tests.authority import authority

pytestmark = pytest.mark.whole

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_h2load = pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed")
BODY = bytes(range(256)) * 8000

HTTP = """
[[http.server]]
listen = "127.0.0.1:{port}"
http2 = true
client_max_body_size = 0
keepalive_requests = 100000
root = "DIRECTORY"
[http.server.location."/ready"]
return = [200, "ready $http2"]
[http.server.location."/app/"]
proxy_pass = "http://127.0.0.1:BACKEND/"
[http.server.location."/streamed/"]
proxy_pass = "http://127.0.0.1:BACKEND/"
proxy_request_buffering = false
[[http.server]]
listen = [["127.0.0.1:SECURE", "ssl"]]
http2 = true
ssl_certificate = "DIRECTORY/front.pem"
ssl_certificate_key = "DIRECTORY/front.key"
client_max_body_size = 0
root = "DIRECTORY"
[http.server.location."/ready"]
return = [200, "ready $http2"]
[http.server.location."/app/"]
proxy_pass = "http://127.0.0.1:BACKEND/"
"""


class Front:
    """A wproxy that speaks HTTP/2 on two ports."""

    def __init__(self, wproxy: Wproxy, secure: int, recorder: Recorder) -> None:
        self.wproxy = wproxy
        self.secure = secure
        self.recorder = recorder

    def url(self, path: str, secure: bool) -> str:
        return f"https://127.0.0.1:{self.secure}{path}" if secure else f"http://127.0.0.1:{self.wproxy.port}{path}"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    directory = tmp_path_factory.mktemp("http2")
    directory.chmod(0o755)
    (directory / "file.bin").write_bytes(BODY)
    authority().issue("front", ["localhost", "127.0.0.1"]).write(directory, "front")
    secure = free_port()
    with Recorder() as recorder:
        text = HTTP.replace("DIRECTORY", str(directory)).replace("SECURE", str(secure)).replace("BACKEND", str(recorder.port))
        with Wproxy(directory / "wproxy", text) as wproxy:
            yield Front(wproxy, secure, recorder)


class Client:
    """A connection of the `h2` library."""

    def __init__(self, front: Front, secure: bool = False) -> None:
        port = front.secure if secure else front.wproxy.port
        self.sock = socket.create_connection(("127.0.0.1", port), 20)
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            self.sock = context.wrap_socket(self.sock)
            assert self.sock.selected_alpn_protocol() == "h2"  # type: ignore[attr-defined]
        self.h2 = h2.connection.H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.heads: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.reset: dict[int, int] = {}
        self.goaway = False
        self.closed = False
        self.flush()

    def flush(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def ask(self, path: str, body: bytes | None = None, method: str = "GET") -> int:
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "front")]
        self.h2.send_headers(stream, fields, end_stream=body is None)
        self.flush()
        while body is not None:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(body))
            if room or not body:
                piece, body = body[:room], body[room:]
                self.h2.send_data(stream, piece, end_stream=not body)
                self.flush()
                if not body:
                    break
            else:
                self.receive()
        return stream

    def receive(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            self.closed = True
            return
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.heads[event.stream_id] = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self.reset[event.stream_id] = event.error_code
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.goaway = True
        self.flush()

    def answer(self, stream: int) -> tuple[int, bytes]:
        while stream not in self.ended:
            assert not self.closed and stream not in self.reset, (stream, self.reset, self.closed)
            self.receive()
        return int(self.heads[stream][":status"]), self.bodies.get(stream, b"")

    def close(self) -> None:
        self.sock.close()


def curl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["curl", "-s", "-k", "-m", "20", *arguments], capture_output=True, check=False)


@needs_curl
@pytest.mark.parametrize("secure", [False, True], ids=["clear", "tls"])
def test_curl_gets_files_and_answers(front, secure):
    option = "--http2" if secure else "--http2-prior-knowledge"
    said = curl(option, "-w", " %{http_version}", front.url("/ready", secure))
    assert said.stdout == (b"ready h2 2" if secure else b"ready h2c 2")
    assert curl(option, front.url("/file.bin", secure)).stdout == BODY
    assert curl(option, "-r", "5-9", front.url("/file.bin", secure)).stdout == BODY[5:10]
    head = curl(option, "-I", front.url("/file.bin", secure)).stdout
    assert head.startswith(b"HTTP/2 200") and f"content-length: {len(BODY)}".encode() in head
    assert curl("--http1.1", "-w", " %{http_version}", front.url("/ready", secure)).stdout == b"ready  1.1"


@needs_curl
def test_curl_without_prior_knowledge_stays_with_http_1(front):
    said = curl("--http2", "-w", " %{http_version}", front.url("/ready", False))  # Upgrade: h2c, which is obsolete
    assert said.stdout == b"ready  1.1"


@needs_curl
@pytest.mark.parametrize("path", ["/app/", "/streamed/"])
def test_curl_uploads(front, path, tmp_path):
    (tmp_path / "body").write_bytes(BODY)
    done = curl("--http2-prior-knowledge", "-T", str(tmp_path / "body"), "-w", "%{http_code}", front.url(path + "up", False))
    assert done.stdout.endswith(b"200"), done
    taken = until(lambda: [one for one in front.recorder.requests if one.head.startswith(b"PUT /up ")], "the upload")
    assert taken[-1].body == BODY
    assert b"\r\nContent-Length: %d" % len(BODY) in taken[-1].head


@pytest.mark.parametrize("secure", [False, True], ids=["clear", "tls"])
def test_many_streams_both_ways_on_one_connection(front, secure):
    client = Client(front, secure)
    streams = [client.ask("/file.bin") for _ in range(20)]
    streams += [client.ask("/app/x", BODY[:100_000], "POST") for _ in range(10)]
    for stream in streams[:20]:
        assert client.answer(stream) == (200, BODY)
    for stream in streams[20:]:
        assert client.answer(stream)[0] == 200
    client.close()


class Patient:
    """A connection that goes on after GOAWAY, which the `h2` library does not: what is under way still gets its answer."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 20)
        # A window for more than 7000 answers, which a quick machine gives before the reload is over.
        window = self.frame(8, 0, 0, (1 << 30).to_bytes(4, "big"))
        self.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0) + window)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.last = -1
        self.received = b""
        self.statuses: dict[int, str] = {}
        self.ended: set[int] = set()
        self.served_to = 1 << 31

    @staticmethod
    def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
        return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload

    def ask(self, path: str) -> int:
        self.last += 2
        fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "front")]
        self.sock.sendall(self.frame(1, 5, self.last, self.encoder.encode(fields)))
        return self.last

    @property
    def goaway(self) -> bool:
        return self.served_to != 1 << 31

    def receive(self) -> None:
        piece = self.sock.recv(65536)
        assert piece, f"the connection ended with streams under way: {self.last}, {self.ended}"
        self.received += piece
        while len(self.received) >= 9 and len(self.received) >= 9 + int.from_bytes(self.received[:3], "big"):
            size = int.from_bytes(self.received[:3], "big")
            kind, flags, stream = self.received[3], self.received[4], int.from_bytes(self.received[5:9], "big")
            payload, self.received = self.received[9 : 9 + size], self.received[9 + size :]
            assert kind != 3, f"stream {stream} was reset"
            if kind == 1:
                self.statuses[stream] = dict(self.decoder.decode(payload))[":status"]
            elif kind == 7:
                self.served_to = int.from_bytes(payload[:4], "big")
            elif (kind in (4, 6)) and not flags & 1:
                self.sock.sendall(self.frame(kind, 1, 0, payload if kind == 6 else b""))
            if kind in (0, 1) and flags & 1:
                self.ended.add(stream)

    def answer(self, stream: int) -> str | None:
        """The status of an answer; None if it is known that the request was not served."""
        while stream not in self.ended:
            if stream > self.served_to:
                return None
            self.receive()
        return self.statuses[stream]


def test_a_reload_under_load_loses_no_stream(front):
    """Clients keep 8 streams under way each, and open a new connection when they are told to go away."""
    stop = threading.Event()
    answered: list[int] = []
    faults: list[str] = []
    connections: list[int] = []

    def load() -> None:
        try:
            while not stop.is_set():
                client = Patient(front.wproxy.port)
                connections.append(1)
                under_way = [client.ask("/ready") for _ in range(8)]
                while under_way:
                    stream = under_way.pop(0)
                    assert client.answer(stream) == "200"
                    answered.append(stream)
                    if not client.goaway and not stop.is_set():
                        under_way.append(client.ask("/ready"))
                client.sock.close()
        except Exception as error:
            faults.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(answered) > 100, "traffic")
        for _ in range(2):
            before = len(answered)
            assert front.wproxy.reload().code == 0
            until(lambda before=before: faults or len(answered) > before + 50, "traffic after the reload")
            assert not faults, faults
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert not faults, faults
    assert len(connections) > 4, "the old workers have sent their clients away"


@needs_h2load
@pytest.mark.parametrize("secure", [False, True], ids=["clear", "tls"])
def test_h2load_gets_every_answer(front, secure):
    done = subprocess.run(
        ["h2load", "-n", "3000", "-c", "5", "-m", "20", front.url("/ready", secure)], capture_output=True, text=True, check=True
    )
    assert re.search(r"3000 done, 3000 succeeded, 0 failed, 0 errored", done.stdout), done.stdout


def test_a_slow_reader_costs_no_memory_and_no_processor(front):
    """A client that opens its windows and reads nothing holds 20 files of 2 MB back."""
    assert front.wproxy.master is not None
    workers = front.wproxy.master.children()
    client = Client(front)
    client.h2.increment_flow_control_window(1 << 30)
    before = {process.pid: process.memory_info().rss for process in workers}
    for _ in range(20):
        stream = client.ask("/file.bin")
        client.h2.increment_flow_control_window(1 << 30, stream)
        client.flush()
    cpu = cpu_of_family(front.wproxy.master.pid)
    threading.Event().wait(0.5)  # a worker that spins would use it up
    assert cpu_of_family(front.wproxy.master.pid) - cpu < 0.4
    grown = max(process.memory_info().rss - before[process.pid] for process in workers)
    assert grown < 12_000_000, f"{grown} bytes for a client that does not read"
    client.close()


def test_garbage_after_a_preface_ends_only_its_connection(front):
    good = Client(front)
    for wire in (b"\0" * 100, b"\xff" * 5000, b"GET / HTTP/1.1\r\n\r\n" * 50):
        with socket.create_connection(("127.0.0.1", front.wproxy.port), 20) as sock:
            sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + wire)
            sock.shutdown(socket.SHUT_WR)
            said = b""
            while piece := sock.recv(65536):
                said += piece
        assert said[-17 + 3 : -17 + 4] == b"\x07" or b"\x07\0\0\0\0\0" in said, said
    assert good.answer(good.ask("/ready")) == (200, b"ready h2c")
    good.close()


def test_the_logs_and_the_files_are_as_for_http_1(front):
    client = Client(front)
    client.answer(client.ask("/file.bin"))
    client.close()
    log = Path(front.wproxy.directory / "access.log")
    assert until(lambda: log.exists() and "GET /file.bin HTTP/2.0" in log.read_text(), "a line in the access log")
