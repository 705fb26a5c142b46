"""Names to addresses by name servers that answer, hesitate, refuse, lie or change their minds."""

from __future__ import annotations

import socket

import pytest
from resolving import Bench

from tests.name_server import NameServer, address_record, addresses, alias_record, answer, message, nothing, refusal, silence
from worker.resolver.resolver import LOOKUP_LIMIT, MOST_ANSWERS, CannotResolve
from wproxy.address import Address
from wproxy.directives.resolver import NameServers
from wproxy.dns import AAAA, A
from wproxy.failures import ClientGone


def test_a_name_becomes_its_addresses_of_both_families(bench: Bench):
    server = bench.server()
    server.zone["www.test", A] = addresses("www.test", "10.0.0.1", "10.0.0.2", ttl=30)
    server.zone["www.test", AAAA] = addresses("www.test", "2001:db8::1", ttl=20)
    assert bench.outcome(bench.resolver().resolve("WWW.test", 5)) == (("10.0.0.1", "10.0.0.2", "2001:db8::1"), 1020.0)


def test_both_questions_are_under_way_at_once(bench: Bench):
    server = bench.server()
    server.zone["www.test", A] = server.zone["www.test", AAAA] = silence
    bench.ask(bench.resolver().resolve("www.test", 5))
    bench.until(lambda: len(server.queries) == 2)
    assert {query[1] for query in server.queries} == {A, AAAA}


@pytest.mark.parametrize(("off", "kind"), [({"ipv6": False}, A), ({"ipv4": False}, AAAA)])
def test_a_family_that_is_off_is_not_asked_about(bench: Bench, off, kind):
    server = bench.server()
    server.zone["www.test", A] = addresses("www.test", "10.0.0.1")
    server.zone["www.test", AAAA] = addresses("www.test", "::5")
    assert len(bench.outcome(bench.resolver(**off).resolve("www.test", 5)).addresses) == 1
    assert [query[1] for query in server.queries] == [kind]


def test_every_question_has_its_own_port_and_identifier(bench: Bench):
    server = bench.server()
    for number in range(20):
        server.set_addresses(f"n{number}.test", "10.0.0.1")
        bench.outcome(bench.resolver(ipv6=False).resolve(f"n{number}.test", 5))
    assert len(set(server.identifiers)) > 15
    assert len(set(server.ports)) > 10


def test_an_answer_is_remembered_as_long_as_it_says(bench: Bench):
    server = bench.server()
    server.set_addresses("www.test", "10.0.0.1", ttl=30)
    resolver = bench.resolver(ipv6=False)
    bench.outcome(resolver.resolve("www.test", 5))
    server.set_addresses("www.test", "10.0.0.2", ttl=30)
    bench.advance(29.5)
    assert bench.outcome(resolver.resolve("www.test", 5)).addresses == ("10.0.0.1",)
    bench.advance(1)
    assert bench.outcome(resolver.resolve("www.test", 5)).addresses == ("10.0.0.2",)
    assert server.asked("www.test") == 2


@pytest.mark.parametrize(("ttl", "valid", "expected"), [(0, None, 1.0), (500, 7.0, 7.0), (2, 60.0, 60.0), (9, 0.0, 1.0)])
def test_valid_stands_for_the_time_to_live_and_a_second_is_the_least(bench: Bench, ttl, valid, expected):
    bench.server().set_addresses("www.test", "10.0.0.1", ttl=ttl)
    found = bench.outcome(bench.resolver(ipv6=False, valid=valid).resolve("www.test", 5))
    assert found.expires - bench.now == expected


def test_those_who_ask_for_one_name_wait_for_one_question(bench: Bench):
    server = bench.server()
    server.zone["www.test", A] = silence
    resolver = bench.resolver(ipv6=False)
    asked = [bench.ask(resolver.resolve("www.test", 10)) for _ in range(50)]
    assert server.asked("www.test") == 1
    server.set_addresses("www.test", "10.0.0.1")
    bench.advance(1.5)
    bench.until(lambda: all(one.outcome for one in asked))
    assert {one.outcome.addresses for one in asked} == {("10.0.0.1",)}
    assert server.asked("www.test") == 2  # the second one is the repetition


