"""What a rule is and what it finds.

A rule looks at the blocks of a configuration (`wproxy.check.blocks`) and yields what it found: where, why that is trouble and how
to mend it, both in words about this very place. Its examples are what the generated page shows and what its test runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from wproxy.config.tree import Position

if TYPE_CHECKING:
    from wproxy.check.blocks import Blocks

# How grave a finding is. Errors never do what was meant; warnings seldom do; infos are worth knowing.
ERROR = "error"
WARNING = "warning"
INFO = "info"
SEVERITIES = (ERROR, WARNING, INFO)


class Found(NamedTuple):
    """What a rule yields. severity: other than the rule's, where this case is less grave than most; None for the rule's."""

    position: Position | None
    reason: str
    fix: str
    severity: str | None = None


Find = Callable[["Blocks"], Iterable[Found]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table of rules.

    id: stable, for comments and programs. severity: one of SEVERITIES. summary: one line, what it is about. why: a few sentences.
    bad, good: examples in nginx's syntax. around: the block that the examples stand in, "server", "http" or "main".
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

    rule: the id of its rule, or one of BUILT_IN. also: further places of the very same finding.
    """

    rule: str
    severity: str
    position: Position | None
    reason: str
    fix: str
    also: tuple[Position, ...] = ()


# The ids that no rule has: what `-t` says, and what is wrong with a comment.
CONFIGURATION = "configuration"
NOT_YET_EFFECTIVE = "not-yet-effective"
START_REFUSED = "start-refused"
TEST_WARNING = "test-warning"
UNKNOWN_RULE = "unknown-rule"
BUILT_IN = {
    CONFIGURATION: (ERROR, "what `-t` calls an error: the configuration cannot be used. It cannot be silenced"),
    START_REFUSED: (ERROR, "a directive that protects is not effective yet: a start refuses the configuration"),
    TEST_WARNING: (WARNING, "what `-t` warns of, a conflicting server name among other things"),
    NOT_YET_EFFECTIVE: (INFO, "a directive is accepted and does nothing yet"),
    UNKNOWN_RULE: (INFO, "a comment silences a rule that does not exist"),
}
