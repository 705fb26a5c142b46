"""Active health checks: one of the workers asks every peer of an upstream at intervals, and all use its results.

checker.py    the choice of the worker that checks an upstream, and a task for each check of each peer
probe.py     one check: ask a peer, judge its answer
request.py   the request of a check

The results are in the shared memory (`wproxy.checked_health`); the conditions for an answer are in `wproxy.health_match`.
"""

from worker.upstream.checks.checker import Checker, HealthChecks

__all__ = ["Checker", "HealthChecks"]
