"""`wproxy explain` says whether a response would come from the cache, and why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_cache_flow import HOUR, OLD, cached, store  # noqa: F401  the fixture
from test_explain import asked

from wproxy.explain import as_text

CONF = """events {{}} http {{ proxy_cache_path {directory}/cache levels=1:2 keys_zone=z:1m;
    upstream app {{ server 127.0.0.1:1; }} server {{ listen 8080; server_name front;
    location / {{ proxy_pass http://app; proxy_cache z; proxy_cache_bypass $arg_by; proxy_no_cache $arg_no; }} }} }}"""


@pytest.mark.parametrize(
    ("url", "fields", "method", "lines"),
    [
        ("http://front:8080/", (HOUR,), "GET", ["valid until", "HIT: it is sent without asking"]),
        ("http://front:8080/", (OLD,), "GET", ["was valid until", "EXPIRED"]),
        ("http://front:8080/x", (HOUR,), "GET", ["is not there", "MISS", "GET /x HTTP/1.1"]),
        ("http://front:8080/?by=1", (HOUR,), "GET", ['BYPASS: "$arg_by"']),
        ("http://front:8080/?no=1", (HOUR,), "GET", ['not stored: "$arg_no"']),
        ("http://front:8080/", (HOUR,), "POST", ["the method POST is not cached"]),
    ],
)
def test_the_cache_is_explained(cached, url, fields, method, lines):  # noqa: F811
    front = cached()
    store(front, b"old", *fields)
    before = sorted(Path(front.directory, "cache").rglob("*"))
    text = as_text(asked(CONF.format(directory=front.directory), url, method=method))
    for line in (*lines, 'zone z, key "http://app' if method == "GET" else "cache"):
        assert line in text
    assert sorted(Path(front.directory, "cache").rglob("*")) == before


def test_the_file_is_named(cached):  # noqa: F811
    front = cached()
    store(front, b"old", HOUR)
    (file,) = (path for path in Path(front.directory, "cache").rglob("*") if path.is_file())
    assert str(file) in as_text(asked(CONF.format(directory=front.directory), "http://front:8080/"))
