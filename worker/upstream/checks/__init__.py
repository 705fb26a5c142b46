"""Active health checks: one worker of all asks every peer of an upstream now and then, and all obey what it finds.

office.py    who checks an upstream, and a task for each check of each peer
probe.py     one check: ask a peer, judge its answer
request.py   the request that it is asked with

What was found is in the shared memory (`wproxy.checked_health`); what an answer has to be like is `wproxy.health_match`.
"""

from worker.upstream.checks.office import HealthChecks, Office

__all__ = ["HealthChecks", "Office"]
