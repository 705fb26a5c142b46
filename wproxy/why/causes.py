"""From the text of a line to the end cause of its request: one table, for the words of nginx and of wproxy.

wproxy knows the cause when it writes the line, and names it in JSON; a line of text, or of nginx, has to be read.
"""

from __future__ import annotations

import re

from wproxy.why.lines import Line

# Understood, and nothing has ended by it: a retry, a warning, a connection without a request.
NOTHING = ""

_TABLE: tuple[tuple[str, str], ...] = (
    # Warnings, news, and what another line tells better.
    (r"upstream server temporarily disabled", NOTHING),
    (r"upstream sent (more data than|data after final)", NOTHING),
    (r"is buffered to a temporary file", NOTHING),
    (r"delaying (request|unauthorized)|dry run", NOTHING),
    (r"open socket #\d+ left in connection", NOTHING),
    (r'using uninitialized "', NOTHING),
    (r"duplicate .*, previous value: .*, ignored", NOTHING),
    (r"closed keepalive connection|while (keepalive|waiting for request)$", NOTHING),
    (r"no other peer is tried|no user/password was provided", NOTHING),
    (r"failed .* while resolving$|, resolver: ", NOTHING),  # the request that waits for it has a line of its own
    (r"while SSL handshaking$|while (reading|sending) PROXY protocol|broken header:", NOTHING),
    # Tunnels.
    (r"upstream timed out .* while proxying upgraded connection", "tun_idle"),
    (r"client timed out .* while proxying upgraded connection", "tun_cl_stalled"),
    # Time.
    (r"upstream timed out .* while (connecting|SSL handshaking) to upstream", "up_connect_timeout"),
    (r"upstream timed out .* while sending request", "up_send_timeout"),
    (r"upstream timed out .* while reading response header", "up_head_timeout"),
    (r"upstream timed out", "up_body_timeout"),
    (r"client timed out .* while reading client request (line|headers)", "cl_head_timeout"),
    (
        r"client timed out .* while (reading client request body|reading the request body|sending the request body)",
        "cl_body_timeout",
    ),
    (r"client timed out .* while (sending|closing)", "cl_stalled"),
    (r"client timed out", "cl_head_timeout"),
    # Connecting.
    (r"connect\(\) .*failed \(111:", "up_refused"),
    (r"connect\(\) .*failed \(110:", "up_connect_timeout"),
    (r"(socket|bind|setsockopt)\(.*\) failed \((23|24|105|12):", "no_room"),
    (r"bind\(.*\) failed .* while connecting", "conf_value"),
    (r"connect\(\) .*failed", "up_unreachable"),
    (r"(\(24: Too many open files\)|worker_connections are not enough|connections (and descriptors )?are not enough)", "no_room"),
    (r"SSL.* while SSL handshaking to upstream|upstream SSL certificate", "up_tls"),
    (r"no live upstreams", "up_none"),
    # The client leaves.
    (
        r"client prematurely closed (connection|stream).* while (sending|reading).*body|prematurely closed stream: only",
        "cl_bad_body",
    ),
    (r"client prematurely closed connection.* while (reading upstream|sending to client)", "cl_left_late"),
    (r"\(\) failed \((32|104): .* while (sending (response )?to client|reading upstream, so)", "cl_left_late"),
    (r"\(\) failed \((32|104): .* while (reading client request|sending the request body)", "cl_left"),
    (r"client (prematurely )?closed|client (canceled|refused|closed the) stream|client did not take", "cl_left"),
    # The answer of an upstream.
    (r"upstream prematurely closed .* while (reading upstream|sending to client)", "up_cut"),
    (r"upstream prematurely closed", "up_closed"),
    (r"\(\) failed .* while sending request to upstream", "up_send_failed"),
    (r"(recv|recvmsg|SSL_read|readv)\(\) failed .* while reading response header from upstream", "up_reset"),
    (r"(recv|recvmsg|SSL_read|readv)\(\) failed .* while reading upstream", "up_cut"),
    (r"upstream sent too big header", "up_head_too_big"),
    (r"FastCGI sent in stderr", "up_said"),
    (r"(upstream|inflate\(\)|FastCGI|gRPC) .* while (reading upstream|sending (response )?to client)", "up_bad_body"),
    (r"upstream (sent|rejected|closed|reported|prematurely|split)|unsupported FastCGI|an upstream sent", "up_bad_head"),
    (r"could not be resolved \(\d+: (Operation|Host) timed out\)|could not be resolved \(110", "dns_timeout"),
    (r"could not be resolved|no resolver defined|host not found in", "dns_failed"),
    # The client's mistakes.
    (r"client intended to send too large", "cl_body_too_big"),
    (
        r"client intended to send body data larger|client sent invalid chunked body|client sent (more|fewer) bytes of a body",
        "cl_bad_body",
    ),
    (r"client sent too (large|long|many)", "cl_head_too_big"),
    (r"client sent plain HTTP request to HTTPS port", "cl_tls_plain"),
    (r"client SSL certificate verify error|client sent no required SSL certificate", "cl_tls_cert"),
    (r"client (sent|attempted|asked|exceeded|violated)", "cl_bad_request"),
    # Rules.
    (r"access forbidden by rule", "deny_rule"),
    (r'auth request unexpected status|user "|password mismatch', "deny_auth"),
    (r"limiting requests|in limit_req zone", "limit_req"),
    (r"limiting connections", "limit_conn"),
    # Ourselves.
    (
        r"\(28: No space left on device\)|(pwrite|pwritev|write)\(\).* failed|could not be written|client_body_temp|_temp[/\"]",
        "disk",
    ),
    (r"rewrite or internal redirection cycle|subrequests? cycle|too many (changes|subrequests)", "conf_cycle"),
    (r"took (too long|more than)|pcre2?_(exec|match)\(\)", "regex_slow"),
    (
        r"(no|too long) (port|host|path) in |(invalid|zero length) (UR[IL]|port|host|address|IPv6 address)",
        "conf_value",
    ),
    (r'unsafe URI|a line break or zero byte|control character|named location|cache "[^"]*" not found', "conf_value"),
    (r"a bug ended|exited on signal", "bug"),
    (r"directory index of|is not found|is forbidden|is not a (regular file|directory)|was truncated|read only \d+ of", "file"),
    (r"(open|openat|stat|fstat|lstat|opendir|pread|preadv|sendfile|read|realpath|unlink|rename|mkdir)\(\).* failed", "file"),
)
_RULES = tuple((re.compile(pattern, re.DOTALL).search, code) for pattern, code in _TABLE)


def cause_of(line: Line) -> str | None:
    """Return the word of `wproxy.end_causes` for a line; NOTHING where nothing ended by it, None if nobody knows."""
    if line.code:
        return line.code
    text = line.text
    for search, code in _RULES:
        if search(text):
            if code == "tun_idle" and line.setting.endswith("send_timeout"):
                return "tun_up_stalled"
            return code
    return None if "client" in line.details else NOTHING