def test_who_leaves_while_a_name_is_looked_up_does_not_end_it_for_the_others(bench: Bench):
    server = bench.server()
    server.zone["www.test", A] = silence
    resolver = bench.resolver(ipv6=False)
    first, second = (bench.ask(resolver.resolve("www.test", 10)) for _ in range(2))
    bench.loop.interrupt(first.task, ClientGone())
    bench.turn()
    assert first.task not in bench.loop.tasks
    assert bench.bugs == ["asking: ClientGone()"]
    bench.bugs.clear()
    server.set_addresses("www.test", "10.0.0.1")
    bench.advance(1.5)
    bench.until(lambda: second.outcome)
    assert second.outcome.addresses == ("10.0.0.1",)


def test_a_name_that_is_not_known_is_remembered_as_long_as_its_zone_says(bench: Bench):
    server = bench.server()
    server.zone["no.test", A] = nothing("test", 10)
    resolver = bench.resolver(ipv6=False)
    for _ in range(3):
        error = bench.outcome(resolver.resolve("no.test", 5))
        assert str(error) == "no.test could not be resolved (3: Host not found)"
        assert error.is_gone
    assert server.asked("no.test") == 1
    bench.advance(10.5)
    server.set_addresses("no.test", "10.0.0.1")
    assert bench.outcome(resolver.resolve("no.test", 5)).addresses == ("10.0.0.1",)


def test_without_a_zone_an_unknown_name_is_asked_for_again(bench: Bench):
    server = bench.server()
    resolver = bench.resolver(ipv6=False)
    assert bench.outcome(resolver.resolve("no.test", 5)).code == 3
    server.set_addresses("no.test", "10.0.0.1")
    assert bench.outcome(resolver.resolve("no.test", 5)).addresses == ("10.0.0.1",)


def test_no_records_at_all_is_host_not_found(bench: Bench):
    bench.server().set_addresses("www.test")
    assert str(bench.outcome(bench.resolver().resolve("www.test", 5))) == "www.test could not be resolved (3: Host not found)"


@pytest.mark.parametrize("name", ["", "a..b", "a b", "a\r\nb", "x" * 64])
def test_an_impossible_name_is_not_found_and_nobody_is_asked(bench: Bench, name):
    server = bench.server()
    assert bench.outcome(bench.resolver().resolve(name, 5)).code == 3
    assert not server.queries


def test_an_address_is_its_own_answer(bench: Bench):
    assert bench.outcome(bench.resolver().resolve("10.0.0.9", 5)).addresses == ("10.0.0.9",)


def test_silence_ends_with_the_time_of_who_asked(bench: Bench):
    bench.server().zone["www.test", A] = silence
    asked = bench.ask(bench.resolver(ipv6=False).resolve("www.test", 2))
    bench.advance(1.75)
    assert asked.outcome is None
    bench.advance(0.5)
    assert str(asked.outcome) == "www.test could not be resolved (110: Operation timed out)"
    assert not asked.outcome.is_gone


def test_a_lookup_that_nobody_answers_ends(bench: Bench):
    bench.server().zone["www.test", A] = silence
    asked = bench.ask(bench.resolver(ipv6=False).resolve("www.test", 300))
    bench.advance(LOOKUP_LIMIT + 1)
    assert asked.outcome.code == 110
    assert not bench.loop.tasks


def test_a_silent_server_is_not_waited_for_while_there_is_another(bench: Bench):
    silent, other = bench.server(), bench.server()
    for name in ("a.test", "b.test"):  # each name begins with the next server
        silent.zone[name, A] = silence
        other.set_addresses(name, "10.0.0.1")
    resolver = bench.resolver(ipv6=False)
    asked = [bench.ask(resolver.resolve(name, 10)) for name in ("a.test", "b.test")]
    bench.advance(1.25)
    assert [one.outcome.addresses for one in asked] == [("10.0.0.1",)] * 2
    assert len(silent.queries) == 1


