"""`wproxy proxy`: the wproxy.toml that a command line stands for can be read, and means what was said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.wproxy.maps.map_reading import request
from wproxy.address import Address
from wproxy.config.load import load_text
from wproxy.config.tree import ConfigurationError
from wproxy.quick import quick_configuration

ROOT = Path(__file__).parents[2]


def look_up(host: str, port: int) -> list[Address]:
    addresses = {"app.internal": ["192.0.2.80", "192.0.2.81"], "localhost": ["127.0.0.1"]}[host]
    return [Address(address, port) for address in addresses]


def load(listen="8080", upstreams=("127.0.0.1:3000",), workers="auto"):
    return load_text(quick_configuration(listen, upstreams, workers).encode(), "wproxy proxy.toml", "/srv", look_up)


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("8080", Address("0.0.0.0", 8080)),
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("[::1]:8080", Address("::1", 8080)),
        ("*:80", Address("0.0.0.0", 80)),
        ("localhost:8080", Address("127.0.0.1", 8080)),
        ("unix:/run/front.sock", Address("/run/front.sock", -1)),
    ],
)
def test_it_listens_where_it_was_told(listen, address):
    (listener,) = load(listen).listeners
    assert listener.address == address


@pytest.mark.parametrize(
    ("upstreams", "peers"),
    [
        (["127.0.0.1:3000"], ["127.0.0.1:3000"]),
        (["127.0.0.1"], ["127.0.0.1:80"]),
        (["127.0.0.1:3000", "127.0.0.1:3001"], ["127.0.0.1:3000", "127.0.0.1:3001"]),
        (["[::1]:3000"], ["[::1]:3000"]),
        (["app.internal:3000"], ["192.0.2.80:3000", "192.0.2.81:3000"]),
        (["unix:/run/app.sock", "127.0.0.1:1"], ["unix:/run/app.sock", "127.0.0.1:1"]),
        (['unix:/run/"quoted" \\ {0} #.sock'], ['unix:/run/"quoted" \\ {0} #.sock']),
        (["unix:/run/\u00e9.sock"], ["unix:/run/\u00e9.sock"]),
        (["unix:/run/\U0001f600.sock"], ["unix:/run/\U0001f600.sock"]),
        (["unix:/run/\x7f.sock"], ["unix:/run/\x7f.sock"]),
        (["unix:/run/two\nlines.sock"], ["unix:/run/two\nlines.sock"]),
    ],
)
def test_everything_goes_to_one_pool(upstreams, peers):
    configuration = load(upstreams=upstreams)
    (upstream,) = configuration.upstreams
    assert [peer.name for peer in upstream.peers] == peers
    (server,) = configuration.servers
    assert server.locations.find(b"/any/thing", request()).upstream is upstream


@pytest.mark.parametrize(("workers", "count"), [("auto", None), ("1", 1), ("16", 16)])
def test_there_are_as_many_workers_as_told(workers, count):
    assert load(workers=workers).worker_processes == count


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"workers": "513"}, "value must be between 0 and 512"),
        ({"workers": "many"}, "invalid value"),
        ({"workers": '1\n"'}, "invalid value"),
        ({"listen": "99999"}, 'invalid port in "99999" of the "listen" directive'),
        ({"upstreams": ["http://127.0.0.1:3000"]}, 'invalid port in upstream "http://127.0.0.1:3000"'),
        ({"upstreams": ["a b"]}, 'host not found in upstream "a b"'),
    ],
)
def test_a_word_that_makes_no_sense_is_a_problem_of_the_configuration(arguments, problem):
    with pytest.raises(ConfigurationError) as error:
        load(**arguments)
    assert problem in str(error.value)
    assert "wproxy proxy.toml:" in str(error.value)


def test_it_stays_in_the_foreground_and_logs_to_the_terminal():
    configuration = load()
    assert configuration.daemon is False
    assert configuration.pid == ""
    assert configuration.error_log == (("stderr", "notice"),)
    (location,) = [location for location in configuration.servers[0].locations if location.pattern == "/"]
    assert [(log.path, log.format) for log in location.access_log] == [("stdout", "line")]


def test_the_upstream_learns_who_asked_and_may_upgrade():
    location = load().servers[0].locations.find(b"/", request())
    fields = {name: template.text for name, template in location.proxy_set_header}
    assert fields == {
        b"Host": "$http_host",
        b"X-Real-IP": "$remote_addr",
        b"X-Forwarded-For": "$proxy_add_x_forwarded_for",
        b"X-Forwarded-Proto": "$scheme",
        b"Upgrade": "$http_upgrade",
        b"Connection": "$wproxy_connection_upgrade",
    }


def test_slow_clients_and_large_requests_have_their_limits():
    configuration = load()
    server = configuration.servers[0]
    location = server.locations.find(b"/", request())
    assert (server.client_header_timeout, location.client_body_timeout) == (15.0, 30.0)
    assert server.large_client_header_buffers == (4, 8192)
    assert location.client_max_body_size == 1 << 30


def test_the_commented_limit_of_each_address_holds_when_it_is_no_comment():
    text = quick_configuration("8080", ["127.0.0.1:3000"], "auto")
    assert text.count("# limit_conn") == 2
    configuration = load_text(text.replace("# limit_conn", "limit_conn").encode(), "wproxy proxy.toml", "/srv", look_up)
    [limit] = configuration.servers[0].locations.find(b"/", request()).limit_conn
    assert (limit.zone.name, limit.most) == ("per_address", 100)
    [zone] = configuration.limit_zones
    assert zone.key.text == "$binary_remote_addr"


def test_the_text_says_which_command_it_stands_for():
    text = quick_configuration("8080", ["127.0.0.1:3000", "127.0.0.1:3001"], "auto")
    assert text.startswith("# wproxy proxy 8080 127.0.0.1:3000 127.0.0.1:3001\n")


# HTTPS.


def test_with_a_certificate_it_serves_https():
    text = quick_configuration("8443", ["127.0.0.1:3000"], "auto", ('/home/me/a "b".pem', "/home/me/a.key"))
    assert text.startswith("# wproxy proxy --tls 8443 127.0.0.1:3000\n")
    configuration = load_text(text.encode(), "wproxy proxy.toml", "/srv", look_up)
    (server,) = configuration.servers
    assert [(line.addresses, line.protocols) for line in server.listen] == [((Address("0.0.0.0", 8443),), ("ssl",))]
    assert [one.text for one in (*server.ssl_certificate, *server.ssl_certificate_key)] == [
        '/home/me/a "b".pem',
        "/home/me/a.key",
    ]


def test_http2_is_asked_for_where_it_is_there():
    assert "http2 = true\n" in quick_configuration("8443", ["127.0.0.1:3000"], "auto", ("/a", "/b"), True)
    assert "http2" not in quick_configuration("8443", ["127.0.0.1:3000"], "auto", ("/a", "/b"))
    assert "http2" not in quick_configuration("8443", ["127.0.0.1:3000"], "auto")


@pytest.mark.parametrize("text", [quick_configuration("8080", ["127.0.0.1:3000"], "auto"), (ROOT / "wproxy.toml").read_text()])
def test_what_faces_clients_has_limits_and_one_for_each_address_to_be_uncommented(text: str):
    """Also the configuration that is shipped."""
    file = re.sub(r"(?m)^# (limit_conn.*)", r"\1", text)
    for each, counted in ((text, False), (file, True)):
        configuration = load_text(each.encode(), "wproxy.toml", "/srv", look_up)
        for server in configuration.servers:
            location = server.locations.fallback
            assert location.client_header_timeout <= 15 and location.client_body_timeout <= 30
            assert 0 < location.client_max_body_size <= 1 << 30
            assert location.large_client_header_buffers == (4, 8192)
            assert [(limit.zone.name, limit.most) for limit in location.limit_conn] == [("per_address", 100)] * counted
