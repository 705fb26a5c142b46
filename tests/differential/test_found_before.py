"""What the generators have found, and was mended: the smallest configuration and request for each."""

from __future__ import annotations

import pytest

from differential.backend import Reply
from differential.conversation import Conversation, Step
from differential.pair import Pair, same_complaint

pytestmark = pytest.mark.whole

_MAIN = """\
daemon off; master_process off; pid DIR/server.pid;
events {}
http {
    lingering_timeout 100ms; root DIR/www; access_log DIR/access.log;
    log_format args "$request_uri [$args] [$query_string] [$is_args]";
    client_body_temp_path DIR/tmp1; proxy_temp_path DIR/tmp2; fastcgi_temp_path DIR/tmp3; uwsgi_temp_path DIR/tmp4;
    scgi_temp_path DIR/tmp5;
    server { listen 127.0.0.1:PORT1; }
    server { listen 127.0.0.1:PORT2; }
    LINES
}
"""


def inside_http(lines: str) -> str:
    return _MAIN.replace("LINES", lines)


@pytest.mark.parametrize(
    "lines",
    [
        "proxy_max_temp_file_size 1g;",
        "client_body_temp_path DIR/x 1 2; location /a { proxy_temp_path DIR/x 1 2; }",
        "client_body_temp_path DIR/x 1 2; location /a { proxy_temp_path DIR/x 2; }",
        "client_body_temp_path DIR/x 1; location /a { client_body_temp_path DIR/y 2; }",
        "fastcgi_temp_path DIR/x; location /a { scgi_temp_path DIR/x 2; }",
        "limit_rate 1g;",
        "proxy_limit_rate 1g;",
        "proxy_limit_rate 1m;",
        *(f"client_body_temp_path DIR/x {levels};" for levels in ("4", "5 5", "3 3 4", "10", "5 6", "11", "0", "x")),
    ],
)
def test_arguments_are_accepted_and_refused_as_by_nginx(pair: Pair, lines: str) -> None:
    text = inside_http(f"server {{ listen 127.0.0.1:PORT0;\n{lines}\n}}").replace(
        "client_body_temp_path DIR/tmp1;", "" if "client_body" in lines else "client_body_temp_path DIR/tmp1;"
    )
    theirs, ours = pair.nginx.test(text), pair.wproxy.test(text)
    assert bool(theirs) == bool(ours), f"{theirs}\n{ours}"
    assert not theirs or same_complaint(theirs, ours)


def step(request: str, *replies: str) -> Step:
    """One request, and what the backend says to what comes of it."""
    answers = tuple(Reply(reply.replace("\n", "\r\n").encode("latin-1")) for reply in replies)
    return Step((request.replace("\n", "\r\n").encode("latin-1"),), answers or (Reply(),))


