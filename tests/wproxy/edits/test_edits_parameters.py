"""JSON from strangers to a server, and what is refused with which of nginx's codes."""

from __future__ import annotations

import pytest

from wproxy.directives.upstream import upstream_server
from wproxy.edits.parameters import Refused, as_json, changed_server, new_server
from wproxy.edits.servers import words_of


def test_a_server_with_all_its_parameters():
    given = {
        "server": "10.0.0.1:80",
        "weight": 2,
        "max_conns": 10,
        "max_fails": 0,
        "fail_timeout": "1m 30s",
        "slow_start": "500ms",
        "route": "r1",
        "backup": True,
        "down": True,
        "drain": False,
    }
    server = new_server(given)
    assert as_json(7, server) == {**given, "id": 7, "fail_timeout": "90s"}
    assert as_json(7, new_server({"server": "x:1"}))["fail_timeout"] == "10s"


def test_a_name_is_followed_and_an_address_is_not():
    assert new_server({"server": "app.example:80"}).resolve
    assert new_server({"server": "app.example", "service": "http"}).service == "http"
    assert not new_server({"server": "[::1]:80"}).resolve
    assert not new_server({"server": "unix:/run/a.sock"}).resolve


def test_a_change_leaves_the_rest_as_it_is():
    server = upstream_server("a:1", "weight=2", "backup", "down", "route=x")
    assert words_of(changed_server(server, {"down": False, "weight": 1})) == ("a:1", "route=x", "backup")
    assert words_of(changed_server(server, {"drain": True, "route": ""})) == ("a:1", "weight=2", "backup", "down", "drain")
    assert changed_server(server, {}) == server


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ([], "UpstreamConfFormatError"),
        ("x", "UpstreamConfFormatError"),
        (None, "UpstreamConfFormatError"),
        ({}, "UpstreamConfFormatError"),
        ({"server": ""}, "UpstreamConfFormatError"),
        ({"server": 5}, "UpstreamConfFormatError"),
        ({"server": "a b"}, "UpstreamBadAddress"),
        ({"server": "a:0"}, "UpstreamBadAddress"),
        ({"server": "a:99999"}, "UpstreamBadAddress"),
        ({"server": "a:1\n"}, "UpstreamBadAddress"),
        ({"server": "unix:"}, "UpstreamBadAddress"),
        ({"server": "a:1", "service": "http"}, "UpstreamBadAddress"),
        ({"server": "a:1", "x": 1}, "UpstreamConfFormatError"),
        ({"server": "a:1", "id": 1}, "UpstreamConfFormatError"),
        ({"server": "a:1", "weight": 0}, "UpstreamBadWeight"),
        ({"server": "a:1", "weight": -1}, "UpstreamBadWeight"),
        ({"server": "a:1", "weight": "2"}, "UpstreamBadWeight"),
        ({"server": "a:1", "weight": True}, "UpstreamBadWeight"),
        ({"server": "a:1", "weight": 1.5}, "UpstreamBadWeight"),
        ({"server": "a:1", "weight": 10**12}, "UpstreamBadWeight"),
        ({"server": "a:1", "weight": None}, "UpstreamBadWeight"),
        ({"server": "a:1", "max_fails": -1}, "UpstreamBadMaxFails"),
        ({"server": "a:1", "max_conns": "many"}, "UpstreamBadMaxConns"),
        ({"server": "a:1", "fail_timeout": "soon"}, "UpstreamBadFailTimeout"),
        ({"server": "a:1", "slow_start": []}, "UpstreamConfFormatError"),
        ({"server": "a:1", "slow_start": "1x"}, "UpstreamBadSlowStart"),
        ({"server": "a:1", "route": "x" * 33}, "UpstreamBadRoute"),
        ({"server": "a:1", "route": "x;y"}, "UpstreamBadRoute"),
        ({"server": "a:1", "down": "yes"}, "UpstreamConfFormatError"),
        ({"server": "a:1", "down": 1}, "UpstreamConfFormatError"),
        ({"server": "a:1", "weight": {"a": 1}}, "UpstreamConfFormatError"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(given, code):
    with pytest.raises(Refused) as refused:
        new_server(given)
    assert (refused.value.status, refused.value.code) == (400, code)
    assert "\n" not in refused.value.text


@pytest.mark.parametrize("key", ["server", "backup", "service"])
def test_what_a_server_keeps_cannot_be_changed(key):
    with pytest.raises(Refused, match=f'"{key}" cannot be changed'):
        changed_server(upstream_server("a:1"), {key: True})


@pytest.mark.parametrize(("key", "value"), [("backup", True), ("slow_start", "5s")])
def test_parameters_that_the_balancing_method_refuses(key, value):
    with pytest.raises(Refused, match="balancing method does not support parameter"):
        new_server({"server": "a:1", key: value}, ("backup", "slow_start"))
