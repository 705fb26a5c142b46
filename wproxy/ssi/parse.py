"""Texts and commands in a page that comes in pieces: `<!--#include virtual="/head" wait="yes" -->`.

    <!--# [ws] command { ws name [ws] = [ws] ( "value" | 'value' ) } [ws] -->

After a syntax error everything up to the next `-->` is swallowed, and a `Bad` takes its place. A tag that the page does not
finish is dropped.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MOST_OF_COMMAND = 32
MOST_OF_NAME = 32
MOST_PARAMETERS = 16

_BEGIN = b"<!--#"
_END = b"-->"
_SPACE = re.compile(rb"[ \t\r\n]*")
_COMMAND = re.compile(rb"(?:[^ \t\r\n][^ \t\r\n-]*)?")
_NAME = re.compile(rb"[^ \t\r\n=-]*")
_VALUES = {b'"': re.compile(rb'(?s:[^"\\]|\\.)*'), b"'": re.compile(rb"(?s:[^'\\]|\\.)*")}


class Command(NamedTuple):
    """One command. parameters: names and values, in order; values as written, with their backslashes."""

    name: str
    parameters: tuple[tuple[str, bytes], ...]

    @property
    def text(self) -> bytes:
        """Return the command as text, the same whatever blanks it was written with."""
        parts = b"".join(b' %b="%b"' % (name.encode("latin-1"), value) for name, value in self.parameters)
        return b"<!--#" + self.name.encode("latin-1") + parts + b" -->"


class Bad(NamedTuple):
    """A tag with a syntax error. text: for the log."""

    text: str


class _Incomplete(Exception):
    """The rest of a tag has not come yet."""


class _Wrong(Exception):
    """A syntax error. at: its place; the end of the tag is looked for from there on."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.at = at


Item = bytes | Command | Bad


class Parser:
    """Reads one page. most: ssi_value_length."""

    __slots__ = ("_bad", "_held", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = b""
        self._bad: Bad | None = None  # the error whose end is looked for

    def feed(self, data: bytes) -> list[Item]:
        """Return the items that these bytes complete."""
        data = self._held + data
        items: list[Item] = []
        at = 0
        while True:
            if self._bad is not None:
                end = data.find(_END, at)
                if end < 0:
                    self._held = data[max(at, len(data) - 2) :]
                    return items
                items.append(self._bad)
                self._bad = None
                at = end + len(_END)
            begin = data.find(_BEGIN, at)
            if begin < 0:
                size = begun(data[at:])
                items.append(data[at : len(data) - size])
                self._held = data[len(data) - size :]
                return items
            items.append(data[at:begin])
            try:
                command, at = self._command(data, begin + len(_BEGIN))
                items.append(command)
            except _Incomplete:
                self._held = data[begin:]
                return items
            except _Wrong as error:
                self._bad = Bad(str(error))
                at = error.at

    def _command(self, data: bytes, at: int) -> tuple[Command, int]:
        """Return the command at this place, and its end. Raises _Incomplete, _Wrong."""
        at = matched(_SPACE, data, at)
        end = _COMMAND.match(data, at).end()  # type: ignore[union-attr]  # it always matches
        if end - at > MOST_OF_COMMAND:
            end = at + MOST_OF_COMMAND + 1
            raise _Wrong(f'the "{shown(data[at:end])}..." SSI command is too long', end)
        present(data, end)
        name = shown(data[at:end])
        parameters: list[tuple[str, bytes]] = []
        at = end
        while True:
            at = matched(_SPACE, data, at)
            if data[at : at + 1] == b"-":
                return Command(name, tuple(parameters)), self._end(data, at, name)
            parameter, value, at = self._parameter(data, at, name)
            parameters.append((parameter, value))
            follower = data[present(data, at) : at + 1]
            if follower not in b" \t\r\n-":
                place = f'"{shown(value)}" value of "{parameter}" parameter in "{name}" SSI command'
                raise _Wrong(f'unexpected "{shown(follower)}" symbol after {place}', at)

    def _parameter(self, data: bytes, at: int, command: str) -> tuple[str, bytes, int]:
        """Return the name and the value of the parameter at this place, and its end. Raises _Incomplete, _Wrong."""
        end = _NAME.match(data, at).end()  # type: ignore[union-attr]
        if end - at > MOST_OF_NAME:
            end = at + MOST_OF_NAME + 1
            raise _Wrong(f'too long "{shown(data[at:end])}..." parameter in "{command}" SSI command', end)
        present(data, end)
        name = shown(data[at:end])
        at = matched(_SPACE, data, end)
        if data[at : at + 1] != b"=":
            symbol = shown(data[at : at + 1])
            raise _Wrong(f'unexpected "{symbol}" symbol after "{name}" parameter in "{command}" SSI command', at)
        at = matched(_SPACE, data, at + 1)
        quote = data[at : at + 1]
        if quote not in _VALUES:
            text = f'unexpected "{shown(quote)}" symbol before value of "{name}" parameter in "{command}" SSI command'
            raise _Wrong(text, at)
        end = _VALUES[quote].match(data, at + 1).end()  # type: ignore[union-attr]
        value = data[at + 1 : end]
        if len(value) > self._most:
            text = f'too long "{shown(value[: self._most + 1])}..." value of "{name}" parameter in "{command}" SSI command'
            raise _Wrong(text, at + self._most + 2)
        if data[present(data, end) : end + 1] != quote:
            raise _Incomplete  # a backslash whose byte has not come
        return name, value, end + 1

    def _end(self, data: bytes, at: int, command: str) -> int:
        """Return the end of a tag whose `-->` begins here. Raises _Incomplete, _Wrong."""
        for place, expected in enumerate(b"->", at + 1):
            if data[present(data, place)] != expected:
                raise _Wrong(f'unexpected "{shown(data[place : place + 1])}" symbol in "{command}" SSI command', place)
        return at + 3

    def __repr__(self) -> str:
        return f"<parser, {len(self._held)} bytes held>"


def begun(text: bytes) -> int:
    """Return the size of the beginning of a tag at the end of a text."""
    return next((size for size in range(len(_BEGIN) - 1, 0, -1) if text.endswith(_BEGIN[:size])), 0)


def present(data: bytes, at: int) -> int:
    """Return the place, if there is a byte. Raises _Incomplete."""
    if at >= len(data):
        raise _Incomplete
    return at


def matched(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    """Return the end of a match, if there is a byte behind it. Raises _Incomplete."""
    match = pattern.match(data, at)
    return present(data, at if match is None else match.end())


def shown(text: bytes) -> str:
    """Return bytes as text."""
    return text.decode("latin-1")
