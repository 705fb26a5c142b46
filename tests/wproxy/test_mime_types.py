"""The complete table of types."""

from __future__ import annotations

import re

import pytest

from wproxy.config.load import load_text
from wproxy.mime_types import _TABLE, COMPLETE_TYPES


def test_every_extension_stands_once_and_in_lower_case():
    words = [word for line in _TABLE.strip().splitlines() for word in line.split()[1:]]
    assert len(words) == len(set(words)) == len(COMPLETE_TYPES) > 250
    assert all(re.fullmatch("[a-z0-9]+", word) for word in words)
    assert all(re.fullmatch(r"[a-z]+/[a-z0-9.+-]+", kind) for kind in COMPLETE_TYPES.values())


@pytest.mark.parametrize(
    ("settings", "uri", "expected"),
    [
        ("", b"/a.css", b"text/plain"),
        ("", b"/a.gif", b"image/gif"),
        ('mime_types = "complete"', b"/a.css", b"text/css"),
        ('mime_types = "complete"', b"/a.min.JS", b"text/javascript"),
        ('mime_types = "complete"', b"/a.woff2", b"font/woff2"),
        ('mime_types = "complete"', b"/a.none", b"text/plain"),
        ('mime_types = "complete"\ntypes = { "text/x-own" = "css" }', b"/a.css", b"text/x-own"),
        ('mime_types = "complete"\ntypes = { "text/x-own" = "css" }', b"/a.svg", b"image/svg+xml"),
        ('types = { "text/x-own" = "css" }', b"/a.gif", b"text/plain"),
    ],
)
def test_a_file_has_the_type_of_its_extension(settings, uri, expected):
    text = f"[http]\n{settings}\n[[http.server]]\nlisten = 8080\n"
    configuration = load_text(text.encode(), "w.toml", "/", lambda host, port: [])
    assert configuration.servers[0].locations.fallback.files.type_of(uri) == expected
