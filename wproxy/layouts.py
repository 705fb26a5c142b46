"""Layouts of attributes, settled before the first object is made."""

from __future__ import annotations

from typing import Any


def settle_layout(cls: type, *names: str) -> None:
    """Have all objects of a class share one layout of their attributes, those that are set late included; at most 30.

    CPython 3.11 takes no attribute into the layout of a class after some 30 objects: where many requests had been under way
    before the first was answered, every later one had a dictionary of its own for ever (measured: 6,000 instructions a request).
    """
    try:
        first: Any = object.__new__(cls)
    except TypeError:
        return  # compiled: a native class has a layout from the beginning
    for name in names:
        setattr(first, name, None)
