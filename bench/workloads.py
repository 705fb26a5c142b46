"""The workloads: the question each one asks, as a table."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial

LUA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lua")
HUNDRED_KB = 100 * 1024
TEN_MB = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of load.

    script: the Lua file that tells wrk what to send; None for wrk's own GET with nothing but a Host.
    headers: header lines given to wrk on its command line.
    response_bytes: when set, the work done is counted in bytes received, in units of this size. A transfer that the end of the
    run cuts short has cost its share of time; with few and large responses that share matters.
    driver: "wrk", "h2load", or a module here that is called as wrk is and prints what it prints: "echo", whose requests are
    messages that come back through a WebSocket, "handshakes", and "openloop", at half of what the slowest contestant can do; or
    "memory", which asks for memory instead of time.
    needs_php: whether PHP-FPM is the application.
    listen: how the proxy listens: "http", "tls", "h2c" (HTTP/2 in clear) or "h2" (over TLS).
    site: what else the configuration has, a name of `configurations.SITES`.
    by_haproxy: whether HAProxy can do this: it passes on, and has no files and no cache.
    streams: for h2load, the requests under way at once on each connection. body: for h2load, the bytes of a POST; 0 for GET.
    paths: for h2load, the file of paths to ask for in turn.
    """

    name: str
    question: str
    path: str = "/"
    connections: int = 64
    script: str | None = None
    headers: tuple[str, ...] = ()
    response_bytes: int | None = None
    driver: str = "wrk"
    listen: str = "http"
    site: str = "plain"
    needs_php: bool = False
    by_haproxy: bool = True
    streams: int = 1
    body: int = 0
    paths: str | None = None


# What a browser sends over HTTP/2 beside the pseudo-headers.
BROWSER_HEADERS = (
    "cache-control: max-age=0",
    "upgrade-insecure-requests: 1",
    "user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "sec-fetch-site: same-origin",
    "sec-fetch-mode: navigate",
    "sec-fetch-dest: document",
    "referer: http://www.example.com/from/00000000",
    "accept-encoding: gzip, deflate, br, zstd",
    "accept-language: en-US,en;q=0.9",
    "cookie: session=0123456789abcdef00000000; theme=dark",
)

