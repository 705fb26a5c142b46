"""The words of `wproxy explain`: the question and the explanation as values, the trace that collects facts, and the output.

worker/explain.py runs the request; there is only text here. docs/explain.md describes the keys.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from wproxy.address import is_ip
from wproxy.config.registry import REGISTRY, STEP
from wproxy.config.tree import Node, Position
from wproxy.directives.rewrite import If
from wproxy.shown_certificates import ShownCertificate

if TYPE_CHECKING:
    from wproxy.config.model import Configuration, Location
    from wproxy.directives.rewrite import Step


class CannotExplain(Exception):
    """The question makes no sense, or not for this configuration; the message gives the reason in one line."""


# The question.


class Url(NamedTuple):
    """A URL as a client uses it. host: without brackets; port: 0 where none is written; authority: the value of Host."""

    scheme: str
    host: str
    port: int
    authority: str
    target: str

    @property
    def default_port(self) -> int:
        """The port of the scheme."""
        return SCHEMES[self.scheme]


@dataclass(slots=True)
class Question:
    """The question. fields: names and values of header lines. client: an address. listen: the listening address, "" to choose
    one. http2: whether the client speaks HTTP/2.
    """

    method: str
    url: Url
    fields: list[tuple[str, str]] = field(default_factory=list)
    client: str = "127.0.0.1"
    listen: str = ""
    http2: bool = False


SCHEMES = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f]")


def read_url(text: str) -> Url:
    """Read a URL as it is typed; without a scheme it is http. Raises CannotExplain.

    Characters beyond ASCII are encoded as browsers do it: %XX of UTF-8 in path and query, `xn--` in a host. A fragment and a user
    are dropped, since they are not sent.
    """
    if _NOT_IN_URL.search(text):
        raise CannotExplain(f"a space or control character in the URL {_one_line(text)}: write it as %XX")
    if text.startswith("unix:"):
        raise CannotExplain(f"no URL: {_one_line(text)}, write http://HOST/PATH and --listen unix:SOCKET")
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else "http"
    if scheme not in SCHEMES:
        raise CannotExplain(f'unknown scheme "{scheme}" in the URL {_one_line(text)}: write http://, https://, ws:// or wss://')
    rest = text[match.end() :] if match else text
    begin = min((place for place in map(rest.find, "/?#") if place >= 0), default=len(rest))
    host, port = _read_authority(rest[:begin].rpartition("@")[2], text)
    target = rest[begin:].partition("#")[0]
    if not target.startswith("/"):
        target = f"/{target}"
    authority = f"[{host}]" if ":" in host else host
    if port and port != SCHEMES[scheme]:
        authority += f":{port}"
    return Url(scheme, host, port, authority, _percent_encoded(target))


def _read_authority(authority: str, text: str) -> tuple[str, int]:
    """Read host and port; raises CannotExplain."""
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        try:
            ipaddress.IPv6Address(host if "%" not in host and bracket else "")
        except ValueError:
            raise CannotExplain(f"invalid IPv6 address in the URL {_one_line(text)}") from None
        colon, port = rest[:1], rest[1:]
        if rest and colon != ":":
            raise CannotExplain(f"invalid host in the URL {_one_line(text)}")
    else:
        host, colon, port = authority.partition(":")
    if not host:
        raise CannotExplain(f"no host in the URL {_one_line(text)}: write http://HOST:PORT/PATH")
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise CannotExplain(f"invalid host in the URL {_one_line(text)}") from None
    if not colon or not port:
        return host, 0
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 1 <= int(port) <= 65535):
        raise CannotExplain(f"invalid port in the URL {_one_line(text)}")
    return host, int(port)


def _percent_encoded(target: str) -> str:
    raw = target.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in raw)


def read_question(
    method: str, url: str, lines: Sequence[str], client: str = "127.0.0.1", listen: str = "", http2: bool = False
) -> Question:
    """Make the question from the words of a command line. lines: `NAME: VALUE` each. Raises CannotExplain."""
    if not method or _NOT_IN_URL.search(method):
        raise CannotExplain(f"invalid method {_one_line(method)}")
    if client != "unix:" and not is_ip(client):
        raise CannotExplain(f"the client {_one_line(client)} is no IP address")
    return Question(method, read_url(url), [read_field(line) for line in lines], client, listen, http2)


def read_field(line: str) -> tuple[str, str]:
    """Read name and value of `NAME: VALUE`; raises CannotExplain."""
    if re.search(r"[\r\n\0]", line):
        raise CannotExplain(f"a line break or zero byte in the header field {_one_line(line)}")
    name, colon, value = line.partition(":")
    if not colon or not name:
        raise CannotExplain(f"no header field: {_one_line(line)}, write NAME: VALUE")
    return name, value.strip(" \t")


def _one_line(text: str) -> str:
    """Return a text in quotes, always on one line."""
    return '"' + re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", lambda found: repr(found[0])[1:-1], text) + '"'


# The answer.


@dataclass(slots=True)
class Way:
    """The way of a request through the configuration, and its result. Bytes of requests are shown as latin-1; "" is absent."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    location: str = ""
    location_at: str = ""
    location_why: str = ""
    action_kind: str = ""
    action: str = ""
    action_at: str = ""
    status: int | None = None
    redirect: str = ""
    upstream: str = ""
    upstream_at: str = ""
    upstream_tls: str = ""
    sessions: str = ""
    peers: list[str] = field(default_factory=list)
    upstream_head: str = ""
    parameters: list[dict[str, str]] = field(default_factory=list)
    script: str = ""
    script_state: str = ""
    file: str = ""
    subrequests: list[Subsequent] = field(default_factory=list)


