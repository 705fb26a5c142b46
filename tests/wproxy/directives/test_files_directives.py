"""The words about files: what they read, and how they refuse."""

from __future__ import annotations

import pytest

from wproxy.directives.files import chunk, index, modified_since, range_count, try_files


def test_try_files_knows_files_directories_and_what_is_last():
    tried = try_files("$uri", "$uri/", "/x/", "=404")
    assert [(one.path.text, one.is_directory) for one in tried.candidates] == [("$uri", False), ("$uri", True), ("/x", True)]
    assert (tried.status, tried.target) == (404, None)


@pytest.mark.parametrize("last", ["/index.php?q=$uri", "@app", "/dir/"])
def test_the_last_of_try_files_is_a_place_to_go_to(last):
    tried = try_files("$uri", last)
    assert tried.target is not None and tried.target.text == last
    assert tried.status == 0


@pytest.mark.parametrize("last", ["=", "=abc", "=1000", "=-1", "=4 4"])
def test_a_code_has_at_most_three_digits(last):
    with pytest.raises(ValueError, match=f'invalid code "{last}"'):
        try_files("$uri", last)


def test_an_index_has_a_name():
    assert [name.text for name in index("a.html", "$host.html", "/x")] == ["a.html", "$host.html", "/x"]
    with pytest.raises(ValueError, match='index "" in "%s" directive is invalid'):
        index("a", "")


def test_modes_are_caseless_and_known():
    assert [modified_since(mode) for mode in ("off", "EXACT", "Before")] == ["off", "exact", "before"]
    with pytest.raises(ValueError, match='invalid value "foo"'):
        modified_since("foo")


def test_a_chunk_has_no_gigabytes():
    assert [chunk(text) for text in ("0", "512", "2m", "8K")] == [0, 512, 2 << 20, 8192]
    for text in ("1g", "x", "-1"):
        with pytest.raises(ValueError, match="directive invalid value"):
            chunk(text)


def test_the_number_of_ranges_is_a_number():
    assert range_count("0") == 0
    with pytest.raises(ValueError, match="directive invalid number"):
        range_count("x")
