"""auth_request beside the real nginx (subrequests.md §2): who is let in, what a refusal brings along, what the variables hold."""

from __future__ import annotations

import itertools

from like_nginx import Comparison, ask, needs_nginx, same_as_nginx

__all__ = ["same_as_nginx"]

pytestmark = needs_nginx

SITE = """
map $uri $seen { default $uri; }
log_format none ''; log_subrequest on;
server {
    listen 127.0.0.1:PORT;
    location /in { auth_request /ok; return 200 "never asked"; }
    location / { auth_request /auth; auth_request_set $status_of_auth $upstream_status; auth_request_set $user $upstream_http_x_user;
        auth_request_set $where "$uri?$args"; add_header X-Auth "$status_of_auth $user $where" always;
        proxy_pass http://BACK; proxy_set_header X-User $user; }
    location = /auth { proxy_pass http://BACK/verify; proxy_set_header X-Original-URI $request_uri;
        proxy_set_header X-Method $request_method; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
    location /file { root DIR; auth_request /ok; }
    location /mapped { root DIR; auth_request /seen; try_files /file =404; add_header X-Seen $seen; }
    location /deny { root DIR; auth_request /denied; try_files /file =404; }
    location /401 { root DIR; auth_request /unauthorized; try_files /file =404; }
    location /403 { root DIR; auth_request /forbidden; try_files /file =404; }
    location /404 { root DIR; auth_request /missing; try_files /file =404; }
    location /302 { root DIR; auth_request /redirect; try_files /file =404; }
    location /500 { root DIR; auth_request /broken; try_files /file =404; }
    location /502 { root DIR; auth_request /dead; try_files /file =404; auth_request_set $a $upstream_status; add_header X-A $a always; }
    location /hole { root DIR; auth_request /holed; try_files /file =404; }
    location /kept { root DIR; auth_request /page401; try_files /file =404; }
    location /off { root DIR; auth_request /forbidden; try_files /file =404;
        location /off/inner { auth_request off; try_files /file =404; } location /off/empty { auth_request ""; try_files /file =404; } }
    location /page { root DIR; auth_request /challenge; error_page 401 = /login; try_files /file =404; }
    location /redirected { root DIR; auth_request /challenge; error_page 401 = @elsewhere; try_files /file =404; }
    location /any1 { root DIR; satisfy any; deny all; auth_request /ok; try_files /file =404; }
    location /any2 { root DIR; satisfy any; allow all; auth_request /forbidden; try_files /file =404; }
    location /any3 { root DIR; satisfy any; deny all; auth_request /unauthorized; try_files /file =404; }
    location /any4 { root DIR; satisfy any; deny all; auth_request /broken; try_files /file =404; }
    location /all { root DIR; deny all; auth_request /ok; try_files /file =404; }
    location /named { root DIR; auth_request @elsewhere; try_files /file =404; }
    location /query { auth_request /auth?x=1; proxy_pass http://BACK; }
    location /big { root DIR; auth_request /small; try_files /file =404; }
    location /set { root DIR; auth_request /args; auth_request_set $args $upstream_http_x_args; proxy_pass http://BACK; }
    location /unset { root DIR; auth_request /ok; add_header X-U "[$user]"; try_files /file =404; }
    location = /ok { return 204; }
    location = /seen { internal; return 200 $seen; }
    location = /denied { deny all; return 200; }
    location = /unauthorized { return 401; }
    location = /forbidden { internal; return 403; }
    location = /missing { root DIR; }
    location = /redirect { return 302 /elsewhere; }
    location = /broken { return 500; }
    location = /dead { proxy_pass http://DEAD; }
    location = /holed { error_page 401 = /login; return 401; }
    location = /page401 { error_page 401 /login; return 401; }
    location = /challenge { proxy_pass http://BACK; proxy_set_header X-Status "401 No"; proxy_set_header X-Add "WWW-Authenticate: Basic realm=x"; }
    location = /args { proxy_pass http://BACK; proxy_set_header X-Add "X-Args: learned=1"; }
    location = /small { client_max_body_size 2; return 204; }
    location = /login { return 200 "log in\n"; }
    location @elsewhere { return 302 /login; }
}
"""


def prepare(directory):
    (directory / "file").write_text("text\n")


