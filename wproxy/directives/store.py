"""proxy_store: responses of an upstream kept as files, for good (nginx: ngx_http_upstream_store in ngx_http_upstream.c)."""

from __future__ import annotations

from typing import NamedTuple

from wproxy.config.registry import HTTP, LOCATION, SERVER, directive
from wproxy.template import Template, compile_template

LEVELS = HTTP | SERVER | LOCATION

_SHIFTS = {"user": 6, "group": 3, "all": 0}
_RIGHTS = {"rw": 6, "r": 4}


class Store(NamedTuple):
    """Whether responses are stored, and where: path None for where `root` or `alias` would look for the URI."""

    is_on: bool
    path: Template | None = None


def store(path: str) -> Store:
    """Read `on`, `off`, or a path with variables."""
    if path in ("on", "off"):
        return Store(path == "on")
    if not path:
        raise ValueError("empty path")
    return Store(True, compile_template(path))


def access(*rules: str) -> int:
    """Return the mode of `user:rw group:r all:r`; the default of user is rw (ngx_conf_set_access_slot)."""
    mode, of_user = 0, 0o600
    for rule in rules:
        who, colon, rights = rule.partition(":")
        if not colon or who not in _SHIFTS or rights not in _RIGHTS:
            raise ValueError(f'invalid value "{rule}"')
        if who == "user":
            of_user = 0
        mode |= _RIGHTS[rights] << _SHIFTS[who]
    return mode | of_user


class StoreDirectives:
    """Storage of upstream responses."""

    proxy_store: Store = directive(
        store,
        LEVELS,
        default="off",
        doc="Whether complete responses with status 200 are also written to files: off, on (where root or alias would look for "
        "them), or a path with variables. A file is written beside its place, without a name, and put there when complete.",
    )
    proxy_store_access: int = directive(
        access,
        LEVELS,
        arity=(1, 3),
        default="user:rw",
        doc="The permissions of those files.",
    )
