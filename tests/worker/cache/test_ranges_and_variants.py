"""Ranges that go upstream in spite of the cache, and the variants of a key."""

from __future__ import annotations

from hashlib import md5
from types import SimpleNamespace

import pytest

from worker.cache.ranges import is_too_far
from worker.cache.variants import variant_digest


@pytest.mark.parametrize(
    ("value", "too_far"),
    [
        (None, False),
        (b"bytes=0-", False),
        (b"bytes=99-", False),
        (b"bytes=100-", True),
        (b"BYTES= 100 - 200", True),
        (b"bytes=99 -", False),
        (b"bytes=-5", True),
        (b"bytes=5", True),
        (b"bytes=x-5", True),
        (b"bytes=99999999999999999999999-", True),
        (b"lines=100-", False),
        (b"x", False),
        (b"bytes=5-6,100-", False),
    ],
)
def test_ranges_from_an_offset_on_go_upstream(value, too_far):
    assert is_too_far(value, 100) is too_far
    assert not is_too_far(value, None)


def fields(*lines: tuple[bytes, bytes]):
    return SimpleNamespace(lines=tuple((name.lower(), name, value) for name, value in lines))


MAIN = b"m" * 16


def test_a_variant_is_a_digest_of_the_names_and_values():
    found = variant_digest(MAIN, b"X-One, X-Two", fields((b"X-two", b"2"), (b"X-One", b"a b")))
    assert found == md5(MAIN + b"x-one:a b\r\nx-two:2\r\n").digest()


def test_blanks_and_commas_do_not_count_where_they_mean_nothing():
    digests = {
        variant_digest(MAIN, b"Accept-Encoding", fields((b"Accept-Encoding", value)))
        for value in (b"gzip, br", b"gzip,br", b" gzip ,  br ", b"gzip br")
    }
    assert digests == {md5(MAIN + b"accept-encoding:gzip,br\r\n").digest()}
    assert variant_digest(MAIN, b"Cookie", fields((b"Cookie", b"a, b"))) != variant_digest(
        MAIN, b"Cookie", fields((b"Cookie", b"a,b"))
    )


def test_repeated_lines_are_one_list():
    found = variant_digest(MAIN, b"accept,,cookie", fields((b"Accept", b"a"), (b"Accept", b"b")))
    assert found == md5(MAIN + b"accept:a,b\r\ncookie:\r\n").digest()
