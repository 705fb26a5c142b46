"""`satisfy`: several that may refuse, and which of their refusals counts (routing.md §3.7)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from worker.access import DECLINED, combine, rules_of
from worker.pages import error_response

PASS = 0
QUIET = SimpleNamespace(
    client=None, ends=lambda code, cause: None, route=SimpleNamespace(log=SimpleNamespace(logs=lambda level: False))
)
SILENT = -1  # it has nothing to say


class Asked:
    """Modules of the access phase that give these statuses, PASS or a refusal; None: this location asks nothing of it."""

    def __init__(self, *statuses: int | None) -> None:
        self.statuses = statuses
        self.order: list[int] = []

    def modules(self) -> tuple[Callable[[Any], Callable[[Any], Awaitable[Any]] | None], ...]:
        return tuple(self._module(number, status) for number, status in enumerate(self.statuses))

    def _module(self, number: int, status: int | None) -> Callable[[Any], Callable[[Any], Awaitable[Any]] | None]:
        async def refuse(request: Any) -> Any:
            self.order.append(number)
            if status == SILENT:
                return DECLINED
            return error_response(None, status, b"wproxy") if status else None

        return lambda location, context: None if status is None else refuse


def rule_of(how: str, asked: Asked) -> Callable[[Any], Awaitable[Any]] | None:
    """What decides for a location with these modules."""
    location: Any = SimpleNamespace(satisfy=how, auth_delay=0.0)
    return combine(rules_of(asked.modules(), location, None), location)


def outcome(how: str, *statuses: int | None) -> tuple[int, list[int]]:
    """The status of the refusal, or PASS, and which modules were asked."""
    asked = Asked(*statuses)
    rule = rule_of(how, asked)
    if rule is None:
        return PASS, []

    async def run() -> Any:
        return await rule(QUIET)

    refusal = asyncio.run(run())
    return (refusal.error if refusal else PASS), asked.order


@pytest.mark.parametrize("how", ["all", "any"])
def test_a_location_that_asks_nothing_has_no_access_phase(how: str) -> None:
    assert rule_of(how, Asked(None, None)) is None


@pytest.mark.parametrize("how", ["all", "any"])
@pytest.mark.parametrize("status", [PASS, 401, 403, 500])
def test_a_single_module_decides_alone(how: str, status: int) -> None:
    assert outcome(how, None, status, None) == (status, [1])


@pytest.mark.parametrize(
    ("statuses", "expected", "asked"),
    [
        ((PASS, PASS), PASS, [0, 1]),
        ((403, PASS), 403, [0]),
        ((PASS, 401), 401, [0, 1]),
        ((403, 401), 403, [0]),
        ((401, 403), 401, [0]),
        ((PASS, None, 503, 401), 503, [0, 2]),
    ],
)
def test_all_must_let_in_and_the_first_refusal_counts(statuses: tuple[int | None, ...], expected: int, asked: list[int]) -> None:
    assert outcome("all", *statuses) == (expected, asked)


@pytest.mark.parametrize(
    ("statuses", "expected", "asked"),
    [
        ((PASS, 401), PASS, [0]),
        ((403, PASS), PASS, [0, 1]),
        ((401, PASS, 403), PASS, [0, 1]),
        ((403, 401), 401, [0, 1]),
        ((401, 403), 401, [0, 1]),
        ((403, None, 403), 403, [0, 2]),
        ((403, 401, 403), 401, [0, 1, 2]),
    ],
)
def test_any_needs_one_and_prefers_to_ask_for_a_password(
    statuses: tuple[int | None, ...], expected: int, asked: list[int]
) -> None:
    assert outcome("any", *statuses) == (expected, asked)


@pytest.mark.parametrize("statuses", [(503, PASS), (500, 401), (401, 503), (403, 500, PASS)])
def test_any_is_ended_by_what_is_no_refusal(statuses: tuple[int, ...]) -> None:
    # A module that failed, or that is limiting, did not say whether the client may: nobody else is asked.
    status, asked = outcome("any", *statuses)
    assert status == next(status for status in statuses if status not in (PASS, 401, 403))
    assert len(asked) == statuses.index(status) + 1


@pytest.mark.parametrize(
    ("how", "statuses", "expected"),
    [
        ("all", (SILENT,), PASS),
        ("any", (SILENT,), PASS),
        ("any", (SILENT, SILENT), PASS),
        ("any", (SILENT, 401), 401),
        ("any", (403, SILENT), 403),
        ("any", (SILENT, PASS), PASS),
        ("all", (SILENT, 403), 403),
        ("all", (SILENT, PASS), PASS),
    ],
)
def test_a_module_with_nothing_to_say_neither_refuses_nor_lets_in(how: str, statuses: tuple[int, ...], expected: int) -> None:
    assert outcome(how, *statuses) == (expected, list(range(len(statuses))))
