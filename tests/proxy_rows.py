"""The rows of proxy.md §1.1 (the URI) and §1.3 (the head): what an upstream receives.

BACK stands for the address of the backend, SOCK for its unix socket, NAME for what the row's server is called.
"""

from __future__ import annotations

from typing import NamedTuple


class UriRow(NamedTuple):
    """server: what stands in the server block. target: of the request. received: the target that the upstream gets."""

    server: str
    target: str
    received: str


URI_ROWS = (
    UriRow("location /api/ { proxy_pass http://BACK; }", "/api/a%20b?q", "/api/a%20b?q"),
    UriRow("location /api/ { proxy_pass http://BACK/; }", "/api/a%20b?q", "/a%20b?q"),
    UriRow("location /api { proxy_pass http://BACK/; }", "/api/x", "//x"),
    UriRow("location /api { proxy_pass http://BACK/; }", "/apix", "/x"),
    UriRow("location /p/ { proxy_pass http://BACK/new; }", "/p/a", "/newa"),
    UriRow("location /p/ { proxy_pass http://BACK/n?x=1; }", "/p/a?q", "/n?x=1a?q"),
    UriRow("location = /e { proxy_pass http://BACK/ex; }", "/e?k", "/ex?k"),
    UriRow("location /s/ { proxy_pass http://BACK/; }", "/s//x/./%2Fy", "/x/y"),
    UriRow("location /s/ { proxy_pass http://BACK/; }", "/s/a%3Fb", "/a%3Fb"),
    UriRow("location /r/ { rewrite ^/r/(.*)$ /x/$1 break; proxy_pass http://BACK/u/; }", "/r/a?q", "/x/a?q"),
    UriRow("location /r/ { rewrite ^/r/(.*)$ /x/$1 break; proxy_pass http://BACK; }", "/r/a?q", "/x/a?q"),
    UriRow("location /t/ { try_files /none @n; } location @n { proxy_pass http://BACK; }", "/t/a%20b?c", "/t/a%20b?c"),
    UriRow("location /p/ { proxy_pass http://unix:SOCK:/uu/; }", "/p/a", "/uu/a"),
    UriRow("set $h BACK; location /p/ { proxy_pass http://$h/fix; }", "/p/a?q", "/fix"),
    # What §1.1 says in words.
    UriRow("location / { proxy_pass http://BACK; }", "//a/./b%2e?", "//a/./b%2e?"),
    UriRow("location / { proxy_pass http://BACK; }", "http://NAME/a//b?c", "/a//b?c"),
    UriRow("location / { set $args n=1; proxy_pass http://BACK; }", "/a%20b", "/a%20b?n=1"),
    UriRow("location /p/ { set $h BACK; proxy_pass http://$h?x=1; }", "/p/a?q", "/?x=1"),
    UriRow("location /p/ { set $h BACK; proxy_pass http://$h; }", "/p/%61?q", "/p/%61?q"),
    UriRow(
        "error_page 404 =200 /back/nf; location = /x { return 404; } location /back/ { proxy_pass http://BACK/y/; }",
        "/x?a",
        "/y/nf",
    ),
    UriRow("location /i/ { if ($arg_a) { set $b 1; } proxy_pass http://BACK/u/; }", "/i/x?a=1", "/u/x?a=1"),
    UriRow("location /l/ { limit_except POST { proxy_pass http://BACK; } proxy_pass http://BACK/u/; }", "/l/x", "/l/x"),
    UriRow("location /o/ { location /o/i/ { proxy_pass http://BACK/x/; } }", "/o/i/%7E", "/x/~"),
)


class HeadRow(NamedTuple):
    """server: what stands in the server block. method, fields: of the request for /h/x?q. received: the head, its lines."""

    server: str
    method: str
    fields: tuple[str, ...]
    received: tuple[str, ...]


_PLAIN = "location /h/ { proxy_pass http://BACK; }"
_FORWARDED = (
    "proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr; "
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;"
)

