"""The cache together with other directives, beside the real nginx: subrequests, error pages, variables, filters."""

from __future__ import annotations

from test_cache_like_nginx import LATER, needs_nginx, numbered, same, statuses

__all__ = ["same"]
pytestmark = needs_nginx

VALID = "proxy_cache_valid 200 1m;"


def test_parts_of_a_page_have_keys_of_their_own(same):
    pages = """server { listen 127.0.0.1:PORT; server_name pages; ssi on; ssi_types *; add_header X-Cache $upstream_cache_status;
        location / { return 200 "<!--#include virtual='/part?1' -->|<!--#include virtual='/part?2' -->|<!--#include virtual='/part?1' wait='yes' -->"; }
        location /part { proxy_pass http://BACK; proxy_cache z; proxy_cache_valid 200 1m; proxy_set_header X-Fixed "$args"; proxy_pass_request_headers off; } }"""
    cases = [
        case.replace(b"Host: h\r\n", b"Host: pages\r\n")
        for case in numbered(("/",), ("/",), ("/part?2",), ("/", "Range: bytes=0-1"))
    ]
    same(VALID, cases, pages)


def test_the_answers_about_access_are_stored(same):
    guarded = """server { listen 127.0.0.1:PORT; server_name guarded;
        location / { auth_request /auth; return 200 "in"; root /nonexistent; try_files /none =204; }
        location = /auth { internal; proxy_pass http://BACK; proxy_cache z; proxy_cache_valid 200 401 1m; proxy_cache_key $http_x_user; } }"""
    cases = numbered(
        ("/", "X-User: 1"), ("/", "X-User: 1", "X-Status: 401 No"), ("/", "X-User: 2", "X-Status: 401 No"), ("/", "X-User: 2"),
    )  # fmt: skip
    same(VALID, [case.replace(b"Host: h\r\n", b"Host: guarded\r\n") for case in cases], guarded)


def test_a_target_with_variables(same):
    server = f"""server {{ listen 127.0.0.1:PORT; server_name v; add_header X-Cache $upstream_cache_status; proxy_cache z;
        set $where BACK; {VALID} location / {{ proxy_pass http://$where; }} }}"""
    cases = numbered(("/v/a%20b?c",), ("/v/a%20b?c",), ("/v/a%20b",))
    answers = same(VALID, [case.replace(b"Host: h\r\n", b"Host: v\r\n") for case in cases], server)
    assert statuses(answers) == "MISS HIT MISS"


def test_head_is_head_again_where_another_location_answers(same):
    answers = same(
        f"{VALID} proxy_intercept_errors on; error_page 404 /fixed;",
        numbered(
            ("HEAD", "/a", "X-Add: X-Accel-Redirect: /fixed"), ("/a", "X-Add: X-Accel-Redirect: /fixed"),
            ("HEAD", "/b", "X-Status: 404 Not Found"), ("HEAD", "/dead"), ("HEAD", "/dead"), ("/dead",),
        ),
    )  # fmt: skip
    assert all(answer.partition("\r\n\r\n")[2] == "" for answer in answers[:1] + answers[2:5])


def test_responses_are_compressed_as_they_are_sent(same):
    kept = ("X-Add: Content-Type: text/plain", 'X-Add: ETag: "e"', "X-Add: Accept-Ranges: bytes", LATER)
    same(
        "gzip on; gzip_min_length 1; gzip_types text/plain; gzip_http_version 1.0;",
        numbered(
            ("/a", *kept), ("/a",), ("HEAD", "/a", "Accept-Encoding: gzip"), ("/a", "Accept-Encoding: gzip", 'If-None-Match: "e"'),
            ("/a", "Range: bytes=1-4"),
        ),
    )  # fmt: skip


def test_error_pages_and_redirects_in_between(same):
    same(
        f"{VALID} if ($arg_i) {{ add_header X-If 1; }} limit_except GET HEAD {{ deny all; }} expires 1h;",
        numbered(("/a?i=1",), ("/a?i=1",), ("POST", "/a?i=1"), ("/b",), ("/b",)),
    )


def test_statuses_without_a_body(same):
    same(
        "proxy_cache_valid any 1m;",
        numbered(
            ("/a", "X-Status: 301 Moved", "X-Add: Location: /b"), ("/a",), ("/c", "X-Status: 206 Partial Content"), ("/c",),
            ("/d", "X-Status: 500 Oh", "X-Add: Connection: close"), ("/d",),
        ),
    )  # fmt: skip


def test_stored_fields_are_those_of_the_upstream(same):
    same(
        f"{VALID} proxy_cookie_path /a /b; proxy_ignore_headers Set-Cookie; proxy_hide_header X-Two; add_header X-Up $upstream_http_x_one;"
        "charset utf-8; override_charset on;",
        numbered(
            ("/a", "X-Add: Set-Cookie: c=d; path=/a", "X-Add: X-One: 1", "X-Add: X-Two: 2", "X-Add: Content-Type: text/html"), ("/a",),
        ),
    )  # fmt: skip
