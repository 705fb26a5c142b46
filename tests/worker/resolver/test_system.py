"""Names as the machine knows them: its file of hosts, its name servers and its search domains, which may change."""

from __future__ import annotations

from pathlib import Path

import pytest
from resolving import Bench

from tests.name_server import addresses, answer, refusal, service_record, silence
from worker.resolver.system import LOOK_EVERY, SystemResolver
from wproxy.address import Address
from wproxy.directives.resolver import SYSTEM
from wproxy.dns import SRV, A


@pytest.fixture
def system(bench: Bench, tmp_path: Path):
    """Makes the resolver of a machine with these files; its name server is the bench's, whatever port it has."""

    def make(hosts: str = "", resolv_conf: str = "") -> SystemResolver:
        (tmp_path / "hosts").write_text(hosts)
        (tmp_path / "resolv.conf").write_text(resolv_conf)
        settings = SYSTEM._replace(ipv6=False)
        resolver = SystemResolver(bench.loop, settings, bench.write_log, str(tmp_path / "hosts"), str(tmp_path / "resolv.conf"))
        if bench.servers:
            resolver.servers = (Address("127.0.0.1", bench.servers[0].port),)
        return resolver

    return make


def test_the_file_of_hosts_comes_first(bench: Bench, system):
    server = bench.server()
    server.set_addresses("app.test", "10.0.0.9")
    found = bench.outcome(system("10.0.0.1 app.test\n10.0.0.2 app.test\n").resolve("App.test.", 5))
    assert found == (("10.0.0.1", "10.0.0.2"), bench.now + LOOK_EVERY)
    assert not server.queries


def test_a_change_of_the_file_is_noticed(bench: Bench, system, tmp_path: Path):
    resolver = system("10.0.0.1 app.test\n")
    (tmp_path / "hosts").write_text("10.0.0.2 app.test x\n")
    assert bench.outcome(resolver.resolve("app.test", 5)).addresses == ("10.0.0.1",)
    bench.advance(LOOK_EVERY + 0.1)
    assert bench.outcome(resolver.resolve("app.test", 5)).addresses == ("10.0.0.2",)


def test_the_name_servers_of_resolv_conf_are_asked_and_changed_with_it(bench: Bench, system, tmp_path: Path):
    resolver = system(resolv_conf="nameserver 10.0.0.1\nnameserver ::1\n")
    assert resolver.servers == (Address("10.0.0.1", 53), Address("::1", 53))
    (tmp_path / "resolv.conf").unlink()
    bench.advance(LOOK_EVERY + 0.1)
    assert not resolver.stands_in_file("app")
    assert resolver.servers == (Address("127.0.0.1", 53),)


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "app.localhost"])
def test_localhost_needs_neither_file_nor_name_server(bench: Bench, system, name):
    server = bench.server()
    assert bench.outcome(system().resolve(name, 5)).addresses == ("127.0.0.1",)
    assert not server.queries


def test_a_family_that_is_off_is_left_out_of_the_file(bench: Bench, system):
    assert bench.outcome(system("::1 six\n10.0.0.1 both\n::2 both\n").resolve("both", 5)).addresses == ("10.0.0.1",)
    assert bench.outcome(system("::1 six\n").resolve("six", 5)).code == 3


def test_a_short_name_is_looked_for_in_the_search_domains(bench: Bench, system):
    server = bench.server()
    server.zone["app.b.test", A] = addresses("app.b.test", "10.0.0.1")
    resolver = system(resolv_conf="search a.test b.test\n")
    assert bench.outcome(resolver.resolve("app", 5)).addresses == ("10.0.0.1",)
    assert [query[0] for query in server.queries] == ["app.a.test", "app.b.test"]


def test_a_name_that_is_nowhere_is_called_by_its_own_name(bench: Bench, system):
    bench.server()
    resolver = system(resolv_conf="search a.test\n")
    assert str(bench.outcome(resolver.resolve("app", 5))) == "app could not be resolved (3: Host not found)"


@pytest.mark.parametrize(("say", "code"), [(refusal(2), 2), (silence, 110)])
def test_a_name_server_that_fails_ends_the_search(bench: Bench, system, say, code):
    server = bench.server()
    server.zone["app.a.test", A] = say
    server.set_addresses("app", "6.6.6.6")
    asked = bench.ask(system(resolv_conf="search a.test\n").resolve("app", 2))
    bench.advance(2.5)
    assert asked.outcome.code == code
    assert asked.outcome.name == "app"


def test_services_are_searched_for_too(bench: Bench, system):
    server = bench.server()
    server.zone["_http._tcp.app.a.test", SRV] = answer(service_record("_http._tcp.app.a.test", 1, 1, 80, "x.test"))
    services, _ = bench.outcome(system(resolv_conf="search a.test\noptions ndots:5").resolve_service("_http._tcp.app", 5))
    assert services[0].target == "x.test"
