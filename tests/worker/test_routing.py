"""Routing where there is no oracle: we are stricter than nginx, or nginx 1.22 is older than what we follow (1.31)."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conversation import Peer, Stage
from like_nginx import Echo, ask, comparable

from worker.regex_guard import install_regex_guard
from wproxy.regex import install_guard

Make = Callable[[str], Stage]


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Echo]:
    """An upstream that answers with what it was asked."""
    made = Echo(tmp_path)
    yield made
    made.close()


def answer(front: Stage, request: bytes) -> str:
    """The whole answer to one request, without Date and Server."""
    client = front.client().send(request)
    assert client.is_closed()
    told = comparable(bytes(client.received))
    client.close()
    return told


def status(front: Stage, request: bytes) -> int:
    return int(answer(front, request)[9:12])


def body(front: Stage, request: bytes) -> str:
    return answer(front, request).partition("\r\n\r\n")[2]


PLAIN = 'server { listen 127.0.0.1:8080; default_type text/plain; location / { return 200 "$host $uri"; } }'


# Requests that nginx 1.22 takes and we refuse (routing.md §2.2, §2.3; http1-security.md).


@pytest.mark.parametrize("host", ["h:99999", "h:x", "h:80:80", "a\\b", "a,b", "a%41"])
def test_a_host_that_is_none_is_refused(front: Make, host: str) -> None:
    assert status(front(PLAIN), ask("/", host=host)) == 400


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("CONNECT h:80 HTTP/1.1", 405),
        ("CONNECT h HTTP/1.1", 400),
        ("CONNECT / HTTP/1.1", 400),
        ("TRACE / HTTP/1.1", 405),
        ("GET ftp://h/ HTTP/1.1", 400),
        ("GET /", 400),
    ],
)
def test_a_request_line_that_is_not_served(front: Make, line: str, expected: int) -> None:
    assert status(front(PLAIN), f"{line}\r\nHost: h\r\n\r\n".encode()) == expected


@pytest.mark.parametrize("line", ["HEAD /%zz HTTP/1.1", "HEAD /\x01 HTTP/1.1", "HEAD / HTTP/3.0", f"HEAD /{'x' * 9000} HTTP/1.1"])
def test_a_client_that_asked_for_a_head_gets_no_body_whatever_was_wrong(front: Make, line: str) -> None:
    head, _, rest = answer(front(PLAIN), f"{line}\r\nHost: h\r\n\r\n".encode()).partition("\r\n\r\n")
    assert head[9:12] in ("400", "414", "505")
    assert "Content-Length: PAGE" in head
    assert rest == ""


@pytest.mark.parametrize("status", [408, 444, 499])
def test_statuses_that_close_without_a_word_are_logged_as_they_are(front: Make, status: int) -> None:
    made = front(
        f"server {{ listen 127.0.0.1:8080; location / {{ return {status}; }} location /t {{ try_files /none ={status}; }} }}"
    )
    assert answer(made, ask("/")) == ""
    assert answer(made, ask("/t")) == ""
    assert made.statuses() == [str(status)] * 2


# What a variable may not bring into a head.


def test_a_line_break_in_a_redirect_is_an_error(front: Make) -> None:
    made = front("server { listen 127.0.0.1:8080; location / { return 301 $uri; }}")
    assert status(made, ask("/a%0d%0aSet-Cookie:x")) == 500
    assert status(made, ask("/a%20b")) == 301
    assert "line break" in made.error_log()[0]


@pytest.mark.parametrize("bad", ["%0d%0aX:%20y", "a%20HTTP/1.1", "%09"])
def test_a_space_or_control_does_not_reach_the_request_line_of_an_upstream(front: Make, echo: Echo, bad: str) -> None:
    made = front(f"server {{ listen 127.0.0.1:8080; location / {{ proxy_pass http://{echo.name}/fix$uri; }} }}")
    assert status(made, ask(f"/{bad}")) == 500
    assert body(made, ask("/good")).startswith("GET /fix/good HTTP/1.1\r\n")


# Bodies that go to a second upstream.

FALLBACK = """
client_body_buffer_size 10;
server { listen 127.0.0.1:8080;
    location / { error_page 502 = @second; proxy_request_buffering off; proxy_pass http://FIRST; }
    location @second { proxy_pass http://SECOND; }
}
"""


def post(size: int) -> bytes:
    return ask("/x", method="POST", body="b" * size)


@pytest.mark.parametrize("size", [5, 500])
def test_a_body_that_nobody_took_goes_to_the_fallback(front: Make, echo: Echo, size: int) -> None:
    made = front(FALLBACK.replace("FIRST", "127.0.0.1:1").replace("SECOND", echo.name))
    assert body(made, post(size)).endswith(f"Content-Length: {size}\r\n\r\n{'b' * size}")


def test_a_small_body_goes_to_the_fallback_though_another_upstream_had_it(front: Make, echo: Echo) -> None:
    first = Peer()
    made = front(FALLBACK.replace("FIRST", first.name).replace("SECOND", echo.name))
    first.stage = made
    client = made.client().send(post(5))
    first.accept().close()
    first.close()
    assert client.is_closed()
    assert bytes(client.received).endswith(b"Content-Length: 5\r\n\r\nbbbbb")


def test_a_large_body_that_another_upstream_took_is_not_pretended_to_be_there(front: Make, echo: Echo) -> None:
    """Nothing of it is left, and an upstream that is told a length would wait for it."""
    first = Peer()
    made = front(FALLBACK.replace("FIRST", first.name).replace("SECOND", echo.name))
    first.stage = made
    client = made.client().send(post(500)[:-500])
    taken = first.accept()
    client.send(b"b" * 500)
    assert b"bbbb" in taken.pull_all()
    taken.close()
    first.close()
    assert client.is_closed()
    assert client.received.startswith(b"HTTP/1.1 502 ")
    assert len([line for line in made.error_log() if "has gone to another upstream already" in line]) == 1


# What is remembered of a header block is not used for another URI.


def test_the_same_path_is_asked_for_otherwise_after_an_error(front: Make, echo: Echo) -> None:
    """The second time it is a URI of ours, and goes upstream as we write it."""
    made = front(
        f"server {{ listen 127.0.0.1:8080; proxy_intercept_errors on; recursive_error_pages on;"
        f" location / {{ error_page 404 = $uri; proxy_pass http://{echo.name}; if ($arg_once) {{ return 404; }} }} }}"
    )
    client = made.client()
    for _ in range(2):
        client.send(b"GET /%61?once=1 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert client.receives_head().startswith(b"HTTP/1.1 200")
        made.until(lambda: b"\r\n\r\n" in client.pull_all(), "the body")
        assert client.take().startswith(b"GET /a HTTP/1.1")
        client.send(b"GET /%61 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert client.receives_head().startswith(b"HTTP/1.1 200")
        made.until(lambda: b"\r\n\r\n" in client.pull_all(), "the body")
        assert client.take().startswith(b"GET /%61 HTTP/1.1")


# The limit on changes of the URI.


@pytest.mark.parametrize(("rewrites", "expected"), [(9, 200), (10, 200), (11, 500)])
def test_a_uri_may_change_ten_times(front: Make, rewrites: int, expected: int) -> None:
    steps = " ".join(f"location /{number}/ {{ rewrite ^ /{number - 1}/ last; }}" for number in range(1, rewrites + 1))
    made = front(f"server {{ listen 127.0.0.1:8080; location /0/ {{ return 200 end; }} {steps} }}")
    assert status(made, ask(f"/{rewrites}/")) == expected
    cycles = [line for line in made.error_log() if "cycle" in line]
    assert len(cycles) == (expected == 500)


def test_the_limit_counts_rewrites_redirects_and_named_locations_together(front: Make) -> None:
    made = front(
        "server { listen 127.0.0.1:8080; recursive_error_pages on; error_page 404 /a;"
        " location /a { rewrite ^ /b last; } location /b { try_files /none @c; } location @c { return 404; } }"
    )
    assert status(made, ask("/a")) == 500
    assert len([line for line in made.error_log() if "rewrite or internal redirection cycle" in line]) == 1


# A regex that takes too long (wproxy/regex): 500, and one line that names it.

SLOW = "^(([a-z])+.)+[0-9]([a-z])+$"
AT = f"/{'a' * 3000}"


@pytest.fixture
def guard() -> Iterator[None]:
    before = signal.getsignal(signal.SIGVTALRM)
    install_regex_guard()
    yield
    install_guard(None)
    signal.signal(signal.SIGVTALRM, before)


@pytest.mark.usefixtures("guard")
@pytest.mark.parametrize(
    "server",
    [
        f'location ~ "{SLOW.replace("^", "^/")}" {{ return 200 x; }}',
        f'location / {{ rewrite "{SLOW.replace("^", "^/")}" /x last; return 200 x; }}',
        f'location / {{ if ($uri ~ "{SLOW.replace("^", "^/")}") {{ return 200 y; }} return 200 x; }}',
        f'rewrite "{SLOW.replace("^", "^/")}" /x last; location / {{ return 200 x; }}',
    ],
)
def test_a_regex_that_takes_too_long_fails_the_request(front: Make, server: str) -> None:
    made = front(f"server {{ listen 127.0.0.1:8080; {server} }}")
    assert status(made, ask(AT)) == 500
    (line,) = [line for line in made.error_log() if "match abandoned" in line]
    assert "(([a-z])+.)+[0-9]([a-z])+$" in line
    assert "[error]" in line
    assert status(made, ask("/")) in (200, 404)


@pytest.mark.usefixtures("guard")
def test_a_map_whose_regex_takes_too_long_has_its_default(front: Make) -> None:
    """As in nginx, where a match that fails is no match there."""
    made = front(
        f'map $uri $mapped {{ "~{SLOW.replace("^", "^/")}" yes; default no; }}'
        ' server { listen 127.0.0.1:8080; error_page 404 /$mapped; location / { return 200 "$mapped"; } location /4 { return 404; } }'
    )
    assert body(made, ask(AT)) == "no"
    (line,) = [line for line in made.error_log() if "match abandoned" in line]
    assert "(([a-z])+.)+[0-9]([a-z])+$" in line
    assert "[error]" in line


@pytest.mark.usefixtures("guard")
def test_a_server_name_that_takes_too_long_fails_the_request(front: Make) -> None:
    made = front(f'{PLAIN} server {{ listen 127.0.0.1:8080; server_name "~{SLOW}"; location / {{ return 200 x; }} }}')
    assert status(made, ask("/", host="a" * 3000)) == 500
    assert len([line for line in made.error_log() if "match abandoned" in line]) == 1
    assert status(made, ask("/")) == 200
