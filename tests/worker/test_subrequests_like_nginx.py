"""The rows of subrequests.md §1 to §3 beside the real nginx: what clients, upstreams and access logs see of subrequests.

(SSI, parts around bodies, auth_request, slices and the small modules have tests of their own.)
"""

from __future__ import annotations

import gzip
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import like_nginx
import pytest
from conversation import Stage
from like_nginx import Case, Comparison, Echo, ask, comparable_upstream_head, needs_nginx

pytestmark = needs_nginx

SITE = r"""
map $uri $mapped { default $uri; }
log_format said '$uri $request_method $status $upstream_status $request_length $http_x_name';
limit_req_zone $server_port zone=once:1m rate=1r/m;
server {
    listen 127.0.0.1:PORT; default_type text/html; root DIR; access_log DIR/said.log said; log_subrequest on; log_not_found off;
    proxy_set_header Host back; proxy_set_header X-Uri $request_uri; port_in_redirect off;

    # What a subrequest sees.
    location = /see { return 200 "$uri|$args|$arg_a|$request_uri|$request_method|$request|$host|$http_x_a|$request_filename|$is_args\n"; }
    location /page/ { ssi on; alias DIR/; }
    location /back/ { proxy_pass http://BACK; }
    location /other/ { proxy_pass http://BACK/replaced/; }
    location ~ ^/regex/(?<rest>.*)$ { proxy_pass http://BACK/$rest$is_args$args; }
    location = /parts { add_before_body /see?x=1; add_after_body /back/b?y=1; alias DIR/file; }
    location = /named { add_before_body @named; add_after_body /inside; alias DIR/file; }
    location @named { return 200 "named\n"; }
    location = /inside { internal; return 200 "inside $uri\n"; }

    # One set of values for all.
    location /mapped { auth_request /asked; try_files /file =404; add_header X-Mapped $mapped; add_header X-Set $set; }
    location = /asked { set $set "$mapped of $uri"; return 204; }
    location = /unset { add_before_body /asked; alias DIR/file; add_header X-Set $set; }
    location = /limit { set $limit_rate 0; add_before_body /asked; alias DIR/file; }

    # Its body.
    location = /posted { ssi on; ssi_types *; proxy_pass http://BACK; }
    location = /small { client_max_body_size 3; proxy_pass http://BACK; }
    location = /emptied { proxy_pass http://BACK; proxy_pass_request_body off; proxy_set_header Content-Length ""; }

    # Its phases and filters.
    location /denied/ { deny all; alias DIR/; }
    location = /basic { auth_basic x; auth_basic_user_file DIR/none; alias DIR/file; }
    location = /open { add_before_body /denied/file; add_after_body /basic; alias DIR/file; }
    location = /missing { error_page 404 /page-of-error; return 404; }
    location = /page-of-error { return 200 "page of $uri\n"; }
    location = /unpaged { return 404; }
    location = /errors { error_page 404 /page-of-error; add_before_body /missing; add_after_body /unpaged; alias DIR/file; }
    location = /moved { add_before_body /redirect; add_after_body /directory; alias DIR/file; }
    location = /redirect { return 302 /elsewhere; }
    location = /rewritten { rewrite ^ /see?rewritten=1 last; }
    location = /tried { try_files /nothing /inside; }
    location = /steps { add_before_body /rewritten; add_after_body /tried; alias DIR/file; }
    location = /turning { rewrite ^ /turning; }
    location = /turns { add_before_body /turning; alias DIR/file; }
    location = /fields { add_header X-Not seen; expires 1h; return 200 "fields\n"; }
    location = /fielded { add_before_body /fields; add_header X-Our $sent_http_expires; alias DIR/file; }
    location /changed/ { alias DIR/; sub_filter text TEXT; sub_filter_once off; add_before_body /denied/file; add_after_body /parts; }
    location /packed/ { gzip_static on; alias DIR/; }
    location /inflated/ { gzip_static always; gunzip on; alias DIR/; }
    location = /codings { add_before_body /packed/packed; add_after_body /inflated/packed; alias DIR/file; }
    location = /ranges { ssi on; ssi_types *; alias DIR/ranges; }
    location = /limited { limit_req zone=once; add_before_body /limited/part; alias DIR/file; }
    location = /limited/part { limit_req zone=once; alias DIR/file; }
    location = /accelerated { add_before_body /sending; alias DIR/file; }
    location = /sending { proxy_pass http://BACK; proxy_set_header X-Add "X-Accel-Redirect: /inside"; }
    location = /indexed/ { auth_request /checked; alias DIR/directory/; index none file; }
    location /indexed { auth_request /checked; alias DIR/directory; add_header X-Indexed 1; }
    location = /checked { proxy_pass http://BACK/checked; }

    # Copies.
    location /mirror { mirror /copy; proxy_pass http://BACK; }
    location = /mirror/two { mirror /copy; mirror /copy?x=1; mirror /copied/%41; proxy_pass http://BACK; }
    location = /mirror/denied { mirror /copy; deny all; proxy_pass http://BACK; }
    location = /mirror/returned { mirror /copy; return 200 "returned\n"; }
    location = /mirror/off { mirror off; proxy_pass http://BACK; }
    location = /mirror/file { mirror /copy; alias DIR/file; }
    location = /mirror/missing { mirror /copy; error_page 404 /mirror/file; alias DIR/nothing; }
    location = /mirror/dead { mirror /dead; alias DIR/file; }
    location = /mirror/small { mirror /small; proxy_pass http://BACK; }
    location = /mirror/bodiless { mirror /emptied; mirror_request_body off; proxy_pass http://BACK; }
    location = /mirror/part { add_before_body /mirror/file; alias DIR/file; }
    location /cop { internal; proxy_pass http://BACK; }
    location = /dead { proxy_pass http://DEAD; }

    # What comes afterwards.
    location = /after { post_action /done; return 200 "after\n"; }
    location = /after/named { post_action @done; alias DIR/file; }
    location = /after/error { post_action /done; return 404; }
    location = /after/round { post_action /after/round; return 200 "round\n"; }
    location = /after/part { add_before_body /after; alias DIR/file; }
    location = /done { post_action /over; proxy_pass http://BACK/done$is_args$args; proxy_set_header X-Status "$status $body_bytes_sent $request_completion"; }
    location = /over { return 200; }
    location @done { proxy_pass http://BACK; }
}
server {
    listen 127.0.0.1:PORT; server_name steps; default_type text/html; root DIR;
    if ($uri = /part) { return 200 "the server\n"; }
    location / { add_before_body /part; add_after_body /see; alias DIR/file; }
    location = /see { return 200 "$host $uri\n"; }
}
"""
PAGES = {
    "seeing.html": '<!--#include virtual="/see" --><!--#include virtual="/see?a=b&amp;c" --><!--#include virtual="/see?" -->'
    '<!--#include virtual="/back/a%20b%3Fc?d=%20e" --><!--#include virtual="/back//x/./y#z?a" -->'
    '<!--#include virtual="/other/a%20b?c" --><!--#include virtual="/regex/a?b" --><!--#include virtual="see" -->',
    "ranges": '<!--#include virtual="/file" -->|<!--#include virtual="/back/x" -->|<!--#include virtual="/packed/packed" -->',
}


