"""Names in upstreams and proxy_pass at load: what is looked up, what may fail, and which name servers are meant."""

from __future__ import annotations

import pytest

from wproxy.address import Address
from wproxy.config.load import load_text
from wproxy.config.model import Configuration
from wproxy.config.tree import ConfigurationError


def load(http: str) -> Configuration:
    """Only app.test is known."""

    def look_up(host: str, port: int) -> list[Address]:
        if host not in ("app.test", "dns.test"):
            raise OSError(f"{host} is not known")
        return [Address("10.0.0.1", port)]

    return load_text(f"events {{}}\nhttp {{ {http} }}".encode(), "x.conf", "/", look_up)


SERVER = "server { listen 8080; location / { proxy_pass http://app; } }"


def test_a_name_that_is_not_found_prevents_the_start():
    with pytest.raises(ConfigurationError, match=r'host not found in upstream "no\.test" in x\.conf:2'):
        load(f"upstream app {{ server no.test; }} {SERVER}")


@pytest.mark.parametrize("where", ["http", "upstream"])
def test_upstream_start_degraded_lets_it_begin_empty(where):
    line = "upstream_start degraded;"
    http, upstream = (line, "") if where == "http" else ("", line)
    configuration = load(f"{http} upstream app {{ {upstream} server no.test; server app.test; }} {SERVER}")
    (app,) = configuration.upstreams
    assert [peer.name for peer in app.peers] == ["10.0.0.1:80"]
    assert [warning.text for warning in configuration.warnings] == ['host not found in upstream "no.test"']


def test_degraded_holds_for_a_proxy_pass_too():
    configuration = load("server { listen 8080; upstream_start degraded; location / { proxy_pass http://no.test:81; } }")
    (group,) = configuration.upstreams
    assert (group.name, group.peers) == ("no.test:81", ())


def test_a_name_with_resolve_is_left_to_the_workers():
    (app,) = load(f"resolver 127.0.0.1; upstream app {{ server no.test resolve; }} {SERVER}").upstreams
    assert app.peers == ()
    assert app.resolver.servers == (Address("127.0.0.1", 53),)


def test_an_upstream_has_the_resolver_of_http_or_its_own():
    text = "resolver 127.0.0.1; resolver_timeout 3s; upstream app { %s server app.test resolve; } %s"
    (app,) = load(text % ("", SERVER)).upstreams
    assert (app.resolver.servers[0].host, app.resolver_timeout) == ("127.0.0.1", 3.0)
    (app,) = load(text % ("resolver 127.0.0.2; resolver_timeout 4s;", SERVER)).upstreams
    assert (app.resolver.servers[0].host, app.resolver_timeout) == ("127.0.0.2", 4.0)


def test_other_settings_of_http_do_not_reach_an_upstream():
    (app,) = load(f"keepalive_timeout 5s; keepalive_requests 7; upstream app {{ server app.test; }} {SERVER}").upstreams
    assert (app.keepalive_timeout, app.keepalive_requests) == (60.0, 1000)


def test_name_servers_with_names_are_looked_up():
    configuration = load(f"resolver dns.test:54; upstream app {{ server app.test; }} {SERVER}")
    location = configuration.servers[0].locations.fallback
    assert location.resolver.servers == (Address("10.0.0.1", 54),)


def test_a_name_server_that_is_not_found_prevents_the_start():
    with pytest.raises(ConfigurationError, match=r'^host not found in resolver "no\.test" in x\.conf:2'):
        load(f"resolver no.test; upstream app {{ server app.test; }} {SERVER}")


def test_a_service_has_no_port():
    with pytest.raises(ConfigurationError, match=r'service upstream "app\.test:80" may not have port'):
        load(f"upstream app {{ server app.test:80 resolve service=http; }} {SERVER}")


def test_only_backups_are_no_servers_even_when_they_are_names_to_be_resolved():
    with pytest.raises(ConfigurationError, match='no servers in upstream "app"'):
        load(f"upstream app {{ server app.test resolve backup; }} {SERVER}")
