"""The failure that makes a run worthless."""

from __future__ import annotations


class BenchFailure(Exception):
    """The run cannot be trusted or cannot go on; the message gives the reason, for a person."""