# What it is about; lines of a server; what it is asked.
CASES = (
    (
        "limit_except holds in a named location, too",
        "location /a { try_files /nope @named; } location /b { error_page 404 = @named; }"
        " location @named { limit_except GET { deny all; } }"
        " location /c { proxy_pass http://BACK0; } location /d { proxy_pass http://BACK0; proxy_intercept_errors on; error_page 500 @put; }"
        " location @put { limit_except GET POST { proxy_pass http://BACK1; } }",
        (
            *(step(f"{method} /{name} HTTP/1.1\nHost: h\nContent-Length: 0\n\n") for method in ("PUT", "GET") for name in "ab"),
            *(
                step(
                    f"{method} /{name} HTTP/1.1\nHost: h\nContent-Length: 0\n\n",
                    "HTTP/1.1 500 X\nX-Accel-Redirect: @put\nContent-Length: 0\n\n",
                    "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
                )
                for method in ("PUT", "GET")
                for name in "cd"
            ),
        ),
    ),
    (
        "proxy_hide_header hides Content-Type, too",
        "proxy_hide_header Content-Type; location /p/ { proxy_pass http://BACK0; }",
        (step("GET /p/x HTTP/1.1\nHost: h\n\n"),),
    ),
    (
        "what keepalive_timeout announces is inherited by itself",
        "keepalive_timeout 65 60; location /a { keepalive_timeout 75s; } location /b { keepalive_timeout 75s 5s; }",
        tuple(step(f"GET /{name}/x HTTP/1.1\nHost: h\n\n") for name in "abc"),
    ),
    (
        "proxy_force_ranges leaves no Accept-Ranges of the upstream's",
        "proxy_force_ranges on; location /p/ { proxy_pass http://BACK0; }",
        tuple(
            step("GET /p/x HTTP/1.1\nHost: h\n\n", f"HTTP/1.1 {status}\nAccept-Ranges: bytes\nContent-Length: 2\n\nok")
            for status in ("200 OK", "404 Not Found", "502 Bad Gateway")
        ),
    ),
    (
        "a status below 100 has three digits, a body, and an end",
        "location /0 { return 0; } location /0t { return 0 text; } location /50 { return 50; } location /5t { return 5 text; }",
        tuple(step(f"{method} /{name} HTTP/1.1\nHost: h\n\n") for method in ("GET", "HEAD") for name in ("0", "0t", "50", "5t")),
    ),
    (
        "a 494 from the configuration keeps the connection",
        "location /a { return 494; } location /b { try_files /nope =494; }",
        tuple(step(f"GET /{name} HTTP/1.1\nHost: h\n\n") for name in "aba"),
    ),
    (
        "arguments that were emptied are told from none in a log",
        "access_log DIR/args.log args;"
        " location /x {} location /try_asked { try_files /nope /x?; }"
        " location /rewritten { rewrite ^ /x; } location /emptied { rewrite ^ /x?; } location /replaced { rewrite ^ /x?b; }"
        ' location /page { error_page 404 /x; } location /page_asked { error_page 404 /x?; } location /set { set $args ""; }'
        " location /d/ { index file.txt; alias DIR/www/; } location /p/ { proxy_pass http://BACK0; }"
        " location /q/ { proxy_pass http://BACK0/; } location /r/ { rewrite ^ /p/? break; proxy_pass http://BACK0; }",
        tuple(
            step(f"GET /{name}{args} HTTP/1.1\nHost: h\n\n")
            for name in [
                "x",
                "try_asked",
                "rewritten",
                "emptied",
                "replaced",
                "page",
                "page_asked",
                "set",
                "d/",
                "p/",
                "q/",
                "r/",
            ]
            for args in ("", "?", "?a")
        ),
    ),
    (
        "a HEAD that goes on as another method keeps its connection",
        "location /get { proxy_method GET; proxy_pass http://BACK0; } location /put { proxy_method PUT; proxy_pass http://BACK0; }",
        (
            *(
                step(f"HEAD /{name} HTTP/1.1\nHost: h\n\n", f"HTTP/1.1 {answer}")
                for name in ("get", "put")
                for answer in (
                    "200 OK\nContent-Length: 2\n\nok",
                    "404 Not Found\nContent-Length: 2\n\nok",
                    "200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n",
                    "204 No Content\n\n",
                )
            ),
            step("GET /file.txt HTTP/1.1\nHost: h\n\n"),
        ),
    ),
    (
        "ranges behind X-Accel-Redirect: the upstream's type is that of the parts",
        "location /p/ { proxy_pass http://BACK0; }",
        tuple(
            step(
                f"GET /p/ HTTP/1.1\nHost: h\nRange: bytes={ranges}\n\n", f"HTTP/1.1 200 OK\n{kind}X-Accel-Redirect: /file.txt\n\n"
            )
            for ranges in ("0-1,4-5", "0-1", "1000000-")
            for kind in ("Content-Type: text/html; charset=utf-8\n", "")
        ),
    ),
    (
        "444 with a text is a status like others",
        'location /a { return 444 text; } location /b { set $none ""; return 444 $none; } location /c { return 444 ""; }',
        tuple(step(f"GET /{name} HTTP/1.1\nHost: h\n\n") for name in "abc"),
    ),
    *(
        (
            f"the page of a refused line that is {line!r} comes in chunks only where the version is known",
            "error_page 400 405 505 /p/page; location /p/ { proxy_pass http://BACK0; }",
            (step(f"{line}\nHost: h\n\n", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n"),),
        )
        for line in ("GET /%zz HTTP/1.0", "GET /%zz HTTP/1.1", "get / HTTP/1.1")
    ),
    (
        "the length of a page stays where trailers have no chunks to go into",
        "chunked_transfer_encoding off; add_trailer X-End 1 always;",
        (step("GET /missing HTTP/1.1\nHost: h\n\n"), step("GET /file.txt HTTP/1.1\nHost: h\n\n")),
    ),
    (
        "the text of a return may read its status",
        "location /a { return 200 $status; } location /b { return 302 /$status; } location /c { return 404 $status; }",
        tuple(step(f"GET /{name} HTTP/1.1\nHost: h\n\n") for name in "abc"),
    ),
    (
        "the settings of limit_except hold for the redirect to a proxied directory",
        "location /up/ { add_header X-Any 1; proxy_pass http://BACK0; limit_except GET { absolute_redirect off; } }",
        tuple(step(f"{method} /up HTTP/1.1\nHost: h\n\n") for method in ("GET", "OPTIONS")),
    ),
)


@pytest.mark.parametrize(("lines", "steps"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_it_acts_as_under_nginx(pair: Pair, lines: str, steps: tuple[Step, ...]) -> None:
    text = inside_http(f"server {{ listen 127.0.0.1:PORT0; {lines} }}")
    found = pair.differences_of_text(text, [Conversation(0, steps)])
    assert not found, "\n".join(pair.site.unfill(str(difference)) for difference in found)
