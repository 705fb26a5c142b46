"""The parameters of a server in JSON, by the names of nginx's API, and as the words of a `server` line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wproxy.address import parse_address
from wproxy.config.tree import printable
from wproxy.directives.upstream import UpstreamServer, upstream_server
from wproxy.edits.servers import time_text, words_of

NUMBERS = ("weight", "max_conns", "max_fails")
TIMES = ("fail_timeout", "slow_start")
TEXTS = ("route", "service")
FLAGS = ("backup", "down", "drain")
# The parameters that a server gets when it is added, and keeps.
FIXED = ("server", "service", "backup")
KNOWN = ("server", *NUMBERS, *TIMES, *TEXTS, *FLAGS)

_CODES = {
    "server": "UpstreamBadAddress",
    "service": "UpstreamBadAddress",
    "weight": "UpstreamBadWeight",
    "max_conns": "UpstreamBadMaxConns",
    "max_fails": "UpstreamBadMaxFails",
    "fail_timeout": "UpstreamBadFailTimeout",
    "slow_start": "UpstreamBadSlowStart",
    "route": "UpstreamBadRoute",
}
_FORMAT = "UpstreamConfFormatError"


class Refused(Exception):
    """A refusal of the API: an HTTP status, a text for people and a word for programs, nginx's where it has one."""

    def __init__(self, status: int, text: str, code: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = printable(text)
        self.code = code


def new_server(given: Any, refused_words: tuple[str, ...] = ()) -> UpstreamServer:
    """Return the server that a POST describes. A name is looked up again and again (`resolve`). Raises Refused.

    refused_words: parameters that the upstream's balancing method does not support.
    """
    given = _checked(given)
    text = given.get("server")
    if not isinstance(text, str) or not text:
        raise Refused(400, 'missing "server" argument', _FORMAT)
    try:
        is_name = not parse_address(text, 80).is_numeric
        server = upstream_server(text, *(("resolve",) if is_name else ()))
    except ValueError as error:
        raise Refused(400, str(error), "UpstreamBadAddress") from None
    return _with(server, {key: value for key, value in given.items() if key != "server"}, refused_words)


def changed_server(server: UpstreamServer, given: Any, refused_words: tuple[str, ...] = ()) -> UpstreamServer:
    """Return the server after a PATCH; raises Refused. refused_words: as in `new_server`."""
    given = _checked(given)
    for key in FIXED:
        if key in given:
            raise Refused(400, f'"{key}" cannot be changed', _FORMAT)
    return _with(server, given, refused_words)


def _checked(given: Any) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise Refused(400, "an object with parameters is expected", _FORMAT)
    for key, value in given.items():
        if key not in KNOWN:
            raise Refused(400, f'unknown parameter "{key}"', _FORMAT)
        if isinstance(value, dict | list):
            raise Refused(400, "nested object or list", _FORMAT)
    return given


def _with(server: UpstreamServer, given: Mapping[str, Any], refused_words: tuple[str, ...]) -> UpstreamServer:
    """Return the server with these parameters, read like those of a `server` line."""
    words = list(words_of(server))
    for key, value in given.items():
        words = [words[0], *(word for word in words[1:] if word.partition("=")[0] != key)]
        word = _word(key, value)
        if not word:
            continue
        if key in refused_words:
            raise Refused(400, f'balancing method does not support parameter "{word}"', _FORMAT)
        try:
            upstream_server(*words, word)
        except ValueError as error:
            text = str(error) if key == "service" else f'invalid "{key}" value'
            raise Refused(400, text, _CODES.get(key, _FORMAT)) from None
        words.append(word)
    return upstream_server(*words)


def _word(key: str, value: Any) -> str:
    """Return the word of a `server` line for a parameter; "" for none."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if key in FLAGS and isinstance(value, bool):
        return key if value else ""
    if key in NUMBERS and is_number:
        return f"{key}={value}"
    if key in TIMES and (is_number or isinstance(value, str)):
        return f"{key}={value}"
    if key in TEXTS and isinstance(value, str):
        return f"{key}={value}" if value else ""
    raise Refused(400, f'invalid "{key}" value', _CODES.get(key, _FORMAT))


def as_json(number: int, server: UpstreamServer) -> dict[str, Any]:
    """Return a server with all its parameters."""
    shown: dict[str, Any] = {
        "id": number,
        "server": server.text,
        "weight": server.weight,
        "max_conns": server.max_conns,
        "max_fails": server.max_fails,
        "fail_timeout": time_text(server.fail_timeout),
        "slow_start": time_text(server.slow_start),
        "route": server.route,
        "backup": server.backup,
        "down": server.down,
        "drain": server.drain,
    }
    if server.service:
        shown["service"] = server.service
    return shown
