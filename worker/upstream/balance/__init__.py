"""Balancing methods: which peer of a tier gets a request (proxy.md §5). One file for each way of choosing:

    rotation.py    round robin, and the fallback of all others
    load.py        least_conn, least_time
    keys.py        ip_hash, hash
    ring.py        hash ... consistent
    chance.py      random, random two

A tier is nginx's `peers`: all primaries of a group, or all its backups. A method is a function of the tier, the request, the set
of peers that the request has tried (bits) and the second; it returns a usable peer or None. Everything that does not depend on
the request (points, sums of weights) is computed when the tier is arranged. `BALANCE` has the makers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from worker.upstream.balance.chance import random_peer, random_two
from worker.upstream.balance.keys import hash_key, ip_hash
from worker.upstream.balance.load import least_conn, least_time
from worker.upstream.balance.ring import consistent_hash
from worker.upstream.balance.rotation import round_robin
from worker.upstream.balance.tier import Method, Tier

if TYPE_CHECKING:
    from wproxy.directives.balancing import Balancing

__all__ = ["BALANCE", "Method", "Tier", "method_of"]

BALANCE: dict[str, Callable[[Balancing], Method]] = {
    "round_robin": lambda balancing: round_robin,
    "least_conn": lambda balancing: least_conn,
    "least_time": least_time,
    "ip_hash": lambda balancing: ip_hash,
    "hash": hash_key,
    "hash consistent": consistent_hash,
    "random": lambda balancing: random_peer,
    "random two": random_two,
}


def method_of(balancing: Balancing) -> Method:
    """Return the method that a configuration names."""
    return BALANCE[balancing.method](balancing)
