"""`wproxy upstream`, with a server whose answers are scripted: what is asked, what is printed, what a person is told."""

from __future__ import annotations

from typing import Any

import pytest

from wproxy.upstream_command import CannotChange, run_action

PEER = {
    "id": 0,
    "server": "10.0.0.1:80",
    "name": "app.example:80",
    "backup": False,
    "weight": 2,
    "state": "up",
    "active": 1,
    "requests": 10,
    "fails": 0,
    "sent": 5,
    "received": 7,
    "header_time": 3,
    "response_time": 4,
}
SERVERS = [
    {"id": 0, "server": "app.example:80", "weight": 2, "backup": False},
    {"id": 1, "server": "10.0.0.9:80", "weight": 1, "backup": True},
    {"id": 2, "server": "twice:80", "weight": 1, "backup": False},
    {"id": 3, "server": "twice:80", "weight": 1, "backup": False},
]


class Script:
    """Answers what there is, and notes what it was told to change."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str, Any]] = []

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        if method != "GET":
            self.changes.append((method, path, body))
            return {}
        if path.endswith("/servers"):
            return SERVERS
        upstream = {"peers": [PEER, {**PEER, "server": "10.0.0.2:80"}]}
        return {"app": upstream} if path == "/http/upstreams" else upstream


@pytest.fixture
def script() -> Script:
    return Script()


def test_the_table_has_a_line_for_each_peer_and_for_a_server_without_any(script):
    lines = run_action("list", [], False, script).splitlines()
    assert lines[1].split() == [
        "app",
        "10.0.0.1:80",
        "(app.example:80)",
        "up",
        "2",
        "1",
        "10",
        "0",
        "7",
        "5",
        "3",
        "ms",
        "4",
        "ms",
    ]
    assert lines[3].split() == ["app", "10.0.0.9:80", "unresolved", "1", "backup"]
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize(
    ("action", "words", "change"),
    [
        ("drain", ["10.0.0.9:80"], ("PATCH", "/1", {"drain": True, "down": False})),
        ("down", ["app.example:80"], ("PATCH", "/0", {"down": True, "drain": False})),
        ("up", ["10.0.0.9:80"], ("PATCH", "/1", {"down": False, "drain": False})),
        ("weight", ["10.0.0.9:80", "5"], ("PATCH", "/1", {"weight": 5})),
        ("remove", ["10.0.0.9:80"], ("DELETE", "/1", None)),
        ("add", ["x:1"], ("POST", "", {"server": "x:1"})),
        (
            "add",
            ["x:1", "weight=2", "max_fails=0", "fail_timeout=5s", "backup", "route=a=b"],
            ("POST", "", {"server": "x:1", "weight": 2, "max_fails": 0, "fail_timeout": "5s", "backup": True, "route": "a=b"}),
        ),
    ],
)
def test_what_an_action_asks_for(script, action, words, change):
    method, path, body = change
    assert run_action(action, ["a b/c", *words], False, script).startswith("wproxy: ")
    assert script.changes == [(method, f"/http/upstreams/a%20b%2Fc/servers{path}", body)]


@pytest.mark.parametrize(
    ("action", "words", "reason"),
    [
        ("drain", ["10.0.0.1:80"], '"10.0.0.1:80" is one address of app.example:80: its addresses can only be changed together'),
        ("drain", ["twice:80"], '"twice:80" is 2 times in upstream "app": change one by its id, over the API'),
        (
            "drain",
            ["gone:80"],
            'no server "gone:80" in upstream "app", its servers: app.example:80, 10.0.0.9:80, twice:80, twice:80',
        ),
        ("drain", [], "usage: wproxy upstream drain NAME SERVER"),
        ("weight", ["10.0.0.9:80", "-1"], '"-1" is not a number'),
        ("add", ["x:1", "fast"], 'invalid parameter "fast"'),
        ("add", ["x:1", "weight=a"], '"a" is not a number'),
        ("list", ["too many"], "usage: wproxy upstream list [NAME]"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(script, action, words, reason):
    with pytest.raises(CannotChange) as refused:
        run_action(action, ["app", *words], False, script)
    assert str(refused.value) == reason
    assert script.changes == []
