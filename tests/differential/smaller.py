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


MOST_SECONDS = 60.0


def smaller_tree(tree: Tree, still_fails: Callable[[Tree], bool]) -> Tree:
    """The tree without every line that is not needed, outer blocks first; as small as it gets in MOST_SECONDS."""
    limit = time.monotonic() + MOST_SECONDS

    def cut(lines: list[Line]) -> bool:
        """Take out all of these lines, or else those of each half; whether anything went."""
        nonlocal tree
        if not lines or time.monotonic() > limit:
            return False
        trial = tree
        for line in lines:
            trial = tuple(top.without(line) for top in trial if top is not line)
        if still_fails(trial):
            tree = trial
            return True
        half = len(lines) // 2
        first = cut(lines[:half])
        return (cut(lines[half:]) or first) if half else False

    depth, is_progress = 0, False
    while True:
        level = removable(tree, depth)
        if level is None:
            if not is_progress or time.monotonic() > limit:
                return tree
            depth, is_progress = 0, False
            continue
        is_progress |= cut(level)
        depth += 1


def removable(tree: Tree, depth: int) -> list[Line] | None:
    """What may be taken out at a depth of blocks in blocks; None where the tree is not as deep."""
    level = list(tree)
    for _ in range(depth):
        level = [child for line in level for child in line.children or ()]
    return [line for line in level if not line.is_fixed] if level else None


def fewer_conversations(
    conversations: Sequence[Conversation], still_fails: Callable[[Sequence[Conversation]], bool]
) -> Sequence[Conversation]:
    """Only those that are needed, the last one being the one that shows it."""
    limit = time.monotonic() + MOST_SECONDS
    size = len(conversations) // 2
    while size:
        start = 0
        while start < len(conversations) - 1 and time.monotonic() < limit:
            trial = [*conversations[:start], *conversations[min(start + size, len(conversations) - 1) :]]
            if len(trial) < len(conversations) and still_fails(trial):
                conversations = trial
            else:
                start += size
        size //= 2
    return conversations


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