_large = partial(Workload, connections=8, response_bytes=TEN_MB)
_own = partial(Workload, by_haproxy=False)
_h2 = partial(Workload, driver="h2load", listen="h2c", connections=8)
_memory = partial(Workload, driver="memory", connections=4000)

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("small", "40-byte response, 64 keepalive clients, a Host and nothing else"),
        Workload("c1", "the same, 1 client", connections=1),
        Workload("c1000", "the same, 1000 clients, and 64 connections kept to the upstream", connections=1000),
        _own("limited", "the same as small, behind limit_req and limit_conn", path="/limited/"),
        _own("limit-req", "the same as small, behind limit_req", path="/limit_req/"),
        _own("access-log", "the same as small, with an access log in the combined format", site="access_log"),
        _own("metrics", "the same as small, with metrics (nginx: stub_status)", site="metrics"),
        _own(
            "servers1000", "the same as small, to one of 1,000 servers by its name", site="servers", headers=("Host: s777.test",)
        ),
        Workload("peers100", "the same as small, 100 peers in turn", site="peers"),
        Workload("browser", "the same with 12 browser headers, equal in every request", script="browser.lua"),
        Workload("varied", "12 headers; path, cookie and referer differ in every request", script="varied.lua"),
        Workload("post", "POST of 1 KB, 40-byte response, 64 keepalive clients", script="post.lua"),
        Workload("1k", "1 KB response, 64 keepalive clients", path="/1k"),
        Workload("100k", "100 KB response, 64 keepalive clients", path="/100k", response_bytes=HUNDRED_KB),
        _large("10m", "10 MB response, 8 keepalive clients", path="/10m"),
        _large("10m-unbuffered", "the same, proxy_buffering off", path="/unbuffered/10m"),
        Workload("upload16m", "POST of 16 MB, 4 keepalive clients", script="upload16m.lua", connections=4),
        Workload("websocket", "messages of 64 bytes there and back, 64 clients", path="/streams/echo", driver="echo"),
        _own(
            "gzip",
            "16 KB of text, compressed for each of 64 keepalive clients",
            path="/gzip/text",
            headers=("Accept-Encoding: gzip",),
        ),
        _own("return", "return 200 with a text, 64 keepalive clients", path="/return"),
        _own("static1k", "a file of 1 KB, 64 keepalive clients", path="/static/1k"),
        _own("static100k", "a file of 100 KB, 64 keepalive clients", path="/static/100k", response_bytes=HUNDRED_KB),
        _large("static10m", "a file of 10 MB, 8 keepalive clients", path="/static/10m", by_haproxy=False),
        _own("cache-hit-1k", "a stored response of 1 KB, 64 keepalive clients", path="/cached/1k"),
        _large("cache-hit-10m", "a stored response of 10 MB, 8 keepalive clients", path="/cached/10m", by_haproxy=False),
        _own("fastcgi", "hello from PHP-FPM, 16 keepalive clients", path="/php/hello.php", connections=16, needs_php=True),
        Workload("connect", "40-byte response, a new client connection each", headers=("Connection: close",)),
        Workload("latency", "small at half of what the slowest can do, each request at its time (open loop)", driver="openloop"),
        Workload("tls", "40-byte response over TLS, 64 keepalive clients", listen="tls"),
        Workload(
            "tls-connect",
            "the same, 16 clients, a new connection and a full handshake each",
            listen="tls",
            connections=16,
            driver="handshakes",
        ),
        Workload(
            "tls-resume",
            "the same, each connection resumes the session of the one before",
            listen="tls",
            connections=16,
            headers=("Connection: close",),
        ),
        _large("tls-10m", "10 MB over TLS, 8 clients", listen="tls", path="/10m"),
        _h2("h2", "40-byte response over HTTP/2 in clear, 8 clients with 8 requests at once", streams=8),
        _h2(
            "h2-varied",
            "the same with 11 browser headers, and other paths from one request to the next",
            streams=8,
            headers=BROWSER_HEADERS,
            paths="paths.txt",
        ),
        _h2("h2-post", "POST of 1 KB over HTTP/2 in clear, 8 clients with 8 requests at once", streams=8, body=1024),
        _h2("h2-10m", "10 MB over HTTP/2 in clear, 8 clients", path="/10m", response_bytes=TEN_MB),
        _h2(
            "grpc-unary",
            "gRPC calls of 1 KB, answers of 40 bytes, 8 clients with 8 calls at once",
            path="/grpc/call",
            streams=8,
            body=1024,
            headers=("content-type: application/grpc", "te: trailers"),
            by_haproxy=False,
        ),
        _h2("grpc-stream", "10 MB in a stream of gRPC, 8 clients", path="/grpc/10m", response_bytes=TEN_MB, by_haproxy=False),
        _h2("h2-tls", "40-byte response over HTTP/2 and TLS, 8 clients with 8 requests at once", listen="h2", streams=8),
        _memory("idle", "memory of each of 4,000 idle connections that have had one answer"),
        _memory("idle-tls", "the same over TLS", listen="tls"),
        _memory("idle-h2", "the same, HTTP/2 in clear", listen="h2c"),
        _memory("idle-h2-tls", "the same, HTTP/2 over TLS", listen="h2"),
        _memory(
            "streams-h2", "memory of each of 4,000 requests under way, 100 to a connection of HTTP/2", listen="h2c", streams=100
        ),
    )
}

# Other names of workloads.
ALIASES = {"close": "connect", "post1k": "post", "limit_req": "limit-req", "uploads": "upload16m"}
