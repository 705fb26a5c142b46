"""explain_ring and explain_secret in one worker: what is recorded of a request that is served, and for whom."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from conversation import Stage, get, ok

from wproxy.decisions.ring import RING_BYTES, DecisionRing
from wproxy.decisions.show import as_text
from wproxy.decisions.signature import signed

SECRET = "0123456789abcdef"


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> DecisionRing:
    made = DecisionRing(bytearray(RING_BYTES))
    monkeypatch.setattr("worker.decisions.recording.decision_ring", lambda: made)
    return made


def kept_of(ring: DecisionRing, target: str = "/") -> dict[str, Any]:
    """What is kept of the request with that target."""
    [found] = [one for one in ring.last(50) if one["request"] == f"GET {target} HTTP/1.1"]
    return found


def asked(s: Stage, *fields: bytes, target: bytes = b"/") -> bytes:
    client = s.client()
    client.send(get(target, *fields))
    head = client.receives_head()
    client.close()
    s.settle()
    return head


def test_the_way_of_a_request_is_recorded(stage: Callable[..., Stage], ring: DecisionRing) -> None:
    s = stage(peers=2, http="explain_ring = true")
    first, second = s.peers
    first.refuse()
    client = s.client()
    client.send(get(b"/x?token=1"))
    upstream = second.accept()
    assert b"/x?token=1" in upstream.receives_head()
    upstream.send(ok())
    client.receives_head()
    client.close()
    s.settle()
    found = kept_of(ring, "/x?token=1")
    assert (found["server"], found["location"], found["status"]) == ("front", "/", 200)
    assert [step["kind"] for step in found["steps"]] == ["location"]
    assert [attempt["peer"] for attempt in found["attempts"]] == [first.name, second.name]
    assert [attempt["end_code"] for attempt in found["attempts"]] == ["up_refused", ""]


RULES = """
explain_ring on;
map $arg_kind $kind { default other; a first; }
server {
    listen 127.0.0.1:8080;
    location / { rewrite ^/old(.*)$ /new$1 last; return 200 $kind; }
    location /new { return 404; error_page 404 /sorry; }
    location /sorry { return 200 sorry; }
    location /silent { explain_ring off; return 200 silent; }
    location = /denied { deny all; }
}
"""


def test_steps_tables_and_redirections_are_recorded(front: Callable[[str], Stage], ring: DecisionRing) -> None:
    s = front(RULES)
    asked(s, target=b"/old/x")
    found = kept_of(ring, "/old/x")
    kinds = [step["kind"] for step in found["steps"]]
    assert kinds == ["location", "rewrite", "location", "return", "error_page", "redirect", "location", "return"]
    assert found["steps"][1]["at"].startswith("nginx.conf:")
    assert found["location"] == "/sorry"
    asked(s, target=b"/?kind=a")
    [table] = [step for step in kept_of(ring, "/?kind=a")["steps"] if step["kind"] == "map"]
    assert "first" in table["text"] and table["at"].startswith("nginx.conf:")
    asked(s, target=b"/denied")
    assert kept_of(ring, "/denied")["end_code"] == "deny_rule"


def test_only_where_it_is_on(front: Callable[[str], Stage], ring: DecisionRing) -> None:
    asked(front(RULES), target=b"/silent")
    assert ring.last(1) == []


def test_servers_with_steps_record_the_location_that_follows(front: Callable[[str], Stage], ring: DecisionRing) -> None:
    s = front(
        "server { listen 127.0.0.1:8080; set $a b; location /on { explain_ring on; return 204; } location / { return 204; } }"
    )
    asked(s)
    assert ring.last(1) == []
    asked(s, target=b"/on")
    assert [step["kind"] for step in kept_of(ring, "/on")["steps"]] == ["set", "location", "return"]


STRICT = """
explain_ring on;
server {
    listen 127.0.0.1:8080;
    server_name front;
    error_page 400 494 /wrong;
    client_max_body_size 10;
    location / { return 200; }
    location = /wrong { return 200 wrong; }
}
"""


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET /x HTTP/1.1\r\nHost: front\r\nnot a field\r\n\r\n", 400, "cl_bad_request"),
        (b"GET /x HTTP/1.1\r\n\r\n", 400, "cl_bad_request"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: front\r\n\r\n", 414, "cl_head_too_big"),
        (b"GET /x HTTP/1.1\r\nHost: front\r\nCookie: " + b"x" * 9000 + b"\r\n\r\n", 400, "cl_head_too_big"),
        (b"POST /x HTTP/1.1\r\nHost: front\r\nContent-Length: 11\r\n\r\n", 413, "cl_body_too_big"),
        (b"GET /x HTTP/1.1\r\nHost: fr", 408, "cl_head_timeout"),
        (b"\x16\x03\x01garbage\r\n\r\n", 400, "cl_bad_request"),
    ],
)
def test_a_request_that_is_refused_before_it_is_answered_is_recorded(
    front: Callable[[str], Stage], ring: DecisionRing, sent: bytes, status: int, code: str
) -> None:
    s = front(STRICT)
    client = s.client()
    client.send(sent)
    if status == 408:
        s.advance(61)
    client.pull_all()
    client.close()
    s.settle()
    [found] = ring.last(50)
    assert (found["status"], found["end_code"], found["server"]) == (status, code, "front")
    assert found["request"] == sent.partition(b"\r\n")[0].decode("latin-1")[:1024] if sent.isascii() else found["request"]
    kinds = [step["kind"] for step in found["steps"]]
    assert ("error_page" in kinds) == (status == 400)
    assert "cause" in as_text(found)


def test_nothing_listens_where_neither_is_set(front: Callable[[str], Stage]) -> None:
    s = front("server { listen 127.0.0.1:8080; location / { proxy_pass http://127.0.0.1:1; } }")
    route = s.configuration.servers[0].locations.find_plainly(b"/").route
    assert s.configuration.tree is None
    assert "recorder" not in repr(route.answer)
    assert route.filter is None


# The field.


def signing(s: Stage, seconds: int = 60) -> bytes:
    return b"X-Wproxy-Explain: " + signed(SECRET.encode(), int(s.loop.clock.wall) + seconds)


@pytest.fixture
def secret(stage: Callable[..., Stage], ring: DecisionRing) -> Stage:
    return stage(http=f'explain_secret = "{SECRET}"')


def through(s: Stage, *fields: bytes) -> tuple[bytes, bytes]:
    """What the upstream and the client get."""
    client = s.client()
    client.send(get(b"/", *fields))
    upstream = s.peers[0].accept()
    sent = upstream.receives_head()
    upstream.send(ok(b"ok", b"Connection: close"))
    upstream.close()
    head = client.receives_head()
    client.close()
    s.settle()
    return sent, head


def test_a_signed_field_gets_the_decisions(secret: Stage, ring: DecisionRing) -> None:
    sent, head = through(secret, signing(secret), b"X-Other: 1")
    assert b"x-wproxy-explain" not in sent.lower()
    assert b"X-Other: 1\r\n" in sent
    [line] = [line for line in head.split(b"\r\n") if line.startswith(b"X-Wproxy-Explain: ")]
    shown = json.loads(line.partition(b": ")[2])
    assert shown["attempts"][0]["status"] == 200
    assert shown["location_at"].startswith("test.toml:")
    assert kept_of(ring)["request_id"] == shown["request_id"]


@pytest.mark.parametrize("spoil", [lambda value: value + b"0", lambda value: b"X-Wproxy-Explain: on", lambda value: b"X-Y: 1"])
def test_without_a_good_signature_nothing_is_shown_and_nothing_kept(secret: Stage, ring: DecisionRing, spoil: Any) -> None:
    sent, head = through(secret, spoil(signing(secret)))
    assert b"x-wproxy-explain" not in sent.lower() + head.lower()
    assert ring.last(1) == []


def test_a_field_that_has_expired_is_none(secret: Stage, ring: DecisionRing) -> None:
    _, head = through(secret, signing(secret, seconds=-1))
    assert b"X-Wproxy-Explain" not in head


def test_the_response_of_the_next_client_shows_nothing(secret: Stage, ring: DecisionRing) -> None:
    through(secret, signing(secret))
    _, head = through(secret)
    assert b"X-Wproxy-Explain" not in head


def test_the_field_in_the_response_is_never_large(front: Callable[[str], Stage], ring: DecisionRing) -> None:
    many = "".join(f"location /{'x' * 200}{number} {{ return 204; }}\n" for number in range(60))
    steps = "".join(f"set $v{number} {os.urandom(100).hex()};\n" for number in range(60))
    s = front(f"explain_secret {SECRET};\nserver {{ listen 127.0.0.1:8080; {many} location / {{ {steps} return 204; }} }}")
    head = asked(s, signing(s))
    [line] = [line for line in head.split(b"\r\n") if line.startswith(b"X-Wproxy-Explain: ")]
    assert len(line) < 3100
    assert json.loads(line.partition(b": ")[2])["is_cut"]
    assert kept_of(ring)["is_cut"]
