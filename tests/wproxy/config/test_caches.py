"""Caches of responses in a configuration: what inherits, and what is warned of."""

from __future__ import annotations

import pytest

from wproxy.config.nginx import parse_nginx
from wproxy.config.resolve import resolve

ZONES = "".join(f"{module}_cache_path /tmp/{module} keys_zone={module}:1m; " for module in ("proxy", "fastcgi"))


def resolved(http: str):
    def look_up(host: str, port: int) -> list:
        raise OSError(host)

    return resolve(parse_nginx(f"events {{ }} http {{ {ZONES} {http} }}".encode(), "t.conf"), "t.conf", "/", look_up)


def location(http: str, path: bytes):
    (server,) = resolved(http).servers
    return next(each for each in server.each_location() if each.prefix == path)


def test_what_is_set_further_inside_replaces_what_would_be_inherited():
    text = """proxy_cache proxy; server { listen 80; location /a { proxy_pass http://127.0.0.1:1; proxy_store on;
        location /a/b { proxy_pass http://127.0.0.1:1; } location /a/c { proxy_pass http://127.0.0.1:1; proxy_cache proxy; } } }"""
    storing, inner, caching = (location(text, path) for path in (b"/a", b"/a/b", b"/a/c"))
    assert storing.proxy_store.is_on
    assert storing.proxy_cache.zone is None
    assert inner.proxy_store.is_on
    assert inner.proxy_cache.zone is None
    assert not caching.proxy_store.is_on
    assert caching.proxy_cache.zone.name == "proxy"


@pytest.mark.parametrize(
    ("http", "count"),
    [
        ("fastcgi_cache fastcgi; server { listen 80; }", 1),
        ("fastcgi_cache fastcgi; fastcgi_cache_key $uri; server { listen 80; }", 0),
        ("server { listen 80; fastcgi_cache_key $uri; location / { fastcgi_cache fastcgi; } }", 0),
        ("server { listen 80; fastcgi_cache off; }", 0),
        ("server { listen 80; proxy_cache proxy; }", 0),
    ],
)
def test_a_cache_without_a_key_is_warned_of(http, count):
    warnings = [warning.text for warning in resolved(http).warnings]
    assert warnings == ['no "fastcgi_cache_key" for "fastcgi_cache"'] * count


def test_words_of_methods_and_failures_are_united_and_replaced():
    text = """proxy_cache_use_stale error; proxy_cache_methods POST; server { listen 80;
        location /a { proxy_cache_use_stale timeout; proxy_cache_use_stale updating; } location /b { } }"""
    assert location(text, b"/a").proxy_cache_use_stale == {"timeout", "updating"}
    assert location(text, b"/b").proxy_cache_use_stale == {"error"}
    assert location(text, b"/b").proxy_cache_methods == {"post"}
