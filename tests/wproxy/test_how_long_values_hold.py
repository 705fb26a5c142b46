"""How long the value of each variable holds (wproxy.variables.registry): what is remembered for a block or a location rests on it.

Two proofs for every variable there is. A request that hands out nothing but what the class allows lets each be read. And between
two requests that have nothing else in common than what the class allows, none differs.
"""

from __future__ import annotations

import re

import pytest
from made_requests import MadeBody
from test_variables import WPROXY, Story, process_named

from wproxy.address import Address
from wproxy.caching import CacheNotes
from wproxy.config.load import load_text
from wproxy.http import Attempt, Request, ResponseFields
from wproxy.slices import Slices
from wproxy.tracing import TraceContext
from wproxy.variables import BLOCK, FAMILIES, FIELDS, LINE, LOCATION, REQUEST, VARIABLES, Variable, find_variable, keep
from wproxy.variables.namespace import Namespace, use_namespace

CONFIGURATION = b"""
[[http.server]]
listen = 8080
server_name = [["front.example", "other.example"]]
root = "/etc"

[http.server.location]
"/app/" = { proxy_pass = "http://backend.example:3000/x", limit_rate = "5k" }
"/plain/" = { proxy_pass = "http://other.example:3001", root = "/usr", limit_rate = "7k" }
"""
BLOCK_OF_FIELDS = (
    b"X-A: 1",
    b"Cookie: x_a=1; b=2",
    b"Authorization: Basic dXNlcjpzZWNyZXQ=",
    b"User-Agent: MSIE 6",
    b"X-Forwarded-For: 192.0.2.1",
    b"Content-Type: a/b",
    b"Upgrade: x",
)
# The rest of the name of a member of a family.
REST = "x_a"
NAMES = [*VARIABLES, *(prefix + ("1" if "capture" in prefix else REST) for prefix in FAMILIES)]


@pytest.fixture(scope="module")
def server():
    configuration = load_text(CONFIGURATION, "wproxy.toml", "/", lambda host, port: [Address("192.0.2.80", port)])
    return configuration.listeners[0].servers.default


def named(varies: tuple[int, ...]) -> list[str]:
    return [name for name in NAMES if find_variable(name).varies in varies]


# What may be asked for.

# The view of a client behind a proxy has fields with a memory of their own (worker.real_ip).
OF_CLIENT = frozenset(
    ("remote_addr", "remote_port", "serial", "scheme", "server_address", "endpoint", "listener", "started", "tls", "peer",
     "proxy_protocol", "packed_addr")
)  # fmt: skip
ALLOWED = {
    BLOCK: frozenset(("client", "fields", "server", "line", "host")),
    LOCATION: frozenset(("client", "fields", "server", "line", "host", "location")),
    # An alias of a regex has variables, so add_uri_to_alias is never set where a value of this class is kept; and the path of a
    # subrequest (main) is never the one in the request line.
    LINE: frozenset(
        ("client", "fields", "server", "line", "host", "location", "path", "args", "method", "body", "add_uri_to_alias", "main")
    ),
}


class Guarded:
    """Something of which nothing but these attributes may be read."""

    def __init__(self, inner: object, allowed: frozenset[str], **instead: object) -> None:
        self._inner, self._allowed, self._instead = inner, allowed, instead

    def __getattr__(self, name: str) -> object:
        if name in self._instead:
            return self._instead[name]
        assert name in self._allowed, f"{name} was read"
        return getattr(self._inner, name)


def guarded(request: Request, varies: int) -> Guarded:
    client = Guarded(request.client, OF_CLIENT, process=Guarded(process_named(WPROXY), frozenset(("identity",))))
    line = request.line if varies == LINE else Guarded(request.line, frozenset(("authority",)))
    return Guarded(request, ALLOWED[varies], client=client, line=line)


@pytest.mark.parametrize("name", named((BLOCK, LOCATION, LINE)))
def test_a_value_rests_on_nothing_that_its_class_does_not_name(server, name):
    variable = find_variable(name)
    request = Story(server).request(*BLOCK_OF_FIELDS)
    assert variable.read(guarded(request, variable.varies)) == variable.read(request)


@pytest.mark.parametrize("name", ["uri", "connection_requests", "msec", "proxy_host", "request_method", "nginx_version"])
def test_the_guard_would_notice(server, name):
    request = Story(server).request(*BLOCK_OF_FIELDS)
    if name == "nginx_version":
        find_variable(name).read(guarded(request, BLOCK))
        return
    with pytest.raises(AssertionError, match="was read"):
        find_variable(name).read(guarded(request, BLOCK))


# Everything else is different.


