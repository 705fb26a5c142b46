"""Which server and which location (routing.md §2.2 and §3.2)."""

from __future__ import annotations

import time
import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wproxy.maps.map_reading import request
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
    (b".example.com", "*.example.com"),
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
        assert not table.add(name, "first"), "nginx warns of the same server too"
        assert table.find(host, REQUEST) == "first"


@pytest.mark.parametrize("taken", ["example.com", "*.example.com"])
def test_a_leading_dot_takes_both_names_or_none(taken):
    """Found with nginx 1.22.1: where either is taken, the other is not given either."""
    table: ServerNames[str] = ServerNames()
    table.default = "default"
    assert table.add(taken, "first")
    assert not table.add(".example.com", "second")
    assert "second" not in [table.find(host, REQUEST) for host in (b"example.com", b"a.example.com")]


def test_what_a_leading_dot_took_is_taken():
    table = server_names(".example.com")
    assert not table.add("example.com", "second")
    assert not table.add("*.example.com", "second")
    assert table.add("a.example.com", "third")


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


def test_a_slash_in_a_name_is_allowed_and_never_found():
    assert server_names("a/b").find(b"a", REQUEST) == "default"


def test_names_may_be_shared():
    own, shared = with_regexes(*ALL, "~^c"), with_regexes("other", "~other")
    shared.share(own)
    assert shared.targets == own.targets
    assert [shared.find(host, REQUEST) for host, _ in HOSTS] == [own.find(host, REQUEST) for host, _ in HOSTS]


def with_regexes(*names: str) -> ServerNames[str]:
    table = server_names(*(name for name in names if not name.startswith("~")))
    for name in names:
        if name.startswith("~"):
            table.add_regex(compile_regex(name[1:], name != name.lower()), name)
    return table


@pytest.mark.parametrize(
    ("host", "server"),
    [
        (b"a.example.com", "a.example.com"),
        (b"b.example.com", "*.example.com"),
        (b"www.example.org", "www.example.*"),
        (b"c.example.org", r"~^(?<label>.)\.example"),
        (b"d.example.org", r"~^(?<label>.)\.example"),
        (b"dd.example.org", r"~^d"),
        (b"upper.org", r"~^UPPER\.org$"),
        (b"other", "default"),
        (b"", "default"),
        (None, "default"),
    ],
)
def test_regexes_come_after_all_other_names_in_their_order(host, server):
    """One with an upper-case letter ignores case: hosts are lower case, so it would never match."""
    names = (r"~^(?<label>.)\.example", "a.example.com", "*.example.com", "www.example.*", "~^d", r"~^UPPER\.org$", "~com$")
    assert with_regexes(*names).find(host, request()) == server


def test_a_regex_name_leaves_its_captures_and_others_do_not():
    table = with_regexes(r"~^(?<label>.+)\.example\.org$", "*.example.com")
    asked = request()
    table.find(b"x.example.com", asked)
    assert asked.captures is None
    table.find(b"x.y.example.org", asked)
    assert asked.captures[1] == b"x.y"
    assert asked.values == {"label": b"x.y"}


def test_what_is_no_host_is_not_shown_to_a_regex():
    assert with_regexes("~").find(None, request()) == "default"
    assert with_regexes("~.*").find(b"", request()) == "default"


@pytest.mark.parametrize(
    ("host", "kind"), [(b"a", "exact"), (b"x.b", "wildcard"), (b"c.x", "wildcard"), (b"dd", "regex"), (b"e", "default")]
)
def test_a_table_tells_which_kind_of_name_it_took(host, kind):
    assert with_regexes("a", "*.b", "c.*", "~^d+$").explain(host, request()) == kind


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
    matcher = locations("/", "= /", "/api", "/api/", "= /api/v2", "= /health", *others)
    assert matcher.find(path, REQUEST) == matcher.find_plainly(path) == location


@pytest.mark.parametrize("others", [[], MANY], ids=["few", "many"])
def test_what_no_location_takes_is_the_servers(others):
    matcher = locations("/api/", "= /x", *others)
    for path in (b"/", b"/api", b"/x/", b"/apix", b""):
        assert matcher.find(path, REQUEST) == matcher.find_plainly(path) == "server"


@pytest.mark.parametrize("others", [[], MANY], ids=["few", "many"])
@pytest.mark.parametrize("more", [[], ["~ v[0-9]", "^~ /health", ("/nested", ["/nested/a", "~ b"])]], ids=["plain", "not plain"])
def test_locations_may_be_shared(others, more):
    own = locations("/", "= /", "/api", "/api/", "= /api/v2", *more, *others)
    shared: LocationMatcher[Place] = LocationMatcher(Place("none"))
    shared.share(own)
    assert list(shared) == list(own)
    paths = [path for path, _ in PATHS] + [b"/health/v1", b"/nested", b"/nested/a", b"/nested/ab"]
    assert [shared.find(path, request()) for path in paths] == [own.find(path, request()) for path in paths]


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


# Regexes and nesting (routing.md §3.2). What each path gives was asked of nginx 1.22.1.