class Recording(Echo):
    """Keeps what it is asked."""

    asked: list[str] = []

    def _answer(self, head: bytes, body: bytes) -> bytes:
        self.asked.append((comparable_upstream_head(head) + b"\n" + body).decode("latin-1"))
        return super()._answer(head, body)


def prepare(directory: Path) -> None:
    (directory / "directory").mkdir()
    for name, text in (("file", "text\n"), ("packed", "packed text\n"), ("directory/file", "of a directory\n"), *PAGES.items()):
        (directory / name).write_text(text)
    (directory / "packed.gz").write_bytes(gzip.compress(b"packed text\n", mtime=0))
    for name in ("file", "packed", "packed.gz", "directory/file", *PAGES):
        os.utime(directory / name, (1e9, 1e9))


def same_in_any_order(theirs: list[str], ours: list[str]) -> None:
    """Copies and parts run at once."""
    missing, more = Counter(theirs) - Counter(ours), Counter(ours) - Counter(theirs)
    assert not missing and not more, "\n".join(["only nginx:", *missing.elements(), "only wproxy:", *more.elements()])


Compare = Callable[[list[Case]], None]


@pytest.fixture
def compare(tmp_path_factory, stage, monkeypatch) -> Compare:
    """Compares answers, error logs, requests to upstreams and access logs."""
    directory = tmp_path_factory.mktemp("site")
    monkeypatch.setattr(like_nginx, "Echo", Recording)
    made: list[Stage] = []

    def make(**settings: object) -> Stage:
        made.append(stage(**settings))
        return made[-1]

    said = directory / "said.log"
    theirs: list[list[str]] = []
    ask_worker = like_nginx.ask_worker

    def ask_and_wait(*arguments: object) -> object:
        """Also wait for copies and for what comes after requests: the upstream is closed afterwards."""
        theirs.extend((list(Recording.asked), said.read_text().splitlines()))
        answers = ask_worker(*arguments)
        [front] = made
        limit = time.monotonic() + 15
        while time.monotonic() < limit and (front.worker.clients.held or front.worker.clients.connections):
            front._breathe()
            front.settle()
        return answers

    monkeypatch.setattr(like_nginx, "ask_worker", ask_and_wait)

    def run(cases: list[Case]) -> None:
        Recording.asked.clear()
        Comparison(directory, make, monkeypatch)(SITE, cases, "error", prepare, joins_chunks=True)
        asked, lines = theirs
        same_in_any_order(asked, Recording.asked[len(asked) :])
        made[0].worker.access_logs.flush()
        same_in_any_order(lines, said.read_text().splitlines()[len(lines) :])

    return run


