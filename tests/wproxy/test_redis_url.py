"""`sync=redis://…`: what a URL means, and what is wrong with a bad one."""

from __future__ import annotations

import pytest

from wproxy.redis_url import RedisServer, redis_server


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("redis://h", RedisServer("redis://h", "h", 6379)),
        ("redis://H.example.:1/3", RedisServer("redis://H.example.:1/3", "h.example.", 1, database=3)),
        ("redis://:p%40%2f@h?timeout=10ms", RedisServer("redis://h", "h", 6379, password="p@/", patience=0.01)),
        ("redis://u:p@[::1]:99/", RedisServer("redis://[::1]:99/", "::1", 99, "u", "p")),
        ("rediss://127.0.0.1?timeout=2s", RedisServer("rediss://127.0.0.1", "127.0.0.1", 6379, is_secure=True, patience=2.0)),
        ("unix:///run/r.sock?db=2", RedisServer("unix:///run/r.sock", "/run/r.sock", -1, database=2)),
        ("unix://:p@/r%20s", RedisServer("unix:///r%20s", "/r s", -1, password="p")),
    ],
)
def test_a_url_names_a_server(url: str, server: RedisServer):
    assert redis_server(url) == server


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "it begins with redis://, rediss:// or unix://"),
        ("h:6379", "it begins with redis://, rediss:// or unix://"),
        ("redis:/:secret@h", "it begins with redis://, rediss:// or unix://"),
        ("http://h", "it begins with redis://, rediss:// or unix://"),
        ("redis://", "it names no host"),
        ("redis://:secret@", "it names no host"),
        ("redis://h:abc", 'invalid port "abc"'),
        ("redis://h:0", 'invalid port "0"'),
        ("redis://h:1:2", 'invalid port "1:2"'),
        ("redis://a b", '"a b" is not the name of a host'),
        ("redis://[::1", "Invalid IPv6 URL"),
        ("redis://h/x", '"x" is not the number of a database'),
        ("redis://h/1/2", '"1/2" is not the number of a database'),
        ("redis://h#1", 'what follows "#" has no meaning; write %23 for a "#" in the password'),
        ("redis://h?ca=/x", 'unknown parameter "ca"; there are: timeout'),
        ("redis://h?timeout=1s&timeout=1s", 'duplicate parameter "timeout"; there are: timeout'),
        ("redis://h?timeout=0", 'the timeout "0" is not a time from 1ms to 10s'),
        ("redis://h?timeout=11s", 'the timeout "11s" is not a time from 1ms to 10s'),
        ("redis://h?timeout=soon", 'the timeout "soon" is not a time from 1ms to 10s'),
        ("redis://secret@h", "there is no password for the user; a password alone is written redis://:PASSWORD@h"),
        ("rediss://h?ca=x.pem", 'the file of authorities "x.pem" is not an absolute path'),
        ("rediss://h?ca=/none.pem", 'the file of authorities "/none.pem" cannot be used: No such file or directory'),
        ("unix://run/r.sock", "after unix:// comes the absolute path of a socket"),
        ("unix:///", "after unix:// comes the absolute path of a socket"),
    ],
)
def test_a_bad_url_is_told_without_the_password(url: str, said: str):
    with pytest.raises(ValueError) as raised:
        redis_server(url)
    text = str(raised.value)
    assert text.startswith('invalid URL "') and text.endswith(said)
    assert "secret" not in text.partition('"')[2].partition('"')[0]