TREE: list[str | tuple[str, list[str]]] = [
    "/",
    "= /exact",
    (
        "/outer",
        [
            "= /outer/exact",
            "/outer/inner",
            "^~ /outer/quiet",
            r"~ ^/outer/.*\.in$",
            (r"~ ^/outer/deep/", ["~ ^/outer/deep/x"]),
        ],
    ),
    ("^~ /final", ["/final/inner", r"~ \.in$"]),
    "^~ /images/",
    (r"~ \.php$", ["~ ^/only", r"~* ADMIN"]),
    r"~* \.(GIF|jpg)$",
    r"~ \.g",
]

FOUND = [
    ("/", "/"),
    ("/x", "/"),
    ("/exact", "= /exact"),
    ("/exact.php", r"~ \.php$"),
    ("/outer", "/outer"),
    ("/outer/x", "/outer"),
    ("/outer/exact", "= /outer/exact"),
    ("/outer/inner", "/outer/inner"),
    ("/outer/inner/x", "/outer/inner"),
    ("/outer/inner.php", r"~ \.php$"),  # a nested prefix is not final
    ("/outer/inner.in", r"~ ^/outer/.*\.in$"),  # a regex inside comes before those outside
    ("/outer/quiet.in", "^~ /outer/quiet"),
    ("/outer/quiet.php", r"~ \.php$"),  # `^~` holds for its own level
    ("/outer/deep/", r"~ ^/outer/deep/"),
    ("/outer/deep/x", "~ ^/outer/deep/x"),
    ("/outer/deep/x.php", "~ ^/outer/deep/x"),  # below a regex all is final
    ("/final/x.php", "^~ /final"),
    ("/final/inner.php", "/final/inner"),
    ("/final/inner.in", r"~ \.in$"),
    ("/images/a.php", "^~ /images/"),
    ("/a.php", r"~ \.php$"),
    ("/only.php", "~ ^/only"),
    ("/admin.php", "~* ADMIN"),
    ("/a.GIF", r"~* \.(GIF|jpg)$"),
    ("/a.gif", r"~* \.(GIF|jpg)$"),  # the first that matches
    ("/a.gib", r"~ \.g"),
]


@pytest.mark.parametrize(("path", "location"), FOUND)
def test_the_location_of_a_path_among_regexes_and_nested_ones(path, location):
    assert locations(*TREE).find(path.encode(), request()) == location


@pytest.mark.parametrize(("path", "location"), FOUND)
def test_explaining_finds_the_same(path, location):
    assert locations(*TREE).explain(path.encode(), request()) == location


def test_a_regex_location_leaves_its_captures():
    asked = request()
    assert locations("/", r"~ ^/(?<one>.)/(.)").find(b"/a/b", asked).startswith("~")
    assert (asked.captures[1], asked.captures[2], asked.values) == (b"a", b"b", {"one": b"a"})


def test_prefixes_leave_the_captures_of_a_host_alone():
    asked = request()
    with_regexes("~^(.)$").find(b"h", asked)
    locations("/a", "= /b", "~ zzz").find(b"/a", asked)
    assert asked.captures[1] == b"h"


def test_a_level_without_regexes_or_nesting_is_plain():
    assert locations("/", "= /a", "^~ /b").is_plain
    assert not locations("/", "~ a").is_plain
    assert not locations(("/a", ["/ab"])).is_plain
    assert not locations(("= /a", ["= /a"])).is_plain


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
    started = time.process_time()
    for path, pattern in wanted:
        assert matcher.find(path, REQUEST) == pattern
    assert time.process_time() - started < 0.1, "a thousand look-ups; one takes about a microsecond"


def test_among_a_thousand_servers_a_match_costs_about_the_same_as_in_one():
    """A request takes 15 us and more; a tenth of it is what the size of a configuration may cost."""
    few, many = locations("/", "/api/", "/static/"), locations("/", "/api/", "/static/", "/a/", "/app", "/b/c", *MANY[:4])
    small, large = server_names("s0.example"), server_names(*(f"s{number}.example" for number in range(1000)))
    paths = [b"/", b"/api/x", b"/static/app.css", b"/none", b"/app/x"]

    def cost(names: ServerNames[str], host: bytes, matcher: LocationMatcher[Place]) -> float:
        def match() -> None:
            for path in paths:
                names.find(host, REQUEST)
                matcher.find(path, REQUEST)

        return min(timeit.repeat(match, number=200, repeat=30)) / 200 / len(paths)

    assert cost(large, b"s900.example", many) < cost(small, b"s0.example", few) + 1e-6


@pytest.mark.parametrize("count", [1, 3, 4, 8, 9, 40])
def test_every_prefix_finds_itself_however_many_there_are(count):
    prefixes = [f"/{'x' * (number % 5)}{number}/" for number in range(count)]
    matcher = locations(*prefixes)
    assert [matcher.find(prefix.encode() + b"y", REQUEST) for prefix in prefixes] == prefixes
    assert matcher.find(b"/", REQUEST) == "server"
