"""`map`: a value chosen by another one (nginx: src/http/modules/ngx_http_map_module.c).

Exact keys are tried first, ignoring case; with `hostnames` then the longest `*.suffix` and the longest `prefix.*`; then the
regexes in their order, unless the value is empty; then the default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from wproxy.http import Request
from wproxy.regex import Regex, RegexTimedOut
from wproxy.template import Template, literal
from wproxy.variables import BLOCK, REQUEST, Namespace, complain


class Choice(NamedTuple):
    """The result of a map for a value: the key as written ("default"), its value, and the match for a regex."""

    key: str
    value: Template
    match: re.Match[bytes] | None = None


class Map:
    """One map. source: the template to look up; volatile: whether to look it up on every read; namespace: that of its
    declaration.
    """

    def __init__(self, name: str, source: Template, namespace: Namespace) -> None:
        self.name = name
        self.source = source
        self.volatile = False
        self.hostnames = False
        self.default: Choice | None = None
        self.regexes: list[tuple[Regex, Choice]] = []
        self._namespace = namespace
        self._exact: dict[bytes, Choice] = {}
        self._suffixes: dict[bytes, Choice] = {}  # b".example.com" for *.example.com
        self._prefixes: dict[bytes, Choice] = {}  # b"www." for www.*

    def add(self, key: str, value: Template) -> None:
        """Enter a key that is not a regex, without its escape. Raises ValueError for a repeated one."""
        choice = Choice(key, value)
        encoded = key.encode("utf-8", "surrogateescape").lower()
        if not self.hostnames:
            places = [(self._exact, encoded)]
        elif encoded.count(b"*") > 1 or b".." in encoded or b"\0" in encoded:
            raise ValueError(f'invalid hostname or wildcard "{key}"')
        elif encoded.startswith(b".") and len(encoded) > 1:
            places = [(self._exact, encoded[1:]), (self._suffixes, encoded)]
        elif encoded.startswith(b"*.") and len(encoded) > 2:
            places = [(self._suffixes, encoded[1:])]
        elif encoded.endswith(b".*") and len(encoded) > 2:
            places = [(self._prefixes, encoded[:-1])]
        elif b"*" in encoded:
            raise ValueError(f'invalid hostname or wildcard "{key}"')
        else:
            places = [(self._exact, encoded)]
        if any(place in table for table, place in places):
            raise ValueError(f'conflicting parameter "{key.lower()}"')
        for table, place in places:
            table[place] = choice

    def choose(self, value: bytes) -> Choice:
        """Return the choice for a value. Raises RegexTimedOut."""
        if self.hostnames and value.endswith(b"."):
            value = value[:-1]
        found = self._exact.get(value.lower())
        if found is None and value:
            if self.hostnames:
                found = self._wildcard(value.lower())
            if found is None:
                for regex, choice in self.regexes:
                    match = regex.search(value)
                    if match is not None:
                        return choice._replace(match=match)
        return found or self.default or NO_DEFAULT

    def _wildcard(self, host: bytes) -> Choice | None:
        dot = host.find(b".")
        while dot >= 0 and self._suffixes:  # the longest suffix begins at the first dot
            found = self._suffixes.get(host[dot:])
            if found is not None and dot:
                return found
            dot = host.find(b".", dot + 1)
        dot = host.rfind(b".")
        while dot >= 0 and self._prefixes:
            found = self._prefixes.get(host[: dot + 1])
            if found is not None:
                return found
            dot = host.rfind(b".", 0, dot)
        return None

    def read(self, request: Request) -> bytes:
        """Return the value of the variable. A regex that matches leaves its captures on the request."""
        value = self.source.evaluate(request)
        try:
            choice = self.choose(value)
        except RegexTimedOut as error:
            complain(request, "error", str(error))
            choice = self.default or NO_DEFAULT
        if choice.match is not None:
            request.capture(choice.match)
        constant = choice.value.constant
        result = constant if constant is not None else choice.value.evaluate(request)
        if request.trace is not None:
            request.trace.step(self, told("map", self.name, value, result, choice.key), choice.key)
        return result

    def varies(self) -> int:
        """How long the value holds: as long as the source and all values; REQUEST only if others see its captures."""
        values = [choice.value.varies for choice in self]
        varies = max(self.source.varies, *values) if values else BLOCK
        leaves_traces = any(regex.names for regex, _ in self.regexes)
        if leaves_traces or (self.regexes and self._namespace.captures_are_read):
            return max(varies, REQUEST)
        return varies

    def __iter__(self) -> Iterator[Choice]:
        """Yield all choices."""
        for table in (self._exact, self._suffixes, self._prefixes):
            yield from table.values()
        yield from (choice for _, choice in self.regexes)
        if self.default is not None:
            yield self.default

    def __repr__(self) -> str:
        return f"<map {self.source.text!r} ${self.name}>"


def told(kind: str, name: str, value: bytes, result: bytes, key: str | None = None) -> str:
    """Return the line of `wproxy explain` about a look-up."""
    return f'{kind} ${name}: "{shown(value)}" gives "{shown(result)}"' + ("" if key is None else f" by {key or chr(34) * 2}")


def shown(value: bytes) -> str:
    """Return bytes as text for an explanation."""
    return value.decode("utf-8", "backslashreplace")


NO_DEFAULT = Choice("default", literal(""))
