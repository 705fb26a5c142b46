"""How lists are inherited where a directive of their own decides, such as add_header_inherit (routing.md §1.4, §5.3)."""

from __future__ import annotations

import pytest

from wproxy.config.scope import inherited


@pytest.mark.parametrize(
    ("mode", "own", "result"),
    [
        ("on", (), ("outer",)),
        ("on", ("own",), ("own",)),
        ("off", (), ()),
        ("off", ("own",), ("own",)),
        ("merge", (), ("outer",)),
        ("merge", ("own",), ("own", "outer")),
    ],
)
def test_a_block_sees_the_items_of_the_block_around_it(mode, own, result):
    assert inherited(mode, own, ("outer",)) == result
