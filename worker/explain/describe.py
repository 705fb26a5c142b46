"""The result of a request, in the words of an explanation."""

from __future__ import annotations

import time

from worker.explain.rehearsal import Outcome, Rehearsal
from worker.explain.script import state_of_script
from worker.explain.settings import settings_of
from worker.upstream.passing import Passing
from worker.upstream.peers import Group
from wproxy.config.model import Configuration, Peer, Server
from wproxy.config.tls import is_secure
from wproxy.directives.balancing import StickyPlan
from wproxy.explain import Explanation, Subsequent, Trace, Way, passes, shown_location
from wproxy.http import Request, Response
from wproxy.shown_certificates import ShownCertificate, show_certificate


def describe(found: Explanation, worker: Rehearsal, request: Request, sent: bytes) -> None:
    """Fill in the result of the request. sent: the bytes that the client gets."""
    outcome = worker.outcome_of(request)
    found.settings = list(settings_of(request.location, worker.configuration, outcome.group))
    found.certificates = certificates_of(request.location.server, worker.configuration)
    describe_way(found, worker, request, outcome)
    if outcome.response is None or not sent:
        return
    lines = outcome.response.fields.lines
    found.added_fields = [shown_field(line) for line in lines if line not in outcome.unfiltered_fields]
    found.added_trailers = [shown_field(line) for line in request.response_trailers]
    if found.action_kind != "proxy":
        found.response_head = sent.partition(b"\r\n\r\n")[0].decode("latin-1") + "\r\n\r\n"


def describe_way(found: Way, worker: Rehearsal, request: Request, outcome: Outcome) -> None:
    """Describe the way of a request, its result, and the subrequests that it makes."""
    trace = request.trace
    assert trace is not None
    location = request.location
    found.steps = trace.steps
    found.location, found.location_at = shown_location(location), str(location.position)
    found.location_why = trace.location_why
    found.subrequests = [describe_subrequest(worker, one) for one in trace.subrequests]
    response = outcome.response
    if response is None:
        found.action_kind, found.action = "close", "close the connection without an answer (444)"
        found.action_at = place_of_answer(trace)
        found.status = 444
        return
    fields = response.fields
    if outcome.group is not None:
        describe_upstream(found, outcome.group, worker.configuration)
        found.upstream_tls = shown_tls(outcome.passing, request)
    if outcome.unfiltered is outcome.proxied:
        target = location.written[passes(location)][-1]
        found.action_kind, found.action = "proxy", f"{target.name} to {target.arguments[0]}"
        found.action_at = str(target.position)
        describe_head(found, outcome)
        found.status = request.forced_status or None  # error_page may have chosen it
        return
    found.status = fields.status
    found.file = trace.file
    if fields.location is not None:
        found.redirect = fields.location.decode("latin-1")
        found.action_kind, found.action = "redirect", f"redirect with {fields.status} to {found.redirect}"
        found.action_at = place_of_answer(trace)
    elif found.file and not response.error:
        found.action_kind, found.action = "file", f"answer with {fields.status}, the file {found.file}"
        found.action_at = location.origin("alias" if location.alias is not None else "root")
    elif response.error >= 300:
        found.action_kind, found.action = (
            "error",
            f"answer with {response.error}, the built-in page{why_error(request, response)}",
        )
        found.action_at = place_of_answer(trace)
    else:
        found.action_kind, found.action = "return", f"answer with {fields.status}"
        found.action_at = place_of_answer(trace)


def describe_subrequest(worker: Rehearsal, trace: Trace) -> Subsequent:
    """Describe a request that another one makes."""
    request: Request = trace.request
    args = b"" if request.args is None else b"?" + request.args
    found = Subsequent(
        directive=trace.directive,
        directive_at=trace.directive_at,
        method=request.method.decode("latin-1"),
        uri=(request.path + args).decode("latin-1"),
    )
    describe_way(found, worker, request, worker.outcome_of(request))
    return found


def certificates_of(server: Server, configuration: Configuration) -> list[ShownCertificate]:
    """Return the certificates of a server that clients reach over TLS."""
    if not any(is_secure(line) for line in server.listen):
        return []
    directory = configuration.path_beside("")
    return [show_certificate(node, directory, time.time()) for node in server.written.get("ssl_certificate", ())]


