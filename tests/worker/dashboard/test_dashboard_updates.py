"""The dashboard of one worker: who gets it, its page, its updates, and the API behind its buttons."""

from __future__ import annotations

import json
import random

import pytest
from conversation import get, ok

from worker.dashboard.patch import merge_patch
from worker.dashboard.updates import MOST_READERS
from wproxy.address import Address
from wproxy.config.load import load_text
from wproxy.config.tree import ConfigurationError
from wproxy.dashboard import load_page


def merged(target, patch):
    """RFC 7396, 2."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merged(target.get(name), value)
    return target


def test_a_patch_makes_the_new_state_of_the_old_one():
    draw = random.Random(7)

    def some(depth):
        kind = draw.randrange(4 if depth else 3)
        if kind == 3:
            return {draw.choice("abcd"): some(depth - 1) for _ in range(draw.randrange(4))}
        return (draw.randrange(3), "text", [1, draw.randrange(2)])[kind]

    for _ in range(500):
        before, after = {"a": some(3), "b": some(2)}, {"a": some(3), "c": some(2)}
        assert merged(before, merge_patch(before, after)) == after
    assert merge_patch({"a": {"b": 1}}, {"a": {"b": 1}}) == {}


DASHBOARD = """
[http.server.location."/see/"]
dashboard = "{write}"
"""


def dashboard(stage, write="write=on", more=""):
    return stage(locations=DASHBOARD.replace("{write}", write) + more)


def head_and_body(client):
    head = client.receives_head()
    return head, client.take()


def test_the_page_asks_nobody_else_and_allows_nothing_else(stage):
    s = dashboard(stage)
    head, body = head_and_body(s.client().send(get(b"/see/")))
    assert b"Content-Security-Policy: default-src 'none'; script-src 'sha256-" in head
    assert b"frame-ancestors 'none'" in head
    assert b"X-Content-Type-Options: nosniff" in head
    assert b"Cache-Control: no-store" in head
    text = body.decode()
    assert len(body) < 60_000
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text
    assert "innerHTML" not in text
    assert s.peers[0].name in text, "the state is there without scripts"


def test_a_page_is_escaped_where_it_has_no_script():
    state = {
        "totals": {"requests": 0, "active": 0, "connections": 0},
        "upstreams": {
            "<b>": {"peers": {"x": dict.fromkeys(("server", "state", "requests", "active", "fails"), "<img onerror=x>")}}
        },
        "causes": {},
    }
    page = load_page().render(state, False).decode()
    assert "<img" not in page
    assert "&lt;img onerror=x&gt;" in page


def events(client) -> list[tuple[str, dict]]:
    found = []
    text = client.take().decode()
    for line in text.split("\n"):
        if line.startswith("event: "):
            name = line[7:].strip()
        if line.startswith("data: "):
            found.append((name, json.loads(line[6:])))
    return found


def test_updates_come_each_second_and_say_what_has_changed(stage):
    s = dashboard(stage)
    looking = s.client().send(get(b"/see/events"))
    head = looking.receives_head()
    assert b"Content-Type: text/event-stream" in head
    assert b"X-Accel-Buffering: no" in head
    ((name, state),) = events(looking)
    assert name == "full"
    assert state["upstreams"]["app"]["peers"][s.peers[0].name]["state"] == "up"
    client = s.client().send(get())
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok(status=b"500 Own"))
    client.receives_head()
    s.advance(1)
    ((name, patch),) = events(looking)
    assert name == "delta"
    state = merged(state, patch)
    assert state["totals"]["classes"] == [0, 0, 0, 0, 1]
    assert state["causes"]["up_said"]["count"] == 1
    assert "bounds" not in patch


def test_nobody_who_looks_costs_nothing(stage):
    s = dashboard(stage)
    looking = s.client().send(get(b"/see/events"))
    looking.receives_head()
    looking.close()
    s.advance(2)
    assert not any(task.name == "dashboard" for task in s.loop.tasks)


def test_there_is_room_for_some(stage):
    s = dashboard(stage)
    for _ in range(MOST_READERS):
        assert b"200 OK" in s.client().send(get(b"/see/events")).receives_head()
    assert b"503 Service" in s.client().send(get(b"/see/events")).receives_head()


def test_a_worker_that_leaves_says_so(stage):
    s = dashboard(stage)
    looking = s.client().send(get(b"/see/events"))
    looking.receives_head()
    events(looking)
    s.worker.drain()
    s.advance(0.3)
    assert [name for name, _ in events(looking)] == ["bye"]
    assert looking.is_closed()


def patch_request(*fields: bytes, target: bytes = b"/see/api/9/http/upstreams/app/servers/0") -> bytes:
    body = b'{"weight": 5}'
    head = b"PATCH %b HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % (target, len(body))
    return head + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


@pytest.mark.parametrize(
    ("write", "fields", "status"),
    [
        ("write=on", (), b"200"),
        ("write=on", (b"Origin: http://evil.test",), b"403"),
        ("write=on", (b"Sec-Fetch-Site: cross-site",), b"403"),
        ("write=off", (), b"405"),
    ],
)
def test_buttons_have_the_rules_of_the_api(stage, write, fields, status):
    s = stage(locations=DASHBOARD.replace("{write}", write), is_shared=True)
    head = s.client().send(patch_request(*fields)).receives_head()
    assert head.startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(("guard", "status"), [("", b"403"), ('allow = "all"\n', b"200")])
def test_one_that_writes_and_has_no_guard_is_for_this_machine_only(stage, guard, status):
    real = 'set_real_ip_from = "127.0.0.1"\n'
    s = stage(server=real, locations=DASHBOARD.replace("{write}", "write=on") + guard)
    client = s.client(tcp=True)
    client.send(get(b"/see/", b"X-Real-IP: 192.0.2.1"))
    assert client.receives_head().startswith(b"HTTP/1.1 " + status)


def test_what_is_not_there(stage):
    s = dashboard(stage)
    assert b"404" in s.client().send(get(b"/see/none")).receives_head()
    assert b"405" in s.client().send(b"POST /see/ HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").receives_head()


def test_the_state_is_in_the_api_too(stage):
    s = dashboard(stage, "write=off")
    _, body = head_and_body(s.client().send(get(b"/see/api/9/wproxy")))
    assert set(json.loads(body)) >= {"head", "totals", "upstreams", "workers", "causes", "failures"}


@pytest.mark.parametrize("pattern", ["= /see", "~ ^/see", "@see"])
def test_a_dashboard_has_parts_below_its_prefix(pattern):
    text = f'[[http.server]]\n[http.server.location."{pattern}"]\ndashboard = "write=off"\n'
    with pytest.raises(ConfigurationError, match='"dashboard" needs a location with a prefix'):
        load_text(text.encode(), "wproxy.toml", "/", lambda host, port: [Address(host, port)])
