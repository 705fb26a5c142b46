"""`compat 1.28`: the defaults that nginx had, wherever nothing else is written."""

from __future__ import annotations

import pytest

import wproxy.config.model  # noqa: F401  # fills the registry
from wproxy.config.compat import DEFAULTS, put_defaults
from wproxy.config.registry import HTTP, LOCATION, SERVER, UPSTREAM, find_directive
from wproxy.config.scope import Scope


def test_the_current_defaults_are_those_of_the_rows():
    scope = Scope()
    put_defaults("current", scope, HTTP)
    put_defaults("current", scope, UPSTREAM)
    assert scope.values == {}


def test_classic_defaults_are_inherited():
    http = Scope()
    put_defaults("1.28", http, HTTP)
    location = Scope(Scope(http))
    assert location.values == {"proxy_http_version": 10, "sends_close": True}


def test_what_is_written_counts():
    scope = Scope()
    scope.values["keepalive"] = 7
    put_defaults("1.28", scope, UPSTREAM)
    assert scope.values["keepalive"] == 7
    empty = Scope()
    put_defaults("1.28", empty, UPSTREAM)
    assert empty.values["keepalive"] == 0


@pytest.mark.parametrize("context", [SERVER, LOCATION])
def test_other_blocks_get_theirs_by_inheritance(context):
    assert not any(context in defaults for defaults in DEFAULTS.values())


def test_every_value_of_the_directive_has_its_defaults():
    row = find_directive("compat")
    assert row is not None
    assert [row.read(value) for value in DEFAULTS] == list(DEFAULTS)
    with pytest.raises(ValueError, match=r'invalid value "1\.0"'):
        row.read("1.0")
