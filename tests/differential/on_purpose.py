"""Differences that are on purpose, each with its reason, and those that are known and being mended (KNOWN, to be emptied)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from differential.comparison import Difference
from differential.conversation import Conversation


class Exemption(NamedTuple):
    """kind: a regex for the whole kind of a difference. seen: one that what is to be seen of it, or the configuration, has to hold.

    reason: why the difference may be.
    """

    kind: str
    seen: str
    reason: str

    def applies(self, difference: Difference, text: str) -> bool:
        """Whether a difference is this one."""
        shown = f"{difference.theirs}\n{difference.ours}\n{text}"
        return bool(re.fullmatch(self.kind, difference.kind) and re.search(self.seen, shown))


ON_PURPOSE = (
    Exemption(
        "interim", "100 Continue", "100 Continue is left out where nobody waits for it: the body is there, or nobody reads it"
    ),
)

# Faults of the list that issue 12 mends: a line goes as soon as its fault has.
KNOWN = (
    Exemption("refused by nginx alone: .*", r"gzip_hash|gzip_window|_lowat|postpone_|read_ahead|pool_size", "1.6"),
    Exemption("(count of )?log lines", "", "4"),
)


def reason_of(difference: Difference, text: str, conversations: Sequence[Conversation]) -> str:
    """Why a difference may be; empty when it may not."""
    return next((one.reason for one in (*ON_PURPOSE, *KNOWN) if one.applies(difference, text)), "")
