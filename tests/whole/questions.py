"""What to ask a configuration, so that every server and every location of it is asked once at least."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any
from urllib.parse import quote

from local_copies import PASSWORD, USER

from wproxy.config.model import Configuration, Listener, Location, Server
from wproxy.explain import Question, Url, is_slash_redirect


def matching(pattern: str) -> str:
    """A short text that a regex finds a match in, from where it begins; look-arounds and back-references are passed over."""
    return _text(parser.parse(re.sub(r"\(\?<(?=\w)", "(?P<", pattern)))


def _text(pieces: Any) -> str:
    return "".join(_piece(code, value) for code, value in pieces)


def _piece(code: Any, value: Any) -> str:
    if code is codes.LITERAL:
        return chr(value)
    if code is codes.ANY or code is codes.NOT_LITERAL:
        return "x" if value != ord("x") else "y"
    if code is codes.IN:
        return _one_of(value)
    if code is codes.BRANCH:
        return _text(value[1][0])
    if code is codes.SUBPATTERN:
        return _text(value[-1])
    if code is codes.ATOMIC_GROUP:
        return _text(value)
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        least, most, inside = value
        return _text(inside) * max(least, min(most, 1))
    return ""


def _one_of(choices: Any) -> str:
    compiled = [item for item in choices if item[0] is not codes.NEGATE]
    is_negated = len(compiled) < len(choices)
    for candidate in "x0/.-_ Ya":
        if any(_is_in(candidate, *item) for item in compiled) != is_negated:
            return candidate
    code, value = compiled[0]
    return chr(value[0] if code is codes.RANGE else value)


def _is_in(character: str, code: Any, value: Any) -> bool:
    if code is codes.LITERAL:
        return ord(character) == value
    if code is codes.RANGE:
        return value[0] <= ord(character) <= value[1]
    word = {codes.CATEGORY_DIGIT: r"\d", codes.CATEGORY_SPACE: r"\s", codes.CATEGORY_WORD: r"\w"}.get(value)
    return bool(word and re.fullmatch(word, character))


def hosts_of(listener: Listener) -> dict[int, tuple[Server, list[str]]]:
    """The servers of a listener, by identity, with a host for each kind of name that leads there."""
    names = listener.servers
    found: dict[int, tuple[Server, list[str]]] = {}

    def add(server: Server, host: str) -> None:
        found.setdefault(id(server), (server, []))[1].append(host)

    for key, server in names.exact.items():
        if key:
            add(server, key.decode("latin-1"))
    for key, server in names.suffixes.items():
        add(server, f"any{key.decode('latin-1')}")
    for key, server in names.prefixes.items():
        add(server, f"{key.decode('latin-1')}test")
    for regex, server in names.regexes:
        add(server, matching(regex.text))
    assert names.default is not None
    add(names.default, "nobody.test")
    return found


def targets_of(server: Server) -> Iterator[str]:
    """A target for each location of a server that a client can ask for, and others."""
    yield from ("/", "/no/such/page?a=b")
    for location in server.each_location():
        if location.kind == "location" and not is_slash_redirect(location):
            yield from _targets(location)


def _targets(location: Location) -> Iterator[str]:
    if location.modifier in ("", "^~"):
        yield quote(location.pattern)
        if location.pattern != "/":
            yield f"{quote(location.pattern)}x/y.html?q=%20"
    elif location.modifier == "=":
        yield quote(location.pattern)
    elif location.modifier in ("~", "~*"):
        text = matching(location.pattern)
        yield quote(text if text.startswith("/") else f"/{text}")


def questions(configuration: Configuration) -> list[Question]:
    """Every location of every server by one of its names, once; and a page of each server by each name on each listener."""
    asked: list[Question] = []
    seen: set[int] = set()
    for listener in configuration.listeners:
        address = listener.address
        is_six = ":" in address.host
        for server, hosts in hosts_of(listener).values():
            first, *others = dict.fromkeys(hosts)
            targets = ["/"] if id(server) in seen else dict.fromkeys(targets_of(server))
            seen.add(id(server))
            for host, target in [(first, target) for target in targets] + [(host, "/") for host in others]:
                authority = host if address.is_unix else f"{host}:{address.port}"
                url = Url("https" if "ssl" in listener.protocols else "http", host, address.port, authority, target)
                fields = [("X-Question", str(len(asked)))]
                if target != "/":
                    fields.append(("Authorization", f"Basic {b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"))
                asked.append(
                    Question("GET", url, fields, "unix:" if address.is_unix else "::1" if is_six else "127.0.0.1", str(address))
                )
    return asked