@dataclass(slots=True)
class Subsequent(Way):
    """A request that another one makes. directive, directive_at: the reason for it, and its place; method, uri: the request."""

    directive: str = ""
    directive_at: str = ""
    method: str = ""
    uri: str = ""


@dataclass(slots=True)
class Explanation(Way):
    """The answer, ready for JSON."""

    request_head: str = ""
    listener: str = ""
    listener_at: str = ""
    listener_why: str = ""
    server: str = ""
    server_at: str = ""
    server_kind: str = ""
    server_name: str = ""
    server_name_at: str = ""
    server_why: str = ""
    certificates: list[ShownCertificate] = field(default_factory=list)
    response_head: str = ""
    added_fields: list[str] = field(default_factory=list)
    added_trailers: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    settings: list[dict[str, str]] = field(default_factory=list)


# Positions in the configuration.

DEFAULT = "default"


class Positions:
    """The positions of the steps, the tables (map, geo, split_clients) and their entries in a configuration."""

    def __init__(self, configuration: Configuration, root: Node) -> None:
        """root: the tree that the configuration was made from."""
        self._steps: dict[int, Position] = {}
        self._tables: dict[tuple[str, str], Node] = {}
        self._names = {name for name, rows in REGISTRY.items() if any(row.inherit == STEP for row in rows)}
        for server in configuration.servers:
            self._enter(server.steps, server.written.get("steps", ()))
            for location in server.each_location():
                if is_slash_redirect(location):
                    self._steps[id(location.steps[0])] = location.written[passes(location)][-1].position
                elif location.kind == "location":
                    self._enter(location.steps, location.written.get("steps", ()))
        for http in root.named("http"):
            for node in http.children or ():
                if node.name in ("map", "geo", "split_clients") and node.arguments:
                    # Of several with the same name the last one counts.
                    self._tables[node.name, node.arguments[-1].removeprefix("$").lower()] = node

    def _enter(self, steps: tuple[Step, ...], nodes: tuple[Node, ...]) -> None:
        for step, node in zip(steps, nodes, strict=True):
            self._steps[id(step)] = node.position
            if isinstance(step, If) and step.node is not None:
                inside = tuple(child for child in step.node.children or () if child.name in self._names)
                self._enter(step.steps, inside)

    def of_step(self, step: object) -> str:
        """Return the `FILE:LINE` of a step of the rewrite module."""
        position = self._steps.get(id(step))
        return str(position) if position is not None else ""

    def of_table(self, kind: str, name: str, key: str | None, value: str) -> str:
        """Return the `FILE:LINE` of the entry that a look-up found, by its key or else by its value if only one entry has that
        value.

        When the entry cannot be determined, return the place of the block.
        """
        node = self._tables.get((kind, name))
        if node is None:
            return ""
        entries = [entry for entry in node.children or () if entry.arguments]
        if key is None:
            found = [entry for entry in entries if entry.arguments[-1] == value]
        else:
            found = [entry for entry in entries if entry.name.removeprefix("\\") == key]
        return str(found[0].position if len(found) == 1 else node.position)


def passes(location: Location) -> str:
    """Return the directive of a location that passes requests on: proxy_pass, fastcgi_pass and so on; "" without one."""
    names = (name for name, nodes in location.written.items() if nodes and name.endswith("_pass") and name != "tunnel_pass")
    return next(names, "")


