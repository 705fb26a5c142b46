"""Real requests for tests of one part of the house.

Compiled modules (wproxy/compiled.py) take objects of the types that they name, and nothing that only looks like one: a test that
asks a function about a request makes the request here, from a head as a client sends it.
"""

from __future__ import annotations

from types import SimpleNamespace

from worker.http1.head_memo import HeadMemo
from worker.http1.request import HeadLimits, RequestFields, take_request_head
from wproxy.address import Address
from wproxy.http import Client, Clock, Endpoint, FixedEndpoint, Process, Request
from wproxy.identity import WPROXY
from wproxy.request_body import RequestBody


def make_client(
    clock: Clock | None = None, address: str = "192.0.2.7", listener: object = None, endpoint: Endpoint | None = None
) -> Client:
    """Return a client that has just come."""
    process = Process(WPROXY, lambda: (1, 0, 0, 0))
    here = Address("192.0.2.1", 80)
    endpoint = endpoint or FixedEndpoint(here)
    listener = listener or SimpleNamespace(address=here)
    return Client(process, listener, clock or Clock(1000.0), address.encode(), 40000, 5, endpoint)  # type: ignore[arg-type]


def make_request(
    target: str = "/",
    *fields: str,
    client: Client | None = None,
    method: str = "GET",
    version: str = "1.1",
    host: str = "h",
) -> Request:
    """Return the request that is read from these bytes; no location has been found for it yet."""
    head = "\r\n".join([f"{method} {target} HTTP/{version}", f"Host: {host}", *fields, "", ""])
    taken = take_request_head(head.encode("latin-1"), HeadLimits(), HeadMemo())
    assert taken is not None
    client = client or make_client()
    return Request(client, taken[0], taken[1], client.clock.now)


class MadeBody(RequestBody):
    """The body of a request, so far as it has been read."""

    def __init__(self, received: int, is_finished: bool = True) -> None:
        super().__init__(-1, owes_continue=False)
        self._received, self._is_finished = received, is_finished

    @property
    def received(self) -> int:
        return self._received

    @property
    def finished(self) -> bool:
        return self._is_finished


def attributes_of(kind: type) -> tuple[str, ...]:
    """Return the names of the attributes that all objects of a class have; a compiled class names them itself, and has no slots."""
    named = [vars(each).get("__mypyc_attrs__") or vars(each).get("__slots__", ()) for each in kind.__mro__]
    return tuple(dict.fromkeys(name for names in named for name in names if name != "__dict__"))


def facts_of_fields(fields: RequestFields) -> tuple:
    """Return all that the fields of a request say, to compare: without what is remembered of and with them."""
    names = attributes_of(type(fields))
    kept = (name for name in names if name[0] != "_" and name not in ("cache", "difference", "form", "varied"))
    return fields.lines, fields.values, *(getattr(fields, name) for name in kept)
