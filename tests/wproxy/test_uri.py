"""Paths: the normal form of what clients ask for (routing.md §2.4) and what upstreams are asked for (proxy.md §1.1)."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.http1.request import parse_request_line
from wproxy.directives.proxy import proxy_target
from wproxy.uri import escape_path, normalise_path, resolve_segments, upstream_target

NORMAL_FORMS = [
    # as it is
    (b"/", b"/"),
    (b"/a", b"/a"),
    (b"/a/b/", b"/a/b/"),
    (b"/.a/..b/c.", b"/.a/..b/c."),
    (b"/...", b"/..."),
    (b"/caf\xc3\xa9", b"/caf\xc3\xa9"),
    # decoded once
    (b"/%41", b"/A"),
    (b"/a%20b", b"/a b"),
    (b"/caf%C3%a9", b"/caf\xc3\xa9"),
    (b"/a%2fb", b"/a/b"),
    (b"/%2541", b"/%41"),
    (b"/%25", b"/%"),
    (b"/%252e%252e/a", b"/%2e%2e/a"),
    (b"/a%3fb%23c", b"/a?b#c"),
    (b"/a%0d%0ab", b"/a\r\nb"),
    (b"/+", b"/+"),
    # dot segments
    (b"/.", b"/"),
    (b"/./", b"/"),
    (b"/a/.", b"/a/"),
    (b"/a/./b", b"/a/b"),
    (b"/a/..", b"/"),
    (b"/a/../", b"/"),
    (b"/a/b/..", b"/a/"),
    (b"/a/b/../c", b"/a/c"),
    (b"/a/b/../../c", b"/c"),
    (b"/a/%2e/b", b"/a/b"),
    (b"/a/%2e%2E/b", b"/b"),
    (b"/a/.%2e/b", b"/b"),
    (b"/a%2f..%2fb", b"/b"),
    (b"/a%2F%2e%2e", b"/"),
    # slashes
    (b"//", b"/"),
    (b"///a", b"/a"),
    (b"/a//b", b"/a/b"),
    (b"/a//", b"/a/"),
    (b"/a%2f%2Fb", b"/a/b"),
    (b"/a/%2f", b"/a/"),
    (b"/a//../b", b"/b"),
    (b"/a/.//b", b"/a/b"),
]

REFUSED = [
    (b"/..", "climbs above the root"),
    (b"/../a", "climbs above the root"),
    (b"/a/../..", "climbs above the root"),
    (b"/a/../../b", "climbs above the root"),
    (b"//..", "climbs above the root"),
    (b"/./..", "climbs above the root"),
    (b"/%2e%2e", "climbs above the root"),
    (b"/%2e%2e%2fetc", "climbs above the root"),
    (b"/a%2f..%2f..", "climbs above the root"),
    (b"/%00", "zero byte"),
    (b"/a%00b/..", "zero byte"),
    (b"/%", "invalid escape"),
    (b"/%4", "invalid escape"),
    (b"/%4g", "invalid escape"),
    (b"/%zz", "invalid escape"),
    (b"/%+1", "invalid escape"),
    (b"/%%41", "invalid escape"),
    (b"/%u0041", "invalid escape"),
]

WITH_SLASHES_KEPT = [
    (b"//", b"//"),
    (b"//a", b"//a"),
    (b"/a//b", b"/a//b"),
    (b"/a//", b"/a//"),
    (b"/a%2f%2fb", b"/a//b"),
    (b"/a//../b", b"/a/b"),
    (b"/a/./b", b"/a/b"),
    (b"/a//..", b"/a/"),
]


@pytest.mark.parametrize(("raw", "path"), NORMAL_FORMS)
def test_a_path_has_one_normal_form(raw, path):
    assert normalise_path(raw) == path


@pytest.mark.parametrize(("raw", "reason"), REFUSED)
def test_what_names_no_path_is_refused(raw, reason):
    with pytest.raises(ValueError, match=reason):
        normalise_path(raw)


@pytest.mark.parametrize(("raw", "path"), WITH_SLASHES_KEPT)
def test_slashes_stay_when_they_are_not_to_be_merged(raw, path):
    assert normalise_path(raw, merge_slashes=False) == path


def test_a_path_in_normal_form_is_not_copied():
    raw = b"/a/b.html"
    assert normalise_path(raw) is raw


PIECES = st.sampled_from([b"a", b"b", b".", b"..", b"/", b"//", b"%2f", b"%2E", b"%25", b"%41", b"%00", b"%", b"\xff", b" "])
PATHS = st.lists(PIECES, max_size=12).map(lambda pieces: b"/" + b"".join(pieces)) | st.binary().map(lambda raw: b"/" + raw)


@given(PATHS, st.booleans())
def test_every_path_has_a_safe_normal_form_or_a_value_error(raw, merge_slashes):
    try:
        path = normalise_path(raw, merge_slashes)
    except ValueError:
        return
    assert path.startswith(b"/")
    assert not {b".", b".."} & set(path.split(b"/"))
    assert not (merge_slashes and b"//" in path)
    assert resolve_segments(path, merge_slashes) == path
    if b"%" not in path:  # a second decoding is the one thing that may change it
        assert normalise_path(path, merge_slashes) == path


@given(PATHS)
def test_a_normal_path_survives_its_escaping(raw):
    try:
        path = normalise_path(raw)
    except ValueError:
        return
    if b"\0" not in path:  # as received, not decoded: the request line admits none
        assert normalise_path(escape_path(path)) == path


# Escaping


@pytest.mark.parametrize(
    ("path", "escaped"),
    [
        (b"/a-b_c.d~e", b"/a-b_c.d~e"),
        (b"/a b", b"/a%20b"),
        (b"/a\r\nb\0", b"/a%0D%0Ab%00"),
        (b"/100%", b"/100%25"),
        (b"/what?#", b"/what%3F%23"),
        (b'/"<>\\^`{|}', b"/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        (b"/\x7f\x80\xff", b"/%7F%80%FF"),
        (b"/!$&'()*+,;=:@[]", b"/!$&'()*+,;=:@[]"),
    ],
)
def test_a_path_is_escaped_as_nginx_does(path, escaped):
    assert escape_path(path) == escaped


@given(st.binary())
def test_escaping_loses_nothing_and_leaves_nothing_dangerous(path):
    escaped = escape_path(path)
    assert unquote_to_bytes(escaped) == path
    assert not set(escaped) & (set(range(0x21)) | set(range(0x7F, 0x100)) | set(b"?#"))


# What goes upstream: the table of proxy.md §1.1, then routing.md §3.3. (location, proxy_pass, request, upstream gets)

TARGETS = [
    ("/api/", "http://b", b"/api/a%20b?q", b"/api/a%20b?q"),
    ("/api/", "http://b/", b"/api/a%20b?q", b"/a%20b?q"),
    ("/api", "http://b/", b"/api/x", b"//x"),
    ("/api", "http://b/", b"/apix", b"/x"),
    ("/p/", "http://b/new", b"/p/a", b"/newa"),
    ("/p/", "http://b/n?x=1", b"/p/a?q", b"/n?x=1a?q"),
    ("/e", "http://b/ex", b"/e?k", b"/ex?k"),
    ("/s/", "http://b/", b"/s//x/./%2Fy", b"/x/y"),
    ("/s/", "http://b/", b"/s/a%3Fb", b"/a%3Fb"),
    ("/t/", "http://b", b"/t/a%20b?c", b"/t/a%20b?c"),
    ("/p/", "http://unix:/s.sock:/uu/", b"/p/a", b"/uu/a"),
    ("/p/", "http://unix:/s.sock", b"/p/a", b"/p/a"),
    ("/b/", "http://b/", b"/b/u%2fw", b"/u/w"),
    ("/c", "http://b/x", b"/cu", b"/xu"),
    # byte for byte: doubled slashes, encoded dots, an empty query
    ("/", "http://b", b"//a/%2e/b?", b"//a/%2e/b?"),
    ("/", "http://b?k=1", b"/a", b"/?k=1a"),
    # without an escape of its own, the client's bytes are not escaped
    ("/p/", "http://b/", b"/p/caf\xc3\xa9", b"/caf\xc3\xa9"),
    ("/p/", "http://b/", b"/p/%20caf\xc3\xa9", b"/%20caf%C3%A9"),
    # an absolute-form target loses scheme and authority
    ("/", "http://b", b"http://x/a?b", b"/a?b"),
    # nothing but the prefix
    ("/p/", "http://b/", b"/p/", b"/"),
    ("/p/", "http://b/", b"/p/?", b"/"),
]


@pytest.mark.parametrize(("prefix", "proxy_pass", "requested", "sent"), TARGETS)
def test_the_upstream_is_asked_for(prefix, proxy_pass, requested, sent):
    line = parse_request_line(b"GET " + requested + b" HTTP/1.1")
    target = upstream_target(
        origin=line.origin,
        origin_stands=line.raw_ok,
        path=line.path,
        args=line.args,
        escape=line.has_escapes,
        uri_part=proxy_target(proxy_pass).uri_part,
        location_prefix=prefix.encode(),
    )
    assert target == sent


def rewritten(
    path: bytes, args: bytes | None, uri_part: bytes, location_prefix: bytes | None = None, escape: bool = False
) -> bytes:
    """The target for a URI that is no longer the client's `/r/a?q`."""
    return upstream_target(
        origin=b"/r/a?q",
        origin_stands=False,
        path=path,
        args=args,
        escape=escape,
        uri_part=uri_part,
        location_prefix=location_prefix,
    )


def test_after_a_rewrite_with_break_the_uri_part_is_ignored():
    assert rewritten(b"/x/a", b"q", b"/u/") == b"/x/a?q"
    assert rewritten(b"/x/a", b"q", b"") == b"/x/a?q"
    assert rewritten(b"/x/a", None, b"") == b"/x/a"
    assert rewritten(b"/x/a b", None, b"", escape=True) == b"/x/a%20b"


def test_a_uri_shorter_than_the_location_leaves_the_uri_part():
    assert rewritten(b"/r", None, b"/u", location_prefix=b"/r/long/") == b"/u"


def test_a_target_of_no_length_is_refused():
    with pytest.raises(ValueError, match="zero length URI to proxy"):
        rewritten(b"", None, b"")
