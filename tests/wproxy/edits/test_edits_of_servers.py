"""The servers of an upstream after edits, a reload and another edit: which of configuration and edit has the last word."""

from __future__ import annotations

import pytest

from wproxy.directives.upstream import upstream_server
from wproxy.edits.servers import UpstreamEdits, added, changed, decode, encode, present_servers, pruned, words_of

NONE = UpstreamEdits()


def lines(*texts: str):
    return tuple(upstream_server(*text.split()) for text in texts)


def now(configured, edits: UpstreamEdits) -> list[str]:
    """What the servers are, as `id: line`."""
    return [
        f"{each.id}: {' '.join(words_of(each.server))}" for each in present_servers(configured, edits) if each.server is not None
    ]


def edit(configured, edits: UpstreamEdits, number: int, text: str | None, is_kept: bool = False) -> UpstreamEdits:
    """The server of that id becomes this line; None: it is removed."""
    present = next(each for each in present_servers(configured, edits) if each.id == number)
    return changed(configured, edits, present, None if text is None else upstream_server(*text.split()), is_kept)


def add(configured, edits: UpstreamEdits, text: str, is_kept: bool = False) -> UpstreamEdits:
    return added(configured, edits, upstream_server(*text.split()), is_kept)


FILE = lines("a:1 weight=2", "b:1", "a:1")


def test_without_edits_the_servers_are_those_of_the_configuration():
    assert now(FILE, NONE) == ["0: a:1 weight=2", "1: b:1", "2: a:1"]


@pytest.mark.parametrize(
    "line",
    ["a:1", "a:1 weight=3 max_fails=0 fail_timeout=1500ms max_conns=7 slow_start=30s route=x backup down drain", "a.b resolve"],
)
def test_the_words_of_a_server_say_all_of_it(line):
    server = upstream_server(*line.split())
    assert upstream_server(*words_of(server)) == server


def test_a_server_is_changed_removed_and_added_and_others_are_left_alone():
    edits = edit(FILE, NONE, 2, "a:1 down")
    edits = edit(FILE, edits, 1, None)
    edits = add(FILE, edits, "c:1 backup")
    assert now(FILE, edits) == ["0: a:1 weight=2", "2: a:1 down", "3: c:1 backup"]
    assert now(FILE, edit(FILE, edits, 3, None)) == ["0: a:1 weight=2", "2: a:1 down"]


def test_ids_are_not_given_out_twice():
    edits = add(FILE, NONE, "c:1")
    edits = edit(FILE, edits, 3, None)
    assert now(FILE, add(FILE, edits, "d:1"))[-1] == "4: d:1"


def test_a_change_back_leaves_nothing_behind():
    edits = edit(FILE, edit(FILE, NONE, 1, "b:1 weight=9"), 1, "b:1")
    assert edits.edits == ()


def test_one_that_exists_is_not_added_again_and_one_that_was_removed_comes_back():
    with pytest.raises(ValueError, match='server "b:1" exists already'):
        add(FILE, NONE, "b:1 weight=5")
    edits = add(FILE, edit(FILE, NONE, 1, None), "b:1 weight=5")
    assert now(FILE, edits) == ["0: a:1 weight=2", "1: b:1 weight=5", "2: a:1"]


# A reload.


def test_edits_hold_for_lines_that_the_file_leaves_as_they_are():
    edits = add(FILE, edit(FILE, edit(FILE, NONE, 0, "a:1 drain"), 1, None), "c:1")
    moved = lines("b:1", "a:1 weight=2", "new:1", "a:1")
    assert now(moved, edits) == ["1: a:1 drain", "2: new:1", "3: a:1", "7: c:1"], "an id that the file needs is given up"
    assert now(moved, pruned(moved, edits)) == now(moved, edits)


@pytest.mark.parametrize(
    ("change", "file", "then"),
    [
        ("a:1 drain", ["a:1 weight=4", "b:1"], ["0: a:1 weight=4", "1: b:1"]),
        (None, ["a:1 weight=4", "b:1"], ["0: a:1 weight=4", "1: b:1"]),
        ("a:1 drain", ["b:1"], ["0: b:1"]),
    ],
)
def test_a_line_that_the_file_has_changed_overrules_the_edit_for_good(change, file, then):
    edits = edit(FILE, NONE, 0, change)
    reloaded = lines(*file)
    assert now(reloaded, edits) == then
    assert pruned(reloaded, edits).edits == ()


def test_a_server_that_was_added_is_the_files_once_that_names_it():
    edits = add(FILE, NONE, "c:1 weight=5")
    reloaded = lines("a:1 weight=2", "c:1")
    assert now(reloaded, edits) == ["0: a:1 weight=2", "1: c:1"]
    assert pruned(reloaded, edits).edits == ()


# With a state file, which follows each edit and may be read at any moment.


def test_a_reload_that_has_read_the_state_file_between_two_edits_obeys_the_later_one():
    loaded = lines("a:1")
    first = edit(loaded, NONE, 0, "a:1 weight=3", is_kept=True)
    second = edit(loaded, first, 0, "a:1 weight=5", is_kept=True)
    read_between = lines("a:1 weight=3")
    assert now(read_between, second) == ["0: a:1 weight=5"]
    assert now(lines("a:1 weight=5"), second) == ["0: a:1 weight=5"]
    assert now(lines("a:1 weight=7"), second) == ["0: a:1 weight=7"], "someone has edited the file"


def test_what_was_removed_stays_away_though_a_reload_has_read_it_before():
    edits = edit((), add((), NONE, "c:1", is_kept=True), 0, None, is_kept=True)
    assert now((), edits) == []
    assert now(lines("c:1"), edits) == []
    assert now(lines("c:1"), add(lines("c:1"), edits, "c:1 weight=2", is_kept=True)) == ["0: c:1 weight=2"]
    assert now((), add((), edits, "c:1 weight=2", is_kept=True)) == ["1: c:1 weight=2"]
    assert pruned((), edits).edits == ()


def test_servers_that_come_and_go_for_ever_do_not_fill_the_memory():
    edits = NONE
    for number in range(500):
        edits = add((), edits, f"c{number}:1", is_kept=True)
        edits = edit((), edits, number, None, is_kept=True)
    assert len(edits.edits) < 120


def test_edits_survive_as_text():
    edits = {
        "app": add(
            FILE, edit(FILE, edit(FILE, NONE, 0, "a:1 drain"), 1, None), "c:1 route=\u00e4\udcff".replace("\u00e4\udcff", "r")
        )
    }
    assert decode(encode(edits)) == edits
    assert decode(b"") == {}
