"""From a seed to what the two fronts do differently with it: the whole of one comparison.

nginx names one mistake at a time and wproxy all of them. So a configuration that nginx refuses is asked of wproxy, which has to
blame that line too; then the line goes, until nginx accepts what is left, and wproxy has to as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from random import Random

from differential import choices, raw, requests, trees
from differential.comparison import Difference, compare
from differential.conversation import Conversation, Step
from differential.fronts import Front, Site
from differential.on_purpose import reason_of, unexplained
from differential.smaller import Tree, fewer_conversations, only, smaller_conversation, smaller_tree
from differential.tree import Line, Written, write

_LINE = re.compile(r"server\.conf:(\d+)")
MOST_REFUSALS = 30
RAW_CONVERSATIONS = 150


@dataclass
class Finding:
    """A difference, and what shows it."""

    difference: Difference
    text: str
    conversations: Sequence[Conversation]

    def __str__(self) -> str:
        asked = "\n".join(describe(step) for conversation in self.conversations[:6] for step in conversation.steps)
        return f"{self.difference}\n--- configuration\n{without_frame(self.text)}\n--- asked\n{asked}\n"


def describe(step: Step) -> str:
    replies = "\n".join(f"    backend{' (closes)' if reply.closes else ''}: {reply.data[:400]!r}" for reply in step.replies)
    return f"{step.data[:600]!r}\n{replies}"


_FRAME = re.compile(
    r"^\s*(?:(?:daemon|master_process|pid|lingering_timeout|\w+_temp_path) .*|root DIR/www;|access_log DIR/access.log main;)\n",
    re.M,
)


def without_frame(text: str) -> str:
    """The configuration without the lines that all have."""
    return _FRAME.sub("", text)


def report(site: Site, findings: Sequence[Finding]) -> str:
    """All findings, the same in every run."""
    return "\n\n".join(site.unfill(str(finding)) for finding in findings)


class Pair:
    """Both fronts of one site."""

    def __init__(self, site: Site, nginx: Front, wproxy: Front) -> None:
        self.site = site
        self.nginx = nginx
        self.wproxy = wproxy

    def examine(self, seed: int, is_old: bool = False, known: Set[str] = frozenset()) -> list[Finding]:
        """Every difference that is not on purpose, each cut down to what is needed for it. known: kinds that are of no interest."""
        random = Random(seed)
        tree = trees.configurations(is_old).draw(random)
        conversations = choices.lists(requests.conversations(), min_size=15, max_size=25).draw(random)
        found: list[Finding] = []
        kinds = set(known)
        tree = self.acceptable(tree, found, kinds)
        if not tree:
            return found
        for difference in self.differences(write(tree), conversations):
            if difference.kind not in kinds:
                kinds.add(difference.kind)
                found.append(self.smallest(difference, tree, conversations))
        return found

    def examine_raw(self, seed: int, known: Set[str] = frozenset()) -> list[Finding]:
        """The same for raw requests through a configuration that stays."""
        asked = choices.lists(raw.raw_conversations(), min_size=RAW_CONVERSATIONS, max_size=RAW_CONVERSATIONS).draw(Random(seed))
        found: list[Finding] = []
        for difference in self.differences_of_text(raw.CONFIGURATION, asked):
            if difference.kind not in known and difference.kind not in (one.difference.kind for one in found):
                found.append(Finding(difference, "", only(asked, difference.conversation)))
        return found

    def acceptable(self, tree: Tree, found: list[Finding], kinds: set[str]) -> Tree:
        """The tree without what nginx refuses; () where that is not to be found out. Differences about it are added to `found`."""
        for _ in range(MOST_REFUSALS):
            written = write(tree)
            refusal = self.nginx.test(written.text)
            if not refusal:
                ours = self.wproxy.test(written.text)
                if not ours:
                    return tree
                line = blamed(ours, written)
                difference = Difference(f"accepted by nginx alone: {generalised(ours)}", "accepted", ours)
                if difference.kind not in kinds and not reason_of(difference, written.text, ()):
                    kinds.add(difference.kind)
                    found.append(self.smallest_refusal(difference, tree, line))
            else:
                line = blamed(refusal, written)
                ours = self.wproxy.test(written.text)
                if not same_complaint(refusal, ours):
                    difference = Difference(f"refused by nginx alone: {generalised(refusal)}", refusal, ours)
                    if difference.kind not in kinds and not reason_of(difference, written.text, ()):
                        kinds.add(difference.kind)
                        found.append(self.smallest_refusal(difference, tree, line))
            if line is None or line.is_fixed:
                return ()
            tree = tuple(top.without(line) for top in tree if top is not line)
        return ()

    def smallest_refusal(self, difference: Difference, tree: Tree, line: Line | None) -> Finding:
        """The same with little else than the line that is blamed."""
        fronts = (self.nginx, self.wproxy) if difference.kind.startswith("refused") else (self.wproxy, self.nginx)

        def still_differs(trial: Tree) -> bool:
            text = write(trial).text
            return generalised(fronts[0].test(text)) in difference.kind and not fronts[1].test(text)

        if line is not None:
            alone = tuple(one for top in tree if (one := top.around(line)) is not None)
            if still_differs(alone):
                tree = alone
        if still_differs(tree):
            tree = smaller_tree(tree, still_differs)
        return Finding(difference, write(tree).text, ())

    def differences(self, written: Written, conversations: Sequence[Conversation]) -> list[Difference]:
        """What is not on purpose."""
        return self.differences_of_text(written.text, conversations)

    def differences_of_text(self, text: str, conversations: Sequence[Conversation]) -> list[Difference]:
        """The same for a configuration that was written by hand."""
        theirs, ours = self.nginx.run(text, conversations), self.wproxy.run(text, conversations)
        return unexplained(compare(theirs, ours, conversations), text, conversations)

    def smallest(self, difference: Difference, tree: Tree, conversations: Sequence[Conversation]) -> Finding:
        """The difference again, in the smallest tree and conversation that show one of its kind."""
        last = difference

        def fails(trial: Tree, asked: Sequence[Conversation]) -> bool:
            nonlocal last
            written = write(trial)
            if self.nginx.test(written.text):
                return False
            same = [one for one in self.differences(written, asked) if one.kind == difference.kind]
            if same:
                last = same[0]
            return bool(same)

        asked = only(conversations, difference.conversation)
        if not fails(tree, asked):  # it takes what went before
            asked = list(conversations)[: difference.conversation + 1 or None]
            if not fails(tree, asked):
                once = Difference(f"once only: {difference.kind}", difference.theirs, difference.ours)
                return Finding(once, write(tree).text, only(conversations, difference.conversation))
            asked = fewer_conversations(asked, lambda trial: fails(tree, trial))
        tree = smaller_tree(tree, lambda trial: fails(trial, asked))
        if len(asked) == 1:
            asked = [smaller_conversation(asked[0], lambda trial: fails(tree, [trial]))]
        fails(tree, asked)
        return Finding(last, write(tree).text, asked)


def same_complaint(refusal: str, ours: str) -> bool:
    """Whether the one of nginx's is among ours: of the same line, or the same words about a block as a whole."""
    number = (_LINE.findall(refusal) or ["none"])[0]
    return number in _LINE.findall(ours) or generalised(refusal) in map(generalised, ours.splitlines())


def blamed(complaint: str, written: Written) -> Line | None:
    """The directive that a complaint names by its line."""
    match = _LINE.search(complaint)
    return written.owner(int(match[1])) if match else None


_VARYING = re.compile(r'^\S+ \S+ \[emerg\] \S+|"[^"]*"|in /\S+')


def generalised(complaint: str) -> str:
    """The first line of a complaint without names, numbers and places."""
    first = complaint.partition("\n")[0]
    return " ".join(_VARYING.sub("", first).split())
