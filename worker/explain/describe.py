"""The result of a request, in the words of an explanation."""

from __future__ import annotations

import time

from worker.explain.rehearsal import Rehearsal
from worker.explain.script import state_of_script
from worker.explain.settings import settings_of
from worker.upstream.passing import Passing
from worker.upstream.peers import Group
from wproxy.config.model import Configuration, Peer, Server
from wproxy.config.tls import is_secure
from wproxy.explain import Explanation, Trace, passes, shown_location
from wproxy.http import Request, Response
from wproxy.shown_certificates import ShownCertificate, show_certificate


def describe(found: Explanation, worker: Rehearsal, request: Request, sent: bytes) -> None:
    """Fill in the result of the request. sent: the bytes that the client gets."""
    location = request.location
    trace = request.trace
    assert trace is not None
    found.location, found.location_at = shown_location(location), str(location.position)
    found.location_why = trace.location_why
    found.settings = list(settings_of(location, worker))
    found.certificates = certificates_of(location.server, worker.configuration)
    if not sent:
        found.action_kind, found.action = "close", "close the connection without an answer (444)"
        found.action_at = place_of_answer(trace)
        found.status = 444
        return
    response = worker.response
    assert response is not None, "every answer goes through the filters"
    fields = response.fields
    found.added_fields = [shown_field(line) for line in fields.lines if line not in worker.unfiltered_fields]
    found.added_trailers = [shown_field(line) for line in request.response_trailers]
    if worker.group is not None:
        describe_upstream(found, worker.group, worker.configuration)
        found.upstream_tls = shown_tls(worker.passing, request)
    if worker.unfiltered is worker.proxied:
        target = location.written[passes(location)][-1]
        found.action_kind, found.action = "proxy", f"{target.name} to {target.arguments[0]}"
        found.action_at = str(target.position)
        describe_head(found, worker)
        found.status = request.forced_status or None  # error_page may have chosen it
        return
    found.status = fields.status
    found.response_head = sent.partition(b"\r\n\r\n")[0].decode("latin-1") + "\r\n\r\n"
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


def certificates_of(server: Server, configuration: Configuration) -> list[ShownCertificate]:
    """Return the certificates of a server that clients reach over TLS."""
    if not any(is_secure(line) for line in server.listen):
        return []
    directory = configuration.path_beside("")
    return [show_certificate(node, directory, time.time()) for node in server.written.get("ssl_certificate", ())]


def describe_head(found: Explanation, worker: Rehearsal) -> None:
    """Describe the part of the request before its body that the upstream receives: a text, or parameters."""
    assert worker.passing is not None
    read = worker.passing.protocol.read_parameters
    if read is None:
        found.upstream_head = worker.head.decode("latin-1")
        return
    pairs = [(name.decode("latin-1"), value.decode("utf-8", "backslashreplace")) for name, value in read(worker.head)]
    found.parameters = [{"name": name, "value": value} for name, value in pairs]
    if worker.passing.settings.module == "fastcgi":
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


def describe_upstream(found: Explanation, group: Group, configuration: Configuration) -> None:
    """Describe the group of the request, and its peers as they are configured."""
    found.upstream = group.name
    upstream = next((one for one in configuration.upstreams if one.name == group.name), None)
    found.upstream_at = str(upstream.position) if upstream is not None and not upstream.implicit else ""
    found.peers = [shown_peer(peer.peer) for peer in group.peers]


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
