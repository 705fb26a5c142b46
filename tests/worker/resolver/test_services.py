"""What a `server` line stands for: a host's addresses on one port, or a service's by its SRV records."""

from __future__ import annotations

import pytest
from resolving import Bench

from tests.name_server import answer, refusal, service_record
from worker.resolver.services import Endpoint, endpoints_as_text, endpoints_of_text, resolve_endpoints, service_name
from wproxy.address import Address
from wproxy.dns import SRV, A

SERVICE = "_http._tcp.app.test"


@pytest.mark.parametrize(
    ("service", "expected"),
    [("http", "_http._tcp.app.test"), ("_http._udp", "_http._udp.app.test"), ("one.backend", "one.backend.app.test")],
)
def test_a_service_without_a_dot_is_one_of_tcp(service, expected):
    assert service_name(service, "app.test") == expected


def test_a_host_has_its_addresses_on_the_port_of_the_line(bench: Bench):
    bench.server().set_addresses("app.test", "10.0.0.1", "10.0.0.2", ttl=9)
    found = bench.outcome(resolve_endpoints(bench.resolver(ipv6=False), Address("app.test", 8080), "", 5))
    assert found.endpoints == (Endpoint(Address("10.0.0.1", 8080)), Endpoint(Address("10.0.0.2", 8080)))
    assert found.expires == bench.now + 9


def test_records_of_the_least_priority_are_servers_and_the_others_backups(bench: Bench):
    server = bench.server()
    server.zone[SERVICE, SRV] = answer(
        service_record(SERVICE, 20, 7, 82, "b.test", ttl=30),
        service_record(SERVICE, 10, 5, 80, "a.test", ttl=30),
        service_record(SERVICE, 10, 0, 81, "a.test", ttl=30),
    )
    server.set_addresses("a.test", "10.0.0.1", "10.0.0.2", ttl=9)
    server.set_addresses("b.test", "10.0.0.3", ttl=60)
    found = bench.outcome(resolve_endpoints(bench.resolver(ipv6=False), Address("app.test", 80), "http", 5))
    assert found.endpoints == (
        Endpoint(Address("10.0.0.1", 80), 5),
        Endpoint(Address("10.0.0.2", 80), 5),
        Endpoint(Address("10.0.0.1", 81), 1),
        Endpoint(Address("10.0.0.2", 81), 1),
        Endpoint(Address("10.0.0.3", 82), 7, is_backup=True),
    )
    assert found.expires == bench.now + 9  # the least of all that was asked


def test_a_target_that_is_not_found_is_left_out(bench: Bench):
    server = bench.server()
    server.zone[SERVICE, SRV] = answer(service_record(SERVICE, 1, 1, 80, "no.test"), service_record(SERVICE, 1, 1, 80, "a.test"))
    server.set_addresses("a.test", "10.0.0.1")
    found = bench.outcome(resolve_endpoints(bench.resolver(ipv6=False), Address("app.test", 80), "http", 5))
    assert [endpoint.address.host for endpoint in found.endpoints] == ["10.0.0.1"]


def test_without_any_target_the_service_is_not_found(bench: Bench):
    bench.server().zone[SERVICE, SRV] = answer(service_record(SERVICE, 1, 1, 80, "no.test"))
    error = bench.outcome(resolve_endpoints(bench.resolver(ipv6=False), Address("app.test", 80), "http", 5))
    assert error.is_gone


def test_a_target_that_a_server_fails_about_fails_the_whole_so_that_nobody_is_left_out(bench: Bench):
    server = bench.server()
    server.zone[SERVICE, SRV] = answer(service_record(SERVICE, 1, 1, 80, "a.test"), service_record(SERVICE, 1, 1, 80, "b.test"))
    server.set_addresses("a.test", "10.0.0.1")
    server.zone["b.test", A] = refusal(2)
    assert bench.outcome(resolve_endpoints(bench.resolver(ipv6=False), Address("app.test", 80), "http", 5)).code == 2


def test_the_root_as_a_target_says_that_there_is_no_such_service(bench: Bench):
    bench.server().zone[SERVICE, SRV] = answer(service_record(SERVICE, 0, 0, 0, ""))
    assert bench.outcome(resolve_endpoints(bench.resolver(), Address("app.test", 80), "http", 5)).is_gone


def test_endpoints_as_text_and_back():
    endpoints = (Endpoint(Address("10.0.0.2", 81), 5, True), Endpoint(Address("10.0.0.1", 80)), Endpoint(Address("::1", 80)))
    text = endpoints_as_text(endpoints)
    assert text == endpoints_as_text(reversed(endpoints))
    assert set(endpoints_of_text(text)) == set(endpoints)
    assert endpoints_of_text("") == ()
