"""`wproxy cache`, with a server whose answers are scripted: what is asked, what is printed, what a person is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wproxy.cache.counters import as_json
from wproxy.cache_command import run_cache_action, size_text, time_text
from wproxy.upstream_command import CannotChange

ZONE = {
    "size": 5000,
    "cold": False,
    "max_size": 10 << 20,
    **as_json([5, 100, 1, 10, 0, 0, 0, 0, 2, 7, 2, 7, 0, 0, 0, 0, 2, 9, 0, 0]),
}
ENTRY = {"key": "httplocalhost/a\n", "file": "00", "status": 200, "size": 4096, "body": 4, "valid": 1060, "used": 990.0}
NOW = 1000.0


class Script:
    """Answers what there is, and notes what it is asked."""

    def __init__(self, purged: int = 1) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.purged = purged

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        self.asked.append((method, path, body))
        if method == "POST":
            return {"purged": self.purged}
        if "/entries" in path:
            return [ENTRY, {**ENTRY, "valid": 900, "status": None}]
        return {"one": ZONE} if path == "/http/caches" else ZONE


def run(script: Script, name: str, *words: str, as_json: bool = False) -> str:
    return run_cache_action(name, words, as_json, script, NOW)


def test_the_numbers_of_all_caches_or_of_one():
    script = Script()
    head, line = run(script, "stat").splitlines()
    cells = dict(zip(head.split(), line.split(), strict=True))
    assert (cells["ZONE"], cells["SIZE"], cells["MAX"], cells["HIT"], cells["STALE"], cells["MISS"]) == (
        "one", "5k", "10M", "5", "1", "2",
    )  # fmt: skip
    assert cells["HITS"] == "60.0%"
    assert run(script, "stat", "one").splitlines() == [head, line]
    assert json.loads(run(script, "stat", as_json=True)) == {"one": ZONE}


def test_the_responses_with_their_age_and_without_control_characters():
    script = Script()
    fresh, expired = run(script, "list", "a/b", "http localhost").splitlines()[1:]
    assert fresh.split()[:5] == ["200", "4k", "1m", "10s", "ago"]
    assert expired.split()[:5] == ["-", "4k", "expired", "2m", "ago"]
    assert "httplocalhost/a" in fresh
    assert script.asked == [("GET", "/http/caches/a%2Fb/entries?most=100000&prefix=http%20localhost", None)]


def test_a_purge_says_how_many_it_has_deleted():
    script = Script(3)
    assert run(script, "purge", "one", "key*") == "wproxy: 3 purged from one\n"
    assert script.asked == [("POST", "/http/caches/one/purge", {"key": "key*"})]
    assert run(Script(0), "purge", "one", "key*") == "wproxy: 0 purged from one\n"
    with pytest.raises(CannotChange, match='"key" is not in the cache one'):
        run(Script(0), "purge", "one", "key")


@pytest.mark.parametrize(("words", "told"), [(["drop"], "unknown action"), (["purge", "one"], "usage"), (["list"], "usage")])
def test_wrong_words(words, told):
    with pytest.raises(CannotChange, match=told):
        run(Script(), *words)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1023, "1023"), (1024, "1k"), (10 << 10, "10k"), (3 << 30, "3072M"), (1 << 50, "1024T")]
)
def test_sizes(size, text):
    assert size_text(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59, "59s"), (61, "1m"), (7200, "2h"), (200_000, "2d")])
def test_times(seconds, text):
    assert time_text(seconds) == text
