"""What `-t` and a start say about directives that are accepted and have no effect yet.

`resolve` notes every such directive (`ineffective`) and every such parameter of `listen` (`ineffective_listen`); `warnings` and
`refusals` turn the notes into words. A warning names each directive once, where it first stands, and counts the others. A refusal
is for those whose absence would make the server less safe than its configuration says; `-t` shows it as a warning too and
succeeds, because the configuration is one that loads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from wproxy.config.registry import Directive
from wproxy.config.tree import Node, Position, Problem
from wproxy.directives.accepted import IDLE

# Parameters of `listen` that have no effect yet, and whether a start refuses them: without `ssl` and `quic` what is meant to be
# secret would travel in the clear, without `proxy_protocol` every client would have the address of the balancer.
LISTEN_PARAMETERS = {"ssl": True, "quic": True, "proxy_protocol": True, "http2": False}


class Ineffective(NamedTuple):
    """One thing that was written and does nothing yet: what it is, where it stands and whether a start must refuse it."""

    subject: str
    position: Position
    guards: bool


def is_idle(node: Node) -> bool:
    """Whether this directive asks for nothing but what happens anyway, as `auth_basic off` and `allow all`."""
    words = IDLE.get(node.name)
    return words is not None and len(node.arguments) == 1 and node.arguments[0].lower() in words


def ineffective(row: Directive, node: Node) -> Ineffective | None:
    """The note about one directive and its row; None when it has its effect or asks for none."""
    if row.effective or is_idle(node):
        return None
    return Ineffective(f'"{node.name}" directive', node.position, row.guards)


def ineffective_listen(node: Node) -> list[Ineffective]:
    """The notes about the parameters of one `listen`."""
    return [
        Ineffective(f'"{parameter}" parameter of "listen" directive', node.position, LISTEN_PARAMETERS[parameter])
        for parameter in node.arguments[1:]
        if parameter in LISTEN_PARAMETERS
    ]


def warnings(found: Iterable[Ineffective]) -> list[Problem]:
    """A warning for each directive or parameter, in the order of the file."""
    return [
        Problem(f"{places[0].subject} is accepted and not yet effective{_others(places)}{_refused(places)}", places[0].position)
        for places in _by_subject(found)
    ]


def refusals(found: Iterable[Ineffective]) -> list[Problem]:
    """Why a server must not start: an error for each directive or parameter without which it would be less safe."""
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


def _refused(places: list[Ineffective]) -> str:
    return ": a start refuses it" if any(note.guards for note in places) else ""


def _others(places: list[Ineffective]) -> str:
    return f" ({len(places)} times)" if len(places) > 1 else ""
