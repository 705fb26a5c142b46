"""The words of gzip, gunzip, sub_filter, brotli and zstd: what they mean, and how nginx refuses what makes no sense."""

from __future__ import annotations

import sys

import pytest

from wproxy.config.model import Location
from wproxy.config.registry import REGISTRY
from wproxy.directives.media_types import changed_types, media_types


def read(name: str, *arguments: str) -> object:
    return REGISTRY[name][0].read(*arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("gzip", ["yes"], 'invalid value "yes" in "%s" directive, it must be "on" or "off"'),
        ("gzip_comp_level", ["0"], "value must be between 1 and 9"),
        ("gzip_http_version", ["2"], 'invalid value "2"'),
        ("gzip_proxied", ["foo"], 'invalid value "foo"'),
        ("gzip_min_length", ["-1"], '"%s" directive invalid value'),
        ("gzip_disable", ["("], 'pcre2_compile() failed: missing closing parenthesis in "("'),
        ("sub_filter", ["", "x"], "empty search pattern"),
        ("brotli_window", ["3k"], "must be a power of two from 1k to 16m"),
        ("brotli_comp_level", ["12"], "value must be between 0 and 11"),
        ("zstd_comp_level", ["0"], "value must be between 1 and 22"),
    ],
)
def test_what_makes_no_sense_is_refused_in_nginxs_words(name: str, arguments: list[str], reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(name, *arguments)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("gzip_min_length", ["1k"], 1024),
        ("gzip_http_version", ["1.0"], 10),
        ("gzip_proxied", ["expired", "No-Cache"], frozenset({"expired", "no-cache"})),
        ("gzip_types", ["Text/CSS", "*"], frozenset({b"text/css", b"*"})),
        ("brotli_window", ["512k"], 19),
        ("brotli", ["off"], False),
        ("brotli", ["on"], True),
    ],
)
def test_what_makes_sense_is_read(name: str, arguments: list[str], value: object) -> None:
    assert read(name, *arguments) == value


@pytest.mark.parametrize(("name", "package", "extra"), [("brotli", "brotli", "brotli"), ("zstd", "zstandard", "zstd")])
def test_a_package_that_is_missing_is_named_with_what_brings_it(
    name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert read(name, "off") is False
    with pytest.raises(ValueError, match=rf'needs the Python package "{package}".*pip install \'wproxy-server\[{extra}\]\''):
        read(name, "on")


def test_html_is_always_among_the_types_and_a_star_is_every_type() -> None:
    assert changed_types(()) == {b"text/html"}
    assert changed_types((media_types("text/css"), media_types("text/xml"))) == {b"text/html", b"text/css", b"text/xml"}
    assert changed_types((media_types("text/css", "*"),)) is None


def test_nothing_is_on_by_default() -> None:
    location = Location({}, {})
    assert not (location.gzip or location.gunzip or location.brotli or location.zstd or location.sub_filter)
