"""Messages of `-t` and of a start about directives that are accepted and have no effect yet.

`resolve` notes every such directive and parameter (`ineffective`); `warnings` and `refusals` turn the notes into words. A warning
names each directive once, where it first appears, and counts the others. A refusal is for directives whose absence would make the
server less safe than its configuration says; `-t` shows it as a warning too and succeeds, because the configuration loads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from wproxy.config.registry import Directive
from wproxy.config.tree import Node, Position, Problem
from wproxy.directives.accepted import IDLE


class Ineffective(NamedTuple):
    """One directive or parameter without effect: its name, its place, and whether a start must refuse it."""

    subject: str
    position: Position
    guards: bool


def is_idle(node: Node) -> bool:
    """Whether this directive asks for nothing beyond the default, such as `auth_basic off` and `allow all`."""
    words = IDLE.get(node.name)
    return words is not None and len(node.arguments) == 1 and node.arguments[0].lower() in words


def ineffective(row: Directive, node: Node) -> list[Ineffective]:
    """Return the notes about one directive and its parameters; none when everything in it works or asks for nothing."""
    if not row.effective and not is_idle(node):
        return [Ineffective(f'"{node.name}" directive', node.position, row.guards)]
    return [
        Ineffective(f'"{word}" parameter of "{node.name}" directive', node.position, row.idle_parameters[word])
        for word in node.arguments[1:]
        if word in row.idle_parameters
    ]


def warnings(found: Iterable[Ineffective]) -> list[Problem]:
    """Return a warning for each directive or parameter, in the order of the file."""
    return [
        Problem(f"{places[0].subject} is accepted and not yet effective{_others(places)}{_refused(places)}", places[0].position)
        for places in _by_subject(found)
    ]


def refusals(found: Iterable[Ineffective]) -> list[Problem]:
    """Return the errors that keep a server from starting: one for each directive or parameter that it cannot safely lack."""
    return [
        Problem(
            f"{places[0].subject} is not yet effective, and without it this server would be less safe than its configuration says"
            f"{_others(places)}",
            places[0].position,
        )
        for places in _by_subject(note for note in found if note.guards)
    ]


def _by_subject(found: Iterable[Ineffective]) -> list[list[Ineffective]]:
    groups: dict[str, list[Ineffective]] = {}
    for note in found:
        groups.setdefault(note.subject, []).append(note)
    return list(groups.values())


def is_refused(warning: Problem) -> bool:
    """Tell whether a warning is about something that a start refuses, and so is among the refusals too."""
    return warning.text.endswith(_REFUSED)


_REFUSED = ": a start refuses it"


def _refused(places: list[Ineffective]) -> str:
    return _REFUSED if any(note.guards for note in places) else ""


def _others(places: list[Ineffective]) -> str:
    return f" ({len(places)} times)" if len(places) > 1 else ""
