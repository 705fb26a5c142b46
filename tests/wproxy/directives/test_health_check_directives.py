"""`health_check` and `match`: their arguments, and what is said of wrong ones."""

from __future__ import annotations

import pytest

from wproxy.config.load import load_text
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError
from wproxy.directives.health_check import HealthCheck, body, header, health_check, require, status


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", HealthCheck()),
        ("interval=10", HealthCheck(interval=10.0)),
        ("interval=500ms jitter=3s", HealthCheck(interval=0.5, jitter=3.0)),
        ("jitter=0", HealthCheck()),
        ("fails=3 passes=2 uri=/some/path?x=1", HealthCheck(fails=3, passes=2, uri="/some/path?x=1")),
        ("port=8080 match=welcome", HealthCheck(port=8080, match="welcome")),
        ("mandatory", HealthCheck(mandatory=True)),
        ("mandatory persistent keepalive_time=60s", HealthCheck(mandatory=True, persistent=True, keepalive_time=60.0)),
        ("type=http", HealthCheck()),
        ("type=tcp port=81 fails=2", HealthCheck(kind="tcp", port=81, fails=2)),
    ],
)
def test_arguments_are_read(words, expected):
    assert health_check(*words.split()) == expected


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("interval=0", 'invalid parameter "interval=0"'),
        ("interval=x", 'invalid parameter "interval=x"'),
        ("interval", 'invalid parameter "interval"'),
        ("jitter=-1", 'invalid parameter "jitter=-1"'),
        ("fails=0", 'invalid parameter "fails=0"'),
        ("passes=1.5", 'invalid parameter "passes=1.5"'),
        ("port=0", 'invalid parameter "port=0"'),
        ("port=65536", 'invalid parameter "port=65536"'),
        ("uri=health", 'invalid parameter "uri=health"'),
        ("match=", 'invalid parameter "match="'),
        ("mandatory=1", 'invalid parameter "mandatory=1"'),
        ("on", 'invalid parameter "on"'),
        ("fails=1 fails=2", 'duplicate parameter "fails=2"'),
        ("persistent", '"persistent" requires "mandatory"'),
        ("type=udp", 'invalid parameter "type=udp"'),
        ("type=grpc uri=/x", '"uri" makes no sense with "type=grpc": such a check makes the call that gRPC has for it'),
        ("grpc_service=a", '"grpc_service" makes no sense without "type=grpc"'),
        ("type=tcp grpc_status=12", '"grpc_status" makes no sense without "type=grpc"'),
        ("type=grpc grpc_status=17", 'invalid parameter "grpc_status=17"'),
        ("type=grpc grpc_service=", 'invalid parameter "grpc_service="'),
        ("type=tcp uri=/x", '"uri" makes no sense with "type=tcp": such a check only connects'),
        ("match=m type=tcp", '"match" makes no sense with "type=tcp": such a check only connects'),
    ],
)
def test_what_is_wrong_is_named(words, reason):
    with pytest.raises(ValueError) as error:
        health_check(*words.split())
    assert str(error.value) == reason


def test_a_uri_that_would_break_the_request_line_is_refused():
    for uri in ("uri=/a b", "uri=/a\r\nX: y", "uri=/a\x7f"):
        with pytest.raises(ValueError, match="invalid parameter"):
            health_check(uri)


@pytest.mark.parametrize(
    ("read", "words", "reason"),
    [
        (status, "!", 'no status after "!"'),
        (status, "2xx", 'invalid status "2xx"'),
        (status, "99", 'invalid status "99"'),
        (status, "300-200", 'invalid status "300-200"'),
        (status, "200 !", 'invalid status "!"'),
        (header, "A b", 'invalid header test "A b"'),
        (header, "A == b", 'invalid operator "==", it must be one of =, !=, ~ and !~'),
        (header, "!A", 'invalid header name "!A"'),
        (header, "A: = b", 'invalid header name "A:"'),
        (body, "= x", 'invalid operator "=", it must be ~ or !~'),
        (require, "$host host", 'invalid variable name "host"'),
    ],
)
def test_a_wrong_test_of_a_match_is_named(read, words, reason):
    with pytest.raises(ValueError) as error:
        read(*words.split())
    assert str(error.value) == reason


