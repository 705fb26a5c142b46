"""`wproxy upstream ACTION ...`: its words and its output. `master.api_client` asks the running server."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import quote

from wproxy.cli import ACTIONS


class CannotChange(Exception):
    """The change could not be made; the message gives the reason in one line."""


_CHANGES = {
    "drain": {"drain": True, "down": False},
    "down": {"down": True, "drain": False},
    "up": {"down": False, "drain": False},
}
_NUMBERS = ("weight", "max_conns", "max_fails")
_FLAGS = ("backup", "down", "drain")
_COLUMNS = (
    "UPSTREAM",
    "SERVER",
    "STATE",
    "WEIGHT",
    "BACKUP",
    "ACTIVE",
    "REQUESTS",
    "FAILS",
    "RECEIVED",
    "SENT",
    "HEADER",
    "TIME",
)


class Api(Protocol):
    """A client of the server's API."""

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON answer to a request for a path below /api/9; raises CannotChange with the server's reason."""
        ...


def run_action(name: str, words: Sequence[str], as_json: bool, api: Api) -> str:
    """Run one of ACTIONS; return the text to print. Raises CannotChange."""
    if name not in ACTIONS:
        raise CannotChange(f'unknown action "{name}", choose from: {", ".join(ACTIONS)}')
    action = ACTIONS[name]
    if not action.least <= len(words) <= action.most:
        raise CannotChange(f"usage: wproxy upstream {action.usage}")
    if name == "list":
        return list_upstreams(words[0] if words else "", as_json, api)
    upstream, server = words[:2]
    place = f"/http/upstreams/{quote(upstream, safe='')}/servers"
    if name == "add":
        api.ask("POST", place, parameters(server, words[2:]))
        return f"wproxy: {server} added to {upstream}\n"
    number = find_server(api.ask("GET", place), api, upstream, server)
    if name == "remove":
        api.ask("DELETE", f"{place}/{number}")
        return f"wproxy: {server} removed from {upstream}\n"
    if name == "weight":
        api.ask("PATCH", f"{place}/{number}", {"weight": as_number(words[2])})
        return f"wproxy: {server} of {upstream} has the weight {words[2]}\n"
    api.ask("PATCH", f"{place}/{number}", _CHANGES[name])
    return f"wproxy: {server} of {upstream} is {'draining' if name == 'drain' else name}\n"


def find_server(servers: list[dict[str, Any]], api: Api, upstream: str, server: str) -> int:
    """Return the id of a server by its address, as it is written or as it was found; raises CannotChange."""
    found = {each["id"] for each in servers if each["server"] == server}
    if not found:
        peers = api.ask("GET", f"/http/upstreams/{quote(upstream, safe='')}")["peers"]
        found = {peer["id"] for peer in peers if peer["server"] == server}
        others = [peer["server"] for peer in peers if peer["id"] in found and peer["server"] != server]
        if others:
            names = {each["server"] for each in servers if each["id"] in found}
            raise CannotChange(
                f'"{server}" is one address of {", ".join(sorted(names))}: its addresses can only be changed together'
            )
    if not found:
        known = ", ".join(each["server"] for each in servers) or "none"
        raise CannotChange(f'no server "{server}" in upstream "{upstream}", its servers: {known}')
    if len(found) > 1:
        raise CannotChange(f'"{server}" is {len(found)} times in upstream "{upstream}": change one by its id, over the API')
    number: int = found.pop()
    return number


def parameters(server: str, words: Sequence[str]) -> dict[str, Any]:
    """Return the JSON to post for a server with the parameters of a `server` line; raises CannotChange."""
    found: dict[str, Any] = {"server": server}
    for word in words:
        key, equals, value = word.partition("=")
        if word in _FLAGS:
            found[word] = True
        elif not equals:
            raise CannotChange(f'invalid parameter "{word}"')
        else:
            found[key] = as_number(value) if key in _NUMBERS else value
    return found


def as_number(text: str) -> int:
    """Read a number; raises CannotChange."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise CannotChange(f'"{text}" is not a number')
    return int(text)


def list_upstreams(name: str, as_json: bool, api: Api) -> str:
    """List all upstreams or one, as a table or as JSON."""
    if name:
        found = {name: api.ask("GET", f"/http/upstreams/{quote(name, safe='')}")}
    else:
        found = api.ask("GET", "/http/upstreams")
    for upstream, shown in found.items():
        shown["servers"] = api.ask("GET", f"/http/upstreams/{quote(upstream, safe='')}/servers")
    return json.dumps(found, indent=2) + "\n" if as_json else as_table(found)


def count_peers(api: Api) -> dict[str, dict[str, int]]:
    """Count the peers of each upstream by state; empty when there is no API or it does not answer."""
    try:
        found = api.ask("GET", "/http/upstreams")
    except CannotChange:
        return {}
    return {name: dict(Counter(peer["state"] for peer in shown["peers"])) for name, shown in found.items()}


def as_table(found: dict[str, Any]) -> str:
    """Return a line for each peer, and for each server that has none."""
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for upstream, shown in found.items():
        rows += [peer_row(upstream, peer) for peer in shown["peers"]]
        known = {peer["id"] for peer in shown["peers"]}
        rows += [
            (upstream, each["server"], "unresolved", str(each["weight"]), "backup" if each["backup"] else "", *[""] * 7)
            for each in shown["servers"]
            if each["id"] not in known
        ]
    return table(rows)


def table(rows: list[tuple[str, ...]]) -> str:
    """Return rows of cells as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)


def peer_row(upstream: str, peer: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a peer; its name follows the address."""
    server = peer["server"] if peer["name"] == peer["server"] else f"{peer['server']} ({peer['name']})"
    counts = (str(peer[key]) for key in ("active", "requests", "fails", "received", "sent"))
    times = (f"{peer[key]} ms" for key in ("header_time", "response_time"))
    backup = "backup" if peer["backup"] else ""
    return (upstream, server, peer["state"], str(peer["weight"]), backup, *counts, *times)
