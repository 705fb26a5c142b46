"""`sync=redis://…`: the server at which machines count together, as a URL.

    redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE][?timeout=TIME]
    rediss://…[?ca=FILE&…]                                              the same over TLS
    unix://[[USER]:PASSWORD@]/PATH[?db=DATABASE&timeout=TIME]           a socket of this machine

They are the forms that Redis's own programs and libraries take. `timeout` is the longest that a request waits for an answer, and
`ca` the file of the authorities that the server's certificate has to come from, in place of the system's.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from wproxy.address import is_ip, parse_port
from wproxy.directives.extras import load_package
from wproxy.directives.values import parse_time

DEFAULT_PORT = 6379
# Long for a network, short for a person.
DEFAULT_PATIENCE = 0.05
_MOST_PATIENCE = 10.0
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?")  # what urlsplit has lower-cased
_SCHEMES = ("redis", "rediss", "unix")
_PARAMETERS = {"redis": ("timeout",), "rediss": ("timeout", "ca"), "unix": ("timeout", "db")}


class RedisServer(NamedTuple):
    """A server to count at.

    shown: the URL without a password. host: a name, an address, or with port -1 the path of a unix socket. user, password: "" for
    none. patience: how long a request waits for an answer, in seconds. ca: the file of trusted authorities; "" for the system's.
    """

    shown: str
    host: str
    port: int
    user: str = ""
    password: str = ""
    database: int = 0
    is_secure: bool = False
    ca: str = ""
    patience: float = DEFAULT_PATIENCE

    def __repr__(self) -> str:
        return self.shown


def redis_server(url: str) -> RedisServer:
    """Read the URL of `sync=`. Raises ValueError."""
    scheme, separator, rest = url.partition("://")
    shown = f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else url.rpartition("@")[2]
    shown = shown.partition("?")[0]

    def wrong(text: str) -> ValueError:
        return ValueError(f'invalid URL "{shown}" in "sync": {text}')

    if not separator or scheme not in _SCHEMES:
        raise ValueError(f'invalid URL "{shown}" in "sync": it begins with redis://, rediss:// or unix://')
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.netloc.rpartition("@")[2].rpartition("]")[2].partition(":")[2]
    except ValueError as error:
        raise wrong(str(error)) from None
    if parts.fragment:
        raise wrong('what follows "#" has no meaning; write %23 for a "#" in the password')
    given: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _PARAMETERS[scheme] or name in given:
            known = ", ".join(_PARAMETERS[scheme])
            raise wrong(f'{"duplicate" if name in given else "unknown"} parameter "{name}"; there are: {known}')
        given[name] = value
    path = unquote(parts.path)
    if scheme == "unix":
        if host or port or not path.startswith("/") or len(path) < 2:
            raise wrong("after unix:// comes the absolute path of a socket")
        address, number, database = path, -1, given.get("db", "0")
    else:
        if not host:
            raise wrong("it names no host")
        if not (is_ip(host) or _NAME.fullmatch(host)):
            raise wrong(f'"{host}" is not the name of a host')
        try:
            address, number = host, parse_port(port) if port else DEFAULT_PORT
        except ValueError as error:
            raise wrong(str(error)) from None
        database = path.removeprefix("/") or "0"
    if not (database.isascii() and database.isdigit() and len(database) <= 5):
        raise wrong(f'"{database}" is not the number of a database')
    patience = parse_time(given.get("timeout", f"{DEFAULT_PATIENCE * 1000:.0f}ms"))
    if not patience or patience > _MOST_PATIENCE:
        raise wrong(f'the timeout "{given["timeout"]}" is not a time from 1ms to 10s')
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if user and not password:
        raise wrong(f"there is no password for the user; a password alone is written redis://:PASSWORD@{host}")
    load_package("hiredis", "redis")
    server = RedisServer(shown, address, number, user, password, int(database), scheme == "rediss", given.get("ca", ""), patience)
    if server.is_secure:
        _check_authorities(server, wrong("the file of authorities"))
    return server


def _check_authorities(server: RedisServer, wrong: ValueError) -> None:
    """Raise ValueError for a file of authorities that cannot be used. wrong: the beginning of its text."""
    if not server.ca:
        return
    if not server.ca.startswith("/"):
        raise ValueError(f'{wrong} "{server.ca}" is not an absolute path')
    import ssl  # only where it is needed

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(server.ca)
    except (OSError, ValueError) as error:
        raise ValueError(f'{wrong} "{server.ca}" cannot be used: {getattr(error, "strerror", None) or error}') from None
