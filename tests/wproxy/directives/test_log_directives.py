"""access_log and error_log: their parameters, in nginx's words, and how they are inherited."""

from __future__ import annotations

import re

import pytest

from wproxy.address import Address
from wproxy.config.load import load_text
from wproxy.config.tree import ConfigurationError
from wproxy.directives.core import debug_connection, log_target
from wproxy.directives.log import AccessLog, access_log
from wproxy.syslog import Syslog


def look_up(host, port):
    if host == "logs.internal":
        return [Address("10.0.0.9", port)]
    raise OSError


def load(http: str, main: str = ""):
    text = f"{main}\nevents {{}}\nhttp {{\nlog_format f '$uri';\n{http}\n}}"
    return load_text(text.encode(), "nginx.conf", "/srv", look_up)


def problems(http: str, main: str = "") -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(http, main)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("arguments", "buffering"),
    [
        (("a.log", "f"), (0, 0.0, 0)),
        (("a.log", "f", "buffer=32k"), (32768, 0.0, 0)),
        (("a.log", "f", "buffer=4k", "flush=5m"), (4096, 300.0, 0)),
        (("a.log", "f", "gzip"), (65536, 0.0, 1)),
        (("a.log", "f", "gzip=9", "flush=1s"), (65536, 1.0, 9)),
        (("a.log", "f", "gzip=2", "buffer=1k"), (1024, 0.0, 2)),
        (("a.log", "f", "buffer=4k", "buffer=8k"), (8192, 0.0, 0)),
        (("stdout",), (0, 0.0, 0)),
    ],
)
def test_how_a_log_gathers(arguments, buffering):
    log = access_log(*arguments)
    assert log.buffering == buffering
    assert log.path == arguments[0]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("off", "f"), 'invalid parameter "f"'),
        (("off", "combined"), 'invalid parameter "combined"'),
        (("a.log", "f", "buffer=0"), 'invalid buffer size "0"'),
        (("a.log", "f", "buffer=x"), 'invalid buffer size "x"'),
        (("a.log", "f", "buffer="), 'invalid buffer size ""'),
        (("a.log", "f", "flush=5s"), 'no buffer is defined for access_log "a.log"'),
        (("a.log", "f", "flush=0"), 'invalid flush time "0"'),
        (("a.log", "f", "flush=x"), 'invalid flush time "x"'),
        (("a.log", "f", "gzip=0"), 'invalid compression level "0"'),
        (("a.log", "f", "gzip=10"), 'invalid compression level "10"'),
        (("a.log", "f", "gzip=x"), 'invalid compression level "x"'),
        (("a.log", "f", "gzip="), 'invalid compression level ""'),
        (("a.log", "f", "if=$nope"), 'unknown "nope" variable'),
        (("a.log", "f", "foo=bar"), 'invalid parameter "foo=bar"'),
        (("a.log", "f", "buffer"), 'invalid parameter "buffer"'),
        (("a-$nope.log", "f"), 'unknown "nope" variable'),
        (("a-$uri.log", "f", "buffer=4k"), "buffered logs cannot have variables in name"),
        (("a-$uri.log", "f", "gzip"), "buffered logs cannot have variables in name"),
        (("a-$uri.log", "f", "flush=1s"), 'no buffer is defined for access_log "a-$uri.log"'),
        (("syslog:server=127.0.0.1", "f", "buffer=4k"), "logs to syslog cannot be buffered"),
        (("syslog:server=127.0.0.1", "f", "gzip"), "logs to syslog cannot be buffered"),
        (("syslog:server=127.0.0.1", "f", "flush=1s"), 'no buffer is defined for access_log "syslog:server=127.0.0.1"'),
    ],
)
def test_nginx_s_words_for_an_access_log_that_makes_no_sense(arguments, problem):
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        access_log(*arguments)


@pytest.mark.parametrize(
    ("path", "is_file"),
    [("a.log", True), ("off", False), ("stderr", False), ("a-$uri.log", False), ("syslog:server=127.0.0.1", False)],
)
def test_which_logs_are_files_that_can_be_made_at_load(path, is_file):
    assert access_log(path).is_file is is_file


def test_logs_to_one_file_must_gather_alike():
    server = "server { listen 80; }"
    logs = "access_log a.log f buffer=4k; access_log a.log f buffer=8k;"
    assert problems(logs + server) == ['access_log "a.log" already defined with conflicting parameters in nginx.conf:5']
    load("access_log a.log f buffer=4k; access_log a.log f; access_log a.log f buffer=4k if=$uri;" + server)


def test_a_format_that_is_not_there_is_told_where_its_log_stands():
    assert problems("access_log a.log f;\naccess_log b.log nope;\naccess_log c.log f;\nserver { listen 80; }") == [
        'unknown log format "nope" in nginx.conf:6'
    ]
    assert problems("access_log a.log buffer=4k;server { listen 80; }") == ['unknown log format "buffer=4k" in nginx.conf:5']


