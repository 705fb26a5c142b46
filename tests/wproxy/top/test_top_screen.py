"""`wproxy top` without a terminal: states in, lines out, and what keys do."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from wproxy.counters.buckets import BUCKETS
from wproxy.top.history import History
from wproxy.top.keys import Action, Keyboard, Quit, split_keys
from wproxy.top.view import Look, chosen_rows, duration, milliseconds, number, plain_text, screen, size


def counted(requests: int, bad: int = 0, buckets: tuple[int, ...] = ()) -> dict[str, Any]:
    return {
        "requests": requests,
        "active": 1,
        "sent": requests * 100,
        "classes": [0, requests - bad, 0, 0, bad],
        "buckets": list(buckets) or [0] * BUCKETS,
    }


def peer(state: str, requests: int, history: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "server": "10.0.0.1:80",
        "state": state,
        "requests": requests,
        "active": 2,
        "fails": 3,
        "weight": 1,
        "history": history,
    }


def state_at(now: float, requests: int) -> dict[str, Any]:
    fell = {"at": 995.0, "from": "up", "to": "unavail", "cause": "up_refused", "failures": 3, "worker": 1}
    worker = {"pid": 7, "generation": 2, "started": 500, "requests": requests, "connections": 4, "cpu": 1.0, "memory": 3 << 20}
    fast = (0, 0, 0, requests, *[0] * (BUCKETS - 4))
    return {
        "head": {"version": "1.2", "started": 100, "generation": 2, "reloaded": 100, "reload_error": ""},
        "now": now,
        "totals": {**counted(requests, 1, fast), "connections": 5},
        "servers": {"shop": counted(requests, 1)},
        "locations": {"shop /a": counted(requests)},
        "causes": {"up_refused": {"count": 3, "who": "app b", "when": "it refused", "fix": "start it"}},
        "upstreams": {"app": {"peers": {"a": peer("up", requests, []), "b": peer("unavail", 3, [fell])}}},
        "workers": {
            "0": {**worker, "state": "serving", "descriptors": 9},
            "1": {**worker, "state": "draining", "descriptors": 9},
        },
    }


@pytest.fixture
def history() -> History:
    made = History()
    made.add(state_at(1000.0, 100))
    made.add(state_at(1010.0, 300))
    return made


def test_the_head_and_the_peers(history):
    lines = screen(history, Look(), 100, 12, coloured=False)
    assert len(lines) == 12
    assert lines[0].startswith("wproxy 1.2  up 15m 10s  gen 2  workers 2 (1 draining)  ")
    assert lines[1] == "req/s 20  active 1  connections 5  p50 8ms p95 10ms p99 10ms  5xx 0.0%"
    assert lines[2] == "CAUSES 10m  up_refused 3"
    assert lines[3].split() == ["PEER", "STATE", "SINCE", "REQ/S", "ACT", "P95", "FAIL", "WEIGHT", "REASON"]
    assert lines[4].split() == ["app", "10.0.0.1:80", "+", "up", "-", "20", "2", "-", "3", "1"]
    assert lines[5].split() == ["app", "10.0.0.1:80", "!", "unavail", "15s", "0", "2", "-", "3", "1", "up_refused", "x3"]
    assert lines[-1] == "? help  q quit"


def test_no_line_is_wider_than_the_screen_and_the_chosen_one_is_on_it(history):
    for number_of_peers in (1, 40):
        state = copy.deepcopy(history.now)
        state["upstreams"]["app"]["peers"] = {str(each): peer("up", 1, []) for each in range(number_of_peers)}
        history.add(state)
        look = Look(chosen=39, shows_help=True, shows_history=True)
        lines = screen(history, look, 30, 14, coloured=False)
        assert len(lines) == 14
        assert max(map(len, lines)) <= 30
        assert look.chosen == number_of_peers - 1


def test_a_reload_that_failed_is_told(history):
    state = copy.deepcopy(history.now)
    state["head"]["reload_error"] = "unknown directive\nmore"
    history.add(state)
    assert screen(history, Look(), 100, 12, coloured=False)[3] == "reload failed: unknown directive"


def test_a_restart_begins_a_new_history(history):
    state = state_at(1020.0, 5)
    state["head"]["started"] = 1015
    history.add(state)
    assert "req/s 0 " in screen(history, Look(), 100, 12, coloured=False)[1]


def test_what_is_printed_for_scripts(history):
    text = plain_text(history)
    assert "\x1b" not in text
    for expected in ("app 10.0.0.1:80", "shop /a", "draining", "it refused: start it"):
        assert expected in text


def keys(history: History, look: Look, typed: str) -> list[Action]:
    keyboard = Keyboard(look)
    actions = [keyboard.press(key, chosen_rows(history, look)) for key in split_keys(typed.encode())]
    return [action for action in actions if action is not None]


def test_keys_choose_what_is_seen(history):
    look = Look()
    keys(history, look, "z")
    assert [row.cells[0] for row in chosen_rows(history, look).rows] == ["shop", "  shop /a"]
    keys(history, look, "f")
    assert [row.cells[0] for row in chosen_rows(history, look).rows] == ["shop"]
    keys(history, look, "fwsr")
    assert [row.cells[0] for row in chosen_rows(history, look).rows] == ["1", "0"]
    keys(history, look, "u/REFUSED\r")
    assert [row.key for row in chosen_rows(history, look).rows] == [("app", "b")]
    keys(history, look, "/\x7f\x7f\x1b")
    assert look.wanted == ""


def test_a_peer_is_drained_only_after_a_yes(history):
    look = Look()
    assert keys(history, look, "\x1b[Bdn") == []
    assert look.question == ""
    assert keys(history, look, "dy") == [Action("drain", "app", "b")]
    assert keys(history, look, "kUy") == [Action("up", "app", "a")]
    assert keys(history, look, "wdy") == []


def test_q_ends_it_but_not_while_a_filter_is_typed(history):
    assert keys(history, Look(), "/q\r") == []
    with pytest.raises(Quit):
        keys(history, Look(), "q")


def test_keys_of_several_bytes():
    assert split_keys(b"a\x1b[A\xe2\x82\xac\x1b") == ["a", "up", "\u20ac", "\x1b"]


def test_numbers_in_few_characters():
    assert [duration(each) for each in (0, 61, 3700, 90_000)] == ["0s", "1m 1s", "1h 1m", "1d 1h"]
    assert [milliseconds(each) for each in (None, 0.0034, 1.55)] == ["-", "3ms", "1.6s"]
    assert [number(each) for each in (0, 0.26, 12.6)] == ["0", "0.3", "13"]
    assert [size(each) for each in (0, 2048, 20 << 20)] == ["0", "2.0K", "20M"]
