"""Variables that a configuration makes, found before any directive is read: they may be used above the line that makes them.

nginx looks variables up after reading the whole file; we compile templates line by line, so we must know the names first.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from wproxy.config.tree import Node
from wproxy.variables import Namespace

# The argument that names a variable carried by requests: `set $name value`.
_KEPT = {"set": 0, "perl_set": 0}
# The same, without a warning when it is read before it has a value.
_ASKED = {"auth_request_set": 0}
# Blocks and lines that compute a variable: the argument that is its name.
_COMPUTED = {"map": -1, "geo": -1, "split_clients": -1, "auth_jwt_claim_set": 0, "auth_jwt_header_set": 0}
# Directives with a regex, whose named groups become variables: the position of the regex.
_WITH_REGEX = frozenset(
    (
        "server_name", "location", "rewrite", "if",
        "proxy_redirect", "proxy_cookie_domain", "proxy_cookie_path", "proxy_cookie_flags",
        "valid_referers", "fastcgi_split_path_info",
    )
)  # fmt: skip
_GROUP = re.compile(r"\(\?(?:P?<([A-Za-z_][A-Za-z0-9_]*)>|'([A-Za-z_][A-Za-z0-9_]*)')")


def declare_names(root: Node, namespace: Namespace) -> None:
    """Declare in the namespace every variable that directives anywhere in this tree make."""
    pending = [root]
    while pending:
        node = pending.pop()
        if node.name in _KEPT:
            _declare(node, _KEPT[node.name], namespace.declare_value)
        elif node.name in _ASKED:
            _declare(node, _ASKED[node.name], namespace.declare_capture)
        elif node.name in _COMPUTED:
            _declare(node, _COMPUTED[node.name], namespace.promise)
            if node.name == "map":
                for entry in node.children or ():
                    _declare_groups((entry.name,), namespace)
        elif node.name in _WITH_REGEX:
            _declare_groups(node.arguments, namespace)
        if node.children:
            pending.extend(node.children)


def _declare(node: Node, index: int, declare: Callable[[str], None]) -> None:
    if node.arguments and index < len(node.arguments):
        name = node.arguments[index]
        if name.startswith("$") and len(name) > 1:
            declare(name[1:])


def _declare_groups(texts: tuple[str, ...], namespace: Namespace) -> None:
    for text in texts:
        if "(?" in text:
            for match in _GROUP.finditer(text):
                namespace.declare_capture(match[1] or match[2])
