"""What a key does in `wproxy top`: it changes the look, or asks for an action."""

from __future__ import annotations

from typing import NamedTuple

from wproxy.top.view import VIEWS, Look, Row, Table

ESCAPES = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down", b"\x1b[5~": "page up", b"\x1b[6~": "page down"}
PAGE = 10


class Action(NamedTuple):
    """Something to do to a peer: drain or up."""

    name: str
    upstream: str
    server: str


class Quit(Exception):
    """Enough."""


def split_keys(data: bytes) -> list[str]:
    """Return the keys that have been pressed, by their names or characters."""
    keys = []
    while data:
        escape = next((each for each in ESCAPES if data.startswith(each)), b"")
        if escape:
            keys.append(ESCAPES[escape])
            data = data[len(escape) :]
        else:
            length = next((number for number in (1, 2, 3, 4) if _is_whole(data[:number])), 1)
            keys.append(data[:length].decode("utf-8", "replace"))
            data = data[length:]
    return keys


def _is_whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class Keyboard:
    """The state between two keys: a filter that is being typed, an action that waits for a `y`."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self.is_typing = False
        self.pending: Action | None = None

    def press(self, key: str, table: Table) -> Action | None:
        """Act on a key; return an action that has been confirmed. Raises Quit."""
        look = self.look
        look.told = ""
        if self.pending is not None:
            return self._confirm(key)
        if self.is_typing:
            self._type(key)
        elif key in VIEWS:
            look.view, look.sort, look.is_reversed, look.chosen, look.shows_history = key, -1, False, 0, False
        elif key in ("q", "\x03", "\x04"):
            raise Quit
        elif key in _MOVES:
            look.chosen = max(0, look.chosen + _MOVES[key])
        elif key == "s":
            look.sort = -1 if look.sort + 1 >= len(table.titles) else look.sort + 1
        elif key == "/":
            self.is_typing = True
            look.question = f"filter: {look.wanted}_"
        elif key in _FLAGS:
            setattr(look, _FLAGS[key], not getattr(look, _FLAGS[key]))
        elif key in _ACTIONS and look.view == "u" and table.rows:
            self._ask(_ACTIONS[key], table.rows[min(look.chosen, len(table.rows) - 1)])
        return None

    def _type(self, key: str) -> None:
        look = self.look
        if key in ("\r", "\n", "\x1b"):
            self.is_typing = False
            look.wanted = "" if key == "\x1b" else look.wanted
        elif key in ("\x7f", "\b"):
            look.wanted = look.wanted[:-1]
        elif key.isprintable() and len(key) == 1:
            look.wanted += key
        look.question = f"filter: {look.wanted}_" if self.is_typing else ""

    def _ask(self, name: str, row: Row) -> None:
        self.pending = Action(name, *row.key)
        self.look.question = f"{name} {self.pending.server} of {self.pending.upstream}? y/n"

    def _confirm(self, key: str) -> Action | None:
        action, self.pending, self.look.question = self.pending, None, ""
        return action if key in ("y", "Y") else None


_MOVES = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -PAGE, "page down": PAGE}
_FLAGS = {
    "r": "is_reversed",
    "f": "failed_only",
    "\r": "shows_history",
    "\n": "shows_history",
    "p": "is_paused",
    "?": "shows_help",
}
_ACTIONS = {"d": "drain", "U": "up"}
