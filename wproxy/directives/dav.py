"""Files that clients write (nginx: src/http/modules/ngx_http_dav_module.c)."""

from __future__ import annotations

from wproxy.config.registry import HTTP, LOCATION, SERVER, UNION, directive
from wproxy.directives.store import access
from wproxy.directives.values import flag, number, words

_LEVELS = HTTP | SERVER | LOCATION
_METHODS = ("off", "put", "delete", "mkcol", "copy", "move")


class DavDirectives:
    """Files that clients write."""

    dav_methods: frozenset[str] | None = directive(
        words(_METHODS), _LEVELS, arity=(1, 1000), inherit=UNION, doc="The methods by which clients change files; off: none."
    )
    dav_access: int = directive(access, _LEVELS, arity=(1, 3), default="user:rw", doc="The rights to files that clients make.")
    create_full_put_path: bool = directive(
        flag, _LEVELS, default="off", doc="Whether PUT makes the missing directories above a file."
    )
    min_delete_depth: int = directive(
        number(), _LEVELS, default="0", doc="DELETE is refused for paths with fewer elements than that."
    )
