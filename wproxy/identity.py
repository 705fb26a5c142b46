"""Who we say we are: wproxy, or nginx for the sake of the programs that drive an nginx (drop-in.md, "Identity").

Decided once, by the name that the program was started under or by its first word, and handed on as a value: messages, process
titles, `Server`, the built-in pages, `-v` and the places where files are looked for all ask the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wproxy.version import VERSION

AS_NGINX = "--as-nginx"


class Identity(NamedTuple):
    """A name, a version, and the places that are taken for granted under that name.

    prefix, file: where the main file and relative paths are looked for when the command line does not say; "" where that
    depends on the working directory (`wproxy.cli.places`). pid, error_log, access_log: the paths that a configuration gets which
    does not set them; "" for those of the registry.
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
        """The value of `Server` under `server_tokens on` or `off`."""
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
    """Who we are, and the words that are left.

    program: the path that we were started by. It is a link or a copy named `nginx`, or the first word is `--as-nginx`.
    """
    if words and words[0] == AS_NGINX:
        return NGINX, list(words[1:])
    return (NGINX if program.rpartition("/")[2] == NGINX.name else WPROXY), list(words)
