"""The link to a Redis: what is asked together goes out together, and nobody waits for a server that does not answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scripted_redis import OK, PONG, Connection, Play, integers

from worker.redis.link import CONNECT_PATIENCE, DEAD_AFTER, LONGEST_PAUSE
from worker.redis.scripts import COUNT_REQUEST, SCRIPTS

Make = Callable[..., Play]
PATIENCE = 0.08  # more than the 50 ms that a request waits, and the 20 ms between two looks at deadlines


def count(play: Play, key: bytes = b"k") -> list[object]:
    return play.asking(lambda: play.link.ask(COUNT_REQUEST, [key], [1000, 5000]))


def test_a_link_says_who_it_is_then_brings_the_scripts(play: Make):
    p = play("unix://bob:pass%20word@{path}?db=3")
    p.link.start()
    p.turn()
    greeting = [[b"AUTH", b"bob", b"pass word"], [b"SELECT", b"3"], *[[b"SCRIPT", b"LOAD", each.source] for each in SCRIPTS]]
    assert p.server.commands == [*greeting, [b"PING"]]
    assert not p.link.is_up and not p.link.is_settled
    p.greet()
    assert p.link.is_up and p.link.is_settled


def test_what_one_turn_asks_goes_out_in_one_piece_and_each_gets_its_answer(play: Make):
    p = play().up()
    answers = [count(p, b"k%d" % number) for number in range(30)]
    p.turn()
    assert [len(piece) for piece in p.server.pieces] == [30]
    assert p.server.commands[7] == [b"EVALSHA", COUNT_REQUEST.sha, b"1", b"k7", b"1000", b"5000"]
    whole = b"".join(integers(number) for number in range(30))
    p.server.send(whole[:50])
    p.turn()
    assert answers[0] == [[0]] and answers[29] == []
    p.server.send(whole[50:])
    p.turn()
    assert answers == [[[number]] for number in range(30)]


def test_who_gets_no_answer_in_time_gets_none_and_later_ones_do_not_wait(play: Make):
    p = play().up()
    early = count(p)
    p.turn()
    p.advance(PATIENCE)
    assert early == [None]
    assert not p.link.is_up
    late = count(p)
    p.turn(2)
    assert late == [None]
    assert len(p.server.commands) == 1
    assert p.log == [f"error unix://{p.path}: no answer within 50 ms; until it answers, this machine's own counts decide"]


def test_a_link_is_up_again_when_the_server_answers_in_time(play: Make):
    p = play().up()
    beginnings = []

    class Keeper:
        def begin(self) -> None:
            beginnings.append(p.now)

    p.link.keepers.append(Keeper())
    early = count(p)
    p.turn()
    p.advance(PATIENCE)
    p.advance(1)
    assert [words[0] for words in p.server.commands] == [b"EVALSHA"], "nothing more is asked before that is answered"
    p.server.send(integers(0))
    p.advance(1)
    p.advance(0.1)
    assert [words[0] for words in p.server.commands] == [b"EVALSHA", b"PING"]
    p.advance(PATIENCE)
    p.server.send(PONG)
    p.turn()
    assert not p.link.is_up, "that was too slow"
    p.advance(1)
    p.server.send(PONG)
    p.turn()
    assert p.link.is_up and beginnings == [p.now]
    assert early == [None]
    p.advance(1.1)
    again = count(p)
    p.turn()
    p.server.send(integers(7))
    p.turn()
    assert again == [[7]]
    assert p.log[1:] == [f"notice unix://{p.path} answers again"]


def test_a_server_that_stays_silent_is_left(play: Make):
    p = play().up()
    count(p)
    p.turn()
    p.advance(PATIENCE)
    began = p.now
    while len(p.connections) == 1 and p.now < began + 10:
        p.advance(0.5)
    assert p.connections[0].sock.recv(1) == b"", "closed"
    assert p.now - began >= DEAD_AFTER
    p.greet()
    assert p.link.is_up


def test_scripts_that_the_server_has_forgotten_are_brought_again(play: Make):
    p = play().up()
    answer = count(p)
    p.turn()
    p.server.send(b"-NOSCRIPT No matching script.\r\n")
    p.turn()
    assert p.server.commands[1] == [b"EVAL", COUNT_REQUEST.source, b"1", b"k", b"1000", b"5000"]
    p.server.send(integers(3))
    p.turn()
    assert answer == [[3]] and p.link.is_up and p.log == []


def test_an_error_is_no_answer_and_is_told_once(play: Make):
    p = play().up()
    for _ in range(3):
        answer = count(p)
        p.turn()
        p.server.send(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n")
        p.turn()
        assert answer == [None]
        assert not p.link.is_up
        p.advance(LONGEST_PAUSE * 2)
        p.server.send(PONG)
        p.turn()
        assert p.link.is_up
    assert [line.partition(": ")[2] for line in p.log] == [
        "OOM command not allowed when used memory > 'maxmemory'.; until it answers, this machine's own counts decide"
    ]


@pytest.mark.parametrize("error", [b"READONLY You can't write against a read only replica.", b"LOADING Redis is loading"])
def test_an_error_that_another_connection_may_not_meet_ends_this_one(play: Make, error: bytes):
    p = play().up()
    answer = count(p)
    p.turn()
    p.server.send(b"-%b\r\n" % error)
    p.turn()
    assert answer == [None]
    p.advance(LONGEST_PAUSE)
    p.greet()
    assert p.link.is_up


def test_the_end_of_a_connection_leaves_nobody_waiting(play: Make):
    p = play().up()
    answers = [count(p), count(p)]
    p.turn()
    p.die()
    p.turn()
    assert answers == [[None], [None]]
    assert p.log == [f"error unix://{p.path}: it has closed the connection; until it answers, this machine's own counts decide"]
    for _ in range(10):
        p.advance(LONGEST_PAUSE)
    assert len(p.log) == 1
    p.listen()
    p.advance(2 * LONGEST_PAUSE)
    p.greet()
    assert p.link.is_up


def test_a_connection_that_ends_while_it_is_idle_is_replaced_without_a_word(play: Make):
    p = play().up()
    p.advance(300)
    p.server.sock.close()
    p.connections.clear()
    p.turn()
    p.greet()
    assert p.link.is_up and p.log == []


def test_a_server_that_hangs_up_at_once_is_not_asked_all_the_time(play: Make):
    p = play()
    p.link.start()
    for _ in range(50):
        p.turn(3)
        for connection in p.connections:
            connection.sock.close()
        p.connections = [Connection(connection.sock) for connection in p.connections if connection.sock.fileno() >= 0]
    assert p.link.is_settled
    assert len(p.log) == 1


def test_a_wrong_password_is_told_and_the_password_is_not(play: Make):
    p = play("unix://:secret@{path}")
    p.link.start()
    p.turn()
    p.server.send(b"-WRONGPASS invalid username-password pair\r\n")
    p.turn()
    assert p.link.is_settled and not p.link.is_up
    [line] = p.log
    assert "WRONGPASS invalid username-password pair (in answer to AUTH)" in line and "secret" not in line


def test_a_server_that_never_answers_the_greeting_is_given_up(play: Make):
    p = play()
    p.link.start()
    p.turn()
    p.advance(CONNECT_PATIENCE + 0.1)
    assert p.link.is_settled and "no answer to the first commands" in p.log[0]


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 400 Bad Request\r\n\r\n", integers(1) * 2, OK * 100])
def test_a_server_that_says_what_makes_no_sense_is_left(play: Make, nonsense: bytes):
    p = play().up()
    answer = count(p)
    p.turn()
    p.server.send(nonsense)
    p.turn()
    assert answer == [None] and not p.link.is_up


def test_the_answer_to_a_request_that_was_interrupted_is_handed_on(play: Make):
    p = play().up()
    abandoned: list[object] = []

    async def ask() -> None:
        await p.link.ask(COUNT_REQUEST, [b"k"], [1000, 0], abandoned.append)

    task = p.loop.spawn(ask(), "a request")
    p.turn()
    p.loop.cancel(task)
    p.server.send(integers(4))
    p.turn()
    assert abandoned == [[4]] and p.link.is_up


def test_what_nobody_waits_for_is_dropped_while_the_link_is_down(play: Make):
    p = play()
    p.link.tell(b"SET", b"a", 1)
    p.link.start()
    p.greet()
    assert p.server.commands == []
    p.link.tell(b"SET", b"a", 1)
    p.turn()
    assert p.server.commands == [[b"SET", b"a", b"1"]]


def test_a_worker_whose_lease_has_run_out_begins_anew(play: Make):
    p = play().up()
    p.link.renew(b"lease", 10_000)
    p.turn()
    assert p.server.commands == [[b"PEXPIRE", b"lease", b"10000"]]
    p.server.send(b":1\r\n")
    p.turn()
    assert p.link.is_up
    p.link.renew(b"lease", 10_000)
    p.turn()
    p.server.send(b":0\r\n")
    p.turn()
    assert not p.link.is_up
    p.advance(0.2)
    p.server.send(PONG)
    p.turn()
    assert p.link.is_up
