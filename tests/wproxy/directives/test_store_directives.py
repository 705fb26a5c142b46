"""proxy_store and proxy_store_access are read as nginx reads them."""

import pytest

from wproxy.directives.store import Store, access, store


@pytest.mark.parametrize(
    ("rules", "mode"),
    [
        (("user:rw",), 0o600),
        (("user:r",), 0o400),
        (("group:rw",), 0o660),
        (("user:rw", "group:rw", "all:r"), 0o664),
        (("all:r", "user:r"), 0o404),
    ],
)
def test_rights(rules, mode):
    assert access(*rules) == mode


@pytest.mark.parametrize("rule", ["user:w", "user:", "user", "foo:r", "", "user:rwx"])
def test_rights_that_nobody_can_have(rule):
    with pytest.raises(ValueError, match="invalid value"):
        access(rule)


def test_on_off_or_a_path():
    assert (store("on"), store("off")) == (Store(True), Store(False))
    found = store("/data$uri")
    assert found.is_on
    assert found.path is not None
    with pytest.raises(ValueError, match="empty path"):
        store("")
