"""Which differences are excused by what went before them."""

from __future__ import annotations

from differential.backend import Reply
from differential.comparison import Difference
from differential.conversation import Conversation, Step
from differential.on_purpose import unexplained

SEVERAL = "upstream up_0 {\n    server BACK0;\n    server BACK1;\n}\n"
ALONE = "upstream up_0 {\n    server BACK0;\n}\n"


def conversation(target: bytes = b"/", *replies: Reply) -> Conversation:
    return Conversation(0, (Step((b"GET " + target + b" HTTP/1.1\r\n\r\n",), replies or (Reply(),)),))


PLAIN = conversation()
DEAD = conversation(b"/", Reply(b"", closes=True), Reply())
SPACE = conversation(b"/a%20b")


def difference(kind: str, number: int) -> Difference:
    return Difference(kind, "0 GET / HTTP/1.1\nHost: h\n\n", "1 GET / HTTP/1.1\nHost: h\n\n", number)


def test_a_kept_connection_that_died_explains_later_choices_of_the_balancer() -> None:
    for kind in ("upstream peer", "upstream count of requests", "status 502 200"):
        assert unexplained([difference(kind, 2)], SEVERAL, [PLAIN, DEAD, PLAIN]) == []


def test_it_explains_nothing_that_came_before_it() -> None:
    later = [difference("upstream peer", 1)]
    assert unexplained(later, SEVERAL, [PLAIN, PLAIN, DEAD]) == later


def test_it_explains_nothing_where_there_is_no_choice() -> None:
    later = [difference("upstream peer", 2), difference("status 502 200", 2)]
    assert unexplained(later, ALONE, [PLAIN, DEAD, PLAIN]) == later


def test_it_explains_no_other_bytes() -> None:
    later = [difference("upstream request", 2), difference("body", 2), difference("status 200 502", 2)]
    assert unexplained(later, SEVERAL, [PLAIN, DEAD, PLAIN]) == later


def test_a_request_that_only_one_of_the_two_sent_moves_the_choices_after_it() -> None:
    first, later = difference("status 200 500", 0), difference("upstream peer", 1)
    assert unexplained([first, later], SEVERAL, [SPACE, PLAIN]) == []
    assert unexplained([later], SEVERAL, [SPACE, PLAIN]) == [later]
    assert unexplained([first, later], SEVERAL, [PLAIN, PLAIN]) == [first, later]


def test_a_failure_that_only_one_of_the_two_has_seen_leaves_out_the_peer_after_it() -> None:
    # With `proxy_pass_request_body off` nginx lets the upstream wait for a body, and the client goes away; wproxy's upstream
    # gets the whole request and may break it off, which is its failure.
    text = SEVERAL + "proxy_pass_request_body off;"
    first = difference("status  502", 0)
    assert unexplained([first, difference("upstream count of requests", 1)], text, [DEAD, PLAIN]) == []
    for kind in ("status 200 502", "status 502 200"):
        later = difference(kind, 1)
        assert unexplained([first, later], text, [DEAD, PLAIN]) == []
        assert unexplained([first, later], text, [PLAIN, PLAIN]) == [later]
        assert unexplained([first, later], text.replace(SEVERAL, ALONE), [DEAD, PLAIN]) == [later]
        assert unexplained([later], text, [PLAIN, PLAIN]) == [later]
    other = difference("status 200 404", 1)
    assert unexplained([first, other], text, [DEAD, PLAIN]) == [other]


def test_several_fields_may_differ_each_for_its_own_reason() -> None:
    text = "location / { proxy_pass_header Date; proxy_pass_header Server; }"
    assert unexplained([difference("fields date server", 0)], text, [PLAIN]) == []
    other = difference("fields date x-other", 0)
    assert unexplained([other], text, [PLAIN]) == [other]
