"""One configuration started for real and asked about every server and location, beside what `explain` says of the same file."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness import PATIENCE
from local_copies import PLACES_LOG, Local, add_place_logs, localise
from questions import questions
from recorder import Received, Recorder
from sites import Site
from wire import Answer, Closed, Wire

from master.names import look_up
from tests.example_copies import in_toml
from tests.handshakes import trusting_anybody
from worker.explain import explain
from wproxy.config.convert import TOML
from wproxy.config.load import load_document, resolve_document
from wproxy.config.tree import Node
from wproxy.config.write_nginx import write_nginx
from wproxy.explain import Explanation, Positions, Question, Way

# What changes from one request to the next: the date, `$request_id`, `$msec`.
_PASSING = re.compile(r"(?<=^Date: )[^\r]*|(?<=^Expires: )[^\r]*|\b[0-9a-f]{32}\b|\b\d{10}\.\d{3}\b", re.MULTILINE)

_LENGTH = re.compile(r"^Content-Length: [^\r]*\r\n", re.MULTILINE | re.IGNORECASE)

# The certificates of copies are made for the test, and signed by nobody. Without a name of ours the Host alone chooses the server.
TLS = trusting_anybody()


@dataclass
class Happened:
    """What came of one question: the answer (None: closed without one), the heads that the backend got, and the place logged."""

    answer: Answer | None
    heads: list[str]
    place: str = ""
    server: str = ""


@dataclass
class Compared:
    """A question, and how explanation and answer differ."""

    question: Question
    told: Explanation
    happened: Happened
    differences: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The status of the answer; 444 if there was none."""
        return self.happened.answer.status if self.happened.answer else 444

    def __str__(self) -> str:
        url = self.question.url
        return f"http://{url.authority}{url.target}: " + "; ".join(self.differences)


def write_copy(root: Node, local: Local, syntax: str) -> Path:
    """Write a configuration into the directory of a copy, in that syntax; returns its file."""
    if not any(root.named("events")):  # in TOML a table that sets nothing is not written
        assert root.children is not None
        root.children.insert(0, Node("events", (), root.position, []))
    localise(root, local)
    add_place_logs(root)
    for directory in ("logs", "temp"):  # below which the directories of files are made, but not these themselves
        (local.directory / directory).mkdir(exist_ok=True)
    file = local.directory / "nginx.conf"
    file.write_text(write_nginx(root), errors="surrogateescape")
    return in_toml(file) if syntax == TOML else file


def start_and_ask(file: Path, backend: Recorder) -> list[Compared]:
    """Start a copy, ask it everything, stop it; returns what was found."""
    document = load_document(str(file))
    configuration = resolve_document(document, str(file), f"{file.parent}/", look_up)
    assert not configuration.refusals, list(map(str, configuration.refusals))
    asked = questions(configuration)
    places = Positions(configuration, document.root)
    told = [explain(configuration, places, question) for question in asked]
    site = Site(file, where(asked[0]))
    try:
        happened = [ask(question, explanation, backend) for question, explanation in zip(asked, told)]
    finally:
        site.end()
    log = file.parent / PLACES_LOG
    for line in log.read_text().splitlines() if log.exists() else ():
        place, number, server, _ = line.split("|")
        if number.isdigit():
            happened[int(number)].place, happened[int(number)].server = place, server
    found = [Compared(*each) for each in zip(asked, told, happened)]
    for each in found:
        each.differences = differences(each.told, each.happened)
    return found


def ask(question: Question, told: Explanation, backend: Recorder) -> Happened:
    """Send the very head that was explained."""
    backend.requests.clear()
    answer: Answer | None
    with Wire(where(question)) as wire:
        if question.url.scheme == "https":
            wire.sock = TLS.wrap_socket(wire.sock)
        wire.takes_trailers = True
        wire.send(told.request_head.encode("latin-1"))
        try:
            answer = wire.answer("GET")
        except Closed as closed:
            assert not closed.received, closed
            answer = None
    # Without ours among them, those that health checks send do not count where nothing was to be sent.
    (number,) = (value for name, value in question.fields if name == "X-Question")
    explained = heads_of(told)

    def received_ones() -> list[Received]:
        return [request for request in backend.requests if request.all("X-Question") == [number]]

    if explained:
        # Copies, and what comes after a request, may arrive after the answer; some may not have all of the client's fields.
        deadline = time.monotonic() + PATIENCE
        while len(backend.requests) < len(explained) and time.monotonic() < deadline:
            time.sleep(0.002)
    received = received_ones()
    if len(received) < len(explained):
        received = list(backend.requests)
    return Happened(answer, [request.head.decode("latin-1") + "\r\n\r\n" for request in received])


def heads_of(told: Way) -> list[str]:
    """What upstreams receive of a request and of its subrequests, as it was explained."""
    own = [told.upstream_head] if told.upstream_head else []
    return own + [head for one in told.subrequests for head in heads_of(one)]


def passed(head: str) -> str:
    """A head without what changes from one request to the next."""
    return _PASSING.sub("(passing)", head)


def where(question: Question) -> str | tuple[str, int]:
    """Where to connect to, for a question to arrive at its listener."""
    if question.listen.startswith("unix:"):
        return question.listen[5:]
    host, _, port = question.listen.rpartition(":")
    return {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]")), int(port)


def differences(told: Explanation, happened: Happened) -> list[str]:
    """What was explained otherwise than it happened."""
    found: list[str] = []

    def compare(what: str, explained: object, seen: object) -> None:
        if isinstance(explained, str) and isinstance(seen, str):
            explained, seen = _PASSING.sub("(passing)", explained), _PASSING.sub("(passing)", seen)
        if explained != seen:
            found.append(f"{what}: explained {explained!r}, happened {seen!r}")

    answer = happened.answer
    logs = [one["value"] for one in told.settings if one["name"] == "access_log"]
    compare("place", logs[-1].split()[1] if logs else "", happened.place)
    compare("server", told.server.replace("(no name)", ""), happened.server)
    compare("upstream", len(heads_of(told)), len(happened.heads))
    compare("status", told.status or 200, answer.status if answer else 444)
    for explained, seen in zip(sorted(heads_of(told), key=passed), sorted(happened.heads, key=passed)):
        compare("to the upstream", explained, seen)
    if not told.upstream_head and answer:
        compare("location", [told.redirect] if told.action_kind == "redirect" else [], answer.all("location"))
        head = "".join(f"{name}: {value}\r\n" for name, value in answer.fields)
        explained_head = told.response_head.partition("\r\n")[2].removesuffix("\r\n")
        if any(one["name"] in ("stub_status", "metrics", "dashboard") for one in told.settings):
            explained_head, head = (_LENGTH.sub("", each) for each in (explained_head, head))  # of numbers that grow
        compare("to the client", explained_head, head)
    return found