class Slow:
    """Answers that a name server gives when it is told to."""

    def __init__(self, server: NameServer, name: str, *found: str) -> None:
        self.server = server
        self.late = addresses(name, *found)
        self.queries: list[bytes] = []
        server.zone[name, A] = self.hear

    def hear(self, query: bytes, over_tcp: bool) -> list[bytes]:
        self.queries.append(query)
        return []

    def speak(self, number: int = 0) -> None:
        """Answer that query."""
        for reply in self.late(self.queries[number], False):
            self.server.udp.sendto(reply, ("127.0.0.1", self.server.ports[number]))


def test_an_answer_after_three_seconds_counts(bench: Bench):
    slow = Slow(bench.server(), "a.test", "10.0.0.1")
    asked = bench.ask(bench.resolver(ipv6=False).resolve("a.test", 5))
    bench.advance(3)
    assert asked.outcome is None
    assert len(slow.queries) > 1, "a datagram may be lost"
    assert len(set(slow.queries)) == len(set(slow.server.ports)) == 1, "the same question, from the same place"
    slow.speak()
    bench.until(lambda: asked.outcome)
    assert asked.outcome.addresses == ("10.0.0.1",)
    assert not bench.loop.tasks and not bench.loop.stream_count()


def test_so_does_that_of_a_server_after_which_another_was_asked(bench: Bench):
    first, second = bench.server(), bench.server()
    slow = [Slow(first, "a.test", "10.0.0.1"), Slow(second, "a.test", "10.0.0.2")]
    asked = bench.ask(bench.resolver(ipv6=False).resolve("a.test", 5))
    bench.advance(0.5)
    (earlier,) = (one for one in slow if one.queries)
    bench.advance(1)
    assert all(one.queries for one in slow)
    earlier.speak()
    bench.until(lambda: asked.outcome)
    assert asked.outcome.addresses == (f"10.0.0.{1 + slow.index(earlier)}",)
    assert not bench.loop.tasks and not bench.loop.stream_count()


def test_a_server_that_fails_late_does_not_shorten_the_time_of_another(bench: Bench):
    first, second = bench.server(), bench.server()
    slow = [Slow(first, "a.test", "10.0.0.1"), Slow(second, "a.test", "10.0.0.2")]
    asked = bench.ask(bench.resolver(ipv6=False).resolve("a.test", 9))
    bench.advance(0.5)
    earlier, later = slow if slow[0].queries else slow[::-1]
    bench.advance(0.75)  # the other one has 0.75 s left
    earlier.late = refusal(2)
    earlier.speak()
    bench.advance(0.25)
    assert asked.outcome is None
    later.speak()
    bench.until(lambda: asked.outcome)
    assert asked.outcome.addresses == (f"10.0.0.{1 + slow.index(later)}",)


@pytest.mark.parametrize("code", [1, 2, 4, 5])
def test_a_server_that_cannot_makes_room_for_the_next_at_once(bench: Bench, code):
    for name in ("a.test", "b.test"):
        bench.server()
        bench.servers[0].zone[name, A] = refusal(code)
    for name in ("a.test", "b.test"):
        bench.servers[1].set_addresses(name, "10.0.0.1")
    resolver = bench.resolver(ipv6=False)
    assert [bench.outcome(resolver.resolve(name, 5)).addresses for name in ("a.test", "b.test")] == [("10.0.0.1",)] * 2
    assert len(bench.servers[0].queries) == 1


def test_when_no_server_can_the_reason_is_told_and_nothing_is_remembered(bench: Bench):
    server = bench.server()
    server.zone["www.test", A] = refusal(2)
    resolver = bench.resolver(ipv6=False)
    assert str(bench.outcome(resolver.resolve("www.test", 5))) == "www.test could not be resolved (2: Server failure)"
    server.set_addresses("www.test", "10.0.0.1")
    assert bench.outcome(resolver.resolve("www.test", 5)).addresses == ("10.0.0.1",)


