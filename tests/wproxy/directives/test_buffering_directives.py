"""Sizes of buffers that do not fit together are told in nginx's words (nginx: ngx_http_proxy_merge_loc_conf)."""

from __future__ import annotations

import pytest

from wproxy.config.model import Location
from wproxy.directives.buffering import rate, wrong_buffers
from wproxy.directives.temporary_path import temporary_path

K = 1024


def location(**settings: object) -> Location:
    """A location with nothing but these settings, read."""
    return Location(settings, {})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"proxy_buffers": (3, 4 * K)},
        {"proxy_buffer_size": 128 * K, "proxy_buffers": (4, 256 * K), "proxy_busy_buffers_size": 256 * K},
        {"proxy_buffers": (2, 4 * K), "proxy_busy_buffers_size": 4 * K},
        {"proxy_max_temp_file_size": 0},
    ],
)
def test_sizes_that_fit(settings):
    assert not list(wrong_buffers(location(**settings)))


@pytest.mark.parametrize(
    ("settings", "name", "text"),
    [
        ({"proxy_buffers": (1, 4 * K)}, "proxy_buffers", 'there must be at least 2 "proxy_buffers"'),
        ({"proxy_buffers": (2, 4 * K)}, "proxy_busy_buffers_size", "must be less than the size of all"),
        ({"proxy_buffer_size": 32 * K}, "proxy_busy_buffers_size", "must be less than the size of all"),
        ({"proxy_busy_buffers_size": 2 * K}, "proxy_busy_buffers_size", "must be equal to or greater than the maximum"),
        ({"proxy_temp_file_write_size": 2 * K}, "proxy_temp_file_write_size", "must be equal to or greater than the maximum"),
        ({"proxy_max_temp_file_size": 2 * K}, "proxy_max_temp_file_size", "must be equal to zero to disable"),
    ],
)
def test_sizes_that_do_not_fit(settings, name, text):
    ((words, to_blame, *_),) = wrong_buffers(location(**settings))
    assert to_blame == name
    assert text in words
    assert f'"{name}"' in words


def test_a_rate_is_a_size_or_a_template():
    assert rate("10k") == 10240
    assert getattr(rate("$arg_rate"), "text", None) == "$arg_rate"
    with pytest.raises(ValueError):
        rate("fast")


@pytest.mark.parametrize("levels", [("0",), ("11",), ("x",)])
def test_levels_of_directories_are_one_to_ten_digits(levels):
    assert temporary_path("/tmp/x/", "1", "2", "3") == ("/tmp/x", (1, 2, 3))
    with pytest.raises(ValueError):
        temporary_path("/tmp/x", *levels)
