"""The result of a load, whatever made it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that were answered, in this time; bytes_read has the few digits that the program prints."""

    requests: int
    seconds: float
    bytes_read: float