def cached(status: bytes) -> CacheNotes:
    notes = CacheNotes(b"key")
    notes.status = status
    return notes


DIFFERENT = {
    "status": 404,
    "attempts": [Attempt("192.0.2.80:1", 1.0)],
    "bytes_sent": 5,
    "body_bytes_sent": 6,
    "request_length": 7,
    "end_cause": "timeout",
    "end_code": "up_head_timeout",
    "accel_type": b"e/f",
    "replied": True,
    "_id": b"0" * 32,
    "upstream_head": None,  # filled below
    "values": None,
    "captures": re.match(rb"(.)(.)", b"ab"),
    "response_fields": ResponseFields(200, ((b"X-A", b"b"),), content_type=b"c/d", content_length=9),
    "response_trailers": ((b"X-A", b"t"),),
    "trace": None,
    "internal": True,
    "uri_changes": 3,
    "uri_changed": True,
    "has_rewritten": True,
    "origin_stands": False,
    "add_uri_to_alias": True,
    "valid_location": False,
    "limit_rate": 12,
    "accel_charset": b"koi8-r",
    "upstream_trailers": ((b"x-a", b"X-A", b"u"),),
    "never_indexed": frozenset((b"x-a",)),
    "pipelined": True,
    "is_cut": True,
    "forced_status": 418,
    "upstream_uri": b"/elsewhere",
    "sent_method": b"HEAD",
    "gzipped": (100, 10),
    "trace_context": TraceContext(None),
    "is_error_page": True,
    "limit_req_status": b"REJECTED",
    "limit_conn_status": b"REJECTED",
    "believes_token": True,
    # What only subrequests, responses in slices and pages with userid have.
    "main": None,
    "inside": None,
    "ssi": None,
    "slices": Slices(10, 25),
    "cached": cached(b"HIT"),
    "user_id": None,
}
# Made differently by the test, or of no meaning to a reader.
MADE = {"location", "server", "client", "line", "fields", "method", "path", "args", "version", "started", "keepalive", "body"}


def two_requests(server, shares_location: bool) -> tuple[Request, Request]:
    """Two requests of one connection with equal header blocks and nothing else alike."""
    story = Story(server)
    first = story.request(*BLOCK_OF_FIELDS)
    second = story.request(*BLOCK_OF_FIELDS, line=b"POST /plain/%20b?x_a=9&z HTTP/1.0")
    if shares_location:
        second.location = first.location
    for name, value in DIFFERENT.items():
        setattr(second, name, value)
    second.path, second.args, second.keepalive = b"/rewritten", b"x_a=10", False
    second.body = MadeBody(4)
    second.body.data, second.body.file = b"a=1", b"/tmp/1"
    keep(second, "unused", b"1")
    return first, second


@pytest.mark.interpreted_only("compiled classes do not show which attributes have a default")
def test_nothing_of_a_request_was_left_the_same():
    settings = {name for name in vars(Request) if not name.startswith("__") and not callable(getattr(Request, name))}
    settings -= {"host", "exchange", "is_rehearsed"}  # computed, and the connection and a rehearsal, of which no variable tells
    assert settings - set(DIFFERENT) == set()


@pytest.mark.parametrize("name", named((BLOCK, LOCATION)))
def test_between_two_requests_that_share_no_more_a_value_does_not_differ(server, name):
    variable = find_variable(name)
    first, second = two_requests(server, shares_location=variable.varies == LOCATION)
    before = variable.read(first)
    first.client.clock.now += 5
    first.client.clock.set_wall(2e9)
    first.client.requests += 1
    assert variable.read(second) == before


def test_what_a_location_decides_differs_between_two(server):
    first, second = two_requests(server, shares_location=False)
    differing = {name for name in NAMES if find_variable(name).read(first) != find_variable(name).read(second)}
    assert set(named((LOCATION,))) == {"proxy_host", "proxy_port", "ancient_browser", "modern_browser"}
    assert {"proxy_host", "proxy_port"} <= differing
    assert not differing & set(named((BLOCK,)))
    assert len(differing) > 30, "the two requests have little in common"


# What is computed from them.


@pytest.mark.parametrize(
    ("source", "varies"), [("host", BLOCK), ("proxy_host", REQUEST), ("uri", REQUEST), ("sent_http_x_a", FIELDS)]
)
def test_what_a_request_keeps_of_a_location_holds_for_the_request(source, varies):
    """A map is computed once in a request, which may go on to another location with it."""
    with use_namespace(Namespace()) as namespace:
        namespace.declare("m", Variable(find_variable(source).read, find_variable(source).varies))
        assert find_variable("m").varies == varies
        namespace.declare_value("m")
        assert find_variable("m").varies == max(varies, REQUEST)
