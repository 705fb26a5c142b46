"""What is said about directives that do nothing yet: named once, counted, and refused where safety hangs on them."""

from __future__ import annotations

import pytest

import wproxy.config.model  # noqa: F401  # fills the registry
from wproxy.config.effects import Ineffective, ineffective, is_idle, refusals, warnings
from wproxy.config.registry import REGISTRY
from wproxy.config.tree import Node, Position
from wproxy.directives.accepted import ACCEPTED


def at(line: int) -> Position:
    return Position("nginx.conf", line)


def note(text: str, line: int = 1) -> Ineffective | None:
    """The note about a directive as it would be written."""
    name, *arguments = text.split()
    return next(iter(ineffective(ACCEPTED[name][0], Node(name, tuple(arguments), at(line)))), None)


def notes_of_listen(*arguments: str, line: int = 1) -> list[Ineffective]:
    """The notes about the parameters of a `listen`."""
    return ineffective(REGISTRY["listen"][0], Node("listen", arguments, at(line)))


def notes(*texts: str) -> list[Ineffective]:
    return [found for line, text in enumerate(texts, 1) if (found := note(text, line))]


def test_a_directive_without_effect_is_named_where_it_stands():
    assert list(map(str, warnings(notes("xml_entities x")))) == [
        '"xml_entities" directive is accepted and not yet effective in nginx.conf:1'
    ]


def test_a_directive_is_named_once_where_it_first_stands_and_the_others_are_counted():
    found = notes("xslt_last_modified on", "xslt_types text/css", "xslt_last_modified on", "xslt_last_modified on")
    assert list(map(str, warnings(found))) == [
        '"xslt_last_modified" directive is accepted and not yet effective (3 times) in nginx.conf:1',
        '"xslt_types" directive is accepted and not yet effective in nginx.conf:2',
    ]


def test_a_guard_is_a_warning_of_the_test_and_refuses_a_start():
    found = notes("mp4", "perl handler")
    assert [str(problem) for problem in warnings(found)][1] == (
        '"perl" directive is accepted and not yet effective: a start refuses it in nginx.conf:2'
    )
    assert list(map(str, refusals(found))) == [
        '"perl" directive is not yet effective, and without it this server would be less safe than its configuration says'
        " in nginx.conf:2"
    ]


def test_nothing_refuses_a_start_where_there_is_no_guard():
    assert refusals(notes("mp4", "perl_modules a")) == []


def test_what_keeps_something_safe_refuses_a_start():
    assert len(refusals(notes("perl handler"))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "ssl_early_data off",
        "ssl_early_data OFF",
        "mp4_start_key_frame off",
    ],
)
def test_what_is_switched_off_is_passed_over_in_silence(text):
    assert note(text) is None


def test_off_means_nothing_where_a_second_word_follows():
    assert not is_idle(Node("mp4_start_key_frame", ("off", "x"), at(1)))
    assert not is_idle(Node("sub_filter", ("off",), at(1)))


@pytest.mark.parametrize("text", ["tcp_nopush on", "use epoll", "server_names_hash_bucket_size 64", "load_module m.so"])
def test_what_only_tunes_the_inside_of_nginx_is_passed_over_in_silence(text):
    assert note(text) is None


def test_parameters_of_listen_are_named_and_those_of_safety_refuse():
    found = notes_of_listen("443", "quic", "proxy_protocol", "ssl", "http2", "default_server", line=3)
    assert list(map(str, warnings(found))) == [
        f'"{word}" parameter of "listen" directive is accepted and not yet effective: a start refuses it in nginx.conf:3'
        for word in ("quic",)
    ]
    assert list(map(str, refusals(found))) == [
        f'"{word}" parameter of "listen" directive is not yet effective, and without it this server would be less safe than its'
        " configuration says in nginx.conf:3"
        for word in ("quic",)
    ]


@pytest.mark.parametrize(("parameter", "refused"), [("quic", True)])
def test_each_parameter_of_listen_weighs_by_itself(parameter, refused):
    found = notes_of_listen("443", parameter)
    assert len(warnings(found)) == 1
    assert bool(refusals(found)) is refused


def test_a_listen_of_today_has_nothing_to_say():
    assert notes_of_listen("127.0.0.1:8080", "default_server", "reuseport", "backlog=64") == []
    assert notes_of_listen("quic") == [], "the first argument is the address"