def describe_head(found: Way, outcome: Outcome) -> None:
    """Describe the part of the request before its body that the upstream receives: a text, or parameters."""
    assert outcome.passing is not None
    read = outcome.passing.protocol.read_parameters
    if read is None:
        found.upstream_head = outcome.head.decode("latin-1")
        return
    pairs = [(name.decode("latin-1"), value.decode("utf-8", "backslashreplace")) for name, value in read(outcome.head)]
    found.parameters = [{"name": name, "value": value} for name, value in pairs]
    if outcome.passing.settings.module == "fastcgi":
        found.script = dict(pairs).get("SCRIPT_FILENAME", "")
        missing = 'SCRIPT_FILENAME is not among them: PHP-FPM answers 404 with "Primary script unknown"'
        found.script_state = state_of_script(found.script) if found.script else missing


def shown_field(line: tuple[bytes, bytes]) -> str:
    """Return a field as one line of text."""
    return f"{line[0].decode('latin-1')}: {line[1].decode('latin-1')}"


def place_of_answer(trace: Trace) -> str:
    """Return the position of the step that answered, if the last one did."""
    last = trace.steps[-1] if trace.steps else {"kind": "", "at": ""}
    return str(last["at"]) if last["kind"] in ("return", "rewrite", "try_files", "error_page") else ""


def why_error(request: Request, response: Response) -> str:
    """Return the reason for an error that no step gives."""
    if request.end_cause:
        return f": {request.end_cause}"
    if response.error == 404 and request.location.internal and not request.internal:
        return ": the location is internal"
    return ""


def describe_upstream(found: Way, group: Group, configuration: Configuration) -> None:
    """Describe the group of the request, and its peers as they are configured."""
    found.upstream = group.name
    upstream = next((one for one in configuration.upstreams if one.name == group.name), None)
    found.upstream_at = str(upstream.position) if upstream is not None and not upstream.implicit else ""
    found.peers = [shown_peer(peer.peer) for peer in group.peers]
    plan = upstream.sticky if upstream is not None else None
    found.sessions = "" if plan is None else shown_sessions(plan)


def shown_tls(passing: Passing | None, request: Request) -> str:
    """Describe how the connection to the upstream is encrypted; "" if it is not."""
    plan = passing.settings.secure_plan if passing is not None else None
    if plan is None:
        return ""
    secured, tls = plan.of(request), plan.connector.tls
    name = f'names "{secured.sent_name}"' if secured.sent_name else "names no server"
    verified = f'a certificate for "{secured.name}" is demanded' if tls.verifies else "no certificate is verified"
    certificate = secured.certificate or tls.certificate
    shown = f", {certificate} is shown" if certificate else ""
    return f"the handshake {name}, {verified}{shown}"


def shown_sessions(plan: StickyPlan) -> str:
    """Describe where a group's sessions are kept, as `worker.limits.told` does for limits."""
    if plan.kind == "cookie":
        name = plan.name.decode("utf-8", "backslashreplace")
        return f"sticky cookie: the client's cookie {name} names the peer of its session, and nothing is kept here"
    sources = " or ".join(template.text for template in plan.lookup)
    if plan.kind == "route":
        return f"sticky route: {sources} names the peer of a session, and nothing is kept here"
    kept = f'zone "{plan.zone}" in the memory of this machine\'s workers, for {plan.timeout:g} s'
    if plan.server is None:
        return f"sticky learn: the session {sources} is in {kept}"
    server, patience = plan.server.shown, f"{plan.server.patience * 1000:g} ms"
    return f"sticky learn: the session {sources} is at {server}, shared by machines; without its answer in {patience}, {kept}"


def shown_peer(peer: Peer) -> str:
    """Return an address with those of its parameters that are not the default."""
    words = [peer.name]
    words += [f"weight={peer.weight}"] if peer.weight != 1 else []
    words += [f"max_fails={peer.max_fails}"] if peer.max_fails != 1 else []
    words += [f"fail_timeout={peer.fail_timeout:g}s"] if peer.fail_timeout != 10 else []
    words += [f"max_conns={peer.max_conns}"] if peer.max_conns else []
    words += ["backup"] if peer.backup else []
    words += ["down"] if peer.down else []
    return " ".join(words)
