"""What a User-Agent says: nginx's own way of telling old browsers."""

from __future__ import annotations

import pytest

from wproxy.browsers import is_msie, is_msie6, is_safari, stays_connected

MSIE6 = b"Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.0)"
MSIE6_SP2 = b"Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)"
MSIE9 = b"Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1)"
OPERA = b"Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1) Opera 7.0"
SAFARI = b"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Safari/605.1.15"
CHROME = b"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36"
CURL = b"curl/8.0"


@pytest.mark.parametrize(
    ("agent", "found"),
    [
        (MSIE6, (True, True, False)),
        (MSIE6_SP2, (True, False, False)),
        (MSIE9, (True, False, False)),
        (OPERA, (False, False, False)),
        (SAFARI, (False, False, True)),
        (CHROME, (False, False, False)),
        (CURL, (False, False, False)),
        (b"MSIE 5.0", (True, True, False)),
        (b"MSIE 5.", (False, False, False)),
    ],
)
def test_browsers_are_told_apart(agent, found):
    assert (is_msie(agent), is_msie6(agent), is_safari(agent)) == found


def test_an_old_explorer_is_left_after_a_post_and_safari_after_anything():
    for words, closing in (
        ({"msie6"}, {(b"POST", MSIE6)}),
        ({"safari"}, {(b"GET", SAFARI), (b"POST", SAFARI)}),
        ({"none"}, set()),
    ):
        found = {
            (method, agent)
            for method in (b"GET", b"POST")
            for agent in (MSIE6, SAFARI, CHROME)
            if not stays_connected(method, agent, frozenset(words))
        }
        assert found == closing