def test_garbage_with_the_right_identifier_is_an_error_of_that_server(bench: Bench):
    server = bench.server()
    server.zone["www.test", A] = lambda query, over_tcp: [message(query, [b"\xc0\xff" + bytes(12)])]
    assert bench.outcome(bench.resolver(ipv6=False).resolve("www.test", 5)).code == 2
    assert bench.log[0] == (
        "error",
        f'DNS error: a pointer that does not lead backwards while resolving "www.test", resolver: 127.0.0.1:{server.port}',
    )


def test_forged_answers_before_the_true_one_are_passed_over(bench: Bench):
    def say(query: bytes, over_tcp: bool) -> list[bytes]:
        forged = address_record("www.test", "6.6.6.6")
        other = bytes([query[0] ^ 1]) + query[1:]
        question = query[:12] + query[12:].replace(b"www", b"xxx")
        return [
            b"",
            b"rubbish",
            message(other, [forged]),
            message(question, [forged]),
            message(query, [forged], flags=0x0180),
            message(query, [address_record("www.test", "10.0.0.1")]),
        ]

    bench.server().zone["www.test", A] = say
    assert bench.outcome(bench.resolver(ipv6=False).resolve("www.test", 5)).addresses == ("10.0.0.1",)


def test_an_answer_from_another_port_does_not_arrive(bench: Bench):
    server = bench.server()
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def say(query: bytes, over_tcp: bool) -> list[bytes]:
        stranger.sendto(message(query, [address_record("www.test", "6.6.6.6")]), ("127.0.0.1", server.ports[-1]))
        return [message(query, [address_record("www.test", "10.0.0.1")])]

    server.zone["www.test", A] = say
    assert bench.outcome(bench.resolver(ipv6=False).resolve("www.test", 5)).addresses == ("10.0.0.1",)
    stranger.close()


def test_a_server_that_sends_rubbish_for_ever_is_given_up(bench: Bench):
    bench.server().zone["www.test", A] = lambda query, over_tcp: [b"rubbish"] * 100
    assert bench.outcome(bench.resolver(ipv6=False).resolve("www.test", 5)).code == 2


def test_a_truncated_answer_is_asked_for_over_tcp(bench: Bench):
    many = [f"10.0.{number >> 8}.{number & 255}" for number in range(600)]

    def say(query: bytes, over_tcp: bool) -> list[bytes]:
        found = [address_record("www.test", address) for address in many]
        return [message(query, found)] if over_tcp else [message(query, found[:3], flags=0x8380)]

    server = bench.server()
    server.zone["www.test", A] = say
    assert bench.outcome(bench.resolver(ipv6=False).resolve("www.test", 5)).addresses == tuple(many)
    assert [query[2] for query in server.queries] == ["udp", "tcp"]


@pytest.mark.parametrize(
    "reply",
    [
        lambda query: [message(query, flags=0x8380)],
        lambda query: [message(b"\0\0" + query[2:])],
        lambda query: [b"short"],
    ],
    ids=["truncated again", "another identifier", "garbage"],
)
def test_a_bad_answer_over_tcp_is_an_error_of_that_server(bench: Bench, reply):
    def say(query: bytes, over_tcp: bool) -> list[bytes]:
        return reply(b"\x12\x34" + query[2:] if query[:2] == b"\0\0" else query) if over_tcp else [message(query, flags=0x8380)]

    bench.server().zone["www.test", A] = say
    assert bench.outcome(bench.resolver(ipv6=False).resolve("www.test", 5)).code == 2


def test_a_port_where_nobody_listens_makes_room_for_the_next_server(bench: Bench):
    dead, alive = bench.server(), bench.server()
    resolver = bench.resolver(ipv6=False)
    dead.close()
    bench.servers.remove(dead)
    for name in ("a.test", "b.test"):
        alive.set_addresses(name, "10.0.0.1")
        assert bench.outcome(resolver.resolve(name, 5)).addresses == ("10.0.0.1",)
    assert any("(111: Connection refused) while resolving" in text for _, text in bench.log)


