"""Which server and which location (routing.md §2.2 and §3.2)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wproxy.maps.map_reading import request
from wproxy.http import Request
from wproxy.matching import LocationMatcher, ServerNames
from wproxy.regex import compile_regex

REQUEST = request()


def server_names(*names: str) -> ServerNames[str]:
    """Servers that are called like their own name; the default is "default"."""
    table: ServerNames[str] = ServerNames()
    table.default = "default"
    for name in names:
        table.add(name, name)
    return table


# Server names

ALL = ("example.com", "www.example.com", "*.example.com", "*.mail.example.com", ".example.org", "www.*", "www.example.*", "")

HOSTS = [
    # an exact name comes first
    (b"example.com", "example.com"),
    (b"www.example.com", "www.example.com"),
    # then the longest suffix, at any depth
    (b"a.example.com", "*.example.com"),
    (b"a.b.example.com", "*.example.com"),
    (b"mail.example.com", "*.example.com"),
    (b"a.mail.example.com", "*.mail.example.com"),
    (b"a.b.mail.example.com", "*.mail.example.com"),
    # a leading dot stands for the name and all below it
    (b"example.org", ".example.org"),
    (b"a.example.org", ".example.org"),
    # a suffix before a prefix
    (b"www.a.example.com", "*.example.com"),
    (b"www.example.org", ".example.org"),
    # then the longest prefix
    (b"www.example.net", "www.example.*"),
    (b"www.example.co.uk", "www.example.*"),
    (b"www.other", "www.*"),
    (b"www.a.b.c", "www.*"),
    # no host at all
    (b"", ""),
    (None, ""),
    # nobody's
    (b"notexample.com", "default"),
    (b"com", "default"),
    (b"www", "default"),
    (b".example.com", "default"),
    (b"wwww.a", "default"),
    (b"192.0.2.1", "default"),
    (b"[::1]", "default"),
]


@pytest.mark.parametrize(("host", "server"), HOSTS)
def test_a_host_belongs_to_the_closest_name(host, server):
    assert server_names(*ALL).find(host, REQUEST) == server


@pytest.mark.parametrize(("host", "server"), HOSTS)
def test_the_order_of_names_does_not_matter(host, server):
    assert server_names(*reversed(ALL)).find(host, REQUEST) == server


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("EXAMPLE.Com", b"example.com"),
        ("example.com.", b"example.com"),
        ("*.EXAMPLE.com.", b"a.example.com"),
        ("WWW.*", b"www.a"),
        ("_", b"_"),
        ("localhost", b"localhost"),
        ("127.0.0.1", b"127.0.0.1"),
        ("[::1]", b"[::1]"),
        ("b\u00fccher.example", b"xn--bcher-kva.example"),
        ("*.b\u00fccher.example", b"www.xn--bcher-kva.example"),
        ("b\u00fccher.*", b"xn--bcher-kva.example"),
        (".b\u00fccher.example", b"xn--bcher-kva.example"),
    ],
)
def test_a_name_is_found_whatever_its_case_trailing_dot_or_script(name, host):
    assert server_names(name).find(host, REQUEST) == name


def test_without_an_empty_name_a_request_without_host_goes_to_the_default():
    assert server_names("a").find(None, REQUEST) == "default"
    assert server_names("*.a", "a.*").find(b"", REQUEST) == "default"


def test_a_name_given_twice_belongs_to_the_first():
    table: ServerNames[str] = ServerNames()
    table.default = "default"
    for name, host in (("a", b"a"), ("*.b", b"x.b"), ("c.*", b"c.x"), ("", None)):
        assert table.add(name, "first")
        assert not table.add(name.upper(), "second")
        assert table.add(name, "first"), "the same server may say it again"
        assert table.find(host, REQUEST) == "first"


def test_a_leading_dot_takes_what_is_free():
    table: ServerNames[str] = ServerNames()
    assert table.add("example.com", "first")
    assert table.add(".example.com", "second")
    assert table.find(b"example.com", REQUEST) == "first"
    assert table.find(b"a.example.com", REQUEST) == "second"


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "a.*.b",
        "*a.example.com",
        "www*",
        "www.*.*",
        "*.*.a",
        "*.example.*",
        "a..b",
        ".",
        "*.",
        "a/b",
        "a*",
        "..",
        "..a",
        "a..",
        r"~^www\d+$",
    ],
)
def test_stars_stand_at_the_ends_and_labels_are_not_empty(name):
    with pytest.raises(ValueError) as refusal:
        ServerNames[str]().add(name, "x")
    assert str(refusal.value) == f'server name "{name}" is invalid'


def test_a_refused_name_leaves_nothing_behind():
    table: ServerNames[str] = ServerNames()
    with pytest.raises(ValueError):
        table.add("a.*.b", "x")
    assert not table.exact and not table.suffixes and not table.prefixes


def naive_server(names: list[str], host: str) -> str:
    """routing.md §2.2, word by word."""
    if host in names:
        return host
    suffixes = [name for name in names if name.startswith("*.") and host.endswith(name[1:]) and len(host) > len(name) - 1]
    prefixes = [name for name in names if name.endswith(".*") and host.startswith(name[:-1]) and len(host) > len(name) - 1]
    return max(suffixes or prefixes or ["default"], key=len)


LABELS = st.sampled_from(["a", "b", "www", "com"])
DOMAINS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
NAMES = DOMAINS | DOMAINS.map("*.{}".format) | DOMAINS.map("{}.*".format)


@given(st.lists(NAMES, max_size=12), DOMAINS)
def test_names_agree_with_the_rule_tried_name_by_name(names, host):
    assert server_names(*names).find(host.encode(), REQUEST) == naive_server(names, host)


@given(st.text(max_size=12))
def test_any_text_is_a_server_name_or_a_value_error(name):
    table: ServerNames[str] = ServerNames()
    try:
        table.add(name, "x")
    except ValueError:
        return
    assert b"*" not in b"".join([*table.exact, *table.suffixes, *table.prefixes])


# Locations


class Place(str):
    """A location that is called like its own pattern, modifier included; `inner` is the matcher of what is inside."""

    inner: LocationMatcher[Place] | None = None


def locations(*patterns: str | tuple[str, list[str]], fallback: str = "server") -> LocationMatcher[Place]:
    """Locations by their patterns, (pattern, patterns inside) for nested ones."""
    matcher: LocationMatcher[Place] = LocationMatcher(Place(fallback))
    for pattern in patterns:
        outer, inside = pattern if isinstance(pattern, tuple) else (pattern, [])
        place = Place(outer)
        if inside:
            place.inner = locations(*inside, fallback=outer)
        modifier, _, rest = outer.rpartition(" ")
        if modifier in ("~", "~*"):
            matcher.add_regex(compile_regex(rest, modifier == "~*"), place)
        else:
            assert matcher.add(modifier, rest.encode(), place)
    matcher.seal()
    return matcher


MANY = [f"/unrelated/{'x' * length}" for length in range(20)]

PATHS = [
    (b"/", "= /"),
    (b"/a", "/"),
    (b"/api", "/api"),
    (b"/apix", "/api"),
    (b"/api/", "/api/"),
    (b"/api/v1", "/api/"),
    (b"/api/v2", "= /api/v2"),
    (b"/api/v2/", "/api/"),
    (b"/health", "= /health"),
    (b"/healthy", "/"),
    (b"/API", "/"),
]


@pytest.mark.parametrize("others", [[], MANY], ids=["few", "many"])
@pytest.mark.parametrize(("path", "location"), PATHS)
def test_an_exact_location_is_final_else_the_longest_prefix_wins(path, location, others):
    assert locations("/", "= /", "/api", "/api/", "= /api/v2", "= /health", *others).find(path, REQUEST) == location


@pytest.mark.parametrize("others", [[], MANY], ids=["few", "many"])
def test_what_no_location_takes_is_the_servers(others):
    matcher = locations("/api/", "= /x", *others)
    assert [matcher.find(path, REQUEST) for path in (b"/", b"/api", b"/x/", b"/apix", b"")] == ["server"] * 5


def test_a_server_without_locations_answers_by_itself():
    assert locations().find(b"/anything", REQUEST) == "server"


def test_a_location_is_entered_once_for_each_modifier():
    matcher: LocationMatcher[Place] = LocationMatcher(Place("server"))
    assert matcher.add("", b"/a", Place("prefix"))
    assert matcher.add("=", b"/a", Place("exact"))
    assert not matcher.add("", b"/a", Place("again"))
    assert not matcher.add("^~", b"/a", Place("again")), "a prefix is a prefix, whatever its modifier"
    assert not matcher.add("=", b"/a", Place("again"))
    matcher.seal()
    assert list(matcher) == ["server", "exact", "prefix"]
    assert matcher.find(b"/a", REQUEST) == "exact"


SEGMENTS = st.lists(st.sampled_from(["a", "b", "ab", ""]), max_size=4)
URIS = SEGMENTS.map(lambda segments: "/" + "/".join(segments))
PATTERNS = st.sets(URIS | URIS.map("= {}".format))


def naive_location(patterns: set[str], path: str) -> str:
    """routing.md §3.2, word by word."""
    if f"= {path}" in patterns:
        return f"= {path}"
    return max((pattern for pattern in patterns if path.startswith(pattern)), key=len, default="server")


@given(PATTERNS, st.lists(URIS, min_size=1, max_size=10))
def test_few_and_many_locations_agree_with_the_rule_tried_one_by_one(patterns, paths):
    few, many = locations(*patterns), locations(*patterns, *MANY)
    for path in paths:
        assert few.find(path.encode(), REQUEST) == many.find(path.encode(), REQUEST) == naive_location(patterns, path)


def test_ten_thousand_locations_are_not_searched_one_by_one():
    patterns = [f"/service-{number}/" for number in range(10_000)]
    matcher = locations(*patterns)
    wanted = [(pattern.encode() + b"index.html", pattern) for pattern in patterns[::10]]
    started = time.perf_counter()
    for path, pattern in wanted:
        assert matcher.find(path, REQUEST) == pattern
    assert time.perf_counter() - started < 0.1, "a thousand look-ups; one takes about a microsecond"
