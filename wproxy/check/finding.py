"""Rules and findings.

A rule looks at the blocks of a configuration (`wproxy.check.blocks`) and yields what it found: where, why that is trouble and how
to fix it, both in words about this very place. The generated page shows its examples, and its test runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from wproxy.config.tree import Position

if TYPE_CHECKING:
    from wproxy.check.blocks import Blocks

# The severities. Errors never do what was meant; warnings seldom do; infos are worth knowing.
ERROR = "error"
WARNING = "warning"
INFO = "info"
SEVERITIES = (ERROR, WARNING, INFO)


class Found(NamedTuple):
    """A result of a rule. severity: overrides the rule's when this case is less severe than most; None for the rule's."""

    position: Position | None
    reason: str
    fix: str
    severity: str | None = None


Find = Callable[["Blocks"], Iterable[Found]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table of rules.

    id: stable, for comments and programs. severity: one of SEVERITIES. summary: its subject, in one line. why: a few sentences.
    bad, good: examples in nginx's syntax. around: the block around the examples, "server", "http" or "main".
    """

    id: str
    severity: str
    summary: str
    why: str
    find: Find
    bad: str
    good: str
    around: str = "server"


class Finding(NamedTuple):
    """One finding, ready to be reported.

    rule: the id of its rule, or one of BUILT_IN. also: further places of the same finding.
    """

    rule: str
    severity: str
    position: Position | None
    reason: str
    fix: str
    also: tuple[Position, ...] = ()


# The ids that no rule has: messages of `-t`, and problems with comments.
CONFIGURATION = "configuration"
NOT_YET_EFFECTIVE = "not-yet-effective"
START_REFUSED = "start-refused"
TEST_WARNING = "test-warning"
UNKNOWN_RULE = "unknown-rule"
BUILT_IN = {
    CONFIGURATION: (ERROR, "an error of `-t`: the configuration cannot be used. It cannot be silenced"),
    START_REFUSED: (ERROR, "a protective directive is not effective yet: a start refuses the configuration"),
    TEST_WARNING: (WARNING, "a warning of `-t`, such as a conflicting server name"),
    NOT_YET_EFFECTIVE: (INFO, "a directive is accepted but has no effect yet"),
    UNKNOWN_RULE: (INFO, "a comment silences a rule that does not exist"),
}
