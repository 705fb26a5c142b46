"""The servers of an upstream after edits: those of the configuration, and the changes since.

An edit belongs to a server as its line is written: to its address, and to one of several with that address. It records what the
line said when it was made (its bases), and holds until a reload finds another line there: then the file has the last word. So
changes at run time stay with the servers that the file leaves unchanged, an added server stays until the file names it, and a
removed one stays away until its line is changed.

When the servers are kept in a file (`state`), that file follows each edit, and a reload may read it at any moment between two of
them: the text that was written for a server is then one of its bases, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wproxy.directives.upstream import UpstreamServer, upstream_server

Words = tuple[str, ...]
# The limit of remembered written lines, and of removed servers, while a reload may read the state file.
_MOST_BASES = 16
_MOST_GONE = 100
_KEYS = ("weight", "max_fails", "fail_timeout", "max_conns", "slow_start", "route", "service")
_FLAGS = ("backup", "down", "drain", "resolve")
_DEFAULTS = upstream_server("127.0.0.1")


class Edit(NamedTuple):
    """One server, changed, added or removed.

    id: the id of an added server. server: its address as written; nth: which one of that address. added: whether no line names
    it. bases: the forms that its line may have. words: its present form, as a `server` line would have it; None: removed.
    """

    id: int
    server: str
    nth: int
    added: bool
    bases: tuple[Words, ...]
    words: Words | None


class UpstreamEdits(NamedTuple):
    """All edits of an upstream. next: the least id that an added server may get."""

    next: int = 0
    edits: tuple[Edit, ...] = ()


class PresentServer(NamedTuple):
    """One server of an upstream now.

    id: the number of its line, or the one that was assigned to it. line: that of the configuration, None for an added server.
    server: its present state, None when it was removed. edit: the one that applies.
    """

    id: int
    line: UpstreamServer | None
    server: UpstreamServer | None
    edit: Edit | None


Key = tuple[str, int]


def words_of(server: UpstreamServer) -> Words:
    """Return the arguments of a `server` line for a server: `127.0.0.1:80 weight=2 down`; defaults are left out."""
    words = [server.text]
    for key in _KEYS:
        value = getattr(server, key)
        if value != getattr(_DEFAULTS, key):
            words.append(f"{key}={time_text(value) if isinstance(value, float) else value}")
    return (*words, *(flag for flag in _FLAGS if getattr(server, flag)))


def time_text(seconds: float) -> str:
    """Return `10s` or `1500ms`."""
    return f"{int(seconds)}s" if seconds == int(seconds) else f"{round(seconds * 1000)}ms"


def present_servers(lines: Sequence[UpstreamServer], edits: UpstreamEdits) -> list[PresentServer]:
    """Return the servers of an upstream, including removed ones, in the order of the configuration, then of their addition."""
    by_key = {(edit.server, edit.nth): edit for edit in edits.edits}
    keys = _keys(lines)
    present = []
    for number, (key, line) in enumerate(zip(keys, lines)):
        edit = by_key.get(key)
        if edit is None or words_of(line) not in edit.bases:
            present.append(PresentServer(number, line, line, None))
        else:
            present.append(PresentServer(number, line, _server(edit.words), edit))
    known = set(keys)
    for edit in edits.edits:
        if edit.added and edit.words is not None and (edit.server, edit.nth) not in known:
            present.append(PresentServer(_id(edit, lines, edits), None, _server(edit.words), edit))
    return present


def _server(words: Words | None) -> UpstreamServer | None:
    return None if words is None else upstream_server(*words)


def _id(edit: Edit, lines: Sequence[UpstreamServer], edits: UpstreamEdits) -> int:
    """Return the id of an added server; a new one when the configuration has reached that many lines since a reload."""
    return edit.id if edit.id >= len(lines) else max(len(lines), edits.next) + edit.id


def _keys(lines: Sequence[UpstreamServer]) -> list[Key]:
    seen: dict[str, int] = {}
    keys = []
    for line in lines:
        nth = seen[line.text] = seen.get(line.text, -1) + 1
        keys.append((line.text, nth))
    return keys


def added(lines: Sequence[UpstreamServer], edits: UpstreamEdits, server: UpstreamServer, is_kept: bool) -> UpstreamEdits:
    """Return the edits with one more server. is_kept: there is a state file. Raises ValueError for an existing address."""
    present = present_servers(lines, edits)
    if any(each.server is not None and each.server.text == server.text for each in present):
        raise ValueError(f'server "{server.text}" exists already')
    words = words_of(server)
    away = next((each for each in present if each.line is not None and each.line.text == server.text), None)
    if away is not None:
        return changed(lines, edits, away, server, is_kept)
    others = [edit for edit in edits.edits if edit.server != server.text]
    bases = tuple(base for edit in edits.edits if edit.server == server.text for base in edit.bases)
    number = max(len(lines), edits.next)
    edit = Edit(number, server.text, 0, True, _bases(bases, words, is_kept), words)
    return UpstreamEdits(number + 1, (*others, edit))


def changed(
    lines: Sequence[UpstreamServer], edits: UpstreamEdits, present: PresentServer, server: UpstreamServer | None, is_kept: bool
) -> UpstreamEdits:
    """Return the edits with this server in its new form; None: without it. is_kept: there is a state file."""
    words = None if server is None else words_of(server)
    old = present.edit
    if present.line is not None:
        key = _keys(lines)[present.id]
        base = words_of(present.line)
        bases = old.bases if old is not None else (base,)
        edit = Edit(0, *key, False, _bases(bases, words, is_kept), words)
        is_needed = is_kept or words != base
    else:
        assert old is not None
        key = (old.server, old.nth)
        edit = old._replace(id=present.id, bases=_bases(old.bases, words, is_kept), words=words)
        is_needed = is_kept or words is not None
    others = [each for each in edits.edits if (each.server, each.nth) != key]
    gone = [each for each in others if each.words is None and each.added][:-_MOST_GONE]
    kept = [each for each in others if each not in gone]
    return UpstreamEdits(max(edits.next, present.id + 1), (*kept, edit) if is_needed else tuple(kept))


def _bases(bases: tuple[Words, ...], words: Words | None, is_kept: bool) -> tuple[Words, ...]:
    if not is_kept or words is None or words in bases:
        return bases
    return (*bases, words)[-_MOST_BASES:]


def pruned(lines: Sequence[UpstreamServer], edits: UpstreamEdits) -> UpstreamEdits:
    """Return the edits without those that a new configuration has overruled or contains itself."""
    by_key = dict(zip(_keys(lines), lines))
    kept = []
    for edit in edits.edits:
        line = by_key.get((edit.server, edit.nth))
        if line is None:
            if edit.added and edit.words is not None:
                kept.append(edit._replace(id=_id(edit, lines, edits)))
        elif words_of(line) in edit.bases and edit.words != words_of(line):
            kept.append(edit._replace(added=False))
    return UpstreamEdits(max([edits.next, *(edit.id + 1 for edit in kept)]), tuple(kept))


def encode(edits: Mapping[str, UpstreamEdits]) -> bytes:
    """Return the edits of all upstreams as a text."""
    return json.dumps(edits, separators=(",", ":")).encode("ascii")


def decode(text: bytes) -> dict[str, UpstreamEdits]:
    """Read the text that `encode` has made; raises ValueError."""
    return {name: UpstreamEdits(following, tuple(map(_edit, edits))) for name, (following, edits) in _load(text).items()}


def _load(text: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def _edit(row: list[Any]) -> Edit:
    number, server, nth, is_added, bases, words = row
    return Edit(number, server, nth, is_added, tuple(map(tuple, bases)), None if words is None else tuple(words))