def test_auth_request_lets_in_and_refuses_as_nginx_does(same_as_nginx: Comparison) -> None:
    paths = ["/in", "/file", "/mapped/x", "/deny", "/401", "/403", "/404", "/302", "/500", "/502", "/hole", "/kept"]
    paths += [
        "/off",
        "/off/inner",
        "/off/empty",
        "/page",
        "/redirected",
        "/any1",
        "/any2",
        "/any3",
        "/any4",
        "/all",
        "/named",
        "/unset",
    ]
    same_as_nginx(SITE, [*paths, ask("/file", "Range: bytes=0-1"), ask("/any1", method="HEAD")], "error", prepare)


def test_the_answer_of_auth_request_is_seen_by_the_request(same_as_nginx: Comparison) -> None:
    cases = [
        ask("/a%20b?c=d", "X-Add: X-User: jo"),
        ask("/a", "X-Status: 401 No", "X-Add: WWW-Authenticate: Basic realm=x"),
        ask("/a", "X-Status: 403 No", "X-Add: WWW-Authenticate: Basic realm=x", "X-Add: Set-Cookie: a=b"),
        ask("/a", "X-Status: 201 Made"),
        ask("/a", "X-Status: 404 No"),
        ask("/a", "X-Status: 500 No"),
        ask("/a", method="POST", body="text of a body"),
        ask("/a", method="HEAD"),
        ask("/a", "Range: bytes=1-2", "If-None-Match: x"),
        ask("/set?a=b"),
        ask("/query?a=b"),
        ask("/big", method="POST", body="more than two"),
    ]
    same_as_nginx(SITE, cases, "error", prepare)


def test_a_request_that_goes_on_in_another_location_is_asked_about_again(same_as_nginx: Comparison) -> None:
    """A line of the log tells of each question."""
    site = """server { listen 127.0.0.1:PORT; root DIR; index file;
        location / { auth_request /asked; error_page 404 /file; }
        location = /once { auth_request /asked; try_files /file =404; }
        location = /asked { if ($arg_never) { set $nothing 1; } set $x $nothing; return 204; } }"""
    same_as_nginx(site, ["/once", "/", "/missing", "/file"], "warn", prepare)


ADDRESSES = {"none": "", "allowed": "allow 127.0.0.1; deny all;", "denied": "deny all;"}
PASSWORDS = {"none": "", "asked": "auth_basic R;"}
ANSWERS = {"none": "", **{str(status): f"auth_request /answer{status};" for status in (204, 401, 403, 404, 500)}}
CREDENTIALS = ((), ("Authorization: Basic dTpw",), ("Authorization: Basic dTp4",))


def test_each_guard_in_each_combination_with_the_others(same_as_nginx: Comparison) -> None:
    """Also in `limit_except`: what the methods there need, others do not."""
    locations, cases = [], []
    for how, address, password, answer in itertools.product(("all", "any"), ADDRESSES, PASSWORDS, ANSWERS):
        path = f"/{how}-{address}-{password}-{answer}"
        guards = f"{ADDRESSES[address]} {PASSWORDS[password]}"
        asks = f"satisfy {how}; {ANSWERS[answer]} auth_request_set $asked $status; add_header X-Asked [$asked] always;"
        locations.append(f"location = {path} {{ {guards} {asks} try_files /file =404; }}")
        cases += [ask(path, *given) for given in CREDENTIALS]
        if guards.strip():
            locations.append(f"location = /but{path} {{ limit_except GET {{ {guards} }} {asks} try_files /file =404; }}")
            cases += [ask(f"/but{path}", *given, method=method) for given in CREDENTIALS[:2] for method in ("HEAD", "DELETE")]
    answers = [f"location = /answer{status} {{ internal; return {status}; }}" for status in (204, 403, 404, 500)]
    answers.append(
        "location = /answer401 { internal; proxy_pass http://BACK; "
        'proxy_set_header X-Status "401 No"; proxy_set_header X-Add "WWW-Authenticate: Bearer"; }'
    )
    site = f"auth_basic_user_file DIR/users; server {{ listen 127.0.0.1:PORT; root DIR; {' '.join(locations + answers)} }}"

    def prepare_both(directory):
        prepare(directory)
        (directory / "users").write_text("u:{PLAIN}p\n")

    same_as_nginx(site, cases, "error", prepare_both)
