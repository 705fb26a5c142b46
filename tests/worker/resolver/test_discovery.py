"""Groups that follow their names, and the groups of targets that only requests name. The groups here only note what they are told."""

from __future__ import annotations

import mmap

import pytest
from resolving import Bench

from tests.name_server import NameServer, refusal, silence
from worker.resolver.discovery import MOST_TARGETS, Discovery, followed_names
from worker.resolver.resolver import CannotResolve
from wproxy.address import Address
from wproxy.config.model import Upstream
from wproxy.directives.resolver import NameServers
from wproxy.directives.upstream import upstream_server
from wproxy.dns import A
from wproxy.remembered import SIZE, Remembered


class NotedGroup:
    """A group of peers by line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.peers: dict[object, list[str]] = {}
        self.calls = 0
        self.is_closed = False

    def replace_peers(self, line, endpoints):
        before = self.peers.get(line, [])
        after = self.peers[line] = [str(endpoint.address) for endpoint in endpoints]
        self.calls += 1
        return [peer for peer in after if peer not in before], [peer for peer in before if peer not in after]

    def has_peers(self, line) -> bool:
        return bool(self.peers.get(line))

    def close_idle(self) -> None:
        self.is_closed = True

    def close_expired(self) -> None:
        pass


class Scene:
    """An upstream "app" with these `server` lines, and the discovery of a worker."""

    def __init__(self, bench: Bench, *lines: tuple[str, ...], timeout: float = 5.0) -> None:
        self.bench = bench
        self.server: NameServer = bench.server()
        self.settings = NameServers((Address("127.0.0.1", self.server.port),), ipv6=False)
        self.lines = tuple(upstream_server(*line) for line in lines)
        self.upstream = Upstream({}, {})
        self.upstream.name = "app"
        self.upstream.implicit = False
        self.upstream.server = self.lines
        self.upstream.resolver = self.settings  # type: ignore[attr-defined]
        self.upstream.resolver_timeout = timeout  # type: ignore[attr-defined]
        self.group = NotedGroup("app")
        self.made: list[NotedGroup] = []
        self.discovery = Discovery(bench.loop, bench.write_log, self.make_group)

    def make_group(self, name: str, address: Address) -> NotedGroup:
        self.made.append(NotedGroup(name))
        return self.made[-1]

    def start(self) -> None:
        self.discovery.start([self.upstream], {"app": self.group})

    def peers(self, number: int = 0) -> list[str]:
        return self.group.peers.get(self.lines[number], [])


RESOLVE = ("app.test:81", "resolve")


def test_peers_are_there_before_the_worker_is_ready(bench: Bench):
    scene = Scene(bench, RESOLVE)
    scene.server.set_addresses("app.test", "10.0.0.1", "10.0.0.2", ttl=10)
    scene.start()
    assert not scene.discovery.is_ready
    bench.until(lambda: scene.discovery.is_ready)
    assert scene.peers() == ["10.0.0.1:81", "10.0.0.2:81"]


def test_a_worker_is_ready_as_well_when_there_is_no_such_name(bench: Bench):
    scene = Scene(bench, RESOLVE)
    scene.start()
    bench.until(lambda: scene.discovery.is_ready)
    assert scene.peers() == []


def test_peers_change_when_the_answer_is_over_and_not_before(bench: Bench):
    scene = Scene(bench, RESOLVE)
    scene.server.set_addresses("app.test", "10.0.0.1", ttl=10)
    scene.start()
    bench.until(lambda: scene.discovery.is_ready)
    scene.server.set_addresses("app.test", "10.0.0.2", ttl=10)
    bench.advance(9.5)
    assert scene.peers() == ["10.0.0.1:81"]
    bench.advance(2.5)
    assert scene.peers() == ["10.0.0.2:81"]
    assert ("notice", 'app.test has changed in upstream "app": +10.0.0.2:81 -10.0.0.1:81') in bench.log


def test_every_line_has_its_own_name(bench: Bench):
    scene = Scene(bench, RESOLVE, ("other.test", "resolve"), ("127.0.0.1:1",))
    scene.server.set_addresses("app.test", "10.0.0.1")
    scene.server.set_addresses("other.test", "10.0.0.2")
    scene.start()
    bench.until(lambda: scene.discovery.is_ready)
    assert (scene.peers(0), scene.peers(1), scene.peers(2)) == (["10.0.0.1:81"], ["10.0.0.2:80"], [])


def test_a_name_that_is_gone_leaves_nobody(bench: Bench):
    scene = Scene(bench, RESOLVE)
    scene.server.set_addresses("app.test", "10.0.0.1", ttl=1)
    scene.start()
    bench.until(lambda: scene.discovery.is_ready)
    del scene.server.zone["app.test", A]
    bench.advance(2)
    assert scene.peers() == []
    scene.server.set_addresses("app.test", "10.0.0.3", ttl=1)
    bench.advance(10)
    assert scene.peers() == ["10.0.0.3:81"]


@pytest.mark.parametrize(("say", "text"), [(refusal(2), "(2: Server failure)"), (silence, "(110: Operation timed out)")])
def test_a_name_server_that_fails_changes_nothing_and_is_told_of_once(bench: Bench, say, text):
    scene = Scene(bench, RESOLVE, timeout=1)
    scene.server.set_addresses("app.test", "10.0.0.1", ttl=1)
    scene.start()
    bench.until(lambda: scene.discovery.is_ready)
    scene.server.zone["app.test", A] = say
    bench.advance(30)
    assert scene.peers() == ["10.0.0.1:81"]
    assert bench.log.count(("error", f'app.test could not be resolved {text} in upstream "app"')) == 1
    assert 3 <= scene.server.asked("app.test") < 30  # with growing pauses
    scene.server.set_addresses("app.test", "10.0.0.2", ttl=1)
    bench.advance(40)
    assert scene.peers() == ["10.0.0.2:81"]


def test_a_plain_name_keeps_its_peers_when_the_system_does_not_know_it(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path):
    scene = Scene(bench, ("app.test",))
    monkeypatch.setattr("worker.resolver.system._PORT", scene.server.port)  # resolv.conf has no port
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    monkeypatch.setattr(
        "worker.resolver.system.SystemResolver.__init__.__defaults__", ("/nowhere", str(tmp_path / "resolv.conf"))
    )
    scene.group.peers[scene.lines[0]] = ["10.0.0.1:80"]
    scene.start()
    assert scene.discovery.is_ready  # the master has looked it up
    bench.advance(5)
    assert scene.peers() == ["10.0.0.1:80"]
    assert scene.server.asked("app.test")
    scene.server.set_addresses("app.test", "10.0.0.2")
    bench.advance(10)
    assert scene.peers() == ["10.0.0.2:80"]


def test_a_plain_name_in_the_file_of_hosts_is_left_as_getaddrinfo_had_it_until_the_file_changes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path
):
    (tmp_path / "hosts").write_text("10.0.0.7 app.test\n")
    monkeypatch.setattr("worker.resolver.system.SystemResolver.__init__.__defaults__", (str(tmp_path / "hosts"), "/nowhere"))
    scene = Scene(bench, ("app.test",))
    scene.group.peers[scene.lines[0]] = ["10.0.0.1:80"]
    scene.start()
    bench.advance(12)
    assert scene.group.calls == 0
    (tmp_path / "hosts").write_text("10.0.0.8 app.test # new\n")
    bench.advance(12)
    assert scene.peers() == ["10.0.0.8:80"]


def test_addresses_are_no_names(bench: Bench):
    assert followed_names(Scene(bench, ("127.0.0.1",), ("[::1]:80",), ("unix:/x",)).upstream) == []
    implicit = Upstream({}, {})
    implicit.implicit = True
    for name, count in (("127.0.0.1:80", 0), ("[::1]:80", 0), ("unix:/run/x", 0), ("app.test:81", 1)):
        implicit.name = name
        assert len(followed_names(implicit)) == count
    assert followed_names(implicit)[0].address == Address("app.test", 81)


# Targets of requests.


def test_a_target_is_asked_about_once_while_its_answer_is_believed(bench: Bench):
    scene = Scene(bench)
    scene.server.set_addresses("a.test", "10.0.0.1", ttl=10)
    target = Address("a.test", 80)
    group = bench.outcome(scene.discovery.group_of(scene.settings, target, 5))
    assert group.peers[None] == ["10.0.0.1:80"]
    assert scene.discovery.known_group(scene.settings, target) is group
    scene.server.set_addresses("a.test", "10.0.0.2", ttl=10)
    bench.advance(10.5)
    assert scene.discovery.known_group(scene.settings, target) is None
    assert bench.outcome(scene.discovery.group_of(scene.settings, target, 5)) is group
    assert group.peers[None] == ["10.0.0.2:80"]
    assert len(scene.made) == 1


def test_targets_of_other_ports_are_other_groups(bench: Bench):
    scene = Scene(bench)
    scene.server.set_addresses("a.test", "10.0.0.1")
    groups = [bench.outcome(scene.discovery.group_of(scene.settings, Address("a.test", port), 5)) for port in (80, 81)]
    assert groups[0] is not groups[1]
    assert scene.server.asked("a.test") == 1


def test_a_target_that_cannot_be_resolved_makes_no_group(bench: Bench):
    scene = Scene(bench)
    assert isinstance(bench.outcome(scene.discovery.group_of(scene.settings, Address("no.test", 80), 5)), CannotResolve)
    assert not scene.made


def test_targets_stay_within_bounds_and_what_is_forgotten_is_closed(bench: Bench):
    scene = Scene(bench)
    for number in range(MOST_TARGETS + 10):
        scene.server.set_addresses(f"n{number}.test", "10.0.0.1", ttl=1000)
        bench.outcome(scene.discovery.group_of(scene.settings, Address(f"n{number}.test", 80), 5))
    assert f"{MOST_TARGETS} targets" in repr(scene.discovery)
    assert [group.is_closed for group in scene.made] == [True] * 10 + [False] * MOST_TARGETS


def test_without_a_resolver_no_target_is_known(bench: Bench):
    assert Scene(bench).discovery.known_group(None, Address("a.test", 80)) is None


# What the workers before us have found.


def as_time_passes(bench: Bench, condition) -> None:
    """Let time pass until it holds."""

    def holds() -> bool:
        bench.advance(0.25)
        return condition()

    bench.until(holds)


@pytest.mark.parametrize(("line", "port"), [(RESOLVE, 81), (("app.test:82", "resolve", "weight=2"), 82)])
def test_a_worker_begins_with_what_those_before_it_had_found_while_the_name_server_is_down(bench: Bench, line, port):
    first = Scene(bench, RESOLVE)
    memory = Remembered(mmap.mmap(-1, SIZE))
    first.upstream.remembered = {first.lines[0]: memory}
    first.server.set_addresses("app.test", "10.0.0.1", "10.0.0.2", ttl=10)
    first.start()
    bench.until(lambda: first.discovery.is_ready)

    second = Scene(bench, line)
    second.upstream.remembered = {second.lines[0]: memory}
    second.server.zone["app.test", A] = refusal(2)
    second.start()
    assert second.discovery.is_ready, "it need not wait"
    assert sorted(second.peers()) == [f"10.0.0.1:{port}", f"10.0.0.2:{port}"]
    as_time_passes(bench, lambda: second.server.asked("app.test"))
    assert sorted(second.peers()) == [f"10.0.0.1:{port}", f"10.0.0.2:{port}"], "a name server that fails changes nothing"
    second.server.set_addresses("app.test", "10.0.0.3", ttl=10)
    as_time_passes(bench, lambda: second.peers() == [f"10.0.0.3:{port}"])
    assert memory.read() == "10.0.0.3 0 0 0\n"


def test_the_ports_of_a_service_are_remembered_with_its_addresses(bench: Bench):
    memory = Remembered(mmap.mmap(-1, SIZE))
    memory.write("10.0.0.1 8081 5 0\n10.0.0.2 8082 5 0\n")
    scene = Scene(bench, ("app.test", "resolve", "service=http"))
    scene.upstream.remembered = {scene.lines[0]: memory}
    scene.start()
    assert scene.peers() == ["10.0.0.1:8081", "10.0.0.2:8082"]


def test_a_name_that_is_gone_is_not_remembered(bench: Bench):
    scene = Scene(bench, RESOLVE)
    memory = Remembered(mmap.mmap(-1, SIZE))
    scene.upstream.remembered = {scene.lines[0]: memory}
    memory.write("10.0.0.1 81 0 0\n")
    scene.start()
    assert scene.peers() == ["10.0.0.1:81"]
    as_time_passes(bench, lambda: scene.peers() == [])
    assert memory.read() == ""
