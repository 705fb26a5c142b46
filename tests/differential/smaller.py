"""Cutting a failing configuration down: whatever can go without the difference going, goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from differential.backend import Reply
from differential.conversation import Conversation
from differential.tree import Line

Tree = tuple[Line, ...]


MOST_SECONDS = 40.0


def smaller_tree(tree: Tree, still_fails: Callable[[Tree], bool]) -> Tree:
    """The tree without every line that is not needed, outer blocks first; as small as it gets in MOST_SECONDS."""
    limit = time.monotonic() + MOST_SECONDS
    is_progress = True
    while is_progress:
        is_progress = False
        for line in removable(tree):
            if time.monotonic() > limit:
                return tree
            if not any(line is other for top in tree for other in top.all_lines()):
                continue  # it went with its block
            trial = tuple(top.without(line) for top in tree if top is not line)
            if still_fails(trial):
                tree, is_progress = trial, True
    return tree


def removable(tree: Tree) -> list[Line]:
    """What may be taken out: blocks before what stands in them, so that much goes at once."""
    found: list[Line] = []
    level = list(tree)
    while level:
        found += [line for line in level if not line.is_fixed]
        level = [child for line in level for child in line.children or ()]
    return found


def smaller_conversation(conversation: Conversation, still_fails: Callable[[Conversation], bool]) -> Conversation:
    """The conversation without every step, and every field of a request, that is not needed."""
    for step in conversation.steps[:-1]:
        trial = replace(conversation, steps=tuple(one for one in conversation.steps if one is not step))
        if still_fails(trial):
            conversation = trial
    for index, step in enumerate(conversation.steps):
        for replies in ((Reply(),), step.replies[:1]):
            trial = with_step(conversation, index, replies=replies)
            if replies != step.replies and still_fails(trial):
                conversation = trial
                break
        if len(step.pieces) > 1:
            continue
        head, blank, body = step.data.partition(b"\r\n\r\n")
        for line in head.split(b"\r\n")[1:]:
            if line.lower().startswith((b"host:", b"content-length:", b"transfer-encoding:")):
                continue
            shorter = b"\r\n".join(one for one in head.split(b"\r\n") if one is not line)
            trial = with_step(conversation, index, pieces=(shorter + blank + body,))
            if still_fails(trial):
                conversation, head = trial, shorter
    return conversation


def with_step(conversation: Conversation, index: int, **changes: Any) -> Conversation:
    """The conversation with one of its steps changed."""
    steps = list(conversation.steps)
    steps[index] = replace(steps[index], **changes)
    return replace(conversation, steps=tuple(steps))


def only(conversations: Sequence[Conversation], index: int) -> list[Conversation]:
    """The one conversation that a difference is about."""
    return [conversations[index]] if index >= 0 else list(conversations)