def test_a_regex_that_is_none_is_told_as_nginx_tells_it():
    with pytest.raises(ValueError, match="pcre2_compile\\(\\) failed"):
        body("~", "(")


def load(inside: str) -> Configuration:
    text = f"events {{ }}\nhttp {{\nupstream u {{ server 127.0.0.1:81; }}\n{inside}\n}}"
    return load_text(text.encode(), "nginx.conf", "/", None)  # type: ignore[arg-type]


def problems(inside: str) -> list[str]:
    """What is wrong, with the line."""
    with pytest.raises(ConfigurationError) as error:
        load(inside)
    return [f"{problem.text} at {problem.position.line}" for problem in error.value.problems]


def test_checks_are_with_the_upstream_that_they_are_for_in_order_and_with_their_location():
    configuration = load("""
        server {
            listen 1;
            location /a { proxy_pass http://u; health_check; }
            location @b { proxy_pass http://U; health_check match=late port=82; }
            location = /c { proxy_pass http://127.0.0.1:83; health_check type=tcp; }
            location /plain/ { proxy_pass http://u; location /plain/in { proxy_pass http://u; } }
        }
        match late { status 204; }
        """)
    found = {upstream.name: upstream.checks for upstream in configuration.upstreams}
    assert [(check.number, check.location.pattern, check.match.name) for check in found["u"]] == [
        (0, "/a", ""),
        (1, "@b", "late"),
    ]
    assert [check.settings.kind for check in found["127.0.0.1:83"]] == ["tcp"]
    assert [check.position.line for check in found["u"]] == [7, 8]


def test_mistakes_have_their_line():
    assert problems("""
        match m { status 200; }
        match m { status 201; }
        match { status 200; }
        match n { wrong x; header A; header A; status 200; status 201; }
        health_check;
        server {
            listen 1; health_check;
            location /a { health_check; }
            location /b { proxy_pass http://u; health_check match=nobody; }
            location /c { proxy_pass http://$host; health_check; }
            location /d { proxy_pass http://u; health_check; health_check; }
            location /e { proxy_pass http://u; health_check type=grpc; }
        }
        """) == [
        'duplicate match "m" at 6',
        'invalid number of arguments in "match" directive at 7',
        'unknown directive "wrong" at 8',
        '"status" directive is duplicate at 8',
        '"health_check" directive is not allowed here at 9',
        '"health_check" directive is not allowed here at 11',
        '"health_check" has nothing to check: there is no "proxy_pass" in this location at 12',
        'unknown match "nobody" at 13',
        '"health_check" cannot be used with variables in "proxy_pass" at 14',
        '"health_check" directive is duplicate at 15',
        '"type=grpc" has nothing to check: there is no "grpc_pass" in this location at 16',
    ]


def test_an_upstream_has_room_for_32_checks():
    locations = "".join(f"location /{number} {{ proxy_pass http://u; health_check; }}\n" for number in range(33))
    assert problems(f"server {{ listen 1;\n{locations} }}") == ['upstream "u" has more than 32 health checks at 37']


def test_toml_has_them_too():
    text = b"""
        [http.match.welcome]
        status = ["200-399", 404]
        header = [["Content-Type", "=", "text/html"], ["!", "X-Down"], "Date"]
        body = [["~", "Welcome"]]
        require = ["$upstream_http_a", "$upstream_http_b"]
        [http.upstream.u]
        server = "127.0.0.1:81"
        [[http.server]]
        listen = 1
        location."/".proxy_pass = "http://u"
        location."/".health_check = true
        location."/b".proxy_pass = "http://u"
        location."/b".health_check = ["interval=1s", "match=welcome"]
        location."/c".proxy_pass = "http://u"
        location."/c".health_check = false
        """
    [upstream] = load_text(text, "wproxy.toml", "/", None).upstreams  # type: ignore[arg-type]
    first, second = upstream.checks
    assert first.settings == HealthCheck()
    assert second.settings == HealthCheck(interval=1.0, match="welcome")
    match = second.match
    assert match.status.ranges == ((200, 399), (404, 404))
    assert [str(test) for test in match.header] == ["content-type = text/html", "! x-down", "date"]
    assert [template.text for line in match.require for template in line] == ["$upstream_http_a", "$upstream_http_b"]