def test_when_all_servers_are_unreachable_it_is_tried_again_until_the_time_is_over(bench: Bench):
    resolver = bench.resolver(ipv6=False)
    server = bench.server()
    server.udp.close()
    bench.servers.clear()
    resolver.servers = (Address("127.0.0.1", server.port),)
    asked = bench.ask(resolver.resolve("www.test", 2))
    bench.advance(2.5)
    assert asked.outcome.code == 110
    asked = bench.ask(resolver.resolve("www.test", 20))
    bench.advance(1)
    server.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.udp.bind(("127.0.0.1", server.port))
    server.udp.setblocking(False)
    bench.servers.append(server)
    server.set_addresses("www.test", "10.0.0.1")
    bench.advance(10)
    assert asked.outcome.addresses == ("10.0.0.1",)
    assert len(bench.log) == 1, "of one lookup, whose rounds go on for whoever asks, and each line is told once"


def test_aliases_are_followed_over_several_questions(bench: Bench):
    server = bench.server()
    server.zone["a.test", A] = answer(alias_record("a.test", "b.test", 9))
    server.zone["b.test", A] = answer(alias_record("b.test", "c.test", 50))
    server.zone["c.test", A] = addresses("c.test", "10.0.0.1")
    assert bench.outcome(bench.resolver(ipv6=False).resolve("a.test", 5)) == (("10.0.0.1",), 1009.0)


def test_aliases_in_a_circle_end(bench: Bench):
    server = bench.server()
    server.zone["a.test", A] = answer(alias_record("a.test", "b.test"))
    server.zone["b.test", A] = answer(alias_record("b.test", "a.test"))
    assert bench.outcome(bench.resolver(ipv6=False).resolve("a.test", 5)).code == 2
    assert len(server.queries) < 20


def test_a_family_that_is_never_answered_about_does_not_hold_up_the_other(bench: Bench):
    server = bench.server()
    server.zone["www.test", A] = addresses("www.test", "10.0.0.1", ttl=300)
    server.zone["www.test", AAAA] = silence
    asked = bench.ask(bench.resolver().resolve("www.test", 30))
    bench.advance(1.5)
    assert asked.outcome.addresses == ("10.0.0.1",)
    assert asked.outcome.expires < bench.now + 10  # a half is not believed for long


def test_the_other_family_failing_leaves_what_there_is(bench: Bench):
    server = bench.server()
    server.zone["www.test", A] = addresses("www.test", "10.0.0.1", ttl=300)
    server.zone["www.test", AAAA] = refusal(2)
    assert bench.outcome(bench.resolver().resolve("www.test", 30)).addresses == ("10.0.0.1",)


def test_the_cache_stays_within_its_bounds(bench: Bench):
    server = bench.server()
    resolver = bench.resolver(ipv6=False)
    for number in range(MOST_ANSWERS + 50):
        server.set_addresses(f"n{number}.test", "10.0.0.1", ttl=1000)
        bench.outcome(resolver.resolve(f"n{number}.test", 5))
        server.queries.clear()
    assert f"{MOST_ANSWERS} known" in repr(resolver)
    bench.outcome(resolver.resolve(f"n{MOST_ANSWERS + 49}.test", 5))
    assert not server.queries


def test_too_many_lookups_at_once_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("worker.resolver.resolver.MOST_ANSWERS", 3)
    server = bench.server()
    resolver = bench.resolver(ipv6=False)
    for number in range(4):
        server.zone[f"n{number}.test", A] = silence
    asked = [bench.ask(resolver.resolve(f"n{number}.test", 5)) for number in range(4)]
    assert [one.outcome is not None for one in asked] == [False, False, False, True]
    assert isinstance(asked[3].outcome, CannotResolve)


def test_no_descriptor_is_left_behind(bench: Bench):
    server = bench.server()
    server.zone["www.test", A] = silence
    server.set_addresses("a.test", "10.0.0.1")
    resolver = bench.resolver()
    bench.ask(resolver.resolve("www.test", 5))
    bench.outcome(resolver.resolve("a.test", 5))
    bench.advance(LOOKUP_LIMIT + 6)
    assert not bench.loop._streams
    assert not bench.loop.tasks


def test_settings_of_both_kinds_are_values():
    assert NameServers((Address("::1", 53),)) == NameServers((Address("::1", 53),), None, True, True, False)
