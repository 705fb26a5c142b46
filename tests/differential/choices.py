"""Values drawn at random, in hypothesis's words: the few strategies that configurations and requests are made of.

Hypothesis itself takes 0.6 s for one configuration with its requests, more than both servers take to start and answer, and what
it would do with the time, shrinking, `smaller` does better here, for it knows what a configuration is. Everything is a function
of a seed, so a seed is all that has to be kept of a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")


class SearchStrategy(Generic[T]):
    """A way to draw a value."""

    __slots__ = ("draw",)

    def __init__(self, draw: Callable[[Random], T]) -> None:
        self.draw = draw

    def map(self, change: Callable[[T], U]) -> SearchStrategy[U]:
        draw = self.draw
        return SearchStrategy(lambda random: change(draw(random)))

    def example(self, seed: int) -> T:
        """The value of a seed."""
        return self.draw(Random(seed))


class DrawFn:
    """Draws within a function that `composite` decorates."""

    __slots__ = ("random",)

    def __init__(self, random: Random) -> None:
        self.random = random

    def __call__(self, strategy: SearchStrategy[T]) -> T:
        return strategy.draw(self.random)


def composite(function: Callable[Concatenate[DrawFn, P], T]) -> Callable[P, SearchStrategy[T]]:
    """A strategy out of a function that draws what it needs."""

    def make(*arguments: P.args, **named: P.kwargs) -> SearchStrategy[T]:
        return SearchStrategy(lambda random: function(DrawFn(random), *arguments, **named))

    return make


def just(value: T) -> SearchStrategy[T]:
    return SearchStrategy(lambda _: value)


def sampled_from(values: Sequence[T]) -> SearchStrategy[T]:
    return SearchStrategy(lambda random: random.choice(values))


def one_of(*strategies: SearchStrategy[T]) -> SearchStrategy[T]:
    return SearchStrategy(lambda random: random.choice(strategies).draw(random))


def integers(least: int, most: int) -> SearchStrategy[int]:
    return SearchStrategy(lambda random: random.randint(least, most))


def booleans() -> SearchStrategy[bool]:
    return SearchStrategy(lambda random: random.random() < 0.5)


def lists(of: SearchStrategy[T], *, min_size: int = 0, max_size: int = 3, unique: bool = False) -> SearchStrategy[list[T]]:
    def draw(random: Random) -> list[T]:
        found: list[T] = []
        for _ in range(random.randint(min_size, max_size)):
            value = of.draw(random)
            if not unique or value not in found:
                found.append(value)
        return found

    return SearchStrategy(draw)


def tuples(*strategies: SearchStrategy[T]) -> SearchStrategy[tuple[T, ...]]:
    return SearchStrategy(lambda random: tuple(strategy.draw(random) for strategy in strategies))


def builds(make: Callable[..., T], *strategies: SearchStrategy[Any]) -> SearchStrategy[T]:
    return SearchStrategy(lambda random: make(*(strategy.draw(random) for strategy in strategies)))
