"""The vocabulary of end causes: one word for each way in which a request, or an attempt at a peer, ends badly.

The same words are in `$wproxy_end_code`, in the error log as JSON, in the metrics, in spans, on the dashboard and in the groups
of `wproxy why`. The word is given where a failure is made, by what is known there, and never found by the text of a message; it
is read with `end_code_of` when the request is over. A request that ends well pays nothing: its word is its class's empty one.

docs/end-causes.md is written from this table: `python -m wproxy.end_causes`.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from wproxy.generated_pages import DOCS, write_pages
from wproxy.http import Request


class EndCause(NamedTuple):
    """One way to end.

    code: its word. when: the event. status: what the client gets. haproxy, envoy: the words of their logs for it; "" if they have
    none. fix: what to look at, or to change.
    """

    code: str
    when: str
    status: str
    haproxy: str
    envoy: str
    fix: str


CLIENT = (
    EndCause(
        "cl_bad_request",
        "its request line, a field, the framing or the method is wrong",
        "400, 405, 421, 501, 505",
        "PR",
        "DPE",
        "see the line of the error log: the client is broken or hostile",
    ),
    EndCause(
        "cl_head_too_big",
        "its head is over large_client_header_buffers or max_headers",
        "400, 414",
        "PR",
        "DPE",
        "often cookies; raise the limit if such requests are wanted",
    ),
    EndCause(
        "cl_body_too_big",
        "its body is over client_max_body_size",
        "413",
        "PR",
        "",
        "raise client_max_body_size where uploads are wanted",
    ),
    EndCause(
        "cl_bad_body",
        "a chunk of its body is wrong, or the body ended early",
        "400",
        "CD, PR",
        "DPE",
        "the client broke off or is broken; a proxy before us may have a shorter timeout",
    ),
    EndCause("cl_head_timeout", "no whole head within client_header_timeout", "408", "cR", "SI", "a slow or hostile client"),
    EndCause("cl_body_timeout", "no bytes of its body for client_body_timeout", "408", "cD", "SI", "a slow or hostile client"),
    EndCause(
        "cl_left",
        "it closed before it had an answer",
        "499",
        "CC, CH, CQ",
        "DC",
        "often a slow back-end: compare $request_time with the client's own timeout",
    ),
    EndCause(
        "cl_left_late",
        "it closed amid the answer",
        "cut",
        "CD",
        "DC",
        "normal for browsers; a client or a proxy before us may have a shorter timeout",
    ),
    EndCause(
        "cl_stalled",
        "it took no bytes of the answer for send_timeout",
        "cut",
        "cD",
        "SI",
        "a slow client: raise send_timeout if it is wanted",
    ),
    EndCause("cl_tls_plain", "it spoke plain HTTP to a port of TLS", "497", "PR", "", "send it to https, with error_page 497"),
    EndCause(
        "cl_tls_cert",
        "its certificate is missing or refused",
        "495, 496",
        "PR",
        "",
        "see the reason in the error log; ssl_client_certificate, ssl_verify_depth, ssl_crl",
    ),
)
RULES = (
    EndCause(
        "deny_rule",
        "deny, or the like, refused it",
        "403",
        "PR",
        "UAEX",
        "is it meant? see allow and deny at the place that is named",
    ),
    EndCause(
        "deny_auth",
        "auth_request, auth_basic or the like refused it",
        "401, 403",
        "PR",
        "UAEX",
        "is it meant? see the log of the service that decides",
    ),
    EndCause(
        "limit_req",
        "the rate of a limit_req zone was reached",
        "503 or limit_req_status",
        "PR",
        "RL",
        "one client too fast, or rate and burst too small",
    ),
    EndCause(
        "limit_conn",
        "the number of a limit_conn zone was reached",
        "503 or limit_conn_status",
        "PR",
        "RL",
        "one client too greedy, or the number too small",
    ),
    EndCause("closed_444", "return 444", "444", "LR", "", "meant by the configuration"),
)
UPSTREAM = (
    EndCause("up_refused", "the peer refused the connection", "502", "SC", "UF", "is it running, and on that port?"),
    EndCause(
        "up_unreachable",
        "connect() failed otherwise",
        "502",
        "SC",
        "UF",
        "route, firewall, the path of the socket and its rights",
    ),
    EndCause(
        "up_connect_timeout",
        "no connection within proxy_connect_timeout",
        "504",
        "sC",
        "UF",
        "the host is down, a firewall drops, or the backlog is full",
    ),
    EndCause(
        "up_tls",
        "the TLS handshake failed, or the certificate does not verify",
        "502",
        "SC",
        "UF",
        "its certificate, proxy_ssl_name, proxy_ssl_server_name, proxy_ssl_trusted_certificate",
    ),
    EndCause(
        "up_send_failed",
        "sending the request failed",
        "502",
        "SH",
        "UR",
        "the peer closed while it was sent to: its limit for bodies, a crash",
    ),
    EndCause(
        "up_send_timeout",
        "the peer took no bytes of the request for proxy_send_timeout",
        "504",
        "sH",
        "UT",
        "the peer does not read: is it blocked?",
    ),
    EndCause(
        "up_closed",
        "the peer closed before its head was whole",
        "502",
        "SH",
        "UC",
        "a crash, or a keepalive of the peer's that is shorter than ours",
    ),
    EndCause(
        "up_reset",
        "the connection was reset before the head was whole",
        "502",
        "SH",
        "UR",
        "a crash, or a keepalive of the peer's that is shorter than ours",
    ),
    EndCause(
        "up_head_timeout",
        "no bytes of its head for proxy_read_timeout",
        "504",
        "sH",
        "UT",
        "its slow log; raise proxy_read_timeout where such requests are wanted",
    ),
    EndCause(
        "up_bad_head",
        "its head is not valid",
        "502",
        "PH",
        "UPE",
        "is it HTTP, and the right protocol? see the line of the error log",
    ),
    EndCause(
        "up_head_too_big", "its head is over proxy_buffer_size", "502", "PH", "UPE", "often cookies; raise proxy_buffer_size"
    ),
    EndCause("up_cut", "it closed or broke amid the body", "cut", "SD", "UC", "a crash, or a timeout of its own"),
    EndCause(
        "up_body_timeout",
        "no bytes of its body for proxy_read_timeout",
        "cut",
        "sD",
        "UT",
        "its slow log; raise proxy_read_timeout for streams",
    ),
    EndCause(
        "up_bad_body",
        "its body is framed or coded wrongly",
        "cut",
        "PD",
        "UPE",
        "the peer is broken: see the line of the error log",
    ),
    EndCause("up_said", "its own 5xx was passed on", "5xx", "--", "", "see its log"),
    EndCause("up_none", "no peer was left to try", "502", "SC", "UH", "see the history of its peers"),
    EndCause("up_full", "every peer was at its max_conns", "502", "sQ", "UO", "more peers, a higher max_conns, or a queue"),
    EndCause("up_queue_full", "the queue was full", "502", "sQ", "UO", "more peers, or a longer queue"),
    EndCause(
        "up_queue_timeout", "no peer had room within the queue's timeout", "502", "sQ", "UO", "more peers, or a longer timeout"
    ),
    EndCause(
        "up_dead_idle",
        "a kept connection was dead; sent again on a fresh one, so that it is a cause of retries only",
        "",
        "",
        "UC",
        "nothing, if seldom; else keep connections for a shorter time than the peer does",
    ),
    EndCause(
        "up_body_spent",
        "another peer was to be tried, and the body was not kept",
        "502",
        "",
        "",
        "proxy_request_buffering on keeps it",
    ),
    EndCause("dns_failed", "a name was not resolved", "502", "", "DF", "the name, and the servers of resolver"),
    EndCause("dns_timeout", "no answer within resolver_timeout", "502", "", "DF", "are the servers of resolver reachable?"),
)
TUNNELS = (
    EndCause(
        "tun_idle",
        "a tunnel without traffic for its timeout",
        "101",
        "cD",
        "SI",
        "a heartbeat below the timeout, or proxy_tunnel_timeout",
    ),
    EndCause("tun_up_stalled", "the upstream took no bytes of a tunnel", "101", "sD", "SI", "the upstream does not read"),
    EndCause(
        "tun_cl_stalled",
        "the client took no bytes of a tunnel",
        "101",
        "cD",
        "SI",
        "a slow client: raise send_timeout if it is wanted",
    ),
)
OURSELVES = (
    EndCause(
        "no_room", "no connection or descriptor was left", "500", "RC", "OM", "raise worker_connections or worker_rlimit_nofile"
    ),
    EndCause(
        "disk",
        "a temporary file could not be written or read",
        "500, cut",
        "R",
        "",
        "space and rights of the temporary directories",
    ),
    EndCause(
        "file",
        "a file could not be opened or read",
        "403, 500, cut",
        "R",
        "",
        "rights of the file and of the directories above it",
    ),
    EndCause(
        "conf_value",
        "a value made from variables cannot be sent",
        "500",
        "",
        "",
        "the directive that makes it: see the line of the error log",
    ),
    EndCause(
        "conf_cycle",
        "the configuration leads the request in circles",
        "500",
        "",
        "",
        "rewrite, error_page, try_files and index of the locations it passes",
    ),
    EndCause("regex_slow", "a regex took too long", "500", "", "", "wproxy check names regexes that can"),
    EndCause("drained", "worker_shutdown_timeout was over", "cut", "K", "", "raise it where long requests are wanted"),
    EndCause("bug", "an exception in wproxy", "500, cut", "I", "", "please report it with the lines of the error log"),
)
SIDES = {
    "The client": CLIENT,
    "Rules of the configuration": RULES,
    "The upstream": UPSTREAM,
    "Tunnels": TUNNELS,
    "wproxy itself": OURSELVES,
}
END_CAUSES = {cause.code: cause for causes in SIDES.values() for cause in causes}
# The words in a fixed order: a word keeps its number in shared memory, so new ones go to the end of it.
CODES = tuple(END_CAUSES)


def end_code_of(request: Request) -> str:
    """Return the word for the way in which a request has ended; "" if it has ended well.

    To be called when its status is known and its attempts are still at hand.
    """
    if request.end_code:
        return request.end_code
    status = request.status
    if status < 444:
        return ""
    if status == 444:
        return "closed_444"
    return "up_said" if status >= 500 and request.attempts and request.attempts[-1].status == status else ""


# The documentation.

PAGE = os.path.join(DOCS, "end-causes.md")

_HEAD = """# End causes

