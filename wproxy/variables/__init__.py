"""The variables: `$name` to a function of the request (routing.md §4).

To add one, write a function in the file of its subject and decorate it. `registry` has the table and defines what a variable is,
`namespace` has those that a configuration declares.
"""

from __future__ import annotations

from wproxy.variables import (
    browser,
    connection,
    fastcgi,
    header,
    idle,
    limits,
    links,
    proxy_protocol,
    request,
    response,
    slices,
    tls,
    upstream,
)
from wproxy.variables.clock import error_log_time
from wproxy.variables.namespace import (
    ASSIGNABLE,
    Namespace,
    active_namespace,
    assigner,
    check_definable,
    find_variable,
    is_assignable,
    keep,
    use_namespace,
    variable_name,
)
from wproxy.variables.registry import (
    BLOCK,
    FAMILIES,
    FIELDS,
    LINE,
    LOCATION,
    REQUEST,
    VARIABLES,
    Reader,
    Variable,
    complain,
    family,
    hear_complaints,
    variable,
)
from wproxy.variables.request import CAPTURES

__all__ = [
    "ASSIGNABLE",
    "BLOCK",
    "CAPTURES",
    "FAMILIES",
    "FIELDS",
    "LINE",
    "LOCATION",
    "REQUEST",
    "VARIABLES",
    "Namespace",
    "Reader",
    "Variable",
    "active_namespace",
    "assigner",
    "browser",
    "check_definable",
    "complain",
    "connection",
    "error_log_time",
    "family",
    "fastcgi",
    "find_variable",
    "header",
    "hear_complaints",
    "idle",
    "is_assignable",
    "keep",
    "limits",
    "links",
    "proxy_protocol",
    "request",
    "response",
    "slices",
    "tls",
    "upstream",
    "use_namespace",
    "variable",
    "variable_name",
]
