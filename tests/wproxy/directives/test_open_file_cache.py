"""The words of `open_file_cache` and `disable_symlinks`; what nginx says of wrong ones was asked of nginx 1.22.1."""

from __future__ import annotations

import pytest

from wproxy.directives.open_file_cache import disable_symlinks, open_file_cache


def test_a_cache_has_a_size_and_a_patience():
    cache = open_file_cache("max=5", "inactive=2m")
    assert (cache.most, cache.inactive) == (5, 120.0)
    assert open_file_cache("max=5").inactive == 60.0


@pytest.mark.parametrize("words", [("off",), ("max=5", "off"), ("off", "max=5")])
def test_off_is_off_wherever_it_stands(words):
    assert open_file_cache(*words) is None


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("max=0",), 'invalid "open_file_cache" parameter "max=0"'),
        (("max=x",), 'invalid "open_file_cache" parameter "max=x"'),
        (("max=5", "inactive=x"), 'invalid "open_file_cache" parameter "inactive=x"'),
        (("max=5", "inactive=500ms"), 'invalid "open_file_cache" parameter "inactive=500ms"'),
        (("foo",), 'invalid "open_file_cache" parameter "foo"'),
        (("inactive=5",), '"open_file_cache" must have the "max" parameter'),
    ],
)
def test_what_is_wrong_is_told_in_the_words_of_nginx(words, text):
    with pytest.raises(ValueError, match=text):
        open_file_cache(*words)


def test_links_are_refused_all_or_by_owner():
    assert disable_symlinks("off") is None
    assert disable_symlinks("on") == (False, None)
    policy = disable_symlinks("from=/a", "if_not_owner")
    assert policy.by_owner
    assert policy.trusted.constant == b"/a"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("foo",), 'invalid parameter "foo"'),
        (("ON",), 'invalid parameter "ON"'),
        (("on", "off"), 'duplicate parameters "on off"'),
        (("from=/a",), '"disable_symlinks" must have "off", "on" or "if_not_owner" parameter'),
        (("off", "from=/a"), '"from=" cannot be used with "off" parameter'),
    ],
)
def test_wrong_links_are_told_in_the_words_of_nginx(words, text):
    with pytest.raises(ValueError, match=text):
        disable_symlinks(*words)
