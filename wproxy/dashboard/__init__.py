"""The page of the dashboard: one document that asks nobody else, and the policy that lets a browser run nothing but it."""

from __future__ import annotations

import base64
import hashlib
import html
import os
from typing import Any, NamedTuple

_HERE = os.path.dirname(os.path.abspath(__file__))


class Page(NamedTuple):
    """The page in parts. policy: the value of Content-Security-Policy."""

    text: str
    policy: bytes

    def render(self, state: dict[str, Any], may_write: bool) -> bytes:
        """Return the document; a browser without scripts shows the state as it is now."""
        filled = self.text.replace("{write}", "1" if may_write else "0").replace("{plain}", plain(state))
        return filled.encode("utf-8", "replace")


def load_page() -> Page:
    """Read the files of the page."""
    text, style, script = (_read(name) for name in ("page.html", "style.css", "script.js"))
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(text.replace("{style}", style).replace("{script}", script), policy.encode())


def _read(name: str) -> str:
    with open(os.path.join(_HERE, name), encoding="utf-8") as file:
        return file.read()


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def plain(state: dict[str, Any]) -> str:
    """Return the state as tables, for browsers without scripts."""
    totals = state["totals"]
    peers = [
        (name, peer["server"], peer["state"], peer["requests"], peer["active"], peer["fails"])
        for name, group in state["upstreams"].items()
        for peer in group["peers"].values()
    ]
    return (
        f"<p>{totals['requests']} requests, {totals['active']} active, {totals['connections']} connections; "
        "load this page again for newer numbers.</p>"
        + _table("Upstreams", ("upstream", "server", "state", "requests", "active", "fails"), peers)
        + _table("Causes", ("cause", "count"), [(code, found["count"]) for code, found in state["causes"].items()])
    )


def _table(caption: str, titles: tuple[str, ...], rows: list[Any]) -> str:
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><caption>{caption}</caption><tr>{head}</tr>{lines}</table>"