def is_slash_redirect(location: Location) -> bool:
    """Whether this is the location that redirects `/x` to a proxied `/x/`, which is not in the file (wproxy.config.resolve)."""
    return location.kind == "location" and not location.pass_module and bool(passes(location))


def shown_location(location: Location) -> str:
    """Return a location as it is written: `= /x`, `~ \\.php$`, `@app`; a nameless block is shown inside it."""
    text = location.pattern if location.modifier in ("", "@", "server") else f"{location.modifier} {location.pattern}"
    if location.kind in ("if", "limit_except"):
        return f"{location.kind} in {text}" if text else f"{location.kind} in the server"
    if is_slash_redirect(location):
        return f"{text} (made by the {passes(location)} of {location.pattern}/)"
    return text or "(the server itself)"


# The trace.


class Trace:
    """The record of a request's way; see Request.trace. Each step is a dictionary: kind, text, at.

    is_rehearsal: whether `wproxy explain` asks, so that nothing may really be done; of a request that is served, it is only
    recorded.
    """

    is_rehearsal = True

    def __init__(self, positions: Positions) -> None:
        self.steps: list[dict[str, Any]] = []
        self.location_why = ""
        self.is_refused = False  # the head of the request could not be read
        self.file = ""
        self.last_step: object = None
        self.directive, self.directive_at = "", ""  # what made a subrequest
        self.subrequests: list[Trace] = []
        self.location: Location | None = None
        self._positions = positions
        self._considered: list[dict[str, str]] = []

    def add(self, kind: str, text: str, at: str = "", **more: Any) -> None:
        """Add a step."""
        self.steps.append({"kind": kind, "text": text, "at": at, **more})

    def subrequest(self, directive: str, at: str) -> Trace:
        """Return the record of a request that this one makes. directive: what makes it, at: where that stands."""
        trace = type(self)(self._positions)
        trace.directive, trace.directive_at = directive, at
        self.subrequests.append(trace)
        return trace

    def considered(self, location: Any, why: str) -> None:
        """Note that a location was considered."""
        self._considered.append({"location": shown_location(location), "at": str(location.position), "why": why})

    def located(self, location: Location) -> None:
        """Note that the search for a location has ended with this one."""
        looked_at, self._considered = self._considered, []
        self.location = location
        name, at = shown_location(location), str(location.position)
        if location.kind == "server":
            self.location_why, text = "no location matches", "no location matches: the server itself"
        else:
            reasons = [one["why"] for one in looked_at if one["location"] == name and one["at"] == at]
            self.location_why = reasons[-1] if reasons else ""
            text = f"location {name}" + (f": {self.location_why}" if self.location_why else "")
        self.add("location", text, at, considered=looked_at)

    def step(self, step: Any, text: str, key: str | None = None, value: str = "") -> None:
        """Note a step of the rewrite module, or the key or value that a map, geo or split_clients found."""
        kind = text.partition(" ")[0].rstrip(":")
        if kind in ("map", "geo", "split_clients"):
            self.add(kind, text, self._positions.of_table(kind, step.name, key, value))
        else:
            self.last_step = step
            self.add(kind, text, self._positions.of_step(step))

    def opened(self, path: str) -> None:
        """Note that a file is opened to be sent."""
        self.file = path

    def looked_for(self, what: str, path: str, is_there: bool) -> None:
        """Note that `try_files` or `index` looked for a file or directory."""
        self.add(what, f"{what}: {path} {'is there' if is_there else 'is not there'}", self._origin(what))

    def fell_back(self, what: str, on: str) -> None:
        """Note that the last word of `try_files`, or an `index` that is a whole URI, is used without a check."""
        self.add(what, f"{what}: {on}", self._origin(what))

    def jump(self, text: str) -> None:
        """Note that the request was redirected internally."""
        page = re.match(r"error_page (\d+) ", text)
        self.add("error_page" if page else "redirect", text, self._place_of_page(int(page[1])) if page else "")

    # The request tells its location only when asked, so the explanation gives us the request.
    request: Any = None

    def _origin(self, name: str) -> str:
        origin: str = self.request.location.origin(name)
        return origin

    def _place_of_page(self, status: int) -> str:
        location: Location = self.request.location
        pages = zip(location.error_page, location.written.get("error_page", ()), strict=False)
        return next((str(node.position) for page, node in pages if status in page.statuses), "")


