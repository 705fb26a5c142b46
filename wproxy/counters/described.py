"""The description of the layout of counters, by the names of its words: a program with another layout reads them by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from wproxy.counters import layout as at
from wproxy.counters.buckets import BOUNDS
from wproxy.end_causes import CODES as CAUSES
from wproxy.shared import MAX_PEERS

# Names of moments begin so: the later one counts, not their sum.
MOMENT = "@"


class Place(NamedTuple):
    """Names of words that follow each other. begin: the first word."""

    begin: int
    names: Sequence[str]


def _buckets(what: str) -> tuple[str, ...]:
    return (*(f"{what} to {bound}" for bound in BOUNDS), f"{what} above")


def _codes() -> tuple[str, ...]:
    return (*(f"status {code}" for code in at.CODES), *(f"status {number}xx" for number in range(1, 6)), "status none")


def _causes(what: str) -> tuple[str, ...]:
    """Return the names of counts by cause, the last of which is for others."""
    room = ("",) * (at.OTHER_CAUSE - len(CAUSES))
    return (*(f"{what} {cause}" for cause in CAUSES), *room, f"{what} other")


_REQUEST = (
    Place(at.RECEIVED, ("received", "sent", "time", "discarded")),
    Place(at.TIMES, _buckets("time")),
    Place(at.REQUEST_CODES, _codes()),
    Place(at.REQUEST_CAUSES, _causes("end")),
    Place(at.TLS_FULL, ("full", "resumed", "failed", "no protocol", "no cipher", "timed out", "rejected", "no certificate")),
    Place(at.TLS_UNVERIFIED, ("unverified", "handshake time", *_buckets("handshake"))),
    Place(at.TLS_EXPIRED, ("expired", "revoked")),
)
_UPSTREAM = (
    Place(at.CONNECT_TIME, ("connect time", *_buckets("connect"))),
    Place(at.RESPONSE_TIME, ("response time", *_buckets("response"))),
    Place(at.QUEUE_FULL, ("queue full", "queue timed out")),
    Place(at.DENIED, tuple(f"denied {reason}" for reason in at.DENIALS)),
    Place(at.RETRIES, _causes("retry")),
    Place(at.NO_LIVE, ("no peer",)),
)
PEER = (
    Place(at.HEADER_TIME, ("header time", *_buckets("header"))),
    Place(at.PEER_RESPONSE_TIME, ("response time", *_buckets("response"))),
    Place(at.RESPONSES, tuple(f"class {number}" for number in range(1, 6))),
    Place(at.FAILED, ("failed", "new", "reused")),
    Place(at.UNAVAILABLE, ("unavailable", *(MOMENT + name for name in ("selected", "down", "up", "came", "went")))),
    Place(at.PEER_CAUSES, _causes("failure")),
    Place(at.DOWNTIME, ("downtime", "unhealthy")),
    Place(at.BASE_REQUESTS, tuple(f"base {name}" for name in ("requests", "failures", "received", "sent", "checks", "failed"))),
    Place(at.PEER_TLS_FULL, ("full", "resumed", "not secured", *(f"tls {reason}" for reason in at.TLS_REASONS))),
    Place(at.PEER_CODES, _codes()),
    Place(at.RESTS, (*(f"rest {cause}" for cause in at.REST_CAUSES), "rest other")),
    Place(at.CHANGES, tuple(f"{after} by {cause}" for after, cause in at.STATE_CHANGES)),
)
SCALAR = (
    Place(at.LAG_TIME, ("lag time", *_buckets("lag"))),
    Place(at.STREAMS, ("streams",)),
    Place(at.RESETS_SENT, tuple(f"reset sent {code}" for code in range(at.OTHER_RESETS + 1))),
    Place(at.RESETS_RECEIVED, tuple(f"reset received {code}" for code in range(at.OTHER_RESETS + 1))),
    Place(at.CPU_TIME, ("processor time",)),
    Place(at.REFUSED_CONNECTIONS, ("refused", "spans sent", "spans failed", "spans dropped", "access lines", "error lines")),
    Place(at.BASE_ACCEPTED, ("base accepted", "base dropped", "base begun", "base respawned")),
    Place(at.BASE_HANDSHAKES, tuple(f"base handshake {number}" for number in range(11))),
    Place(at.SYNC_SILENCES, ("silences",)),
)
ROWS = {
    "requests": _REQUEST,
    "upstream": _UPSTREAM,
    "limit": (Place(at.PASSED, at.LIMIT_DECISIONS),),
    "listener": (Place(at.ACCEPTED, ("accepted", "refused")),),
    "resolver": (Place(at.NAME_QUESTIONS, ("names", "services", *at.LOOKUP_RESULTS)),),
}


def names_in(places: Sequence[Place]) -> dict[str, int]:
    """Return the words by their names."""
    return {name: place.begin + offset for place in places for offset, name in enumerate(place.names) if name}


@cache
def description() -> bytes:
    """Return the description of this layout, as JSON."""
    tables = {
        table.kind: {
            "rows": table.rows,
            "words": table.words,
            "keys": table.keys,
            "base": table.base,
            "names": names_in(ROWS[table.kind]),
        }
        for table in at.TABLES
    }
    value = {
        "slots": {"offset": at.SLOTS_OFFSET, "words": at.SLOT_WORDS, "count": at.COUNTED_SLOTS},
        "parts": {"all": at.OF_ALL, "location_zones": at.OF_LOCATION_ZONES, "carried": at.CARRIED},
        "parts_offset": at.BASELINES_OFFSET,
        "carried_scalars": at.CARRIED_SCALARS_OFFSET,
        "scalars": {"words": at.SCALAR_WORDS, "names": names_in(SCALAR)},
        "tables": tables,
        "peers": {"base": at.PEERS_BASE, "words": at.PEER_WORDS, "records": MAX_PEERS, "names": names_in(PEER)},
    }
    text = json.dumps(value, separators=(",", ":")).encode("ascii")
    assert len(text) <= at.DESCRIPTION_BYTES
    return text
