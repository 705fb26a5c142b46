"""userid, by the real nginx: who gets a cookie, its attributes, what comes back, and what the variables say."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable

import like_nginx
import pytest
from conversation import Stage, get, ok
from like_nginx import Comparison, ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

RULES = """
add_header X-Got "$uid_got" always;
server {
    listen 127.0.0.1:PORT;
    location /on { userid on; userid_service 5; return 200 x; }
    location /proxied { userid on; userid_service 5; proxy_pass http://BACK; }
    location /own { userid on; return 200 x; }
    location /v1 { userid v1; userid_service 7; return 200 x; }
    location /v1none { userid v1; return 200 x; }
    location /log { userid log; return 200 "$uid_set"; }
    location /off { return 200 x; }
    location /named { userid on; userid_service 1; userid_name Me; userid_domain .app.example; userid_path /in; userid_p3p "CP=x"; return 200 x; }
    location /max { userid on; userid_service 1; userid_expires max; userid_flags secure httponly samesite=strict; return 200 x; }
    location /flags { userid on; userid_service 1; userid_flags samesite=lax secure; return 200 x; }
    location /mark { userid on; userid_service 1; userid_mark Z; return 200 x; }
    location /reset { userid on; userid_service 1; set $uid_reset 1; return 200 x; }
    location /resetlog { userid on; userid_service 1; set $uid_reset log; return 200 x; }
    location /notreset { userid on; userid_service 1; set $uid_reset 0; return 200 x; }
    location /missing { userid on; userid_service 1; root DIR; }
    location /error { userid on; userid_service 1; error_page 404 /shown; root DIR; }
    location /shown { return 200 x; }
    location /denied { userid on; userid_service 1; deny all; proxy_pass http://BACK; }
    location /moved { userid on; userid_service 1; return 302 /x; }
    location /304 { userid on; userid_service 1; return 304; }
}
"""

CAME = base64.b64encode(struct.pack(">4I", 5, 1_700_000_000, 77, 0x03030302)).decode()
ZERO = base64.b64encode(struct.pack(">4I", 5, 1_700_000_000, 77, 0)).decode()


@needs_nginx
def test_who_gets_a_cookie_and_which(same_as_nginx: Comparison, monkeypatch: pytest.MonkeyPatch):
    whole = like_nginx.comparable

    def without_new(answer: bytes) -> str:
        """A new identifier begins alike everywhere: its first five characters say which service gave it."""
        text = whole(answer)
        return (
            text if CAME[:22] in text.partition("Set-Cookie")[2] else re.sub(r"(Set-Cookie: \w+=.{5})[^;\r]{17}", r"\1NEW", text)
        )

    monkeypatch.setattr(like_nginx, "comparable", without_new)
    paths = [
        "proxied",
        "on",
        "own",
        "v1",
        "v1none",
        "log",
        "off",
        "named",
        "max",
        "flags",
        "mark",
        "reset",
        "resetlog",
        "notreset",
        "missing",
        "error",
        "denied",
        "moved",
        "304",
    ]
    cases = [ask(f"/{path}", *([f"Cookie: {cookie}"] if cookie else [])) for path in paths for cookie in ("", f"uid={CAME}")]
    cookies = [
        f"uid={ZERO}",
        f"a=b; uid={CAME}; c=d",
        f"UID={CAME}",
        f"uid={CAME[:22]}",
        f"uid={CAME[:22]}Z=",
        f"uid={CAME[:22]}ZZ",
        f"uid={CAME[:21]}",
        f"uid=!{CAME[1:]}",
        f"uid={CAME[:20]}-_==",
        "uid=",
        "uid",
        f"Me={CAME}",
        f"me={CAME}",
    ]
    cases += [ask(f"/{path}", f"Cookie: {cookie}") for path in ("on", "mark", "named", "log") for cookie in cookies]
    cases += [ask("/own", method="HEAD"), ask("/on", method="POST", body="x")]
    same_as_nginx(RULES, cases, level="notice")


def numbers(head: bytes) -> tuple[int, ...]:
    match = re.search(rb"\r\nSet-Cookie: uid=([^;]{22}==)", head)
    assert match is not None, head
    return struct.unpack(">4I", base64.b64decode(match[1]))


def test_identifiers_are_all_different_and_say_where_they_come_from(stage: Callable[..., Stage]):
    s = stage(location='userid = "on"\nadd_header = [["X-Set", "$uid_set"]]')
    client = s.client().send(get())
    upstream = s.peers[0].accept()
    found = []
    for _ in range(3):
        upstream.receives_head()
        upstream.send(ok())
        head = client.receives_head()
        client.pull_all()
        client.received.clear()
        found.append(numbers(head))
        words = struct.unpack("<4I", struct.pack(">4I", *found[-1]))
        assert b"X-Set: uid=%08X%08X%08X%08X\r\n" % words in head
        client.send(get())
    assert len({each[3] for each in found}) == 3
    assert {each[:3] for each in found} == {found[0][:3]}
    assert found[0][0] == 0x7F000001
    assert found[0][3] & 0xFF == 2
