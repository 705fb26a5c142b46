"""Answers that come piece by piece from real applications, and curl as people use it for long transfers."""

from __future__ import annotations

import hashlib
import shutil
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator

import pytest
from harness import Program, Wproxy
from wire import Wire, ask, request_bytes

from bench.ports import free_port

pytestmark = pytest.mark.whole

SIZE = 1_500_000
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def pattern(size: int) -> bytes:
    block = b"".join(b"%08d" % number for number in range(8192))
    return (block * (size // len(block) + 1))[:size]


BODY = pattern(SIZE)


@pytest.fixture(scope="module")
def front(applications: Callable, tmp_path_factory: pytest.TempPathFactory, real_servers: dict[str, Program]) -> Iterator[Wproxy]:
    """uvicorn at /asgi/, node at /node/, both with a filter below /zipped/; files of a server with ranges, and of one without."""
    directory = tmp_path_factory.mktemp("streams")
    (directory / "big.bin").write_bytes(BODY)
    names = ["asgi", *(["node"] if shutil.which("node") else [])]
    locations = "".join(
        f"""
        [http.server.location."/{prefix}{name}/"]
        proxy_pass = "{applications(name).url}/"
        {more}
        """
        for name in names
        for prefix, more in (("", ""), ("zipped/", "gzip = true\ngzip_types = '*'\ngzip_min_length = 0\ngzip_proxied = 'any'"))
    )
    files, plain = free_port(), free_port()
    command = [sys.executable, "-m", "http.server", str(plain), "--bind", "127.0.0.1", "--directory", str(directory)]
    program = real_servers["plain files"] = Program(command, tmp_path_factory.mktemp("output"))
    program.wait_for_address(plain)
    with Wproxy(
        tmp_path_factory.mktemp("front"),
        f"""
        [[http.server]]
        listen = "127.0.0.1:{files}"
        root = "{directory}"
        [[http.server]]
        listen = "127.0.0.1:{{port}}"
        client_max_body_size = 0
        {locations}
        [http.server.location."/files/"]
        proxy_pass = "http://127.0.0.1:{files}/"
        [http.server.location."/forced/"]
        proxy_pass = "http://127.0.0.1:{plain}/"
        proxy_force_ranges = true
        """,
    ) as running:
        yield running
    program.end()


@pytest.fixture(params=["asgi", "node"])
def application(request: pytest.FixtureRequest) -> str:
    """The name of an application that streams."""
    name: str = request.param
    if name == "node" and shutil.which("node") is None:
        pytest.skip("node is not installed")
    return name


# Pieces.


def pieces_of(wire: Wire, coding: str | None) -> Iterator[bytes]:
    """The pieces of a chunked body, as they come."""
    decoder = zlib.decompressobj(31) if coding == "gzip" else None
    while True:
        size = int(wire._until(b"\r\n"), 16)
        piece = wire._exactly(size + 2)[:-2]
        if not size:
            return
        yield decoder.decompress(piece) if decoder is not None else piece


@pytest.mark.parametrize("place", ["", "zipped/"])
def test_a_page_is_shown_as_far_as_it_is_there(front: Wproxy, application: str, place: str) -> None:
    """As Next.js does it: the shell at once, then what it waited for. Nothing more is made before the client has seen the last."""
    name = f"{place.strip('/')}-{application}"
    with Wire(front.port) as wire:
        wire.send(request_bytes("GET", f"/{place}{application}/page/{name}", [("Accept-Encoding", "gzip")]))
        head = wire._until(b"\r\n\r\n").lower()
        assert b"transfer-encoding: chunked" in head
        assert (b"content-encoding: gzip" in head) == bool(place)
        pieces = pieces_of(wire, "gzip" if place else None)
        seen = b""
        for number in range(5):
            while seen.count(b"\n") <= number:
                seen += next(pieces)
            assert seen == b"".join(b"<p>piece %d\n" % each for each in range(number + 1))
            assert ask(front.port, f"/{application}/release/{name}").status == 200
        assert b"".join(pieces) == b""


@needs_curl
@pytest.mark.parametrize("place", ["", "zipped/"])
def test_an_event_is_late_by_less_than_20_ms(front: Wproxy, application: str, place: str) -> None:
    """The application writes into each event when it was sent, by a clock that all processes share."""
    command = [
        "curl",
        "-sS",
        "-N",
        "--compressed",
        "--max-time",
        "20",
        f"http://127.0.0.1:{front.port}/{place}{application}/events/15",
    ]
    delays = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"data: "):
                delays.append(time.monotonic() - float(line[6:]))
    assert process.returncode == 0
    assert len(delays) == 15
    assert statistics.median(delays) < 0.02


# curl.


def curl(*arguments: str, body: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["curl", "-sS", "--max-time", "30", *arguments], capture_output=True, timeout=40, input=body)


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


@needs_curl
@pytest.mark.parametrize("kind", ["bytes", "stream"])
@pytest.mark.parametrize("options", [("--limit-rate", "6M"), ("--http1.0",), ("--no-keepalive",)], ids=lambda words: words[0])
def test_curl_downloads(front: Wproxy, application: str, kind: str, options: tuple[str, ...]) -> None:
    done = curl(*options, f"http://127.0.0.1:{front.port}/{application}/{kind}/{SIZE}")
    assert done.stdout == BODY, done.stderr


@needs_curl
@pytest.mark.parametrize(
    "options",
    [
        ("--limit-rate", "6M"),
        ("--http1.0",),
        ("-H", "Transfer-Encoding: chunked"),
        ("--expect100-timeout", "15", "-H", "Expect: 100-continue"),
    ],
    ids=lambda words: words[0],
)
def test_curl_uploads(front: Wproxy, application: str, options: tuple[str, ...]) -> None:
    done = curl(*options, "--data-binary", "@-", f"http://127.0.0.1:{front.port}/{application}/digest", body=BODY)
    assert digest(BODY) in done.stdout, done


@needs_curl
@pytest.mark.parametrize("place", ["files", "forced"])
@pytest.mark.parametrize("begun", [0, 1, SIZE - 1])
def test_curl_goes_on_with_a_download(front: Wproxy, tmp_path: object, place: str, begun: int) -> None:
    """From an upstream that knows ranges, and by proxy_force_ranges from one that does not."""
    path = f"{tmp_path}/got"
    with open(path, "wb") as file:
        file.write(BODY[:begun])
    done = curl("-C", "-", "-o", path, "-D", "-", f"http://127.0.0.1:{front.port}/{place}/big.bin")
    assert done.returncode == 0, done
    if begun:
        assert b" 206 " in done.stdout
        assert b"Content-Range: bytes %d-%d/%d" % (begun, SIZE - 1, SIZE) in done.stdout
    with open(path, "rb") as file:
        assert file.read() == BODY
