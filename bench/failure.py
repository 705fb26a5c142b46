"""What makes a run worthless."""

from __future__ import annotations


class BenchFailure(Exception):
    """The run can't be trusted or can't go on; the message says why, for a human."""
