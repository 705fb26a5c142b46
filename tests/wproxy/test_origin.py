"""Where a request that changes something comes from."""

import pytest

from wproxy.origin import foreign_origin


def judged(is_configured=lambda name: name == b"front.example", **fields):
    return foreign_origin(lambda name: fields.get(name.decode().replace("-", "_")), is_configured)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"content_type": b"application/json"},
        {"sec_fetch_site": b"none"},
        {"origin": b"https://front.example", "host": b"front.example"},
        {"origin": b"http://FRONT.example:81", "host": b"front.example:81"},
        {"origin": b"http://[::1]:81", "host": b"[::1]:81", "sec_fetch_site": b"same-origin"},
        {"origin": b"http://127.0.0.1", "host": b"127.0.0.1", "content_type": b"text/plain"},
    ],
)
def test_not_foreign(fields):
    assert judged(**fields) == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"origin": b"http://front.example"},
        {"origin": b"http://front.example", "host": b"front.example:81"},
        {"origin": b"front.example", "host": b"front.example"},
        {"origin": b"", "host": b""},
        {"origin": b"http://", "host": b""},
        {"origin": b"http://127.0.0.1.evil.example", "host": b"127.0.0.1.evil.example"},
        {"origin": b"http://localhost.evil.example", "host": b"localhost.evil.example"},
        {"origin": b"http://[::1].evil", "host": b"[::1]"},
        {"origin": b"http://\xff", "host": b"\xff"},
        {"sec_fetch_site": b""},
    ],
)
def test_foreign(fields):
    assert judged(**fields)