def named(path: str, *fields: str, **more: str) -> bytes:
    """A request that its line in the log tells from others."""
    return ask(path, f"X-Name: {path}", *fields, **more)


# nginx logs a request with a body after its client has seen the end.
END = named("/file")


def test_what_a_subrequest_sees_and_goes_through(compare):
    paths = [
        "parts",
        "named",
        "mapped/x",
        "unset",
        "limit",
        "open",
        "errors",
        "moved",
        "steps",
        "turns",
        "fielded",
        "changed/file",
    ]
    compare(
        [
            *(named(f"/{path}?q=1", "X-A: b") for path in paths),
            named("/page/seeing.html?q", "X-A: b"),
            *(named(f"/{path}", "Accept-Encoding: gzip") for path in ("codings", "ranges")),
            named("/ranges", "Range: bytes=1-3", "If-None-Match: *"),
            named("/parts", method="HEAD"),
            named("/limited"),
            named("/limited"),
            named("/accelerated"),
            named("/indexed/"),
            ask("/x", host="steps"),
        ]
    )


def test_which_body_a_subrequest_has(compare):
    page = '<!--#include virtual="/back/in" --><!--#include virtual="/small" --><!--#include virtual="/emptied" -->'
    compare([named("/posted", method="POST", body=page), named("/posted", method="PUT", body="no commands"), END])


def test_copies_are_those_of_nginx(compare):
    paths = ["", "/two", "/denied", "/returned", "/off", "/file", "/missing", "/part", "/bodiless"]
    posts = [named(f"/mirror{path}?q=1", method="POST", body="body") for path in ("", "/two", "/small", "/bodiless", "/denied")]
    compare([*(named(f"/mirror{path}?q=1") for path in paths), *posts, named("/mirror/two", method="DELETE"), END])


def test_what_comes_after_a_request_is_that_of_nginx(compare):
    posts = [named("/after", method="POST", body="body")]
    compare([*(named(f"/after{path}?q=1") for path in ("", "/named", "/error", "/round", "/part")), *posts, END])
