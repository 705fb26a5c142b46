"""From URIs to paths: root, alias, and that nothing above them can be named (routing.md §3.4, §5.2)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from made_requests import make_request

from wproxy.config.tree import Node, Position
from wproxy.directives.files import alias, root, types
from wproxy.files import FilePlan, Unmappable, content_type, document_root, filename, shown_path


def place(pattern: str = "/", modifier: str = "", around: Any = None, **settings: Any) -> Any:
    """A location with these settings, its plan made; `around` hands down what is not set."""
    location = SimpleNamespace(
        pattern=pattern,
        prefix=pattern.encode(),
        modifier=modifier,
        root=around.root if around else root("html"),
        alias=around.alias if around else None,
        mime_types="nginx",
        types=(),
        default_type="text/plain",
    )
    vars(location).update(settings)
    location.files = FilePlan(location, "/etc/w/", {})
    return location


def asking(location: Any, path: bytes, **more: Any) -> Any:
    """A request for that URI, in that location."""
    request = make_request()
    request.location, request.path = location, path
    for name, value in more.items():
        setattr(request, name, value)
    return request


@pytest.mark.parametrize(
    ("directory", "path"),
    [
        ("/srv/www", b"/srv/www/a/b.html"),
        ("/srv/www/", b"/srv/www/a/b.html"),
        ("site", b"/etc/w/site/a/b.html"),
        ("/", b"/a/b.html"),
        ("../up", b"/etc/w/../up/a/b.html"),
    ],
)
def test_a_root_stands_before_the_whole_uri(directory, path):
    assert filename(asking(place("/a/", root=root(directory)), b"/a/b.html")) == path


@pytest.mark.parametrize(
    ("pattern", "to", "uri", "path"),
    [
        ("/img/", "/data/i/", b"/img/x.png", b"/data/i/x.png"),
        ("/img", "/data/i", b"/img/x.png", b"/data/i/x.png"),
        ("/img/", "/data/i", b"/img/x.png", b"/data/ix.png"),  # textually: slashes are the writer's business
        ("/f", "/data/file", b"/f", b"/data/file"),
        ("/img/", "pictures/", b"/img/x.png", b"/etc/w/pictures/x.png"),
    ],
)
def test_an_alias_stands_for_the_name_of_its_location(pattern, to, uri, path):
    assert filename(asking(place(pattern, alias=alias(to)), uri)) == path


def test_an_alias_goes_on_replacing_the_outer_name_in_a_location_inside():
    outer = place("/img/", alias=alias("/data/i/"))
    inner = place("/img/big/", around=outer)
    assert filename(asking(inner, b"/img/big/x.png")) == b"/data/i/big/x.png"


def test_in_a_regex_location_the_alias_is_the_whole_path():
    location = place("^/u/(.*)$", "~", alias=alias("/home/u"))
    assert filename(asking(location, b"/u/anything")) == b"/home/u"
    found = asking(location, b"/x")
    found.add_uri_to_alias = True  # try_files has found /x behind it
    assert filename(found) == b"/home/u/x"


def test_variables_make_the_root_of_each_request():
    location = place(root=root("/srv/$request_method"))
    assert document_root(asking(location, b"/x", method=b"GET")) == b"/srv/GET"
    assert filename(asking(location, b"/x", method=b"GET")) == b"/srv/GET/x"
    relative = place(root=root("$request_method"))
    assert filename(asking(relative, b"/x", method=b"GET")) == b"/etc/w/GET/x"


@pytest.mark.parametrize(
    ("location", "uri"),
    [
        (place(root=root("/srv")), b"/../etc/passwd"),
        (place(root=root("/srv")), b"/a/.."),
        (place("/img", alias=alias("/data/i/")), b"/img../secret"),
        (place("/img", alias=alias("/data/.")), b"/img./secret"),
        (place("/img", alias=alias("/data/i/")), b"/img.."),
    ],
)
def test_no_uri_leads_out_of_the_directory(location, uri):
    with pytest.raises(Unmappable) as caught:
        location.files.path(asking(location, uri))
    assert caught.value.status == 404
    assert filename(asking(location, uri)) == b""


def test_what_a_variable_puts_into_the_root_may_not_climb_either():
    location = place(root=root("/srv/$request_method"))
    with pytest.raises(Unmappable):
        location.files.path(asking(location, b"/x", method=b".."))
    assert filename(asking(location, b"/..x", method=b"a..b")) == b"/srv/a..b/..x"


@pytest.mark.parametrize("uri", [b"/..x/y", b"/x../y", b"/...", b"/a..b"])
def test_dots_that_are_part_of_a_name_are_no_climbing(uri):
    assert filename(asking(place(root=root("/srv")), uri)) == b"/srv" + uri


def test_the_configuration_itself_may_climb():
    assert filename(asking(place(root=root("/srv/..")), b"/x..y")) == b"/srv/../x..y"
    location = place("/i/", alias=alias("/srv/../$request_method/"))
    assert filename(asking(location, b"/i/x", method=b"a")) == b"/srv/../a/x"
    with pytest.raises(Unmappable):
        location.files.path(asking(location, b"/i/../x", method=b"a"))


def test_after_rewrite_break_an_alias_has_no_meaning():
    location = place("/img/", alias=alias("/data/"))
    request = asking(location, b"/elsewhere")
    request.valid_location = False
    with pytest.raises(Unmappable) as caught:
        location.files.path(request)
    assert (caught.value.status, caught.value.level) == (500, "alert")
    assert str(caught.value) == '"alias" cannot be used in location "/img/" where URI was rewritten'
    assert filename(request) == b""


def test_a_named_location_has_no_name_that_an_alias_could_stand_for():
    with pytest.raises(ValueError, match='the "alias" directive cannot be used inside the named location'):
        place("@a", "@", alias=alias("/x"))


@pytest.mark.parametrize("name", ["document_root", "realpath_root"])
@pytest.mark.parametrize("read", [root, alias])
def test_a_root_cannot_be_made_of_itself(name, read):
    for text in (f"${name}", f"${{{name}}}/x"):
        with pytest.raises(ValueError, match=f"the .{name} variable cannot be used in the "):
            read(text)


# Types.


def entries(**extensions: str) -> list[Node]:
    return [Node(kind, tuple(words.split()), Position("f", 1), None) for kind, words in extensions.items()]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (b"/a.html", b"text/html"),
        (b"/a.HTML", b"text/html"),
        (b"/a.jpg", b"image/jpeg"),
        (b"/a.gif", b"image/gif"),
        (b"/a.css", b"text/plain"),
        (b"/a.tar.html", b"text/html"),
        (b"/.html", b"text/plain"),  # a name, not an extension
        (b"/d/.html", b"text/plain"),
        (b"/..html", b"text/html"),
        (b"/d.html/a", b"text/plain"),
        (b"/a.", b"text/plain"),
        (b"/", b"text/plain"),
    ],
)
def test_without_types_there_are_three_and_the_default(uri, expected):
    assert content_type(place(), uri) == expected


def test_types_blocks_add_up_and_the_later_of_two_counts():
    location = place(types=(types(entries(**{"a/b": "x Y"})), types(entries(**{"c/d": "y"}))))
    assert [content_type(location, uri) for uri in (b"/1.x", b"/1.y", b"/1.html")] == [b"a/b", b"c/d", b"text/plain"]


def test_an_empty_types_block_leaves_the_default_only():
    assert content_type(place(types=(types([]),)), b"/a.html") == b"text/plain"


def test_a_path_in_the_log_is_as_it_is_but_for_controls():
    assert shown_path("/é".encode() + b"\xff\n\x1b") == "/é\\xff\\x0A\\x1B"
