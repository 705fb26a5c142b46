"""What `wproxy explain` says: the explanation as a value, how it is gathered on the way, and how it is shown.

Who goes the way is worker/explain.py; here are only words.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wproxy.config.model import Location


class CannotExplain(Exception):
    """The question makes no sense for this configuration; the message says why."""


@dataclass(slots=True)
class Explanation:
    """The answer, ready for JSON. Text is str; bytes of requests are shown as latin-1."""

    listener: str = ""
    listener_why: str = ""
    server: str = ""
    server_at: str = ""
    server_why: str = ""
    steps: list[dict[str, Any]] = field(default_factory=list)
    location: str = ""
    location_at: str = ""
    action: str = ""
    status: int = 0
    upstream: str = ""
    peers: list[str] = field(default_factory=list)
    upstream_head: str = ""
    file: str = ""
    response_head: str = ""
    added_fields: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    settings: list[dict[str, str]] = field(default_factory=list)


class Trace:
    """What a request is told about on its way; see Request.trace."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self._considered: list[dict[str, str]] = []
        self.file = ""

    def considered(self, location: Location, why: str) -> None:
        """A location was looked at."""
        self._considered.append({"location": shown_location(location), "at": str(location.position), "why": why})

    def located(self, location: Location) -> None:
        """The search for a location has ended with this one."""
        looked_at, self._considered = self._considered, []
        text = f"location {shown_location(location)}" if location.kind != "server" else "no location matches: the server itself"
        self.steps.append({"text": text, "at": str(location.position), "considered": looked_at})

    def step(self, step: object, text: str) -> None:
        """A step of the rewrite module was taken."""
        self.steps.append({"text": text})

    def opened(self, path: str) -> None:
        """A file was opened to be sent."""
        self.file = path

    def looked_for(self, what: str, path: str, is_there: bool) -> None:
        """A file or directory was looked for."""
        self.steps.append({"text": f"{what}: {path} {'is there' if is_there else 'is not there'}"})

    def jump(self, text: str) -> None:
        """The request was led elsewhere."""
        self.steps.append({"text": text})


def shown_location(location: Location) -> str:
    """A location as it is written: `= /x`, `~ \\.php$`, `@app`, with what is anonymous inside it."""
    text = location.pattern if location.modifier in ("", "@", "server") else f"{location.modifier} {location.pattern}"
    if location.kind in ("if", "limit_except"):
        return f"{location.kind} in {text}"
    return text or "(the server itself)"


def as_json(found: Explanation) -> str:
    """The explanation for programs: one object, its keys the names of `Explanation`."""
    return json.dumps(dataclasses.asdict(found), indent=2, ensure_ascii=False) + "\n"


# Why a location that has nothing to do with the URI is no choice.
NO_MATCH = ("exact, is another URI", "prefix, does not match")


def as_text(found: Explanation, all_of_it: bool = False) -> str:
    """The explanation for people. all_of_it: also locations that do not match, and settings that are defaults."""
    lines = [
        f"listener   {found.listener}: {found.listener_why}",
        f"server     {found.server} at {found.server_at}: {found.server_why}",
    ]
    for step in found.steps:
        at = f" at {step['at']}" if step.get("at") else ""
        lines.append(f"  - {step['text']}{at}")
        lines += [
            f"      {one['location']} at {one['at']}: {one['why']}"
            for one in step.get("considered", ())
            if all_of_it or one["why"] not in NO_MATCH
        ]
    lines.append(f"location   {found.location} at {found.location_at}")
    lines.append(f"action     {found.action}")
    if found.upstream:
        lines.append(f"upstream   {found.upstream}: {', '.join(found.peers)}")
        lines += ["the upstream receives", *_indented(found.upstream_head)]
    if found.file:
        lines.append(f"file       {found.file}")
    if found.response_head:
        lines += ["the client receives", *_indented(found.response_head)]
    if found.added_fields:
        lines += ["added to the response", *(f"    {added}" for added in found.added_fields)]
    if found.log:
        lines += ["the error log would say", *(f"    {line}" for line in found.log)]
    shown = [one for one in found.settings if all_of_it or one["from"] != "default"]
    if shown:
        lines.append("settings" if all_of_it else "settings (with --all those that are defaults too)")
        width = max(len(one["name"]) for one in shown)
        lines += [f"    {one['name']:<{width}}  {one['value']}  ({one['from']})" for one in shown]
    return "\n".join(lines) + "\n"


def _indented(head: str) -> list[str]:
    return [f"    {line}" for line in head.rstrip("\r\n").split("\r\n")]