Every request that does not end well ends with one word. It is `$wproxy_end_code` in the access log, `code` in an error log as
JSON and in `log_format wproxy_json`, the label `cause` of the metrics, `error.type` of spans, and the group in `wproxy why`;
`$wproxy_end_cause` is the same as a sentence, with the directive whose timer or limit was reached and its place. An attempt at
a peer has a word of its own, also when the next peer answered. HAProxy and Envoy: their words for it.

`wproxy why ERRORLOG` groups an error log, of wproxy or of nginx, by these words.

<!-- written by `python -m wproxy.end_causes` -->
"""


def page() -> str:
    """Return the text of docs/end-causes.md."""
    parts = [_HEAD]
    for side, causes in SIDES.items():
        parts.append(f"## {side}\n\n| code | when | status | HAProxy | Envoy | what to do |\n|---|---|---|---|---|---|\n")
        for cause in causes:
            cells = (f"`{cause.code}`", cause.when, cause.status, cause.haproxy, cause.envoy, cause.fix)
            parts.append(f"| {' | '.join(cells)} |\n")
        parts.append("\n")
    return "".join(parts).replace("-->\n## ", "-->\n\n## ").rstrip() + "\n"


def main() -> int:
    """Write what is generated here; return the exit code."""
    return write_pages({PAGE: page()})


if __name__ == "__main__":
    sys.exit(main())
