"""set_real_ip_from, by the real nginx: which address a request has, and that everything sees the same one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import conversation
import pytest
from conversation import get, ok
from like_nginx import Comparison, ask, needs_nginx, same_as_nginx

from worker.real_ip import client_of
from wproxy.address import Address

__all__ = ["same_as_nginx"]

pytestmark = needs_nginx

SHOWN = 'add_header X-Seen "$remote_addr|$port|$proxy_add_x_forwarded_for|$geo|$mapped" always;'

RULES = (
    """
geo $geo { default none; 192.0.2.0/24 test; 127.0.0.0/8 loop; ::/0 six; }
map $remote_port $port { default $remote_port; "~^[0-9]{5}$" peer; }
map $remote_addr $mapped { default other; 127.0.0.1 peer; 192.0.2.1 one; }
server {
    listen 127.0.0.1:PORT;
    """
    + SHOWN
    + """
    location /plain { proxy_pass http://BACK; }
    location /xri { set_real_ip_from 127.0.0.1; proxy_pass http://BACK; }
    location /xff { set_real_ip_from 127.0.0.0/8; real_ip_header X-Forwarded-For; proxy_pass http://BACK; }
    location /rec { set_real_ip_from 127.0.0.0/8; set_real_ip_from 10.0.0.0/8; set_real_ip_from 2001:db8::/32;
        real_ip_header X-Forwarded-For; real_ip_recursive on; proxy_pass http://BACK; }
    location /recall { set_real_ip_from 0.0.0.0/0; real_ip_header X-Forwarded-For; real_ip_recursive on; proxy_pass http://BACK; }
    location /own { set_real_ip_from 127.0.0.1; real_ip_header X-Client; proxy_pass http://BACK; }
    location /ownrec { set_real_ip_from 127.0.0.1; set_real_ip_from 10.0.0.0/8; real_ip_header X-Client; real_ip_recursive on;
        proxy_pass http://BACK; }
    location /stranger { set_real_ip_from 10.0.0.1; proxy_pass http://BACK; }
    location /name { set_real_ip_from localhost; proxy_pass http://BACK; }
    location /unix { set_real_ip_from unix:; proxy_pass http://BACK; }
    location /deny { set_real_ip_from 127.0.0.1; deny 192.0.2.1; proxy_pass http://BACK; }
    location /allow { set_real_ip_from 127.0.0.1; allow 192.0.2.1; deny all; proxy_pass http://BACK; }
    location /any { set_real_ip_from 127.0.0.1; satisfy any; allow 192.0.2.1; deny all; proxy_pass http://BACK; }
    location /headers { set_real_ip_from 127.0.0.1; proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Port $port;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_pass http://BACK; }
    location /page { set_real_ip_from 127.0.0.1; error_page 404 /shown; proxy_intercept_errors on; proxy_pass http://BACK; }
    location /shown { proxy_set_header X-Real-IP $remote_addr; proxy_pass http://BACK; }
    location /file { set_real_ip_from 127.0.0.1; root DIR; }
    location /pp { set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol; proxy_pass http://BACK; }
}
server {
    listen 127.0.0.1:PORT;
    server_name whole;
    set_real_ip_from 127.0.0.1;
    """
    + SHOWN
    + """
    location / { proxy_pass http://BACK; }
    location /returned { return 200 "$remote_addr $realip_remote_addr\\n"; }
    location /more { set_real_ip_from 127.0.0.1; real_ip_header X-Client; proxy_pass http://BACK; }
    location /same { proxy_pass http://BACK; }
}
server {
    listen 127.0.0.1:PORT;
    server_name steps;
    set_real_ip_from 127.0.0.1;
    """
    + SHOWN
    + """
    if ($remote_addr = 192.0.2.1) { rewrite ^ /found break; }
    location / { proxy_pass http://BACK; }
}
"""
)

VALUES = [
    "",
    "192.0.2.1",
    "192.0.2.1:8080",
    "192.0.2.1:0",
    "192.0.2.1:99999",
    "2001:db9::1",
    "2001:DB9:0:0::1",
    "[2001:db9::1]:443",
    "[192.0.2.1]:80",
    "[2001:db9::1]x",
    "[2001:db9::1]:",
    "[2001:db9::1",
    "::ffff:192.0.2.1",
    "010.0.02.1",
    "192.0.2.1, 198.51.100.7",
    "192.0.2.1,198.51.100.7",
    "192.0.2.1,198.51.100.7 , ",
    "192.0.2.1 198.51.100.7",
    "198.51.100.7, bad",
    "bad, 198.51.100.7",
    "198.51.100.7,, 10.1.1.1",
    "198.51.100.7;",
    "host.example",
    "unix:",
    "unix:/path",
    "192.0.2.1, 10.0.0.1, 10.0.0.2",
    "10.0.0.3, 10.0.0.1, 10.0.0.2",
    "192.0.2.1, bad, 10.0.0.2",
    "2001:db8::7, 10.0.0.1",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "1",
]


SUBREQUESTS = """
server {
    listen 127.0.0.1:PORT; default_type text/html;
    location /show { add_header X-Not seen; proxy_pass http://BACK; proxy_set_header X-Seen $remote_addr; proxy_set_header X-Real-IP ""; }
    location /known { internal; set_real_ip_from 127.0.0.1; alias DIR/known; }
    location /asked { auth_request /known; proxy_pass http://BACK; proxy_set_header X-Seen $remote_addr; }
    location /limited { auth_request /known; deny 192.0.2.1; proxy_pass http://BACK; }
    location /around { add_before_body /known; add_after_body /show; alias DIR/known; }
    location /deep { internal; auth_request /show; add_before_body /known; alias DIR/known; }
    location /deeper { add_before_body /deep; add_after_body /show; alias DIR/known; }
    location /page { ssi on; root DIR; }
    location /trusts { auth_request /known; try_files /none @app; }
    location /doubts { try_files /none @app; }
    location @app { proxy_pass http://BACK; proxy_set_header X-Seen $remote_addr; }
}
"""


def with_a_page(directory: Path) -> None:
    page = '<!--#include virtual="/known" wait="yes" --><!--#include virtual="/show" --><!--#echo var="remote_addr" -->'
    (directory / "page").write_text(page)
    (directory / "known").write_text("known\n")


def test_the_address_that_a_subrequest_finds_is_that_of_all(same_as_nginx: Comparison):
    """(With `wait`, because nginx remembers the $remote_addr of the page.)"""
    fields = ("X-Real-IP: 192.0.2.1",)
    cases = [ask(f"/{path}", *given) for path in ("asked", "limited", "around", "deeper", "page") for given in (fields, ())]
    same_as_nginx(SUBREQUESTS, cases, "error", with_a_page, joins_chunks=True)


def test_what_is_remembered_for_fields_is_not_what_a_subrequest_found(same_as_nginx: Comparison):
    cases = [ask(f"/{path}", "X-Real-IP: 192.0.2.1") for path in ("trusts", "doubts", "trusts")]
    same_as_nginx.ourselves(SUBREQUESTS, cases, with_a_page)


@pytest.fixture(autouse=True)
def localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "_look_up", lambda host, port: [Address("127.0.0.1", port)])


@pytest.mark.parametrize("path", ["xri", "xff", "rec", "recall", "own", "ownrec"])
def test_the_address_that_a_trusted_proxy_names(same_as_nginx: Comparison, path: str):
    name = {"xri": "X-Real-IP", "xff": "X-Forwarded-For", "rec": "X-Forwarded-For", "recall": "X-Forwarded-For"}.get(
        path, "X-Client"
    )
    cases = [ask(f"/{path}", f"{name}: {value}") for value in VALUES]
    lines = [
        ("192.0.2.1", "10.0.0.1"),
        ("192.0.2.1", "10.0.0.1, 10.0.0.2"),
        ("192.0.2.1", "bad"),
        ("bad", "10.0.0.1"),
        ("192.0.2.9", "192.0.2.1", "10.0.0.1"),
        ("10.0.0.9", "10.0.0.8"),
    ]
    cases += [ask(f"/{path}", *(f"{name}: {value}" for value in values)) for values in lines]
    cases += [ask(f"/{path}"), ask(f"/{path}", "X-Other: 192.0.2.1")]
    same_as_nginx(RULES, cases)


def test_everything_sees_that_address(same_as_nginx: Comparison):
    paths = ["plain", "xri", "stranger", "name", "unix", "deny", "allow", "any", "headers", "page", "file", "pp"]
    fields = ("X-Real-IP: 192.0.2.1:81", "X-Forwarded-For: 203.0.113.9")
    cases = [ask(f"/{path}", *given) for path in paths for given in (fields, fields[1:])]
    cases += [ask("/page", *fields, "X-Status: 404 Not Found")]
    for host in ("whole", "steps"):
        cases += [ask(f"/{path}", *given, host=host) for path in ("", "returned", "more", "same") for given in (fields, ())]
        cases += [ask("/more", "X-Client: 192.0.2.1", host=host)]
    cases.append(b"GET / HTTP/1.1\r\nHost: whole\r\nX-Real-IP: 192.0.2.1\r\nBad Header\r\n\r\n")
    same_as_nginx(RULES, cases, level="error")


def test_a_kept_connection_begins_anew_with_each_request(same_as_nginx: Comparison):
    given = [("X-Real-IP: 192.0.2.1:81",), (), ("X-Real-IP: 192.0.2.2",), ("X-Real-IP: 192.0.2.1:81",)]
    cases = [ask(f"/{path}", *fields) for path in ("xri", "headers", "plain", "xff") for fields in given]
    cases += [ask("/", *fields, host="whole") for fields in given]
    same_as_nginx.ourselves(RULES, cases)


def test_a_location_that_has_looked_at_the_proxy_before_sees_the_client_afterwards(stage: Callable[..., conversation.Stage]):
    """In nginx a variable keeps the value that it had then, so that half of the location goes by the proxy."""
    s = stage(
        locations='[http.server.location."/early"]\nset_real_ip_from = "127.0.0.1"\nadd_header = [["X-Seen", "$remote_addr"]]\n'
        'steps = [["if", "($remote_addr", "=", "192.0.2.1)", [["return", "200", "early"]]]]\nproxy_pass = "http://app"',
    )
    client = s.client().send(get(b"/early", b"X-Real-IP: 192.0.2.1"))
    upstream = s.peers[0].accept()
    upstream.receives_head()
    upstream.send(ok())
    assert b"\r\nX-Seen: 192.0.2.1\r\n" in client.receives_head()


def test_locations_that_trust_others_share_no_memory_of_the_address(stage: Callable[..., conversation.Stage]):
    """Both lead to one location, with the same fields: the second request is not one of the client that the first one named."""
    s = stage(
        locations='[http.server.location."/trusts"]\nset_real_ip_from = "127.0.0.1"\ntry_files = ["/none", "@app"]\n'
        '[http.server.location."/doubts"]\ntry_files = ["/none", "@app"]\n'
        '[http.server.location."@app"]\nproxy_pass = "http://app"\nproxy_set_header = { "X-Seen" = "$remote_addr" }',
    )
    client = s.client()
    upstream = None
    for path, seen in (
        (b"/trusts", b"192.0.2.1"),
        (b"/doubts", b"127.0.0.1"),
        (b"/trusts", b"192.0.2.1"),
        (b"/trusts", b"192.0.2.1"),
    ):
        client.send(get(path, b"X-Real-IP: 192.0.2.1"))
        upstream = upstream or s.peers[0].accept()
        assert b"\r\nX-Seen: " + seen + b"\r\n" in upstream.receives_head()
        upstream.send(ok())
        client.receives_head()
        client.take()


def test_brackets_without_a_port_are_an_address_as_in_later_versions_of_nginx():
    """Debian's nginx 1.22 did not know them yet, 1.31 does."""
    for text, address in ((b"[2001:DB8::1]", b"2001:db8::1"), (b"[192.0.2.1]", b"192.0.2.1")):
        assert client_of([text], b"127.0.0.1", lambda address: True, False) == (address, 0)
