"""Text for a screen, which has no room for all of it."""

from __future__ import annotations


def shortened(text: str, most: int) -> str:
    """Return a text whose end is left out, and marked so, if it has more than so many characters."""
    return text if len(text) <= most else f"{text[:most]}..."