class LiveTrace(Trace):
    """The record of a request that is served. is_signed: whether its client may see it. server_why: why it got its server."""

    is_rehearsal = False
    is_signed = False
    server_why = ""


# The output.


def as_json(found: Explanation) -> str:
    """Return the explanation for programs: one object, its keys the names of `Explanation`."""
    return json.dumps(dataclasses.asdict(found), indent=2, ensure_ascii=True) + "\n"


# Reasons of locations that have nothing to do with the URI.
NO_MATCH = frozenset(("exact, is another URI", "prefix, does not match", "regex, is not asked"))


def as_text(found: Explanation, all_of_it: bool = False) -> str:
    """Return the explanation for people. all_of_it: include locations that do not match, and settings that are defaults."""
    return "\n".join(_lines(found, all_of_it)) + "\n"


def _lines(found: Explanation, all_of_it: bool) -> Iterator[str]:
    for refusal in found.refusals:
        yield f"NOTE       wproxy would not start: {refusal}"
    yield f"listener   {found.listener} at {found.listener_at}: {found.listener_why}"
    yield f"server     {found.server} at {found.server_at}: {found.server_why}"
    for certificate in found.certificates:
        yield f"  - certificate {certificate} ({certificate.at})"
    yield from _way_lines(found, all_of_it)
    if found.response_head:
        yield "the client receives"
        yield from _indented(found.response_head)
    if found.added_fields:
        yield "added to the response" + (", if the upstream answers with 200" if found.status is None else "")
        yield from (f"    {added}" for added in found.added_fields)
    if found.added_trailers:
        yield "added after the body"
        yield from (f"    {added}" for added in found.added_trailers)
    for inner in found.subrequests:
        yield from _subrequest_lines(inner, all_of_it)
    if found.log:
        yield "the error log would say"
        yield from (f"    {line}" for line in found.log)
    shown = [one for one in found.settings if all_of_it or one["from"] != DEFAULT]
    if shown:
        yield "settings" if all_of_it else "settings (--all also lists defaults)"
        width = max(len(one["name"]) for one in shown)
        for one in shown:
            note = "" if one["block"] == "location" else f", {one['block']}"
            note += "" if one["effect"] == "yes" else ", accepted and not yet effective"
            yield f"    {one['name']:<{width}}  {one['value']}  ({one['from']}{note})"


def way_steps(steps: Sequence[dict[str, Any]], all_of_it: bool) -> Iterator[str]:
    """Yield a line for each step of a request's way, and for each location that was considered."""
    for step in steps:
        yield f"  - {step['text']}" + (f" ({step['at']})" if step["at"] else "")
        for one in step.get("considered", ()):
            if all_of_it or one["why"] not in NO_MATCH:
                yield f"      {one['location']} ({one['at']}): {one['why']}"


def _way_lines(found: Way, all_of_it: bool) -> Iterator[str]:
    yield from way_steps(found.steps, all_of_it)
    yield f"location   {found.location} at {found.location_at}"
    yield f"action     {found.action}" + (f" ({found.action_at})" if found.action_at else "")
    if found.upstream:
        yield f"upstream   {found.upstream}" + (f" at {found.upstream_at}" if found.upstream_at else "")
        for peer in found.peers:
            yield f"    {peer}"
        if found.sessions:
            yield f"  - {found.sessions}"
        if found.upstream_tls:
            yield f"  - over TLS: {found.upstream_tls}"
    if found.upstream_head:
        yield "the upstream receives"
        yield from _indented(found.upstream_head)
    if found.parameters:
        yield "the upstream receives"
        width = max(len(one["name"]) for one in found.parameters)
        yield from (f"    {one['name']:<{width}}  {one['value']}".rstrip() for one in found.parameters)
    if found.script_state:
        yield f"script     {found.script} {found.script_state}"
    if found.file:
        yield f"file       {found.file}"


def _subrequest_lines(found: Subsequent, all_of_it: bool) -> Iterator[str]:
    yield f"subrequest {found.method} {found.uri}: {found.directive}" + (f" ({found.directive_at})" if found.directive_at else "")
    yield from (f"    {line}" for line in _way_lines(found, all_of_it))
    for one in found.subrequests:
        yield from (f"    {line}" for line in _subrequest_lines(one, all_of_it))


def _indented(head: str) -> Iterator[str]:
    return (f"    {line}" for line in head.rstrip("\r\n").split("\r\n"))