def test_the_name_of_a_syslog_server_is_looked_up_at_load():
    configuration = load(
        "access_log syslog:server=logs.internal:99 f; server { listen 80; error_log syslog:server=logs.internal; }",
        "error_log syslog:server=logs.internal:1 warn;",
    )
    (location,) = configuration.servers[0].each_location()
    assert location.access_log[0].syslog.server == Address("10.0.0.9", 99)
    assert location.error_log[0][0].server == Address("10.0.0.9", 514)
    ((syslog, level),) = configuration.error_log_targets
    assert (syslog.server, level) == (Address("10.0.0.9", 1), "warn")
    assert problems("access_log syslog:server=nosuch f; server { listen 80; }", "error_log syslog:server=other;") == [
        'host not found in syslog server "other" in nginx.conf:1',
        'host not found in syslog server "nosuch" in nginx.conf:5',
    ]


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (("x.log",), ("x.log", "error")),
        (("x.log", "debug"), ("x.log", "debug")),
        (("x.log", "debug_http", "debug_core"), ("x.log", "debug")),
        (("stderr", "warn"), ("stderr", "warn")),
    ],
)
def test_an_error_log_has_a_level(arguments, target):
    assert log_target(*arguments) == target


def test_an_error_log_may_be_syslog():
    place, level = log_target("syslog:server=127.0.0.1:1514", "warn")
    assert isinstance(place, Syslog)
    assert level == "warn"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("x.log", "foo"), 'invalid log level "foo"'),
        (("x.log", "error", "debug"), 'duplicate log level "debug"'),
        (("x.log", "debug", "error"), 'duplicate log level "error"'),
        (("x.log", "error", "error"), 'duplicate log level "error"'),
        (("syslog:server=127.0.0.1,severity=foo",), 'unknown syslog severity "foo"'),
        (("memory:1m", "debug"), '"memory:" in "%s" directive is not supported'),
    ],
)
def test_nginx_s_words_for_an_error_log_that_makes_no_sense(arguments, problem):
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        log_target(*arguments)


def test_error_logs_are_inherited_until_a_block_has_its_own():
    configuration = load(
        """error_log http.log;
        server { listen 80; location /own { error_log a.log info; error_log b.log; } location /other {} }
        server { listen 81; error_log server.log; location / {} }""",
        "error_log main.log;",
    )
    first, second = configuration.servers
    found = {location.pattern: location.error_log for location in first.each_location()}
    assert found["/own"] == (("a.log", "info"), ("b.log", "error"))
    assert found["/other"] == found[""] == (("http.log", "error"),)
    assert {location.error_log for location in second.each_location()} == {(("server.log", "error"),)}
    assert sorted(configuration.error_log_files) == [f"/srv/{name}.log" for name in ("a", "b", "http", "main", "server")]


def test_without_an_error_log_of_its_own_a_location_has_that_of_the_main_level():
    configuration = load("server { listen 80; }", "error_log main.log;")
    assert all(location.error_log == () for location in configuration.servers[0].each_location())
    assert configuration.error_log_files == ["/srv/main.log"]


@pytest.mark.parametrize("block", ["if ($uri) { error_log y.log; }", "limit_except GET { error_log y.log; }"])
def test_an_error_log_may_not_stand_everywhere(block):
    (problem,) = problems(f"server {{ listen 80; location / {{ {block} }} }}")
    assert problem == '"error_log" directive is not allowed here in nginx.conf:5'


@pytest.mark.parametrize("block", ["if ($uri) { access_log y.log; }", "limit_except GET { access_log y.log; }"])
def test_an_access_log_may_stand_in_the_blocks_of_a_location(block):
    configuration = load(f"access_log off; server {{ listen 80; location / {{ {block} }} }}")
    logs = {location.kind: location.access_log for location in configuration.servers[0].each_location()}
    assert logs["location"] == (AccessLog("off"),)
    assert (AccessLog("y.log"),) in logs.values()
    assert configuration.access_log_files == ["/srv/y.log"]


@pytest.mark.parametrize(
    ("clients", "address", "has"),
    [
        ("10.0.0.0/8", b"10.1.2.3", True),
        ("10.0.0.0/8", b"11.1.2.3", False),
        ("::1", b"::1", True),
        ("127.0.0.1", b"unix:", False),
        ("unix:", b"unix:", True),
    ],
)
def test_whose_connections_are_debugged(clients, address, has):
    assert debug_connection(clients).has(address) is has


def test_a_client_to_debug_is_an_address():
    with pytest.raises(ValueError, match='invalid address or network "nope"'):
        debug_connection("nope")