HEAD_ROWS = (
    HeadRow(_PLAIN, "GET", (), ("GET /h/x?q HTTP/1.1", "Host: BACK")),
    HeadRow(_PLAIN, "HEAD", ("X-One: 1", "ACCEPT: */*", "x-one:  2 "), ("HEAD /h/x?q HTTP/1.1", "Host: BACK", "X-One: 1", "ACCEPT: */*", "x-one: 2")),
    HeadRow(
        _PLAIN,
        "GET",
        ("Proxy-Connection: x", "Keep-Alive: 3", "TE: trailers", "Expect: 1", "Upgrade: y", "X_under: 1", "Trailer: t",
         "Proxy-Authorization: p", "Accept-Encoding: gzip"),
        ("GET /h/x?q HTTP/1.1", "Host: BACK", "Trailer: t", "Proxy-Authorization: p", "Accept-Encoding: gzip"),
    ),
    HeadRow(_PLAIN, "POST", ("Content-Length: 0",), ("POST /h/x?q HTTP/1.1", "Host: BACK", "Content-Length: 0")),
    HeadRow(_PLAIN, "POST", ("X-A: b", "Content-Length: 4"), ("POST /h/x?q HTTP/1.1", "Host: BACK", "Content-Length: 4", "X-A: b")),
    HeadRow(
        f"location /h/ {{ {_FORWARDED} proxy_pass http://BACK; }}",
        "GET",
        ("X-Forwarded-For: 1.2.3.4", "X-Real-IP: 5.6.7.8", "X-Forwarded-For: 9.9.9.9"),
        ("GET /h/x?q HTTP/1.1", "Host: NAME", "X-Real-IP: 127.0.0.1", "X-Forwarded-For: 1.2.3.4, 9.9.9.9, 127.0.0.1", "X-Forwarded-Proto: http"),
    ),
    HeadRow(
        'proxy_set_header X-Lost 1; location /h/ { proxy_set_header X-Empty ""; proxy_set_header x-a 1; proxy_set_header x-a 2; proxy_pass http://BACK; }',
        "GET",
        ("X-Empty: gone", "X-A: gone"),
        ("GET /h/x?q HTTP/1.1", "Host: BACK", "x-a: 1", "x-a: 2"),
    ),
    HeadRow(
        "location /h/ { proxy_set_header Host a; proxy_set_header X-B b; proxy_set_header Host c; proxy_pass http://BACK; }",
        "GET",
        (),
        ("GET /h/x?q HTTP/1.1", "Host: c", "X-B: b"),
    ),
    HeadRow('location /h/ { proxy_set_header Host ""; proxy_pass http://BACK; }', "GET", (), ("GET /h/x?q HTTP/1.1", "Host: BACK")),
    HeadRow("location /h/ { proxy_pass_request_headers off; proxy_pass http://BACK; }", "GET", ("X-A: 1",), ("GET /h/x?q HTTP/1.1", "Host: BACK")),
    HeadRow(
        "location /h/ { proxy_http_version 1.0; proxy_set_header Connection close; proxy_pass http://BACK; }",
        "GET",
        ("X-A: 1",),
        ("GET /h/x?q HTTP/1.0", "Host: BACK", "Connection: close", "X-A: 1"),
    ),
    HeadRow(
        "location /h/ { proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $cu; proxy_pass http://BACK; }",
        "GET",
        ("Upgrade: websocket",),
        ("GET /h/x?q HTTP/1.1", "Host: BACK", "Upgrade: websocket", "Connection: upgrade"),
    ),
    HeadRow(
        "location /h/ { proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $cu; proxy_pass http://BACK; }",
        "GET",
        (),
        ("GET /h/x?q HTTP/1.1", "Host: BACK", "Connection: close"),
    ),
    HeadRow("location /h/ { proxy_pass http://unix:SOCK; }", "GET", (), ("GET /h/x?q HTTP/1.1", "Host: localhost")),
)  # fmt: skip

# What the rows of a configuration share.
MAP = "map $http_upgrade $cu { default upgrade; '' close; }"
