"""`proxy_next_upstream_budget`: the number of retries allowed for a number of requests.

The share and the floor, with their usual values, are those of Finagle, Linkerd and the Gateway API (GEP-3388): a fifth of the
requests, and ten per second for servers so quiet that a share of their requests would be none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LEAST_PER_SECOND = 10
_SHARE = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?)%")


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """share: retries per request, 0.2 for `20%`. least: additional retries per second, for the whole server."""

    share: float
    least: int = LEAST_PER_SECOND

    def __format__(self, specification: str) -> str:
        """Return it as it may be written, whatever the specification."""
        return f"{self.share * 100:g}% min={self.least}"


def retry_budget(share: str, least: str | None = None) -> RetryBudget | None:
    """Read `off`, or `SHARE% [min=N]`."""
    if share == "off" and least is None:
        return None
    match = _SHARE.fullmatch(share)
    if match is None or float(match[1]) > 1000:
        raise ValueError(f'invalid value "{share}" in "%s" directive, it must be "off" or a percentage')
    if least is None:
        return RetryBudget(float(match[1]) / 100)
    key, _, value = least.partition("=")
    if key != "min" or not (value.isascii() and value.isdigit() and len(value) < 7):
        raise ValueError(f'invalid parameter "{least}"')
    return RetryBudget(float(match[1]) / 100, int(value))
