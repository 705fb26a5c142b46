"""Text for a screen."""

import pytest

from wproxy.shortened import shortened


@pytest.mark.parametrize(("text", "shown"), [("", ""), ("abcd", "abcd"), ("abcde", "abcd..."), ("abcdefgh", "abcd...")])
def test_the_end_of_a_long_text_is_left_out(text, shown):
    assert shortened(text, 4) == shown
