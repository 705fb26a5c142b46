"""Variables of modules without effect: the values that nginx gives them when the module has nothing to do.

Configurations name them, mostly in log formats, so they exist from the beginning. A module that is implemented takes its names
out of here and defines them where its subject is.
"""

from __future__ import annotations

from wproxy.http import Request
from wproxy.variables.registry import BLOCK, VARIABLES, Variable

# Not found: `-` in a log, empty in text.
ABSENT = (
    *(f"ssl_{name}" for name in ("early_data", "ech_outer_server_name", "ech_status")),
    "gzip_ratio",
    "proxy_internal_body_length",
    "proxy_internal_chunked",
    "uid_reset",
)
# Present, and empty.
EMPTY = ("http3",)


def _nothing(request: Request) -> bytes | None:
    return None


def _empty(request: Request) -> bytes | None:
    return b""


for _name in ABSENT:
    VARIABLES[_name] = Variable(_nothing, BLOCK)
for _name in EMPTY:
    VARIABLES[_name] = Variable(_empty, BLOCK)
