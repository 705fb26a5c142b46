"""auth_basic, by the real nginx: who gets in, what others are asked, what is said; and how it goes with other access rules."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from conversation import Stage, get
from like_nginx import Comparison, ask, needs_nginx, same_as_nginx

from worker.access import password

__all__ = ["same_as_nginx"]

RULES = """
auth_basic_user_file DIR/users;
map $arg_realm $realm { default $arg_realm; "" off; }
server {
    listen 127.0.0.1:PORT;
    location / { auth_basic "closed"; proxy_pass http://BACK; }
    location /off { auth_basic off; proxy_pass http://BACK; }
    location /in/ { auth_basic "outer"; location /in/off { auth_basic off; proxy_pass http://BACK; } location /in/same { proxy_pass http://BACK; } }
    location /var { auth_basic $realm; proxy_pass http://BACK; }
    location /varfile { auth_basic x; auth_basic_user_file DIR/$arg_file; proxy_pass http://BACK; }
    location /missing { auth_basic x; auth_basic_user_file DIR/none; proxy_pass http://BACK; }
    location /directory { auth_basic x; auth_basic_user_file DIR; proxy_pass http://BACK; }
    location /user { auth_basic x; proxy_set_header X-User $remote_user; proxy_pass http://BACK; }
    location /page { auth_basic x; error_page 401 = /shown; proxy_pass http://BACK; }
    location /pagekept { auth_basic x; error_page 401 /shown; proxy_pass http://BACK; }
    location /away { auth_basic x; error_page 401 http://other.example/login; proxy_pass http://BACK; }
    location /awaynamed { auth_basic x; error_page 401 @away; proxy_pass http://BACK; }
    location @away { return 302 http://other.example/; }
    location /shown { return 200 shown; }
    location /named { auth_basic x; error_page 401 = @login; proxy_pass http://BACK; }
    location @login { return 302 /login; }
    location /methods { limit_except GET { auth_basic writers; } proxy_pass http://BACK; }
    location /methodsdeny { limit_except GET { auth_basic writers; deny all; } proxy_pass http://BACK; }
    location /anyin { satisfy any; allow 127.0.0.1; auth_basic x; proxy_pass http://BACK; }
    location /anyout { satisfy any; deny all; auth_basic x; proxy_pass http://BACK; }
    location /anyneither { satisfy any; allow 10.0.0.1; auth_basic x; proxy_pass http://BACK; }
    location /anyoff { satisfy any; deny all; auth_basic off; proxy_pass http://BACK; }
    location /allin { allow 127.0.0.1; auth_basic x; proxy_pass http://BACK; }
    location /allout { deny all; auth_basic x; proxy_pass http://BACK; }
    location /real { set_real_ip_from 127.0.0.1; satisfy any; allow 192.0.2.1; deny all; auth_basic x; proxy_pass http://BACK; }
    location /returned { auth_basic x; return 200 before; }
    location /file { auth_basic x; root DIR; }
    location /head { auth_basic x; root DIR; }
}
server {
    listen 127.0.0.1:PORT;
    server_name nofile;
    location / { auth_basic x; auth_basic_user_file ""; proxy_pass http://BACK; }
}
"""

USERS = """\
# comment
plain:{PLAIN}secret
sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
ssha:{SSHA}nDmfmGoBrWhyFBJQ/26LS2Ue+JlzYWx0
six:$6$saltsalt$GZyOdH0v3cqhkjKcuiHhF.wVbQGQ1QkXFJD6hRQfy3L7ivV6OWWYgTDzqA4MgMrL1nNpYsZPcCXy5UxC7NkxT/
des:abJnggxhB/yWI
comment:{PLAIN}secret:and more
none
empty:
star:*
twice:{PLAIN}one
twice:{PLAIN}two
pl\u00e4in:{PLAIN}secret
"""


def prepare(directory: Path) -> None:
    (directory / "users").write_text(USERS)
    (directory / "file").write_text("content")
    (directory / "head").write_text("content")


def basic(user: str, secret: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


@needs_nginx
def test_who_gets_in(same_as_nginx: Comparison):
    given = [
        (name, "secret")
        for name in [
            "plain",
            "sha",
            "ssha",
            "six",
            "des",
            "comment",
            "none",
            "empty",
            "star",
            "nobody",
            "twice",
            "Plain",
            "pläin",
            "#",
            "#",
            "comment",
        ]
    ]
    given += [("plain", tried) for tried in ("", "secre", "secret ", "Secret", "secret:x")]
    given += [("twice", "one"), ("twice", "two"), ("empty", ""), ("", ""), ("", "secret"), ("comment:{PLAIN}secret", "x")]
    cases = [ask("/", basic(user, tried)) for user, tried in given]
    values = [
        "Basic",
        "Basic ",
        "Basic     " + base64.b64encode(b"plain:secret").decode(),
        "basic " + base64.b64encode(b"plain:secret").decode(),
        "BASIC " + base64.b64encode(b"plain:secret").decode(),
        "Basic\t" + base64.b64encode(b"plain:secret").decode(),
        "Digest " + base64.b64encode(b"plain:secret").decode(),
        "Basic " + base64.b64encode(b"plain").decode(),
        "Basic " + base64.b64encode(b"plain:secret\0more").decode(),
        "Basic !!!",
        "Basic cGxhaW46c2VjcmV0=",
        "Basic cGxhaW46c2VjcmV0==",
        "Basic cGxhaW46c2VjcmV",
        "Basic cGxhaW46c2V jcmV0",
        "Basic cGxhaW46c2VjcmV0 x",
        "",
    ]
    cases += [ask("/", f"Authorization: {value}") for value in values] + [ask("/")]
    same_as_nginx(RULES, cases, level="error", prepare=prepare)


@needs_nginx
def test_where_a_password_is_asked_for_and_what_its_absence_leads_to(same_as_nginx: Comparison):
    right, wrong = basic("plain", "secret"), basic("plain", "x")
    paths = (
        "off in/off in/same var var?realm=r varfile?file=users varfile?file=none varfile missing directory user page pagekept away awaynamed named "
        "methods methodsdeny anyin anyout anyneither anyoff allin allout real returned file head"
    )
    cases = [ask(f"/{path}", *fields) for path in paths.split() for fields in ((), (right,), (wrong,))]
    cases += [
        ask(f"/{path}", *fields, method="POST", body="x") for path in ("methods", "methodsdeny", "") for fields in ((), (right,))
    ]
    cases += [ask("/real", *fields, "X-Real-IP: 192.0.2.1") for fields in ((), (wrong,))]
    cases += [ask("/head", *fields, method="HEAD") for fields in ((), (right,))]
    cases += [ask("/", *fields, host="nofile") for fields in ((), (right,))]
    same_as_nginx(RULES, cases, level="error", prepare=prepare)


def closed(stage: Callable[..., Stage], directory: Path, more: str = "") -> Stage:
    (directory / "index.html").write_text("content")
    return stage(
        locations=f'[http.server.location."/in"]\nalias = "{directory}"\nauth_basic = "x"\n'
        f'auth_basic_user_file = "{directory}/users"\n{more}'
    )


def test_a_right_password_is_checked_once_in_a_while_and_again_when_the_file_is_another(
    stage: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checks: list[bytes] = []

    def counted(given: bytes, hashed: bytes) -> bool:
        checks.append(given)
        return given == hashed

    monkeypatch.setattr(password, "is_password_of", counted)
    (tmp_path / "users").write_text("plain:one\n")
    s = closed(stage, tmp_path)
    client = s.client()

    def status(given: str) -> bytes:
        client.send(get(b"/in/index.html", basic("plain", given).encode()))
        head = client.receives_head()
        client.pull_all()
        client.received.clear()
        return head[9:12]

    assert [status("one") for _ in range(3)] == [b"200"] * 3
    assert checks == [b"one"]
    s.advance(61)
    assert status("one") == b"200"
    assert checks == [b"one"] * 2
    assert [status("two"), status("two")] == [b"401"] * 2
    assert checks == [b"one", b"one", b"two", b"two"], "only right ones are remembered"
    (tmp_path / "users").write_text("plain:three\n")
    assert [status("one"), status("three")] == [b"401", b"200"]


def test_a_401_waits_for_auth_delay(stage: Callable[..., Stage], tmp_path: Path):
    (tmp_path / "users").write_text("plain:{PLAIN}secret\n")
    s = closed(stage, tmp_path, 'auth_delay = "2s"')
    client = s.client().send(get(b"/in/"))
    client.receives_nothing()
    s.advance(1)
    client.receives_nothing()
    s.advance(1)
    assert client.receives_head().startswith(b"HTTP/1.1 401")
    assert any("delaying unauthorized request, client: " in line for line in s.error_log())
