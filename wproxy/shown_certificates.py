"""Certificate files in the words of `wproxy status` and `wproxy explain`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime

from wproxy.certificate import read_certificates, shown_name
from wproxy.config.tree import Node

# The number of names that are listed in full.
_MOST_NAMES = 4


@dataclass(slots=True)
class ShownCertificate:
    """A certificate file that the configuration names. file, at: as written, and where.

    expires: in ISO 8601, "" if unknown; days_left: whole days until then, negative afterwards, None if unknown. modified: the
    time of the file's last change in unix seconds. problem: the reason for knowing nothing, otherwise "".
    """

    file: str
    at: str
    subject: str = ""
    issuer: str = ""
    names: list[str] = field(default_factory=list)
    key: str = ""
    expires: str = ""
    days_left: int | None = None
    modified: int = 0
    problem: str = ""

    @property
    def shown_names(self) -> str:
        """The names, the first of them if there are many."""
        if len(self.names) > _MOST_NAMES:
            return f"{', '.join(self.names[: _MOST_NAMES - 1])} and {len(self.names) - _MOST_NAMES + 1} more"
        return ", ".join(self.names) or "no name"

    @property
    def shown_days(self) -> str:
        """The days left, in words."""
        if self.days_left is None:
            return ""
        if self.days_left < 0:
            return "EXPIRED"
        return f"{self.days_left} day{'' if self.days_left == 1 else 's'} left"

    def __str__(self) -> str:
        """Return one line for people."""
        if self.problem:
            return f"{self.file}: {self.problem}"
        return f"{self.file}: {self.subject} for {self.shown_names}, {self.key}, {self.shown_days} ({self.expires[:10]})"


def show_certificate(node: Node, directory: str, now: float) -> ShownCertificate:
    """Return the certificate of a directive that names one. directory: where relative paths start."""
    file = node.arguments[0] if node.arguments else ""
    shown = ShownCertificate(file, str(node.position))
    if "$" in file or file.startswith("data:"):
        shown.problem = "read at each handshake"
        return shown
    path = os.path.join(directory, file)
    try:
        with open(path, "rb") as opened:
            shown.modified = int(os.stat(opened.fileno()).st_mtime)
            chain = read_certificates(opened.read())
    except OSError as error:
        shown.problem = f"cannot be read: {error.strerror}"
        return shown
    except ValueError:
        shown.problem = "holds a broken certificate"
        return shown
    if not chain:
        shown.problem = "holds no certificate"
        return shown
    own = chain[0]
    shown.subject, shown.issuer = shown_name(own.subject) or "no subject", shown_name(own.issuer)
    shown.names, shown.key = list(own.all_names), own.shown_key
    shown.expires = datetime.fromtimestamp(own.not_after, UTC).isoformat()
    shown.days_left = own.days_left(now)
    return shown


def certificates_of(root: Node, directory: str, now: float) -> list[ShownCertificate]:
    """Return the certificates that the servers of a configuration name, each file once, in the order of the tree."""
    nodes: dict[str, Node] = {}
    for block in root.named("http"):
        for level in (block, *block.named("server")):
            for node in level.named("ssl_certificate"):
                nodes.setdefault(node.arguments[0] if node.arguments else "", node)
    return [show_certificate(node, directory, now) for node in nodes.values()]
