"""The built-in pages (routing.md §5.8), against what nginx 1.22.1 sent."""

from __future__ import annotations

import pytest

from worker.pages import PADDING, error_response, has_padding, needs_padding, page
from wproxy.http import REASONS

NGINX_404 = (
    b"<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n"
    b"<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
)


def test_a_page_is_nginx_s_byte_for_byte():
    assert page(404, b"nginx/1.22.1") == NGINX_404


@pytest.mark.parametrize(
    ("status", "length"),
    [(404, 555), (400, 559), (494, 635), (302, 145), (301, 169), (200, 0), (204, 0), (304, 0), (418, 0)],
)
def test_a_padded_page_is_as_long_as_nginx_s(status, length):
    assert len(page(status, b"nginx/1.22.1", is_padded=True)) == length


def test_the_padding_is_six_comments_at_the_end():
    assert len(PADDING) == 402
    assert page(404, b"nginx/1.22.1", is_padded=True) == NGINX_404 + PADDING
    assert PADDING.count(b"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n") == 6


def test_only_pages_of_errors_are_padded():
    assert [status for status in REASONS if has_padding(status)] == [status for status in REASONS if status >= 400]


@pytest.mark.parametrize(
    ("user_agent", "padded"),
    [
        (b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36", True),
        (b"Chrome/", True),
        (b"chrome/1", False),
        (b"Chrome", False),
        (b"Mozilla/5.0 Gecko/20 Chrome/1", False),
        (b"Chrome/1 Opera", False),
        (b"Mozilla/4.0 (compatible; MSIE 6.0; Windows)", True),
        (b"MSIE 7.0", True),
        (b"MSIE 7.", False),
        (b"Mozilla MSIE 7", False),
        (b"MSIE 7 Chrome/1", True),
        (b"MSIE 7.0 Gecko/1", True),
        (b"MSIE 7.0; Opera 8", False),
        (b"msie 7.0", False),
        (b"curl/8.5.0", False),
        (b"", False),
    ],
)
def test_the_browsers_that_hide_short_pages(user_agent, padded):
    assert needs_padding(user_agent) is padded


def test_without_a_readable_head_nobody_needs_padding():
    response = error_response(None, 400, b"nginx/1.22.1")
    assert len(response.body) == 157
    assert response.error == 400


def test_a_location_that_was_not_made_absolute_is_a_line_like_others():
    lines = ((b"Location", b"http://a/x"),)
    fields = error_response(None, 302, b"nginx", lines=lines).fields
    assert (fields.location, fields.lines) == (None, lines)
