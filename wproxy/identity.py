"""The name we answer to: wproxy, or nginx for programs that drive an nginx (drop-in.md, "Identity").

It is decided once, by the name under which the program was started or by its first word, and passed on as a value: messages,
process titles, `Server`, the built-in pages, `-v` and the default places of files all use the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wproxy.version import VERSION

AS_NGINX = "--as-nginx"


class Identity(NamedTuple):
    """A name, a version, and the default places under that name.

    prefix, file: the default prefix and main file; "" if they depend on the working directory (`wproxy.options.find_paths`).
    pid, error_log, access_log: the default paths of a configuration; "" for those of the registry.
    """

    name: str
    version: str
    prefix: str = ""
    file: str = ""
    pid: str = ""
    error_log: str = ""
    access_log: str = ""

    @property
    def token(self) -> str:
        """Name and version, as in `Server` and under the built-in pages."""
        return f"{self.name}/{self.version}"

    def server(self, tokens: bool) -> bytes:
        """Return the value of `Server` under `server_tokens on` or `off`."""
        return (self.token if tokens else self.name).encode("ascii")


WPROXY = Identity("wproxy", VERSION)

# The version whose behaviour is the reference, and the places of Debian's package, which most of those programs know.
NGINX = Identity(
    "nginx",
    "1.31.5",
    prefix="/usr/share/nginx/",
    file="/etc/nginx/nginx.conf",
    pid="/run/nginx.pid",
    error_log="/var/log/nginx/error.log",
    access_log="/var/log/nginx/access.log",
)


def identity_of(program: str, words: Sequence[str]) -> tuple[Identity, list[str]]:
    """Return our identity, and the words that are left.

    program: the path that we were started by. We are nginx when it is a link or a copy named `nginx`, or the first word is
    `--as-nginx`.
    """
    if words and words[0] == AS_NGINX:
        return NGINX, list(words[1:])
    return (NGINX if program.rpartition("/")[2] == NGINX.name else WPROXY), list(words)
