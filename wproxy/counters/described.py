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


def _each(words: dict[str, int]) -> tuple[Place, ...]:
    """Return the places of words that stand alone, by their names."""
    return tuple(Place(word, (name,)) for name, word in words.items())


def _buckets(what: str) -> tuple[str, ...]:
    return (*(f"{what} to {bound}" for bound in BOUNDS), f"{what} above")


def _codes() -> tuple[str, ...]:
    return (*(f"status {code}" for code in at.CODES), *(f"status {number}xx" for number in range(1, 6)), "status none")


def _causes(what: str) -> tuple[str, ...]:
    """Return the names of counts by cause, the last of which is for others."""
    room = ("",) * (at.OTHER_CAUSE - len(CAUSES))
    return (*(f"{what} {cause}" for cause in CAUSES), *room, f"{what} other")


_REQUEST = (
    *_each({"received": at.RECEIVED, "sent": at.SENT, "time": at.TIME, "discarded": at.DISCARDED}),
    Place(at.TIMES, _buckets("time")),
    Place(at.REQUEST_CODES, _codes()),
    Place(at.REQUEST_CAUSES, _causes("end")),
    *_each({"full": at.TLS_FULL, "resumed": at.TLS_RESUMED, "failed": at.TLS_FAILED, "timed out": at.TLS_TIMED_OUT}),
    *_each({"no protocol": at.TLS_NO_PROTOCOL, "no cipher": at.TLS_NO_CIPHER, "rejected": at.TLS_REJECTED}),
    *_each({"no certificate": at.TLS_NO_CERTIFICATE, "unverified": at.TLS_UNVERIFIED, "expired": at.TLS_EXPIRED}),
    *_each({"revoked": at.TLS_REVOKED, "handshake time": at.TLS_TIME}),
    Place(at.TLS_TIMES, _buckets("handshake")),
)
_UPSTREAM = (
    *_each({"connect time": at.CONNECT_TIME, "response time": at.RESPONSE_TIME, "no peer": at.NO_LIVE}),
    *_each({"queue full": at.QUEUE_FULL, "queue timed out": at.QUEUE_TIMED_OUT}),
    Place(at.CONNECT_TIMES, _buckets("connect")),
    Place(at.RESPONSE_TIMES, _buckets("response")),
    Place(at.DENIED, tuple(f"denied {reason}" for reason in at.DENIALS)),
    Place(at.RETRIES, _causes("retry")),
)
PEER = (
    *_each({"header time": at.HEADER_TIME, "response time": at.PEER_RESPONSE_TIME, "failed": at.FAILED}),
    *_each({"new": at.CONNECTIONS_NEW, "reused": at.CONNECTIONS_REUSED, "unavailable": at.UNAVAILABLE}),
    *_each({"@selected": at.SELECTED, "@down": at.DOWN_SINCE, "@up": at.UP_SINCE, "@came": at.CAME, "@went": at.WENT}),
    *_each({"downtime": at.DOWNTIME, "unhealthy": at.UNHEALTHY}),
    *_each({"base requests": at.BASE_REQUESTS, "base failures": at.BASE_FAILURES, "base received": at.BASE_RECEIVED}),
    *_each({"base sent": at.BASE_SENT, "base checks": at.BASE_CHECKS, "base failed": at.BASE_CHECKS_FAILED}),
    *_each({"full": at.PEER_TLS_FULL, "resumed": at.PEER_TLS_RESUMED, "not secured": at.PEER_TLS_FAILED}),
    Place(at.HEADER_TIMES, _buckets("header")),
    Place(at.PEER_RESPONSE_TIMES, _buckets("response")),
    Place(at.RESPONSES, tuple(f"class {number}" for number in range(1, 6))),
    Place(at.PEER_CAUSES, _causes("failure")),
    Place(at.PEER_TLS_REASONS, tuple(f"tls {reason}" for reason in at.TLS_REASONS)),
    Place(at.PEER_CODES, _codes()),
    Place(at.RESTS, (*(f"rest {cause}" for cause in at.REST_CAUSES), "rest other")),
    Place(at.CHANGES, tuple(f"{after} by {cause}" for after, cause in at.STATE_CHANGES)),
)
SCALAR = (
    *_each({"lag time": at.LAG_TIME, "streams": at.STREAMS, "processor time": at.CPU_TIME, "silences": at.SYNC_SILENCES}),
    *_each({"refused": at.REFUSED_CONNECTIONS, "access lines": at.LOST_ACCESS_LINES, "error lines": at.LOST_ERROR_LINES}),
    *_each({"spans sent": at.SPANS_SENT, "spans failed": at.SPANS_FAILED, "spans dropped": at.SPANS_DROPPED}),
    *_each({"base accepted": at.BASE_ACCEPTED, "base dropped": at.BASE_DROPPED, "base begun": at.BASE_BEGUN}),
    *_each({"base respawned": at.BASE_RESPAWNED}),
    Place(at.LAG_TIMES, _buckets("lag")),
    Place(at.RESETS_SENT, tuple(f"reset sent {code}" for code in range(at.OTHER_RESETS + 1))),
    Place(at.RESETS_RECEIVED, tuple(f"reset received {code}" for code in range(at.OTHER_RESETS + 1))),
    Place(at.BASE_HANDSHAKES, tuple(f"base handshake {number}" for number in range(at.HANDSHAKE_COUNTS))),
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
